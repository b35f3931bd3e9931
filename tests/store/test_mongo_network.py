"""The MongoDB store over a network that is slow, loses answers or falls silent: what is acknowledged is there, once."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from fhir_r4.errors import Unavailable
from fhir_server.search.tree import SearchQuery, TokenIs
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import Stale
from fhir_server.store.records import MatchesAre
from tests import mongod
from tests.slow_network import network
from tests.store.making import put

# A lost server is noticed after a second.
IMPATIENT = "connectTimeoutMS=500&heartbeatFrequencyMS=500&serverSelectionTimeoutMS=1000"


@asynccontextmanager
async def far_away(mongo_address, delay=0.0, patience=5.0):
    """A store on the database with a network in between, and the network."""
    with mongod.client(mongo_address) as client:
        client.admin.command("ping")
        host, port = client.primary
    async with network(host, port, delay) as between:
        whole = urlsplit(mongo_address)
        login = whole.netloc.rpartition("@")[0]
        address = f"mongodb://{login + '@' if login else ''}127.0.0.1:{between.port}{whole.path}?directConnection=true&{IMPATIENT}"
        store = MongoStore(address, patience=patience)
        await store.open()
        try:
            yield store, between
        finally:
            await store.close()


def numbered(id, number="1"):
    return put(id, tokens=[("identifier", "", number)])


NOBODY = MatchesAre("Patient", TokenIs("identifier", None, "1"), ())


async def test_far_from_its_database_a_store_gives_and_keeps_what_it_is_asked_for(mongo_address):
    async with far_away(mongo_address, delay=0.02) as (store, _):
        written = await asyncio.gather(*(store.transact([numbered(str(n), str(n))]) for n in range(20)))
        assert sorted(one.sequence for (one,) in written) == list(range(1, 21))
        assert await store.read("Patient", "7") == written[7][0]
        page = await store.search(SearchQuery(("Patient",), TokenIs("identifier", None, "7")))
        assert page.matches == written[7]
        assert [one.sequence async for one in store.changes()] == list(range(1, 21))


async def test_of_many_conditional_creates_from_near_and_far_one_is_written(mongo, mongo_address):
    async with far_away(mongo_address, delay=0.01, patience=30) as (far, _):
        stores = [mongo, far] * 6
        results = await asyncio.gather(
            *(store.transact([numbered(str(n))], [NOBODY]) for n, store in enumerate(stores)),
            return_exceptions=True,
        )
    assert sum(isinstance(result, Stale) for result in results) == 11
    assert await mongo.counts() == {"Patient": 1}
    assert await mongo.last_sequence() == 1


@pytest.mark.parametrize("lost", [b"findAndModify", b"insert", b"commitTransaction"])
async def test_a_write_that_loses_an_answer_is_there_once(mongo_address, lost):
    async with far_away(mongo_address, patience=20) as (store, between):
        await store.transact([numbered("0")])
        between.cut_on = lost
        written = await asyncio.gather(*(store.transact([numbered(str(n))]) for n in (1, 2, 2)))
        assert between.cut_on == b"", "no such request was sent"
        assert sorted((one.id, one.version) for (one,) in written) == [("1", 1), ("2", 1), ("2", 2)]
        assert [one.sequence async for one in store.changes()] == [1, 2, 3, 4]


async def test_a_silent_network_is_told_and_nothing_of_what_was_refused_is_there(mongo_address):
    async with far_away(mongo_address, patience=3.5) as (store, between):
        await store.transact([numbered("1")])
        between.fall_silent()
        for attempt in (store.transact([numbered("2")]), store.read("Patient", "1")):
            async with asyncio.timeout(30):
                with pytest.raises(Unavailable):
                    await attempt
        between.speak_again()
        assert (await again(lambda: store.transact([numbered("3")])))[0].sequence == 2
        assert await store.counts() == {"Patient": 2}
        assert await store.read("Patient", "2") is None


async def again(act):
    """What `act` gives as soon as the store can be used."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await act()
            except Unavailable:
                continue
