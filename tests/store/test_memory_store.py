"""The reference store: what it promises beyond the contract that every store keeps."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.errors import InvalidParameter
from fhir_server.search.entries import Entries
from fhir_server.search.tree import (
    Chain,
    Everything,
    FullText,
    Has,
    IdIs,
    Include,
    Nothing,
    Present,
    RefersTo,
    SearchQuery,
    SortKey,
    TokenIs,
    TypeIs,
    Updated,
)
from fhir_server.store.memory import MemoryStore
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Body, Claim, HistoryQuery, MatchesAre, NewestIs, VersionIs, WriteOp

START = 1_767_225_600_000_000


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def put(id, type="Patient", claims=(), **entries):
    body = Body(f'{{"resourceType":"{type}","id":"{id}","meta":{{'.encode(), b"}}")
    return WriteOp("PUT", type, id, body, Entries(**entries), tuple(claims))


def delete(id, type="Patient"):
    return WriteOp("DELETE", type, id, None, Entries())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock, b"key")


async def ids(store, **query):
    query.setdefault("types", ("Patient",))
    return [stored.id for stored in (await store.search(SearchQuery(**query))).matches]


async def test_a_version_carries_its_number_and_instant_in_its_body(store, clock):
    clock.now += 123_456
    (stored,) = await store.transact([put("a")])
    meta = b'"versionId":"1","lastUpdated":"2026-01-01T00:00:00.123Z"'
    assert stored.body == b'{"resourceType":"Patient","id":"a","meta":{' + meta + b"}}"
    assert (stored.version, stored.sequence, stored.updated, stored.created) == (1, 1, START + 123_000, True)


async def test_a_store_can_be_made_of_nothing():
    store = MemoryStore()
    await store.open()
    (stored,) = await store.transact([put("a")])
    assert await store.read("Patient", "a") == stored
    await store.ping()
    await store.close()


async def test_a_deleted_resource_keeps_its_history_and_can_come_back(store):
    await store.transact([put("a")])
    await store.transact([put("b")])
    (gone,) = await store.transact([delete("a")])
    assert (gone.version, gone.deleted, gone.body) == (2, True, b"")
    assert await ids(store) == ["b"]
    (again,) = await store.transact([put("a")])
    assert (again.version, again.created) == (3, True)
    assert await ids(store) == ["a", "b"], "the order of creation is that of the first version"
    versions = (await store.history(HistoryQuery("Patient", "a"))).versions
    assert [v.version for v in versions] == [3, 2, 1]
    assert await store.read_version("Patient", "a", 1) == versions[2]
    assert await store.read_version("Patient", "a", 4) is None
    assert await store.counts() == {"Patient": 2}


async def test_a_delete_of_what_is_not_there_writes_nothing(store):
    (nothing,) = await store.transact([delete("a")])
    assert (nothing.version, nothing.deleted) == (0, True)
    assert await store.last_sequence() == 0
    assert await store.read("Patient", "a") is None


async def test_time_never_goes_back(store, clock):
    await store.transact([put("a")])
    clock.now -= 10_000_000
    (second,) = await store.transact([put("b")])
    assert second.updated == START


@pytest.mark.parametrize(
    ("precondition", "found"),
    [
        (VersionIs("Patient", "a", 1), 2),
        (VersionIs("Patient", "a", None), 2),
        (VersionIs("Patient", "gone", 1), None),
        (MatchesAre("Patient", Everything(), ()), ("a",)),
        (MatchesAre("Patient", IdIs(("a",)), ("b",)), ("a",)),
    ],
)
async def test_a_precondition_that_does_not_hold_stops_everything(store, precondition, found):
    await store.transact([put("a"), put("gone")])
    await store.transact([put("a"), delete("gone")])
    before = await store.last_sequence()
    with pytest.raises(Stale) as stale:
        await store.transact([put("c")], [VersionIs("Patient", "a", 2), precondition])
    assert (stale.value.precondition, stale.value.found) == (precondition, found)
    assert await store.last_sequence() == before
    assert await store.read("Patient", "c") is None


async def test_preconditions_that_hold_let_a_write_pass(store):
    await store.transact([put("a"), put("gone"), delete("gone")])
    held = [
        VersionIs("Patient", "a", 1),
        VersionIs("Patient", "gone", None),
        MatchesAre("Patient", Everything(), ("a",)),
    ]
    (stored,) = await store.transact([put("a")], held)
    assert stored.version == 2


# Claims


async def test_what_is_held_is_refused_to_others_and_names_the_holder(store):
    await store.transact([put("a", claims=[Claim("bed:1")])])
    with pytest.raises(ClaimRefused) as refused:
        await store.transact([put("x"), put("b", claims=[Claim("bed:1")])])
    assert (refused.value.op, refused.value.key, refused.value.holders) == (1, "bed:1", (("Patient", "a"),))
    assert await store.read("Patient", "x") is None


async def test_two_can_change_places_in_one_transaction(store):
    await store.transact([put("a", claims=[Claim("bed:1")]), put("b", claims=[Claim("bed:2")])])
    await store.transact([put("a", claims=[Claim("bed:2")]), put("b", claims=[Claim("bed:1")])])
    with pytest.raises(ClaimRefused):
        await store.transact([put("a", claims=[Claim("bed:1")])])


async def test_the_claims_of_a_transaction_are_judged_together(store):
    with pytest.raises(ClaimRefused):
        await store.transact([put("a", claims=[Claim("bed:1")]), put("b", claims=[Claim("bed:1")])])
    assert await store.last_sequence() == 0


async def test_deletion_and_new_versions_release(store):
    await store.transact([put("a", claims=[Claim("bed:1")]), put("b", claims=[Claim("bed:2")])])
    await store.transact([delete("a"), put("b")])
    await store.transact([put("c", claims=[Claim("bed:1"), Claim("bed:2")])])


async def test_a_claim_that_expired_or_ended_is_not_live(store, clock):
    await store.transact(
        [
            put("a", claims=[Claim("slot:1", expires=START + 1000)]),
            put("b", claims=[Claim("slot:2", interval=(START, START + 1000))]),
        ]
    )
    for key in ("slot:1", "slot:2"):
        with pytest.raises(ClaimRefused):
            await store.transact([put("c", claims=[Claim(key)])])
    clock.now += 1000
    await store.transact([put("c", claims=[Claim("slot:1"), Claim("slot:2")])])


claims = st.builds(
    lambda units, low, length: Claim(
        "k", Decimal(units), Decimal(3), None if length == 0 else (low, low + length)
    ),
    st.integers(1, 3),
    st.integers(START + 1, START + 8),
    st.integers(0, 4),
)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.lists(claims, max_size=2)), max_size=8))
async def test_at_no_instant_is_more_held_than_there_is(steps):
    store = MemoryStore(lambda: START, b"key")
    held = {}

    def fits(state):
        everything = [c for claims in state.values() for c in claims]
        instants = range(START, START + 14)
        return all(
            sum(c.units for c in everything if c.interval is None or c.interval[0] <= i < c.interval[1]) <= 3
            for i in instants
        )

    for id, wanted in steps:
        try:
            await store.transact([put(id, claims=wanted)])
            held[id] = wanted
            assert fits(held)
        except ClaimRefused:
            assert not fits({**held, id: wanted})


# Searching


async def people(store):
    await store.transact(
        [
            put("w", "Organization", tokens=[("name", "", "ward")]),
            put("a", references=[("organization", "Organization", "w", "", "")], tokens=[("x", "", "1")]),
            put(
                "b", references=[("organization", "Organization", "missing", "", "")], tokens=[("x", "", "2")]
            ),
            put(
                "o",
                "Observation",
                references=[("patient", "Patient", "a", "", ""), ("subject", "Patient", "a", "", "")],
            ),
            put("p", "Provenance", references=[("target", "Observation", "o", "", "")]),
        ]
    )


async def test_chains_and_has_follow_what_is_live(store):
    await people(store)
    chain = Chain("organization", "Organization", TokenIs("name", None, "ward"))
    has = Has("Observation", "patient", Everything())
    assert await ids(store, where=chain) == ["a"]
    assert await ids(store, where=has) == ["a"]
    await store.transact([delete("w", "Organization"), delete("o", "Observation")])
    assert await ids(store, where=chain) == []
    assert await ids(store, where=has) == []


async def test_a_reference_that_is_written_away_does_not_refer_any_more(store):
    await people(store)
    await store.transact([put("o", "Observation")])
    assert await ids(store, where=Has("Observation", "patient", Everything())) == []


async def included(store, *includes, **query):
    query.setdefault("types", ("Patient",))
    page = await store.search(SearchQuery(includes=includes, **query))
    return [f"{s.type}/{s.id}" for s in page.included], page


async def test_includes_go_forth_and_back_and_iterate(store):
    await people(store)
    forth = Include("Patient", "organization")
    back = Include("Observation", "patient", reverse=True)
    further = Include("Provenance", "target", reverse=True, iterate=True)
    assert (await included(store, forth))[0] == ["Organization/w"]
    assert (await included(store, Include("Patient", "organization", "Location")))[0] == []
    assert (await included(store, Include("Patient", None)))[0] == ["Organization/w"]
    assert (await included(store, back, further))[0] == ["Observation/o", "Provenance/p"]
    assert (await included(store, back, Include("Provenance", "target", reverse=True)))[0] == [
        "Observation/o"
    ]
    assert (await included(store, Include("Observation", None, "Patient", reverse=True)))[0] == [
        "Observation/o"
    ]


async def test_what_an_include_may_not_show_is_neither_shown_nor_followed(store):
    await people(store)
    hidden = Include("Observation", "patient", reverse=True, where=Nothing())
    shown = Include("Observation", "patient", reverse=True, where=RefersTo("patient", "Patient", "a"))
    further = Include("Provenance", "target", reverse=True, iterate=True)
    assert (await included(store, hidden, further))[0] == []
    assert (await included(store, hidden, shown, further))[0] == ["Observation/o", "Provenance/p"]


async def test_a_match_is_not_included_again(store):
    await people(store)
    found, page = await included(store, Include("Observation", "patient"), types=("Patient", "Observation"))
    assert found == []
    assert [s.id for s in page.matches] == ["a", "b", "o"]


async def test_too_many_included_resources_are_cut_and_told(store):
    await people(store)
    both = [Include("Patient", "organization"), Include("Observation", "patient", reverse=True)]
    found, page = await included(store, *both, include_limit=1)
    assert found == ["Organization/w"]
    assert page.included_truncated
    assert not (await included(store, *both, include_limit=2))[1].included_truncated


async def test_a_page_of_nothing_has_a_total(store):
    await people(store)
    page = await store.search(SearchQuery(("Patient",), count=0))
    assert (page.matches, page.total, page.next) == ((), 2, None)


async def test_last_updated_can_be_searched(store, clock):
    await store.transact([put("a")])
    clock.now += 5_000
    await store.transact([put("b")])
    assert await ids(store, where=Updated("gt", START, START + 1000)) == ["b"]
    assert await ids(store, where=Updated("eq", START, START + 1000)) == ["a"]


async def test_references_are_found_by_type_and_id(store):
    await people(store)
    assert await ids(store, types=("Observation",), where=RefersTo("patient", None, "a")) == ["o"]
    assert await ids(store, types=("Observation",), where=RefersTo("patient", "Group", "a")) == []


async def test_words_of_the_bodies_are_searched(store):
    def said(id, narrative, note):
        told = f'"text":{{"div":"<div>{narrative}</div>"}},"note":"{note}"'
        body = Body(f'{{"resourceType":"Patient","id":"{id}",{told},"meta":{{'.encode(), b"}}")
        return WriteOp("PUT", "Patient", id, body, Entries())

    await store.transact([said("a", "bone", "liver"), said("b", "Liver", "")])
    assert await ids(store, where=FullText("text", ((("liver",),),))) == ["b"]
    assert await ids(store, where=FullText("content", ((("liver",),),))) == ["a", "b"]


async def test_types_can_be_asked_for_within_a_search_of_all(store):
    await people(store)
    assert await ids(store, types=(), where=TypeIs(("Observation", "Provenance"))) == ["o", "p"]


async def test_a_cursor_of_another_search_is_refused(store):
    await people(store)
    page = await store.search(SearchQuery(("Patient",), count=1))
    assert page.next is not None
    with pytest.raises(InvalidParameter):
        await store.search(SearchQuery(("Observation",), count=1, cursor=page.next))


sorts = st.lists(
    st.builds(SortKey, st.sampled_from(["x", "y", "_id", "_lastUpdated"]), st.just("token"), st.booleans()),
    max_size=2,
).map(tuple)


@given(
    st.lists(st.tuples(st.sampled_from(["", "1", "2"]), st.sampled_from(["", "1"])), max_size=9),
    sorts,
    st.integers(1, 4),
)
async def test_pages_put_together_are_the_whole_search(rows, sort, count):
    store = MemoryStore(Clock(), b"key")
    for n, (x, y) in enumerate(rows):
        tokens = [(code, "", value) for code, value in (("x", x), ("y", y)) if value]
        await store.transact([put(str(n), tokens=tokens)])
    whole = await ids(store, sort=sort, count=100)
    pages, cursor = [], None
    while True:
        page = await store.search(SearchQuery(("Patient",), sort=sort, count=count, cursor=cursor))
        assert page.total == len(rows)
        pages.append([s.id for s in page.matches])
        assert (page.previous is None) == (cursor is None)
        cursor = page.next
        if cursor is None:
            break
    assert [id for ids_ in pages for id in ids_] == whole
    for wanted in reversed(pages[:-1]):
        page = await store.search(SearchQuery(("Patient",), sort=sort, count=count, cursor=page.previous))
        assert [s.id for s in page.matches] == wanted
        assert page.next is not None
    assert page.previous is None
    assert len(set(whole)) == len(rows)


async def test_pages_show_the_store_as_it_was_when_the_first_was_made(store):
    await store.transact([put(id, tokens=[("x", "", id)]) for id in "bdfhj"])
    query = SearchQuery(("Patient",), sort=(SortKey("x", "token"),), count=2)
    first = await store.search(query)
    await store.transact([put("a", tokens=[("x", "", "a")]), put("e", tokens=[("x", "", "e")])])
    await store.transact([put("f", tokens=[("x", "", "c")]), put("h", tokens=[("x", "", "z")]), delete("j")])
    second = await store.search(replace(query, cursor=first.next))
    assert [(s.id, s.version) for s in second.matches] == [("f", 1), ("h", 1)]
    assert second.total == 5
    third = await store.search(replace(query, cursor=second.next))
    assert (third.matches, third.next) == ((), None), "what was deleted since is left out"
    back = await store.search(replace(query, cursor=third.previous))
    assert back.matches == second.matches
    assert (await store.search(replace(query, cursor=back.previous))).matches == first.matches


async def test_chains_and_includes_of_later_pages_see_what_the_first_saw(store):
    await people(store)
    query = SearchQuery(
        ("Patient",),
        Chain("organization", "Organization", Everything()),
        count=1,
        includes=(Include("Patient", "organization"),),
    )
    await store.transact([put("c", references=[("organization", "Organization", "w", "", "")])])
    first = await store.search(query)
    await store.transact([put("w", "Organization"), put("c")])
    second = await store.search(replace(query, cursor=first.next))
    assert [(s.id, s.version) for s in (*second.matches, *second.included)] == [("c", 1), ("w", 1)]


# Indexing anew


def tokens_of(resource):
    return Entries(tokens=[("x", "", resource["id"])])


async def test_resources_are_indexed_anew_in_stretches(store):
    await store.transact([put(id) for id in "abc"])
    await store.transact([put("o", "Observation"), delete("b"), put("c", tokens=[("x", "", "c")])])
    first = await store.reindex(tokens_of, NewestIs("SearchParameter", 0), ["Patient"], limit=1)
    assert (first.resources, first.changed) == (1, 1)
    second = await store.reindex(
        tokens_of, NewestIs("SearchParameter", 0), ["Patient"], after=first.next, limit=5
    )
    assert (second.next, second.resources, second.changed) == (None, 1, 0)
    assert await ids(store, where=TokenIs("x", None, "a")) == ["a"]
    assert await ids(store, types=("Observation",), where=Present("x")) == []
    assert await store.last_sequence() == 6, "no version is written"


async def test_indexing_anew_stops_when_a_newer_definition_is_there(store):
    await store.transact([put("p", "SearchParameter")])
    with pytest.raises(Stale) as stale:
        await store.reindex(tokens_of, NewestIs("SearchParameter", 0))
    assert stale.value.found == 1


async def test_the_newest_of_a_type_can_be_a_precondition(store):
    await store.transact([put("a"), put("o", "Observation"), put("b")])
    assert (await store.last_sequence("Observation"), await store.last_sequence("Group")) == (2, 0)
    await store.transact([put("c")], [NewestIs("Patient", 3)])
    with pytest.raises(Stale):
        await store.transact([put("d")], [NewestIs("Patient", 3)])


async def test_what_references_lead_to_after_indexing_anew_is_followed(store):
    await store.transact([put("a"), put("o", "Observation")])
    entries = Entries(references=[("patient", "Patient", "a", "", "")])
    await store.reindex(lambda _: entries, NewestIs("SearchParameter", 0), ["Observation"])
    assert await ids(store, where=Has("Observation", "patient", Everything())) == ["a"]


async def test_fingerprints_are_kept(store):
    assert await store.indexed_fingerprints() == {}
    await store.set_fingerprints({"Patient.name": "1"})
    assert await store.indexed_fingerprints() == {"Patient.name": "1"}


async def test_an_explanation_says_how_much_was_looked_at(store):
    await people(store)
    told = await store.explain(SearchQuery(("Patient",), IdIs(("a",))))
    assert (told.steps, told.work, told.unit, told.matches, told.total) == ((), 2, "resources", 1, 1)


# History and changes


async def test_history_is_newest_first_in_pages(store, clock):
    for id in ("a", "b", "a"):
        await store.transact([put(id)])
        clock.now += 1_000_000
    first = await store.history(HistoryQuery("Patient", count=2))
    assert [(v.id, v.version) for v in first.versions] == [("a", 2), ("b", 1)]
    assert first.total == 3
    second = await store.history(HistoryQuery("Patient", count=2, cursor=first.next))
    assert ([(v.id, v.version) for v in second.versions], second.next) == ([("a", 1)], None)
    assert [v.id for v in (await store.history(HistoryQuery(since=START + 1_000_000))).versions] == ["a", "b"]


async def test_history_at_a_time_has_what_was_current_then(store, clock):
    for _ in range(3):
        await store.transact([put("a")])
        clock.now += 1_000_000
    middle = HistoryQuery("Patient", "a", at=(START + 1_500_000, START + 1_600_000))
    assert [v.version for v in (await store.history(middle)).versions] == [2]
    across = HistoryQuery("Patient", "a", at=(START, START + 1_500_000))
    assert [v.version for v in (await store.history(across)).versions] == [2, 1]


async def test_changes_come_in_the_order_of_their_sequence(store):
    await store.transact([put("a"), put("b")])
    await store.transact([delete("a")])
    assert [(c.sequence, c.id, c.deleted) async for c in store.changes()] == [
        (1, "a", False),
        (2, "b", False),
        (3, "a", True),
    ]
    assert [c.sequence async for c in store.changes(after=1, limit=1)] == [2]
    assert [c.sequence async for c in store.changes(after=3)] == []


async def test_many_are_read_at_once_without_the_deleted(store):
    await store.transact([put("a"), put("b"), delete("b")])
    found = await store.read_many([("Patient", "a"), ("Patient", "b"), ("Patient", "c")])
    assert list(found) == [("Patient", "a")]
