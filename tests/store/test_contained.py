"""What resources contain, on every kind of store: found by its own types, gone with its container, and in no other answer."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from fhir_server.search.entries import Contained, Entries
from fhir_server.search.tree import (
    Chain,
    ContainedIn,
    Everything,
    Has,
    IdIs,
    Include,
    Not,
    Or,
    Repeats,
    SearchQuery,
    SortKey,
    TokenIs,
)
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Claim, HistoryQuery, NewestIs, VersionIs
from fhir_server.store.sqlite.backup import verify
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Written, container, delete, put

INNER = ("Patient#",)
NONE_YET = NewestIs("SearchParameter", 0)


def code(value):
    return TokenIs("code", None, value)


def inner(id, value, type="Patient"):
    return Contained(type, id, Entries(tokens=[("code", "", value)]))


async def found(store, where=Everything(), types=INNER, **more):
    page = await store.search(SearchQuery(types, where, **more))
    return [stored.id for stored in page.matches]


@pytest.fixture
async def filled(store):
    await store.transact([put("own", tokens=[("code", "", "a")])])
    await store.transact(
        [container("1", inner=(inner("m", "a"), inner("n", "b"), inner("d", "a", "Device")))]
    )
    await store.transact([container("2", inner=(inner("m", "b"),)), container("3")])
    return store


async def test_what_is_contained_is_found_by_its_own_type_alone(filled):
    assert await found(filled, code("a")) == ["Group/1#m"]
    assert await found(filled, code("b")) == ["Group/1#n", "Group/2#m"]
    assert await found(filled, code("a"), ("Patient", "Patient#", "Device#")) == [
        "own",
        "Group/1#m",
        "Group/1#d",
    ]
    assert await found(filled, code("a"), ("Patient",)) == ["own"]
    assert await found(filled, code("a"), ()) == ["own"]
    assert await found(filled, types=()) == ["own", "1", "2", "3"]
    assert await found(filled, Not(code("a")), ()) == ["1", "2", "3"]


async def test_it_has_the_version_and_the_body_of_its_container(filled):
    await filled.transact([container("2", inner=(inner("m", "c"),))])
    (stored,) = (await filled.search(SearchQuery(INNER, code("c")))).matches
    own = await filled.read("Group", "2")
    assert (stored.type, stored.id) == ("Patient#", "Group/2#m")
    assert (stored.version, stored.sequence, stored.updated, stored.body) == (
        2,
        own.sequence,
        own.updated,
        own.body,
    )
    assert await found(filled, code("b")) == ["Group/1#n"]


async def test_its_id_is_the_one_within_the_container(filled):
    assert await found(filled, IdIs(("m",))) == ["Group/1#m", "Group/2#m"]
    assert await found(filled, Or((IdIs(("n",)), code("a")))) == ["Group/1#m", "Group/1#n"]
    assert await found(filled, Not(IdIs(("m",)))) == ["Group/1#n"]
    assert await found(filled, IdIs(("own", "n")), ("Patient", "Patient#")) == ["own", "Group/1#n"]
    assert await found(filled, IdIs(("Group/1#m",))) == []


async def test_chains_lead_into_what_is_contained(filled):
    assert await filled.matching_ids("Group", Chain("member", "Patient", code("a")), 9) == ("1",)
    assert await filled.matching_ids("Group", Chain("member", "Patient", code("b")), 9) == ("1", "2")
    assert await filled.matching_ids("Group", Chain("member", "Device", code("a")), 9) == ("1",)
    assert await filled.matching_ids("Group", Not(Chain("member", "Patient", code("a"))), 9) == ("2", "3")
    await filled.transact([put("4", "Group", references=[("member", "Patient", "own", "", "")])])
    assert await filled.matching_ids("Group", Chain("member", "Patient", code("a")), 9) == ("1", "4")


async def test_who_refers_to_it_can_be_asked(filled):
    held = Has("Group", "member", IdIs(("1",)))
    assert await found(filled, held) == ["Group/1#m", "Group/1#n"]
    assert await found(filled, held, ("Patient",)) == []


async def test_conditions_of_the_container_can_be_asked(filled):
    await filled.transact([container("5", inner=(inner("m", "a"),), tokens=[("state", "", "open")])])
    in_open = ContainedIn(TokenIs("state", None, "open"))
    assert await found(filled, in_open) == ["Group/5#m"]
    assert await found(filled, Not(in_open)) == ["Group/1#m", "Group/1#n", "Group/2#m"]
    assert await found(filled, in_open, ("Patient", "Group")) == []


async def test_one_stands_for_each_container(filled):
    everything = Everything()
    assert await found(filled, Not(Repeats(INNER, everything))) == ["Group/1#m", "Group/2#m"]
    assert await found(filled, Not(Repeats(INNER, code("b")))) == ["Group/1#m", "Group/1#n", "Group/2#m"]
    types = ("Group", *INNER)
    assert await found(filled, Not(Repeats(types, everything)), types) == ["1", "2", "3"]
    both = (*INNER, "Device#")
    assert await found(filled, Not(Repeats(both, everything)), both) == ["Group/1#m", "Group/2#m"]


async def test_it_goes_with_its_container_and_comes_back_in_its_place(filled):
    await filled.transact([container("1", inner=(inner("n", "z"),))])
    assert await found(filled) == ["Group/1#n", "Group/2#m"]
    await filled.transact([delete("2", "Group")])
    assert await found(filled) == ["Group/1#n"]
    assert await found(filled, types=("Device#",)) == []
    await filled.transact(
        [container("2", inner=(inner("m", "q"),)), put("9"), container("1", inner=(inner("m", "a"),))]
    )
    assert await found(filled) == ["Group/1#m", "Group/2#m"]
    await filled.transact([put("1", "Group"), put("2", "Group")])
    assert await found(filled) == []
    await filled.transact([put("1", "Group")])
    assert await found(filled) == []


async def test_writes_that_wait_together_see_each_other(filled):
    ops = [container("7", inner=(inner("a", "1"),)), container("7", inner=(inner("b", "2"),))]
    await asyncio.gather(*(filled.transact([op]) for op in ops))
    assert await found(filled, IdIs(("a", "b"))) == ["Group/7#b"]
    await asyncio.gather(*(filled.transact([op]) for op in (put("7", "Group"), *ops, delete("7", "Group"))))
    assert await found(filled, IdIs(("a", "b"))) == []


async def test_nothing_of_a_refused_transaction_is_left(filled):
    claim = Claim("bed")
    await filled.transact([put("holder", claims=(claim,))])
    refused = container("8", inner=(inner("x", "x"),))
    with pytest.raises(ClaimRefused):
        await filled.transact([refused, container("1"), put("other", claims=(claim,))])
    with pytest.raises(Stale):
        await filled.transact([refused], [VersionIs("Patient", "none", 1)])
    assert await found(filled, code("x")) == []
    assert len(await found(filled)) == 3
    await filled.transact([put("after"), refused])
    assert await found(filled, code("x")) == ["Group/8#x"]


async def test_it_is_sorted_and_counted(filled):
    keys = (SortKey("code", "token", True), SortKey("_id", "", True))
    assert await found(filled, sort=keys) == ["Group/2#m", "Group/1#n", "Group/1#m"]
    page = await filled.search(SearchQuery(INNER, code("b"), count=1, total="accurate"))
    assert page.total == 2
    assert (await filled.search(SearchQuery((), count=0))).total == 4
    estimate = await filled.search(SearchQuery((), count=1, total="estimate"))
    assert estimate.total == 4


async def test_no_other_answer_tells_of_it(filled):
    assert await filled.counts() == {"Patient": 1, "Group": 3}
    assert await filled.counts(contained=True) == {"Patient": 1, "Group": 3, "Patient#": 3, "Device#": 1}
    assert await filled.last_sequence() == 4
    assert (await filled.history(HistoryQuery())).total == 4
    assert [s.id async for s in filled.changes()] == ["own", "1", "2", "3"]
    page = await filled.search(
        SearchQuery(("Group",), includes=(Include("*", None), Include("Group", "member")))
    )
    assert page.included == ()


async def test_it_includes_what_it_refers_to_but_is_included_by_nothing(filled):
    refers = Entries(references=[("general", "Patient", "own", "", "")], tokens=[("code", "", "r")])
    await filled.transact([container("6", inner=(Contained("Patient", "p", refers),))])
    out = SearchQuery(INNER, code("r"), includes=(Include("Patient#", "general"),))
    assert [s.id for s in (await filled.search(out)).included] == ["own"]
    for include in (Include("*", None, reverse=True), Include("Patient", "general", reverse=True)):
        page = await filled.search(SearchQuery(("Patient",), IdIs(("own",)), includes=(include,)))
        assert page.included == ()
    up = SearchQuery(INNER, code("r"), includes=(Include("Group", "member:contained", reverse=True),))
    assert [s.id for s in (await filled.search(up)).included] == ["6"]


async def test_an_include_that_asks_for_what_is_contained_holds_to_its_condition(filled):
    refers = Entries(tokens=[("code", "", "r")], references=[("general", "Patient", "own", "", "")])
    await filled.transact([container("6", inner=(Contained("Patient", "m", refers),))])
    for where, expected in ((Everything(), ["Group/6#m"]), (code("r"), ["Group/6#m"]), (code("a"), [])):
        include = Include("Patient#", "general", reverse=True, where=where)
        page = await filled.search(SearchQuery(("Patient",), IdIs(("own",)), includes=(include,)))
        assert [s.id for s in page.included] == expected


async def test_later_pages_of_all_types_have_nothing_of_it(filled):
    query = SearchQuery((), Not(Has("Group", "member", code("none"))), count=1)
    page = await filled.search(query)
    await filled.transact([container("1", inner=(inner("m", "c"),)), put("own")])
    seen = [*page.matches]
    while page.next is not None:
        page = await filled.search(replace(query, cursor=page.next))
        seen += page.matches
    assert [s.id for s in seen] == ["own", "1", "2", "3"]


async def test_indexing_anew_makes_takes_away_and_changes_it(filled):
    def extract(resource):
        if resource["resourceType"] != "Group" or resource["id"] == "1":
            return Entries()
        made = Entries(references=[("member", "", "", "", "")])
        made.contained = (inner("m", "new"), inner("more", "new"))
        return made

    made = await filled.reindex(extract, NONE_YET, ["Device"])
    assert made.resources == 1
    assert await found(filled) == ["Group/2#m"]
    before = await filled.last_sequence()
    await filled.reindex(extract, NONE_YET)
    assert await found(filled, code("new")) == ["Group/2#m", "Group/2#more", "Group/3#m", "Group/3#more"]
    assert (await filled.reindex(extract, NONE_YET)).changed == 0
    assert await filled.last_sequence() == before
    await filled.transact([delete("3", "Group"), put("2", "Group")])
    assert await found(filled) == []


async def test_an_explanation_counts_it(filled):
    told = await filled.explain(SearchQuery(INNER, code("b")))
    assert told.matches == 2
    assert told.work > 0


# the file


@pytest.fixture
async def file(path, clock):
    entries = Written()
    store = SqliteStore(path, clock, readers=1, extract=entries)
    await store.open()
    for ops in (
        [container("1", inner=(inner("m", "a"), inner("n", "b")))],
        [container("2", inner=(inner("m", "b"),)), container("3", inner=(inner("m", "b"),))],
        [container("1", inner=(inner("n", "c"),)), delete("3", "Group")],
    ):
        entries.keep(ops, await store.transact(ops))
    yield path, entries, store
    await store.close()


async def test_a_file_with_contained_resources_is_sound(file):
    path, entries, _ = file
    report = check(path, entries)
    assert report.problems == []
    assert (report.versions, report.resources) == (5, 2)
    assert verify(path).resources == 3


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM resource WHERE id='Group/2#m'", "the contained Patient Group/2#m is missing"),
        ("UPDATE resource SET deleted=0 WHERE id='Group/1#m'", "Group/1#m should not be there"),
        ("UPDATE resource SET deleted=0 WHERE id='Group/3#m'", "do not point at the newest version"),
        ("UPDATE resource SET version=1 WHERE id='Group/1#n'", "do not point at the newest version"),
        ("UPDATE resource SET id='Group/9#m' WHERE id='Group/2#m'", "do not point at the newest version"),
        ("DELETE FROM ix_token WHERE code='c'", "Group/1#n: the entry"),
        ("UPDATE resource SET kinds=0 WHERE id='Group/2#m'", "index tables noted"),
        ("UPDATE resource SET kinds=kinds & 511 WHERE id='2'", "index tables noted"),
    ],
)
async def test_damage_is_found(file, damage, problem):
    path, entries, store = file
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    problems = check(path, entries).problems
    assert any(problem in told for told in problems), problems
