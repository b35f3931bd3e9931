"""A file that cannot be used just now: the caller is told, nothing is half-written, and it goes on afterwards."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from fhir_r4.errors import Unavailable
from fhir_server.search.tree import SearchQuery
from fhir_server.store.sqlite.schema import NewerFile
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import put
from tests.store.test_writing import man


async def limit_pages(store, pages):
    """As if the disk were full when the file has so many pages; 0 gives the space back."""
    await store.write_with(
        lambda connection, _: connection.execute(f"PRAGMA max_page_count={pages or 2**30}").fetchone()
    )


async def test_a_full_disk_is_told_and_space_makes_it_go_on(sqlite):
    await sqlite.transact([put("0")])
    await limit_pages(sqlite, 1)
    attempts = [sqlite.transact([man(str(n)), put(str(n), "Group", text="x" * 50_000)]) for n in range(1, 9)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert await sqlite.counts() == {"Patient": 1}
    assert await sqlite.last_sequence() == 1
    await limit_pages(sqlite, 0)
    await sqlite.transact([man("1"), put("1", "Group", text="x" * 50_000)])
    assert await sqlite.counts() == {"Patient": 2, "Group": 1}
    assert [s.sequence async for s in sqlite.changes()] == [1, 2, 3]


async def test_names_of_a_transaction_that_failed_are_not_remembered(sqlite):
    """What a rolled back transaction had interned must be interned anew by the next."""
    await sqlite.transact([put("0")])
    await limit_pages(sqlite, 1)
    new = put("1", "Device", tokens=[("code", "urn:new", "x")], text="x" * 50_000)
    with pytest.raises(Unavailable):
        await sqlite.transact([new])
    await limit_pages(sqlite, 0)
    await sqlite.transact([put("2", "Group", tokens=[("kind", "urn:other", "y")])])
    await sqlite.transact([new])
    assert await sqlite.counts() == {"Patient": 1, "Group": 1, "Device": 1}
    page = await sqlite.search(SearchQuery(("Device",)))
    assert [(s.type, s.id) for s in page.matches] == [("Device", "1")]


async def test_a_file_that_another_locks_is_told_and_read_on(sqlite, path):
    await sqlite.transact([put("1")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for attempt in (sqlite.transact([put("2")]), sqlite.ping()):
        with pytest.raises(Unavailable, match="lock"):
            await attempt
    assert (await sqlite.read("Patient", "1")).version == 1
    other.execute("ROLLBACK")
    other.close()
    await sqlite.ping()
    await sqlite.transact([put("2")])
    assert await sqlite.counts() == {"Patient": 2}


async def test_what_cannot_be_written_fails_alone(sqlite):
    bad = put("bad", strings=[("name", "\ud800", "\ud800")])
    results = await asyncio.gather(
        sqlite.transact([put("1")]),
        sqlite.transact([put("2"), bad]),
        sqlite.transact([put("3")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], UnicodeEncodeError)
    assert (results[0][0].sequence, results[2][0].sequence) == (1, 2)
    assert await sqlite.counts() == {"Patient": 2}


async def test_a_file_of_a_newer_program_is_refused_and_left_alone(path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=1000")
    other.close()
    before = path.read_bytes()
    with pytest.raises(NewerFile, match="schema 1000"):
        await store.open()
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_refused(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes(text)")
    other.close()
    with pytest.raises(Unavailable, match="another program"):
        await SqliteStore(path).open()


async def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(Unavailable, match="no database"):
        await SqliteStore(path).open()


async def test_a_place_that_cannot_be_opened_is_told(tmp_path: Path):
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(Unavailable, match="cannot be opened"):
        await SqliteStore(tmp_path / "folder.db").open()
