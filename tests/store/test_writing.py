"""What every store promises about writing: versions, transactions, preconditions."""

import pytest

from fhir_r4.jsonio import decode
from fhir_server.search.tree import Has, SearchQuery, TokenIs
from fhir_server.store.protocol import Stale
from fhir_server.store.records import HistoryQuery, MatchesAre, VersionIs
from tests.store.making import START, delete, put

MALE = TokenIs("gender", None, "male")


def man(id):
    return put(id, tokens=[("gender", "", "male")])


async def everything(store):
    return [(s.type, s.id, s.version) for s in (await store.history(HistoryQuery(count=1000))).versions]


async def test_versions_count_up_and_the_body_says_which(store, clock):
    (first,) = await store.transact([put("1", text="a")])
    clock.now += 1_500
    (second,) = await store.transact([put("1", text="b")])
    assert (first.version, first.sequence, first.created) == (1, 1, True)
    assert (second.version, second.sequence, second.created) == (2, 2, False)
    assert first.updated == START
    assert second.updated == START + 1_000
    assert decode(second.body) == {
        "resourceType": "Patient",
        "id": "1",
        "text": "b",
        "meta": {"versionId": "2", "lastUpdated": "2026-01-01T00:00:00.001Z"},
    }
    assert await store.read("Patient", "1") == second
    assert await store.read_version("Patient", "1", 1) == first


async def test_results_come_in_the_order_of_the_writes(store):
    written = await store.transact([put("b"), put("a", "Group"), delete("none"), put("c")])
    assert [(s.type, s.id, s.version, s.sequence) for s in written] == [
        ("Patient", "b", 1, 1),
        ("Group", "a", 1, 2),
        ("Patient", "none", 0, 0),
        ("Patient", "c", 1, 3),
    ]
    assert await store.last_sequence() == 3


async def test_a_deletion_is_a_version_without_a_body(store):
    await store.transact([put("1")])
    (deleted,) = await store.transact([delete("1")])
    assert (deleted.version, deleted.body, deleted.deleted, deleted.created) == (2, b"", True, False)
    assert await store.read("Patient", "1") == deleted
    assert await store.read_many([("Patient", "1")]) == {}
    assert (await store.search(SearchQuery(("Patient",)))).matches == ()


async def test_what_does_not_exist_is_not_deleted(store):
    await store.transact([put("1")])
    await store.transact([delete("1")])
    written = await store.transact([delete("1"), delete("2"), delete("3", "Group")])
    assert [(s.version, s.sequence) for s in written] == [(0, 0)] * 3
    assert await store.last_sequence() == 2
    assert await store.read("Patient", "2") is None


async def test_a_deleted_resource_that_is_written_again_is_created_and_keeps_its_place(store):
    await store.transact([man("1"), man("2")])
    await store.transact([delete("1")])
    (again,) = await store.transact([man("1")])
    assert (again.version, again.created) == (3, True)
    assert await store.matching_ids("Patient", MALE) == ("1", "2")


async def test_one_transaction_may_write_a_resource_twice(store):
    written = await store.transact([man("1"), put("1")])
    assert [s.version for s in written] == [1, 2]
    assert await store.matching_ids("Patient", MALE) == ()
    await store.transact([put("1"), man("1")])
    assert await store.matching_ids("Patient", MALE) == ("1",)


async def test_new_index_entries_replace_those_of_the_version_before(store):
    await store.transact([put("1", tokens=[("gender", "", "male"), ("active", "", "true")])])
    await store.transact([put("1", tokens=[("gender", "", "female"), ("active", "", "true")])])
    assert await store.matching_ids("Patient", MALE) == ()
    assert await store.matching_ids("Patient", TokenIs("gender", "", "female")) == ("1",)
    assert await store.matching_ids("Patient", TokenIs("active", "", "true")) == ("1",)


async def test_time_never_goes_back(store, clock):
    await store.transact([put("1")])
    clock.now -= 5_000_000
    (second,) = await store.transact([put("2")])
    assert second.updated == START


@pytest.mark.parametrize(
    ("precondition", "found"),
    [
        (VersionIs("Patient", "1", 2), 1),
        (VersionIs("Patient", "1", None), 1),
        (VersionIs("Patient", "2", 1), None),
        (VersionIs("Patient", "gone", 1), None),
        (VersionIs("Nothing", "1", 1), None),
        (MatchesAre("Patient", MALE, ()), ("1",)),
        (MatchesAre("Patient", MALE, ("1", "2")), ("1",)),
        (MatchesAre("Group", MALE, ("1",)), ()),
    ],
)
async def test_a_precondition_that_does_not_hold_stops_the_transaction(store, precondition, found):
    await store.transact([man("1"), put("gone")])
    await store.transact([delete("gone")])
    before = await everything(store)
    with pytest.raises(Stale) as caught:
        await store.transact([put("3"), delete("1")], [VersionIs("Patient", "1", 1), precondition])
    assert caught.value.precondition == precondition
    assert caught.value.found == found
    assert await everything(store) == before
    assert await store.matching_ids("Patient", MALE) == ("1",)


async def test_preconditions_are_judged_before_the_writes_of_their_transaction(store):
    await store.transact(
        [man("1")],
        [VersionIs("Patient", "1", None), MatchesAre("Patient", MALE, ()), VersionIs("Group", "1", None)],
    )
    await store.transact([delete("1")], [VersionIs("Patient", "1", 1), MatchesAre("Patient", MALE, ("1",))])
    await store.transact([man("1")], [VersionIs("Patient", "1", None)])
    assert await store.matching_ids("Patient", MALE) == ("1",)


async def test_only_as_many_matches_as_the_limit_are_looked_at(store):
    await store.transact([man("1"), man("2"), man("3")])
    await store.transact([], [MatchesAre("Patient", MALE, ("2", "1"), limit=2)])
    with pytest.raises(Stale):
        await store.transact([], [MatchesAre("Patient", MALE, ("1", "2"), limit=3)])


async def test_a_condition_may_ask_for_what_refers(store):
    await store.transact(
        [put("1"), put("o", "Observation", references=[("subject", "Patient", "1", "", "")])]
    )
    await store.transact(
        [], [MatchesAre("Patient", Has("Observation", "subject", TokenIs("code", "", "x")), ())]
    )


async def test_a_transaction_of_nothing_writes_nothing(store):
    assert await store.transact([]) == ()
    assert await store.last_sequence() == 0


async def test_the_store_can_be_written_to(store):
    await store.ping()
