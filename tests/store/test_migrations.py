"""A file of an older program is brought up to date when it is opened, and answers before and after it is indexed anew."""

import sqlite3

import pytest

from fhir_server.search.entries import Entries
from fhir_server.search.tree import And, Chain, RefersTo, SearchQuery, TokenIs
from fhir_server.store.records import NewestIs
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.connections import connect
from fhir_server.store.sqlite.schema import MIGRATIONS, NewerFile, migrate
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock, put

# Two patients and an observation that refers to both by two parameters, as schema 1 kept them.
OLD = f"""
INSERT INTO name(nid, text) VALUES (1, 'Patient'), (2, 'Observation'), (3, 'urn:s');
INSERT INTO param(pid, type, code) VALUES (1, 1, 'code'), (2, 2, 'subject'), (3, 2, 'patient');
INSERT INTO fingerprint VALUES ('Patient.code', 'x');
INSERT INTO version(seq, rid, version, type, id, updated, method, created, body) VALUES
  (1, 1, 1, 1, 'a', {START}, 1, 1, '{{"resourceType":"Patient","id":"a","meta":{{"versionId":"1","lastUpdated":"2026-01-01T00:00:00.000Z"}}}}'),
  (2, 2, 1, 1, 'b', {START}, 1, 1, '{{"resourceType":"Patient","id":"b","meta":{{"versionId":"1","lastUpdated":"2026-01-01T00:00:00.000Z"}}}}'),
  (3, 3, 1, 2, 'o', {START}, 1, 1, '{{"resourceType":"Observation","id":"o","meta":{{"versionId":"1","lastUpdated":"2026-01-01T00:00:00.000Z"}}}}');
UPDATE version SET body = CAST(body AS BLOB);
INSERT INTO resource(rid, type, id, version, seq, updated, deleted, kinds) VALUES
  (1, 1, 'a', 1, 1, {START}, 0, 1), (2, 1, 'b', 1, 2, {START}, 0, 1), (3, 2, 'o', 1, 3, {START}, 0, 32);
INSERT INTO ix_token(rid, pid, code, system) VALUES (1, 1, 'x', 3), (2, 1, 'y', 3);
INSERT INTO ix_reference(rid, pid, type, id, base, version) VALUES
  (3, 2, 1, 'a', 0, ''), (3, 2, 1, 'b', 0, ''), (3, 3, 1, 'a', 0, '');
"""
X, Y = TokenIs("code", "urn:s", "x"), TokenIs("code", "urn:s", "y")


def entries(resource):
    if resource["resourceType"] == "Patient":
        return Entries(tokens=[("code", "urn:s", "x" if resource["id"] == "a" else "y")])
    subjects = [("subject", "Patient", id, "", "") for id in "ab"]
    return Entries(references=[*subjects, ("patient", "Patient", "a", "", "")])


@pytest.fixture
def old(path):
    connection = connect(path, busy_timeout=1)
    migrate(connection, path, MIGRATIONS[:1])
    connection.executescript(OLD)
    connection.close()
    return path


async def answers(store):
    one, other = Chain("subject", "Patient", X), Chain("subject", "Patient", Y)
    return [
        await store.matching_ids("Patient", X),
        await store.matching_ids("Observation", RefersTo("patient", "Patient", "a")),
        await store.matching_ids("Observation", And((one, other))),
        await store.matching_ids("Observation", Chain("patient", "Patient", Y)),
    ]


async def test_an_older_file_is_migrated_copied_and_indexed_anew(old):
    store = SqliteStore(old, Clock(), readers=1)
    await store.open()
    wanted = [("a",), ("o",), ("o",), ()]
    assert await answers(store) == wanted
    assert await store.indexed_fingerprints() == {}, "so that a new index is due"
    await store.transact([put("c", tokens=[("code", "urn:s", "x")])])
    assert await store.matching_ids("Patient", X, 9) == ("a", "c")
    found = await store.reindex(entries, NewestIs("SearchParameter", 0), ["Patient", "Observation"])
    assert found.changed > 0
    assert await answers(store) == wanted
    assert (await store.reindex(entries, NewestIs("SearchParameter", 0))).changed == 0
    assert (await store.search(SearchQuery(("Observation",)))).total == 1
    await store.close()
    assert check(old, entries).clean
    (kept,) = old.parent.glob("store.db.schema-1-*")
    copy = sqlite3.connect(kept)
    assert copy.execute("PRAGMA user_version").fetchone() == (1,)
    copy.close()


async def test_a_new_file_has_every_step_and_no_copy(path):
    store = SqliteStore(path, Clock(), readers=1)
    await store.open()
    await store.close()
    assert [file.name for file in path.parent.iterdir() if "schema" in file.name] == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (MIGRATIONS[-1].number,)
    connection.close()


async def test_a_file_of_a_newer_program_is_refused(path):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={MIGRATIONS[-1].number + 1}")
    connection.close()
    with pytest.raises(NewerFile):
        await SqliteStore(path, Clock(), readers=1).open()


def test_steps_are_numbered_without_gaps():
    assert [step.number for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
