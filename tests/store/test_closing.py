"""A store that is closed finishes what it was given, then refuses, and can be opened again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fhir_r4.errors import Unavailable
from fhir_server.search.tree import SearchQuery
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import Store
from fhir_server.store.records import HistoryQuery
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import put


@pytest.fixture(params=["sqlite", "mongo"])
async def lasting(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Store]:
    """A store that keeps what it has when it is closed."""
    if request.param == "sqlite":
        made: Store = SqliteStore(path)
    else:
        made = MongoStore(request.getfixturevalue("mongo_address"))
    await made.open()
    yield made
    await made.close()


async def test_a_closed_store_says_so(lasting):
    store = lasting
    waiting = [asyncio.ensure_future(store.transact([put(str(n))])) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    written = await asyncio.gather(*waiting)
    assert sorted(stored.sequence for (stored,) in written) == list(range(1, 21))
    await store.close()
    for attempt in (
        store.transact([put("1")]),
        store.read("Patient", "1"),
        store.search(SearchQuery(("Patient",))),
        store.history(HistoryQuery()),
        store.ping(),
    ):
        with pytest.raises(Unavailable, match="closed"):
            await attempt
    await store.open()
    assert await store.last_sequence() == 20
