"""The check finds what is wrong."""

import sqlite3

import pytest

from fhir_server.search.entries import Entries
from fhir_server.store.records import Claim
from fhir_server.store.sqlite.check import check
from tests.store.making import delete, put


def entries_of(resource):
    return Entries(
        tokens=[("gender", "urn:s", "male")],
        strings=[("text", resource["text"], resource["text"].upper())] if "text" in resource else [],
        dates=[("date", 1, 2), ("date", 2, 3)],
        numbers=[("number", 1, 2)],
        quantities=[("quantity", 1, 2, "urn:u", "kg", "kilo")],
        references=[("subject", "Patient", "1", "", "")],
        uris=[("url", "http://x")],
    )


def claims_of(resource):
    return (
        Claim(f"id:{resource['id']}"),
        Claim("time", interval=(int(resource["id"]), int(resource["id"]) + 1)),
    )


def made(id, text="a"):
    resource = {"id": id, "text": text}
    entries = entries_of(resource)
    return put(
        id, claims=claims_of(resource), text=text, **{k: getattr(entries, k) for k in entries.__slots__}
    )


@pytest.fixture
async def filled(sqlite, path):
    await sqlite.transact([made(str(n)) for n in range(5)])
    await sqlite.transact([made("1", "b"), delete("2")])
    return path


def spoil(path, sql):
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


async def test_a_sound_file_has_no_problems(filled):
    report = check(filled, entries_of, claims_of)
    assert report.problems == []
    assert report.clean
    assert (report.versions, report.resources, report.entries, report.claims) == (7, 4, 32, 8)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM version WHERE seq=2", "gaps"),
        ("UPDATE version SET version=5 WHERE seq=6", "count up"),
        ("UPDATE version SET updated=updated-1000 WHERE seq=7", "earlier in time"),
        ("UPDATE resource SET seq=2, version=1 WHERE id='1'", "newest version"),
        ("UPDATE resource SET deleted=1 WHERE id='1'", "newest version"),
        ("DELETE FROM resource WHERE id='4'", "without a resource"),
        ("UPDATE version SET body=substr(body, 5) WHERE seq=1", "no JSON object"),
        (
            "UPDATE version SET body=CAST(replace(body, 'Id\":\"1', 'Id\":\"7') AS BLOB) WHERE seq=1",
            "the body says",
        ),
        ("UPDATE version SET body='{}' WHERE seq=7", "deletion with a body"),
        ("DELETE FROM ix_token WHERE rid=1", "is missing from the index"),
        ("UPDATE ix_string SET text='X' WHERE rid=1", "should not be in the index"),
        ("INSERT INTO ix_uri VALUES (3, 1, 'http://y')", "of no live resource"),
        ("UPDATE resource SET kinds=0 WHERE rid=1", "index tables noted"),
        ("DELETE FROM claim WHERE rid=1 AND n=0", "the claim on id:0 is missing"),
        ("UPDATE claim SET units='2' WHERE rid=1 AND n=0", "should not be there"),
        (
            "INSERT INTO claim SELECT 3, n, key, units, capacity, lo, hi, expires FROM claim WHERE rid=1",
            "of no live",
        ),
    ],
)
async def test_damage_is_found(filled, damage, problem):
    spoil(filled, damage)
    report = check(filled, entries_of, claims_of)
    assert not report.clean
    assert any(problem in found for found in report.problems), report.problems


async def test_fingerprints_are_kept_until_they_are_replaced(sqlite):
    assert await sqlite.indexed_fingerprints() == {}
    await sqlite.set_fingerprints({"a": "1", "b": "2"})
    await sqlite.set_fingerprints({"b": "3"})
    assert await sqlite.indexed_fingerprints() == {"a": "1", "b": "3"}
