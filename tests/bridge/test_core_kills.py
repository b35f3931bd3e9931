"""A server that is killed while messages come loses none that it acknowledged; the long run is `python -m tests.scenarios.hl7_kills`."""

from __future__ import annotations

from tests.scenarios.hl7_kills import run_kills


def test_three_kills_under_load_lose_and_double_nothing() -> None:
    report = run_kills(3, seed=7)
    assert report.problems == []
    # six patients, and some results
    assert report.acknowledged > 6
