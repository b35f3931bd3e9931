"""Damaged messages through every step; the long run is `python -m tests.scenarios.hl7_fuzz`."""

from __future__ import annotations

from tests.scenarios.hl7_fuzz import LONGEST_SECONDS, run


async def test_a_damaged_message_is_read_or_refused_and_nothing_fails():
    report = await run(1500, seed=20260101)
    assert report.problems == []
    assert report.messages == 1500
    assert report.slowest < LONGEST_SECONDS
    assert report.outcomes["mapped"] + report.outcomes["held"] > 100
    assert report.outcomes["over the wire"] > 5
