"""Many people at the desk at once: whatever they do and however their requests interleave, everything agrees after it.

The store hands over to another request before each of its calls, as often as the test says. Many days are played in memory, a few on
each store that outlives the server; after the last step of a day there, `osler check` finds nothing in it.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fhir_r4.temporal import parse_interval
from fhir_server.interactions.consistency import inconsistencies
from fhir_server.resources.scheduling.lifecycle import is_live
from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import Store
from fhir_server.store.sqlite.store import SqliteStore
from fhir_server.subscriptions.worker import Worker
from tests import mongod
from tests.scenarios.servers import osler
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
)
from tests.store.making import Clock

NINE = NOW + 25 * 60 * MINUTE
DOCTORS = ("Practitioner/d1", "Practitioner/d2")
ROOM = "Location/r1"
SLOTS = {"s1": (0, 30), "s2": (30, 60), "s3": (60, 90)}
IDS = tuple(f"a{n}" for n in range(5))

Act = Callable[[Desk], Awaitable[httpx.Response]]


class Hesitating:
    """A store that lets others go first, so many times before each call."""

    pauses: list[int]

    async def _pause(self) -> None:
        for _ in range(self.pauses.pop(0) if self.pauses else 0):
            await asyncio.sleep(0)

    async def read_many(self, keys):
        await self._pause()
        return await super().read_many(keys)

    async def matching_ids(self, type, where, limit=2):
        await self._pause()
        return await super().matching_ids(type, where, limit)

    async def transact(self, ops, preconditions=(), rehearse=False):
        await self._pause()
        return await super().transact(ops, preconditions, rehearse)


class HesitatingMemory(Hesitating, MemoryStore):
    pass


class HesitatingSqlite(Hesitating, SqliteStore):
    pass


class HesitatingMongo(Hesitating, MongoStore):
    pass


async def put(desk: Desk, resource: dict[str, Any]) -> httpx.Response:
    return await desk.put_json(f"{resource['resourceType']}/{resource['id']}", resource)


def booking(id: str, name: str, doctor: str, room: bool, status: str) -> Act:
    actors = (doctor, ROOM) if room else (doctor,)
    start, end = SLOTS[name]
    slots = (name,) if doctor == DOCTORS[0] else ()
    return lambda desk: put(
        desk, appointment(*actors, start=start, end=end, slots=slots, id=id, status=status)
    )


def holding(id: str, name: str, minutes: int) -> Act:
    async def act(desk: Desk) -> httpx.Response:
        start, end = SLOTS[name]
        until = desk.clock.now - NOW + minutes * MINUTE
        return await put(desk, hold(expires=until, start=start, end=end, slots=(name,), id=id))

    return act


def operation(id: str, name: str, **given: Any) -> Act:
    return lambda desk: desk.operate(f"Appointment/{id}/${name}", **given)


def moving(id: str, minutes: int) -> Act:
    return operation(id, "reschedule", start={"valueInstant": at(minutes)})


def answering(id: str, actor: str, status: str) -> Act:
    return operation(id, "respond", actor=ref(actor), participantStatus={"valueCode": status})


ids = st.sampled_from(IDS)
names = st.sampled_from(tuple(SLOTS))


def waiting(id: str) -> Act:
    async def act(desk: Desk) -> httpx.Response:
        made = appointment(DOCTORS[0], id=id, status="waitlist", minutesDuration=30)
        return await put(desk, {k: v for k, v in made.items() if k not in ("start", "end")})

    return act


acts = st.one_of(
    st.builds(
        booking, ids, names, st.sampled_from(DOCTORS), st.booleans(), st.sampled_from(["booked", "pending"])
    ),
    st.builds(holding, ids, names, st.integers(1, 30)),
    st.builds(moving, ids, st.sampled_from([0, 15, 30, 60])),
    st.builds(operation, ids, st.sampled_from(["confirm", "check-in", "no-show", "fulfil"])),
    st.builds(lambda id: operation(id, "cancel", reason={"text": "weather"}), ids),
    st.builds(
        answering, ids, st.sampled_from([*DOCTORS, "Patient/p1"]), st.sampled_from(["accepted", "declined"])
    ),
    st.builds(
        lambda id: (
            lambda desk: desk.operate("Appointment/$book", appointment_reference=ref(f"Appointment/{id}"))
        ),
        ids,
    ),
    st.builds(lambda id: lambda desk: desk.delete(f"Appointment/{id}"), ids),
    st.builds(waiting, ids),
    st.builds(operation, ids, st.just("waitlist-offer")),
    st.builds(
        lambda name, status: lambda desk: put(desk, slot(name, *SLOTS[name], status=status)),
        names,
        st.sampled_from(["free", "busy", "busy-unavailable"]),
    ),
)


class Day(RuleBasedStateMachine):
    """`address` is that of the store, a folder for a file, None for one in memory."""

    address: str | Path | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.runner.run(self.open())

    def made(self, clock: Clock) -> tuple[Store, str | None]:
        """An empty store, and its address for others."""
        if self.address is None:
            return HesitatingMemory(clock), None
        name = f"osler-test-{uuid.uuid4().hex[:12]}"
        if isinstance(self.address, Path):
            file = self.address / f"{name}.db"
            return HesitatingSqlite(file, clock, readers=1), f"sqlite:///{file}"
        address = mongod.with_database(self.address, name)
        return HesitatingMongo(address, clock), address

    async def open(self) -> None:
        clock = Clock(NOW)
        self.store, self.kept = self.made(clock)
        self.store.pauses = []
        self.desk = await self.stack.enter_async_context(desk_at(self.store, clock))
        await self.desk.put_ok(schedule("d1", DOCTORS[0]), schedule("d2", DOCTORS[1]), schedule("r1", ROOM))
        for name, times in SLOTS.items():
            await self.desk.put_ok(slot(name, *times))

    def teardown(self) -> None:
        self.runner.run(self.settle())
        self.runner.run(self.stack.aclose())
        self.runner.close()
        if self.kept is not None:
            checked = osler("check", "--quiet", "--store", self.kept)
            assert checked.code == 0, checked.output
            if self.kept.startswith("mongodb"):
                with mongod.client(self.kept) as client:
                    client.drop_database(client.get_default_database())

    async def settle(self) -> None:
        """What has expired by the clock of the test is ended, which is not the clock of `osler check`."""
        self.desk.clock.now = max(self.desk.clock.now, NINE + 24 * 60 * MINUTE)
        await Worker(self.desk.app.services).step()

    @rule(wanted=st.lists(acts, min_size=1, max_size=4), pauses=st.lists(st.integers(0, 3), max_size=40))
    def act(self, wanted: list[Act], pauses: list[int]) -> None:
        async def all_at_once() -> list[httpx.Response]:
            return await asyncio.gather(*(act(self.desk) for act in wanted))

        self.store.pauses = list(pauses)
        answers = self.runner.run(all_at_once())
        self.store.pauses = []
        for answer in answers:
            assert answer.status_code in (200, 201, 204, 404, 409, 410, 412, 422), answer.text

    @rule(minutes=st.sampled_from([1, 5, 10]))
    def time_passes(self, minutes: int) -> None:
        self.desk.clock.now += minutes * MINUTE

    @rule()
    def the_background_works(self) -> None:
        async def twice_at_once() -> None:
            await asyncio.gather(*(Worker(self.desk.app.services).step() for _ in range(2)))

        self.runner.run(twice_at_once())

    @rule()
    def morning_comes(self) -> None:
        self.desk.clock.now = max(self.desk.clock.now, NINE - 10 * MINUTE)

    @invariant()
    def nobody_is_booked_twice(self) -> None:
        found = self.runner.run(self.desk.read("Appointment?_count=100")).get("entry", ())
        now = self.desk.clock.now
        live = [e["resource"] for e in found if is_live(e["resource"], now)]
        taken: Counter[tuple[str, int]] = Counter()
        for one in live:
            actors = {p["actor"]["reference"] for p in one["participant"] if p["status"] != "declined"}
            if one.get("slot"):
                actors.add(DOCTORS[0])
            if any(
                p["status"] == "declined" and p["actor"]["reference"] == DOCTORS[0]
                for p in one["participant"]
            ):
                actors.discard(DOCTORS[0])
            start, end = parse_interval(one["start"])[0], parse_interval(one["end"])[0]
            for actor in actors - {"Patient/p1"}:
                taken.update((actor, moment) for moment in range(start, end, 15 * MINUTE) if moment >= now)
        assert [key for key, count in taken.items() if count > 1] == []

    @invariant()
    def everything_agrees(self) -> None:
        # a hold that has expired leaves its Slot for the next write, or the tidying, to free
        problems = self.runner.run(inconsistencies(self.desk.app.services))
        left = [p for p in problems if not self.is_expired_hold(p)]
        assert left == [], left

    def is_expired_hold(self, problem: str) -> bool:
        if "does not follow" not in problem:
            return False
        found = self.runner.run(self.desk.read("Appointment?status=pending&_count=100")).get("entry", ())
        return any(not is_live(e["resource"], self.desk.clock.now) for e in found)


TestDay = Day.TestCase
TestDay.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("kind", ["sqlite", "mongo"])
def test_the_same_holds_on_every_store(kind: str, request: pytest.FixtureRequest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) if kind == "sqlite" else request.getfixturevalue("mongodb")

        class KeptDay(Day):
            address = place

        few = settings(max_examples=3, stateful_step_count=10, deadline=None)
        run_state_machine_as_test(KeptDay, settings=few)
