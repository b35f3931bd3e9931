"""Making the index anew, on every kind of store: entries change, versions do not, and nobody's write is undone."""

import asyncio

import pytest

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Chain, SearchQuery, TokenIs
from fhir_server.store.protocol import Stale
from fhir_server.store.records import NewestIs
from tests.store.making import delete, put

NONE_YET = NewestIs("SearchParameter", 0)
OLD, NEW = ("code", "", "old"), ("code", "", "new")


def is_new(resource):
    return Entries(tokens=[NEW])


async def found(store, code, type="Patient"):
    return await store.matching_ids(type, TokenIs("code", None, code), 100)


@pytest.fixture
async def filled(store):
    await store.transact([put(str(n), tokens=[OLD]) for n in range(5)])
    await store.transact([put("g", "Group", tokens=[OLD]), put("gone", tokens=[OLD])])
    await store.transact([delete("gone")])
    return store


async def test_stretches_go_through_all_live_resources_in_order(filled):
    before = await filled.last_sequence()
    seen = []

    def extract(resource):
        seen.append(resource["id"])
        return is_new(resource)

    after, steps = 0, []
    while after is not None:
        made = await filled.reindex(extract, NONE_YET, after=after, limit=4)
        steps.append((made.resources, made.changed))
        after = made.next
    assert seen == ["0", "1", "2", "3", "4", "g"]
    assert steps == [(4, 8), (2, 4)]
    assert await found(filled, "old") == ()
    assert await found(filled, "new") == ("0", "1", "2", "3", "4")
    assert await found(filled, "new", "Group") == ("g",)
    assert await filled.last_sequence() == before
    assert (await filled.read("Patient", "0")).version == 1


async def test_only_the_types_asked_for_are_gone_through(filled):
    made = await filled.reindex(is_new, NONE_YET, ["Group", "Device"])
    assert (made.next, made.resources) == (None, 1)
    assert await found(filled, "new") == ()
    assert (await filled.reindex(is_new, NONE_YET, ["Device"])).resources == 0


async def test_entries_that_are_right_already_are_left_alone(filled):
    await filled.reindex(is_new, NONE_YET)
    assert (await filled.reindex(is_new, NONE_YET)).changed == 0


async def test_references_made_anew_are_followed(filled):
    def refers(resource):
        return Entries(references=[("member", "Patient", "1", "", "")], tokens=[OLD])

    await filled.reindex(refers, NONE_YET, ["Group"])
    part = Chain("member", "Patient", TokenIs("code", None, "old"))
    assert await filled.matching_ids("Group", part) == ("g",)


async def test_nothing_is_written_by_definitions_that_are_out_of_date(filled):
    (stored,) = await filled.transact([put("s", "SearchParameter")])
    with pytest.raises(Stale) as stale:
        await filled.reindex(is_new, NONE_YET)
    assert stale.value.found == stored.sequence
    assert await found(filled, "new") == ()
    await filled.reindex(is_new, NewestIs("SearchParameter", stored.sequence))
    assert len(await found(filled, "new")) == 5


async def test_writes_hold_to_the_newest_definition(store):
    await store.transact([put("a")], [NONE_YET])
    first, _ = await store.transact([put("s", "SearchParameter"), put("b")], [NONE_YET])
    with pytest.raises(Stale):
        await store.transact([put("c")], [NONE_YET])
    assert await store.read("Patient", "c") is None
    await store.transact([put("c")], [NewestIs("SearchParameter", first.sequence)])
    (last,) = await store.transact([delete("s", "SearchParameter")])
    with pytest.raises(Stale):
        await store.transact([put("d")], [NewestIs("SearchParameter", first.sequence)])
    assert await store.last_sequence("SearchParameter") == last.sequence
    assert await store.last_sequence("Observation") == 0
    assert await store.last_sequence() == last.sequence


async def test_of_transactions_at_the_same_time_those_behind_the_definition_are_stale(store):
    ops = [put("s", "SearchParameter"), put("a"), put("b")]
    answers = await asyncio.gather(*(store.transact([op], [NONE_YET]) for op in ops), return_exceptions=True)
    assert [isinstance(answer, Stale) for answer in answers] == [False, True, True]


async def test_what_is_written_meanwhile_keeps_its_own_entries(sqlite):
    await sqlite.transact([put("a", tokens=[OLD]), put("b", tokens=[OLD])])
    loop = asyncio.get_running_loop()

    def extract(resource):
        if resource["id"] == "a":
            op = put("a", tokens=[("code", "", "newest")])
            asyncio.run_coroutine_threadsafe(sqlite.transact([op]), loop).result(10)
            asyncio.run_coroutine_threadsafe(sqlite.transact([delete("b")]), loop).result(10)
        return is_new(resource)

    await sqlite.reindex(extract, NONE_YET)
    assert await found(sqlite, "newest") == ("a",)
    assert await found(sqlite, "new") == ()


async def test_fingerprints_are_kept_beside_each_other(store):
    assert dict(await store.indexed_fingerprints()) == {}
    await store.set_fingerprints({"Patient.name": "1", "Patient.code": "1"})
    await store.set_fingerprints({"Patient.name": "2"})
    assert dict(await store.indexed_fingerprints()) == {"Patient.name": "2", "Patient.code": "1"}


async def test_an_explanation_tells_what_the_search_gave(filled):
    query = SearchQuery(("Patient",), TokenIs("code", None, "old"), count=3, total="accurate")
    told = await filled.explain(query)
    assert (told.matches, told.total) == (3, 5)
    assert told.work > 0
    assert told.unit
