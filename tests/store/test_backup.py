"""A copy is whole, verified, taken while others write, and can be put back."""

import asyncio
import hashlib
import sqlite3

import pytest

from fhir_r4.errors import Unavailable
from fhir_server.store.sqlite.backup import backup, restore, verify
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import delete, put


async def test_a_copy_taken_while_others_write_is_a_committed_state(sqlite, path, tmp_path):
    await sqlite.transact([put(str(n), text="x" * 500) for n in range(300)])
    writing = asyncio.gather(*(sqlite.transact([put(f"{n}a"), put(f"{n}b")]) for n in range(200)))
    copy = await asyncio.to_thread(backup, path, tmp_path / "copy.db")
    await writing
    assert copy.sha256 == hashlib.sha256((tmp_path / "copy.db").read_bytes()).hexdigest()
    assert 300 <= copy.sequence <= 700
    assert copy.resources == copy.sequence
    assert copy.sequence % 2 == 0
    assert check(copy.path).problems == []


async def test_a_restored_copy_is_the_store(sqlite, path, tmp_path):
    await sqlite.transact([put("1"), put("2")])
    await sqlite.transact([delete("1")])
    copy = backup(path, tmp_path / "copy.db")
    restored = restore(copy.path, tmp_path / "again.db")
    assert (restored.sequence, restored.resources) == (3, 2)
    store = SqliteStore(tmp_path / "again.db")
    await store.open()
    assert await store.read("Patient", "1") == await sqlite.read("Patient", "1")
    await store.transact([put("3")])
    assert await store.last_sequence() == 4
    await store.close()


async def test_nothing_that_exists_is_written_over(sqlite, path, tmp_path):
    copy = backup(path, tmp_path / "copy.db")
    with pytest.raises(Unavailable, match="exists"):
        backup(path, copy.path)
    with pytest.raises(Unavailable, match="already"):
        restore(copy.path, path)
    with pytest.raises(Unavailable, match="no store"):
        backup(tmp_path / "none.db", tmp_path / "other.db")


async def test_a_damaged_copy_is_not_restored(sqlite, path, tmp_path):
    await sqlite.transact([put(str(n), text="x" * 500) for n in range(50)])
    copy = backup(path, tmp_path / "copy.db").path
    whole = copy.read_bytes()
    copy.write_bytes(whole[:20_000] + b"\xff" * 4_000 + whole[24_000:])
    with pytest.raises(Unavailable):
        restore(copy, tmp_path / "again.db")
    assert not (tmp_path / "again.db").exists()


async def test_a_copy_that_lacks_a_version_is_not_accepted(sqlite, path, tmp_path):
    await sqlite.transact([put("1"), put("2")])
    copy = backup(path, tmp_path / "copy.db").path
    connection = sqlite3.connect(copy)
    connection.execute("DELETE FROM version WHERE seq=1")
    connection.commit()
    connection.close()
    with pytest.raises(Unavailable, match="incomplete"):
        verify(copy)
