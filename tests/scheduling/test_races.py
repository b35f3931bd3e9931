"""Requests at once on the stores that outlive the server, at instants that the test sets: one of them gets the time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from fhir_server.interactions.consistency import inconsistencies
from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import Store
from tests.scheduling.desk import (
    MINUTE,
    NOW,
    Desk,
    appointment,
    at,
    desk_at,
    hold,
    ref,
    schedule,
    slot,
    store_of,
)
from tests.store.making import Clock

DOCTOR = "Practitioner/d1"
MILLISECOND = 1000
NINE = NOW + 25 * 60 * MINUTE


@pytest.fixture(params=["sqlite", "mongo"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    clock = Clock(NOW)
    store: Store
    if request.param == "mongo":
        store = MongoStore(request.getfixturevalue("mongo_emptied"), clock)
    else:
        store = store_of("sqlite", tmp_path, clock)
    async with desk_at(store, clock) as client:
        await client.put_ok(schedule("d1", DOCTOR), slot("s1"), slot("s2", 30, 60))
        yield client


@pytest.mark.parametrize(("late", "won"), [(-MILLISECOND, 0), (0, 1), (MILLISECOND, 1)])
async def test_a_hold_keeps_its_time_until_its_very_instant(desk: Desk, late: int, won: int) -> None:
    await desk.put_ok(hold(slots=("s1",), id="held", expires=10 * MINUTE))
    desk.clock.now = NOW + 10 * MINUTE + late
    made = appointment(slots=("s1",))
    answers = await asyncio.gather(*(desk.post_json("Appointment", made) for _ in range(5)))
    assert Counter(a.status_code for a in answers) == Counter({201: won, 409: 5 - won}) - Counter()
    # who held it may still book it as long as it is held
    own = await desk.operate("Appointment/$book", appointment_reference=ref("Appointment/held"))
    assert own.status_code == (409 if won else 200), own.text
    assert await desk.slot_status() == "busy"
    assert await inconsistencies(desk.app.services) == []


@pytest.mark.parametrize("order", list(permutations(("cancel", "reschedule", "check-in"))))
async def test_cancelling_moving_and_coming_at_once_leave_nothing_behind(
    desk: Desk, order: tuple[str, ...]
) -> None:
    await desk.put_ok(appointment(DOCTOR, slots=("s1",), id="a1"))
    desk.clock.now = NINE - 5 * MINUTE
    given = {
        "cancel": {"reason": {"text": "ill"}},
        "reschedule": {"start": {"valueInstant": at(30)}},
        "check-in": {},
    }
    answers = await asyncio.gather(
        *(desk.operate(f"Appointment/a1/${name}", **given[name]) for name in order)
    )
    found = {name: a.status_code for name, a in zip(order, answers, strict=True)}
    assert set(found.values()) <= {200, 409, 422}
    assert (found["cancel"], found["check-in"]) in ((200, 422), (422, 200))
    status = (await desk.read("Appointment/a1"))["status"]
    assert status == ("cancelled" if found["cancel"] == 200 else "arrived")
    moved = found["reschedule"] == 200
    taken = "s2" if moved else "s1"
    busy = {id for id in ("s1", "s2") if await desk.slot_status(id) != "free"}
    assert busy == ({taken} if status == "arrived" else set())
    assert await inconsistencies(desk.app.services) == []


class Late(MemoryStore):
    """A store in which a millisecond passes between the judgement of a write and its commit."""

    late = False

    async def transact(self, ops, preconditions=(), rehearse=False):
        if self.late:
            self._clock.now += 2 * MILLISECOND
        return await super().transact(ops, preconditions, rehearse)


async def test_a_hold_that_ends_between_judgement_and_commit_leaves_a_slot_that_is_not_overbooked() -> None:
    clock = Clock(NOW)
    store = Late(clock)
    async with desk_at(store, clock) as desk:
        await desk.put_ok(schedule("d1", DOCTOR), slot("s1"))
        await desk.put_ok(hold(slots=("s1",), id="held", expires=10 * MINUTE))
        clock.now, store.late = NOW + 10 * MINUTE - MILLISECOND, True
        answer = await desk.post_json("Appointment", appointment(slots=("s1",)))
        assert answer.status_code == 201
        kept = await desk.read("Slot/s1")
        assert (kept["status"], kept.get("overbooked")) == ("busy", None)
        assert await inconsistencies(desk.app.services) == []
