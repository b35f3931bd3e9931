"""A server that is killed under load loses nothing that it acknowledged; the long run is `python -m tests.scenarios.kills`."""

from __future__ import annotations

from tests.scenarios.kills import run_kills


def test_five_kills_under_a_write_load_lose_nothing() -> None:
    report = run_kills(5, seed=20)
    assert report.problems == []
    assert report.acknowledged > 20
