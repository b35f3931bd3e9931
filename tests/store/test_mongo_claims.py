"""The MongoDB store judges claims, and tells of them, as the reference store does."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo.store import MongoStore
from tests import mongod
from tests.store.making import START, Clock
from tests.store.test_claims import outcome, steps


class Emptied:
    """A store on a database that is emptied for each example, and the loop that it belongs to."""

    def __init__(self, address: str, runner: asyncio.Runner) -> None:
        self.clock = Clock()
        self.runner = runner
        self.store = MongoStore(address, self.clock)
        self._client = mongod.client(address)

    def begin(self) -> MemoryStore:
        """Empty the database; the reference store."""
        database = self._client.get_default_database()
        for name in ("Patient", "osler.versions", "osler.claims", "osler.heads"):
            database[name].delete_many({})
        database["osler.state"].update_one({"_id": "sequence"}, {"$set": {"n": 0, "u": 0, "types": {}}})
        self.clock.now = START
        return MemoryStore(self.clock)

    def close(self) -> None:
        self.runner.run(self.store.close())
        self._client.drop_database(self._client.get_default_database().name)
        self._client.close()


@pytest.fixture(scope="module")
def emptied(mongodb: str) -> Iterator[Emptied]:
    with asyncio.Runner() as runner:
        made = Emptied(mongod.with_database(mongodb, f"osler-test-{secrets.token_hex(6)}"), runner)
        runner.run(made.store.open())
        yield made
        made.close()


async def told(store, interval, without):
    found = await store.claims(["a", "b", "c"], interval, [("Patient", id) for id in without])
    return {key: sorted(held) for key, held in found.items()}


intervals = st.tuples(st.integers(-2000, 5000), st.integers(0, 6000)).map(
    lambda p: (START + p[0], START + sum(p))
)


def test_claims_are_judged_and_told_as_by_the_reference_store(emptied):
    async def compare(reference, written, interval, without):
        store = emptied.store
        for step in written:
            assert await outcome(store, step) == await outcome(reference, step)
            assert await told(store, interval, without) == await told(reference, interval, without)
            emptied.clock.now += 500

    @given(steps, intervals, st.sets(st.sampled_from("1234"), max_size=1))
    @settings(max_examples=30, deadline=None)
    def check(written, interval, without):
        emptied.runner.run(compare(emptied.begin(), written, interval, without))

    check()


def test_transactions_of_a_group_are_judged_one_after_the_other(emptied):
    async def compare(reference, written):
        found = await asyncio.gather(*(outcome(emptied.store, step) for step in written))
        assert found == [await outcome(reference, step) for step in written]

    @given(steps)
    @settings(max_examples=20, deadline=None)
    def check(written):
        emptied.runner.run(compare(emptied.begin(), written))

    check()
