"""Fixtures of the scheduling tests: a clinic on each store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scheduling.desk import NOW, Desk, desk_at, schedule, slot, store_of
from tests.store.making import Clock


@pytest.fixture(params=["sqlite", "memory"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """A clinic with Schedules of a doctor (d1) and a room (r1) and a free Slot of the doctor (s1)."""
    clock = Clock(NOW)
    async with desk_at(store_of(request.param, tmp_path, clock), clock) as client:
        await client.put_ok(schedule("d1", "Practitioner/d1"), schedule("r1", "Location/r1"), slot())
        yield client
