"""The index of words of the SQLite store: it is brought up when it is needed, and comes forward when nobody asks."""

import asyncio
import threading

import pytest

from fhir_r4.errors import NotSupported
from fhir_server.store.sqlite import fulltext, write
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.fulltext import behind, catch_up
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Clock, delete, ids, mentions, narrated


@pytest.fixture(params=[0, 50])
async def store(request, path):
    """A store that always indexes before it answers, and one that looks at what is new itself."""
    made = SqliteStore(path, Clock(), readers=1, effort=Effort(late=request.param))
    await made.open()
    yield made
    await made.close()


async def test_the_index_comes_forward_in_steps_and_agrees_with_what_is_stored(store, path):
    await store.transact([narrated(str(n), f"word{n}") for n in range(30)])
    await store.transact([delete("3"), narrated("4", "changed")])
    late = await store.write_with(lambda connection, _: catch_up(connection, 20))
    assert late == 12
    assert await ids(store, mentions("word29")) == ("29",)
    while late:
        late = await store.write_with(lambda connection, _: catch_up(connection, 20))
    assert await store.write_with(lambda connection, _: behind(connection)) == 0
    assert await ids(store, mentions("word3")) == ()
    assert await ids(store, mentions("word4")) == ()
    assert await ids(store, mentions("changed")) == ("4",)
    assert check(path).clean
    await store.write_with(
        lambda connection, _: connection.execute("DELETE FROM fulltext_of WHERE rid=1").rowcount
    )
    assert [p.partition(":")[0] for p in check(path).problems] == ["the index of words lacks a resource"]


async def test_an_index_that_other_rules_made_is_made_anew(store, monkeypatch):
    await store.transact([narrated("1", "femur")])
    await store.write_with(lambda connection, _: catch_up(connection))
    monkeypatch.setattr(fulltext, "FORMAT", "2")
    assert await store.write_with(lambda connection, _: behind(connection)) == 1
    assert await ids(store, mentions("femur")) == ("1",)
    assert await store.write_with(lambda connection, _: catch_up(connection)) == 0
    assert await ids(store, mentions("femur")) == ("1",)


async def test_without_fts5_the_search_says_so(path, monkeypatch):
    monkeypatch.setattr(fulltext, "_TABLES", ("CREATE VIRTUAL TABLE fulltext USING none_such(narrative)",))
    store = SqliteStore(path, Clock(), readers=1, effort=Effort(late=0))
    await store.open()
    await store.transact([narrated("1", "femur")])
    with pytest.raises(NotSupported, match="FTS5"):
        await ids(store, mentions("femur"))
    await store.transact([narrated("2", "femur")])
    await store.close()


async def test_the_index_comes_forward_when_nobody_asks_for_anything(path, monkeypatch):
    done = threading.Event()

    def seen(connection):
        late = catch_up(connection)
        if late == 0 and behind(connection) == 0 and fulltext.indexed_until(connection) == 120:
            done.set()
        return late

    monkeypatch.setattr(write, "IDLE", 0.01)
    monkeypatch.setattr(write, "catch_up", seen)
    store = SqliteStore(path, Clock(), readers=1)
    await store.open()
    await store.transact([narrated(str(n), "femur") for n in range(120)])
    assert await asyncio.to_thread(done.wait, 20)
    assert len(await ids(store, mentions("femur"))) == 100
    await store.close()
