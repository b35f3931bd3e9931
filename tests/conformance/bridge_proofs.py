"""Run the tests that prove statements, once, and count them for each."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from tests.conformance.bridge_statements import STATEMENTS, Statement
from tests.scenarios.servers import ROOT, environment

FOLDER = "tests/bridge"
LONGEST_SECONDS = 1500


@dataclass(slots=True)
class Proofs:
    """How many tests of a statement were run, and which did not pass."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)


def selected(statement: Statement) -> list[str]:
    """The node ids of a statement. Raises ValueError when it names a test that does not exist."""
    found: list[str] = []
    for one in statement.tests:
        name, _, words = one.partition(":")
        file = f"{FOLDER}/test_{name}.py"
        tests = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE)
        for word in words.split(",") if words else [""]:
            fitting = [f"{file}::{test}" for test in tests if word in test]
            if not fitting:
                raise ValueError(f"{one} names no test")
            found += fitting
    return list(dict.fromkeys(found))


def run_tests(statements: Sequence[Statement] = STATEMENTS) -> dict[int, Proofs]:
    """What came of the tests of each statement; each test is run once."""
    of = {statement.number: selected(statement) for statement in statements}
    nodes = sorted({node for several in of.values() for node in several})
    outcomes = _outcomes(nodes)
    found: dict[int, Proofs] = {}
    for number, several in of.items():
        found[number] = proofs = Proofs()
        for node in several:
            came = outcomes.get(node, Counter())
            proofs.passed += came["passed"]
            proofs.skipped += came["skipped"]
            if came["failed"] or not came:
                proofs.failed.append(node.rpartition("::")[2])
    return found


def _outcomes(nodes: Sequence[str]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:xdist", "-p", "no:randomly", f"--junitxml={report}"]
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *nodes],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        for case in etree.parse(report).iter("testcase"):
            module = str(case.get("classname", "")).replace(".", "/")
            node = f"{module}.py::{str(case.get('name', '')).partition('[')[0]}"
            inside = {str(child.tag) for child in case}
            outcome = "passed"
            if inside & {"failure", "error"}:
                outcome = "failed"
            elif "skipped" in inside:
                outcome = "skipped"
            found.setdefault(node, Counter())[outcome] += 1
    return found
