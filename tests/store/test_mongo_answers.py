"""The MongoDB store answers every search as the reference store does: matches, order, pages, totals and includes."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from fhir_server.search.tree import SearchQuery
from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo.selection import Effort
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.records import MatchesAre
from tests import mongod
from tests.search.generated import INNER, TYPES, pick, queries, transactions
from tests.store.making import START, Clock
from tests.store.test_same_answers import pages

# Sizes so small that every plan is taken, and those of real use.
EFFORTS = (
    Effort(),
    Effort(few=1, counted=2, window=3, tested=0, listed=1, pressed=2, late=0),
    Effort(few=1, counted=1, window=100, tested=1, listed=0, pressed=0, late=2),
    Effort(few=2, counted=3, window=2, tested=2, listed=3, pressed=100, late=2),
)
efforts = pick(EFFORTS)


class Both:
    """Stores on a database that is emptied for each example, and the loop that they belong to."""

    def __init__(self, address: str, runner: asyncio.Runner) -> None:
        self.clock = Clock()
        self.runner = runner
        self.stores = {effort: MongoStore(address, self.clock, b"key", effort=effort) for effort in EFFORTS}
        self._client = mongod.client(address)

    def begin(self, effort: Effort) -> tuple[MongoStore, MemoryStore]:
        """The store with this effort on an empty database, and the reference store."""
        database = self._client.get_default_database()
        for name in [*TYPES, *INNER, "osler.versions", "osler.claims", "osler.heads"]:
            database[name].delete_many({})
        database["osler.state"].update_one({"_id": "sequence"}, {"$set": {"n": 0, "u": 0, "types": {}}})
        self.clock.now = START
        return self.stores[effort], MemoryStore(self.clock, b"key")

    async def open(self) -> None:
        for store in self.stores.values():
            await store.open()

    def close(self) -> None:
        for store in self.stores.values():
            self.runner.run(store.close())
        self._client.drop_database(self._client.get_default_database().name)
        self._client.close()


@pytest.fixture(scope="module")
def both(mongodb: str) -> Iterator[Both]:
    with asyncio.Runner() as runner:
        made = Both(mongod.with_database(mongodb, f"osler-test-{secrets.token_hex(6)}"), runner)
        runner.run(made.open())
        yield made
        made.close()


async def compare(both, written, query, effort):
    (store, reference), clock = both.begin(effort), both.clock
    for ops in written:
        assert await store.transact(ops) == await reference.transact(ops)
        clock.now += 700
    assert await pages(store, query, clock) == await pages(reference, query, clock)
    nothing = SearchQuery(query.types, query.where, count=0)
    total = (await reference.search(nothing)).total
    assert (await store.search(nothing)).total == total
    first = await store.search(query)
    assert first.total in (total,) if query.total == "accurate" else (None, total)
    for type in (*TYPES, *INNER):
        wanted = await reference.matching_ids(type, query.where)
        assert await store.matching_ids(type, query.where) == wanted
        await store.transact([], [MatchesAre(type, query.where, wanted)])


async def compare_while_others_write(both, written, meanwhile, query, effort):
    (store, reference), clock = both.begin(effort), both.clock
    for ops in written:
        await store.transact(ops)
        await reference.transact(ops)
        clock.now += 700
    now = clock.now
    found = await pages(store, query, clock, meanwhile)
    clock.now = now
    assert found == await pages(reference, query, clock, meanwhile)


def test_every_search_is_answered_as_the_reference_store_answers_it(both):
    @given(transactions, queries, efforts)
    @settings(max_examples=40, deadline=None)
    def check(written, query, effort):
        both.runner.run(compare(both, written, query, effort))

    check()


def test_pages_stay_those_of_the_first_moment_while_others_write(both):
    @given(transactions, transactions, queries, efforts)
    @settings(max_examples=30, deadline=None)
    def check(written, meanwhile, query, effort):
        both.runner.run(compare_while_others_write(both, written, meanwhile, query, effort))

    check()
