"""`python -m benchmarks [names] [--write] [--soak] [--scale X] [--workers N]`: measure, print, keep the result in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import beds, create, day, ingest, mongo, month, read, scheduling, search, startup, validation
from benchmarks.figures import Figure, markdown, text
from benchmarks.hl7 import taking
from benchmarks.machine import describe
from benchmarks.options import Options

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"

BENCHMARKS: dict[str, Callable[[Options], list[Figure]]] = {
    "startup": startup.run,
    "validation": validation.run,
    "read": read.run,
    "create": create.run,
    "ingest": ingest.run,
    "search": search.run,
    "scheduling": scheduling.run,
    "beds": beds.run,
    "hl7": taking.run,
    "mongo": mongo.run,
    "day": day.run,
    "month": month.run,
}


def main() -> int:
    """Run the benchmarks that were named; 1 when a target is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the server on this machine."
    )
    parser.add_argument("names", nargs="*", help=f"which ones, of {', '.join(BENCHMARKS)}; none: all")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/benchmarks.md")
    parser.add_argument(
        "--soak",
        action="store_true",
        help="ingest 500,000 resources, take HL7 v2 for ten minutes, and watch the memory",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="shorter (0.3) or longer (3) rounds")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    parser.add_argument("--log-level", default="warning", help="of the server; info: a line for each request")
    parser.add_argument(
        "--resources", type=int, default=0, help="size of the database for search, such as 1000000"
    )
    parser.add_argument(
        "--database", type=Path, help="the folder in which that database is made once and kept"
    )
    parser.add_argument("--only", default="", help="only the searches whose name has this in it")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    options = Options(
        given.scale, given.soak, given.workers, given.log_level, given.resources, given.database, given.only
    )
    machine = describe()
    print(machine, flush=True)
    figures: list[Figure] = []
    started = time.monotonic()
    for name in given.names or BENCHMARKS:
        for figure in BENCHMARKS[name](options):
            figures.append(figure)
            print(text(figure), flush=True)
    print(f"took {time.monotonic() - started:.0f} s")
    if given.write:
        write(figures, machine, options)
    return 0 if all(f.met in (None, True) for f in figures) else 1


def write(figures: list[Figure], machine: str, options: Options) -> None:
    """Put the figures between the marks of docs/benchmarks.md; a run of some benchmarks replaces those rows alone."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {
        row.split("|")[1].strip(): row for row in re.findall(r"^\| (?!measured|---).*$", old, re.MULTILINE)
    }
    head, line, *new = markdown(figures).splitlines()
    rows.update({row.split("|")[1].strip(): row for row in new})
    today = datetime.now(UTC).date().isoformat()
    said = f"Last measured {today}, `--workers {options.workers} --log-level {options.log_level}`: {machine}"
    PAGE.write_text(
        f"{before}{BEGIN}\n{said}\n\n" + "\n".join([head, line, *rows.values()]) + f"\n{END}{after}"
    )
    print(f"written to {PAGE}")


if __name__ == "__main__":
    raise SystemExit(main())
