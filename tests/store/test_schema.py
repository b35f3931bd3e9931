"""Migrations: numbered, applied once, all or nothing, with a copy of the data before."""

import sqlite3
import threading

import pytest

from fhir_server.store.sqlite import schema
from fhir_server.store.sqlite.backup import verify
from fhir_server.store.sqlite.connections import connect
from fhir_server.store.sqlite.schema import MIGRATIONS, Migration, migrate, planned
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import put

SECOND = Migration(
    MIGRATIONS[-1].number + 1, "second", ("ALTER TABLE meta ADD COLUMN more", "CREATE TABLE extra(x)")
)
BROKEN = Migration(SECOND.number, "broken", ("CREATE TABLE extra(x)", "CREATE TABLE extra(x)"))


@pytest.fixture
async def filled(path):
    store = SqliteStore(path)
    await store.open()
    await store.transact([put("1")])
    await store.close()
    return path


def tables(path):
    connection = sqlite3.connect(path)
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    connection.close()
    return found


def test_the_steps_are_numbered_from_one_without_gaps():
    assert [m.number for m in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_what_would_be_done_can_be_asked_without_doing_it(path):
    connection = connect(path, busy_timeout=1)
    assert planned(connection) == MIGRATIONS
    assert tables(path) == set()
    assert migrate(connection, path) == MIGRATIONS
    assert planned(connection) == ()
    assert migrate(connection, path) == ()
    connection.close()


def test_a_new_step_is_applied_after_the_data_was_copied(filled):
    connection = connect(filled, busy_timeout=1)
    steps = (*MIGRATIONS, SECOND)
    assert planned(connection, steps) == (SECOND,)
    assert migrate(connection, filled, steps) == (SECOND,)
    assert "extra" in tables(filled)
    (copy,) = filled.parent.glob(f"{filled.name}.schema-{MIGRATIONS[-1].number}-*")
    assert verify(copy).sequence == 1
    assert "extra" not in tables(copy)
    connection.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(filled):
    connection = connect(filled, busy_timeout=1)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, filled, (*MIGRATIONS, BROKEN))
    assert "extra" not in tables(filled)
    assert planned(connection) == ()
    connection.close()


def test_a_step_that_failed_can_be_tried_again(filled):
    connection = connect(filled, busy_timeout=1)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, filled, (*MIGRATIONS, BROKEN))
    assert migrate(connection, filled, (*MIGRATIONS, SECOND)) == (SECOND,)
    connection.close()


def test_many_may_open_a_new_file_at_once(path):
    applied, failed = [], []

    def begin():
        try:
            connection = connect(path, busy_timeout=10)
            applied.extend(migrate(connection, path))
            connection.close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert tuple(applied) == schema.MIGRATIONS
