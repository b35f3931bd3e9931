"""Servers go on when the primary is killed or frozen; the long run is `python -m tests.scenarios.failover --kills 10`."""

from __future__ import annotations

import pytest

from tests import mongod
from tests.conftest import NO_MONGODB
from tests.scenarios.failover import run_failovers

# Seconds; how soon the service is back is measured by the long run, on a machine of its own.
BACK_ON_A_BUSY_MACHINE = 45.0


@pytest.mark.timeout(400)
def test_a_primary_that_is_killed_or_frozen_under_a_write_load_costs_nothing_that_was_acknowledged() -> None:
    if mongod.program() is None:
        if mongod.required():
            pytest.fail(NO_MONGODB)
        pytest.skip(NO_MONGODB)
    report = run_failovers(
        ["kill", "freeze"], seed=7, workers=1, election=2.0, back_within=BACK_ON_A_BUSY_MACHINE
    )
    assert report.problems == []
    assert report.acknowledged > 50
