"""The page of figures tells every statement about the bridge, and what proves them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from tests.conformance.bridge_conformance import lines_of, page, verdict
from tests.conformance.bridge_measures import Measured
from tests.conformance.bridge_proofs import Proofs, selected
from tests.conformance.bridge_statements import STATEMENTS, Statement

PAGE = Path(__file__).parents[2] / "docs" / "bridge-conformance.md"


def test_the_page_tells_every_statement_with_its_target() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(line.split("|")[1]) for line in lines] == [one.number for one in STATEMENTS]
    assert len(STATEMENTS) == 26
    for line, one in zip(lines, STATEMENTS, strict=True):
        assert one.text in line
        assert one.target in line
        assert re.search(r"\| (met|partly|not met|not measured) \|", line)


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: one.title)
def test_the_tests_of_a_statement_exist(statement: Statement) -> None:
    assert bool(selected(statement)) is bool(statement.tests)


def test_a_test_that_does_not_exist_proves_nothing() -> None:
    with pytest.raises(ValueError, match="names no test"):
        selected(Statement(1, "", "", "", ("core_queues:no_such_words",)))


def test_a_statement_with_a_test_that_fails_is_not_met() -> None:
    measured, failed = Measured("1", "met", ""), Proofs(5, 0, ["test_one"])
    assert verdict(measured, failed) == "not met"
    told = "\n".join(page([(STATEMENTS[0], measured, failed)], 1.0))
    assert "0 met, 0 partly, 1 not met" in told
    assert "**1 fail** (test_one)" in told


def test_what_is_not_measured_now_stays_on_the_page() -> None:
    before = "\n".join(page([(one, Measured("x", "met", "y"), Proofs(1)) for one in STATEMENTS[:2]], 1.0))
    now = [(STATEMENTS[0], Measured("less", "not met", "z"), Proofs(1))]
    after = "\n".join(page(now, 2.0, lines_of(before)))
    assert lines_of(after)[2] == lines_of(before)[2]
    assert "| less; 1 tests pass |" in lines_of(after)[1]
    assert "1 met, 0 partly, 1 not met, 0 not measured." in after


def test_every_benchmark_can_be_run() -> None:
    assert all(callable(run) for run in BENCHMARKS.values())
