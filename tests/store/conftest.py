"""Stores to test: each test of a contract runs on every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import Store
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Clock, Written


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def sqlite(path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock, busy_timeout=0.2, readers=1)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def mongo(mongo_address: str, clock: Clock) -> AsyncIterator[MongoStore]:
    store = MongoStore(mongo_address, clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["sqlite", "memory", "mongo"])
async def store(request: pytest.FixtureRequest, path: Path, clock: Clock) -> AsyncIterator[Store]:
    made: Store = MemoryStore(clock)
    if request.param != "memory":
        entries = Written()
        if request.param == "sqlite":
            made = SqliteStore(path, clock, readers=1, extract=entries)
        else:
            made = MongoStore(request.getfixturevalue("mongo_emptied"), clock, extract=entries)
        transact = made.transact

        async def transact_and_keep(ops, preconditions=(), rehearse=False):
            written = await transact(ops, preconditions, rehearse)
            entries.keep(ops, written)
            return written

        made.transact = transact_and_keep
    await made.open()
    yield made
    await made.close()
