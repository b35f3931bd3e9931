"""docs/bridge-conformance.md: what must be true of the bridge, with the figure that was measured, statement by statement.

`python -m tests.conformance.bridge_conformance [--corpus DIR] [--quick | --figures] > docs/bridge-conformance.md`. The lengths of the
long runs are options; the page says which were run. `--figures --keep docs/bridge-conformance.md` measures anew, in about a
quarter of an hour, what depends on the machine and on time. What needs a corpus is measured with one only, and its messages are neither named nor told.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.machine import describe
from tests.conformance.bridge_measures import Lengths, Measured, Measures, Verdict, tally
from tests.conformance.bridge_proofs import Proofs, run_tests
from tests.conformance.bridge_statements import STATEMENTS, Statement

QUICK = Lengths(soak=10, away=10, waiting=2_000, patience=60, kills=3, damaged=5_000, rounds=3, round=5)
# a quarter of an hour of a machine that does nothing else
FIGURES = Lengths(
    soak=120, away=60, waiting=15_000, patience=240, kills=20, damaged=100_000, rounds=3, round=8
)
OF_FIGURES = (2, 3, 4, 5, 6, 18, 19, 21)
BY_TESTS = Measured("", "met", "tests")

Row = tuple[Statement, Measured, Proofs]
_LINE = re.compile(r"\| (\d+) \|.*\| (met|partly|not met|not measured) \|[^|]*\|$")


def measure(measures: Measures, statement: Statement) -> Measured:
    """The figure of a statement; what fails on the way is said."""
    try:
        return measures.of(statement.number) or BY_TESTS
    except Exception as error:
        traceback.print_exc()
        return Measured(f"the measurement failed: {type(error).__name__}", "not measured", "")


def verdict(measured: Measured, proofs: Proofs) -> Verdict:
    """A statement is not met when one of its tests fails, whatever was measured."""
    return "not met" if proofs.failed else measured.verdict


def page(rows: Sequence[Row], load: float, kept: Mapping[int, str] = {}) -> Iterator[str]:
    """The page, line by line. `kept` are lines of an earlier page, by the numbers of statements that were not measured now."""
    lines = {**kept, **{statement.number: _line(statement, *rest) for statement, *rest in rows}}
    verdicts = [found[2] for line in lines.values() if (found := _LINE.fullmatch(line))]
    yield "# What the bridge does, in figures"
    yield ""
    yield "Each statement about the [HL7 v2 bridge](bridge.md) with what was measured. *Partly*: what was measured is as it should be, and it was for a"
    yield "shorter time, with fewer messages or of less than the target says. This page is made by `python -m tests.conformance.bridge_conformance`; its options"
    yield "set the lengths of the long runs, name a folder of messages, and keep figures of an earlier page."
    yield ""
    yield f"{tally(verdicts)}."
    yield ""
    yield f"Measured on: {describe()} Other work was done on it: the load average was {load:.1f} before."
    yield ""
    yield "| # | statement | figure | target | | how |"
    yield "|---|---|---|---|---|---|"
    yield from (line for _, line in sorted(lines.items()))


def lines_of(text: str) -> dict[int, str]:
    """The lines of a page by the numbers of their statements."""
    return {int(found[1]): line for line in text.splitlines() if (found := _LINE.fullmatch(line))}


def _line(statement: Statement, measured: Measured, proofs: Proofs) -> str:
    figure = "; ".join(part for part in (measured.figure, _counted(proofs)) if part)
    return (
        f"| {statement.number} | **{statement.title}.** {statement.text}. | {figure} | {statement.target}"
        f" | {verdict(measured, proofs)} | {measured.how} |"
    )


def _counted(proofs: Proofs) -> str:
    parts = [f"{proofs.passed} tests pass"] if proofs.passed else []
    parts += [f"{proofs.skipped} left out"] if proofs.skipped else []
    parts += [f"**{len(proofs.failed)} fail** ({', '.join(proofs.failed)})"] if proofs.failed else []
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.bridge_conformance", description=__doc__
    )
    parser.add_argument("--corpus", type=Path, help="a folder of messages with a manifest.csv")
    parser.add_argument("--quick", action="store_true", help="short runs")
    parser.add_argument(
        "--figures",
        action="store_true",
        help=f"statements {', '.join(map(str, OF_FIGURES))} in a quarter of an hour",
    )
    parser.add_argument("--only", type=int, nargs="*", help="the numbers of some statements, or none")
    parser.add_argument(
        "--keep", type=Path, nargs="*", default=[], help="pages whose figures stay for other statements"
    )
    for one in fields(Lengths):
        parser.add_argument(f"--{one.name}", type=type(one.default), help=f"{one.default} unless stated")
    given = parser.parse_args()
    chosen = {f.name: getattr(given, f.name) for f in fields(Lengths) if getattr(given, f.name) is not None}
    lengths = replace(QUICK if given.quick else FIGURES if given.figures else Lengths(), **chosen)
    only = OF_FIGURES if given.only is None and given.figures else given.only
    statements = [one for one in STATEMENTS if only is None or one.number in only]
    kept = {n: line for file in given.keep for n, line in lines_of(file.read_text()).items()}
    load = os.getloadavg()[0]
    measures = Measures(lengths, given.corpus)
    measured = []
    for statement in statements:
        sys.stderr.write(f"{statement.number} {statement.title}\n")
        # what is logged meanwhile is no part of the page
        with redirect_stdout(sys.stderr):
            measured.append(measure(measures, statement))
    sys.stderr.write("tests\n")
    proofs = run_tests(statements) if statements else {}
    rows = [(one, figure, proofs[one.number]) for one, figure in zip(statements, measured, strict=True)]
    sys.stdout.write("\n".join(page(rows, load, kept)) + "\n")


if __name__ == "__main__":
    main()
