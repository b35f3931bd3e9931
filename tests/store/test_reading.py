"""What every store promises about reading: pages, totals, includes, history, the change feed."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.errors import InvalidParameter
from fhir_server.search.tree import (
    And,
    Everything,
    IdIs,
    Include,
    Not,
    Or,
    RefersTo,
    SearchQuery,
    SortKey,
    TokenIs,
)
from fhir_server.store.memory import MemoryStore
from fhir_server.store.records import HistoryQuery
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock, delete, put


def ids(page):
    return [stored.id for stored in page.matches]


async def test_pages_are_those_of_the_first_moment_whatever_is_written_meanwhile(store):
    await store.transact([put(id) for id in "12345"])
    first = await store.search(SearchQuery(("Patient",), count=2))
    await store.transact([delete("1"), delete("3"), put("6"), put("5")])
    second = await store.search(SearchQuery(("Patient",), count=2, cursor=first.next))
    third = await store.search(SearchQuery(("Patient",), count=2, cursor=second.next))
    assert (ids(first), ids(second), ids(third)) == (["1", "2"], ["4"], ["5"])
    assert (third.next, third.matches[0].version) == (None, 1)
    back = await store.search(SearchQuery(("Patient",), count=2, cursor=third.previous))
    assert back.matches == second.matches
    begin = await store.search(SearchQuery(("Patient",), count=2, cursor=back.previous))
    assert (ids(begin), begin.previous) == (["2"], None)


async def test_sorted_pages_go_on_after_the_last_value(store):
    values = {"1": 5, "2": 3, "3": None, "4": 5, "5": 9, "6": None}
    await store.transact([put(i, dates=[("date", v, v + 1)] if v else []) for i, v in values.items()])
    for descending, wanted in ((False, "214536"), (True, "514236")):
        sort = (SortKey("date", "date", descending),)
        seen, cursor = [], None
        while True:
            page = await store.search(SearchQuery(("Patient",), sort=sort, count=2, cursor=cursor))
            seen += ids(page)
            cursor = page.next
            if cursor is None:
                break
        assert "".join(seen) == wanted


async def test_the_total_is_known_when_the_first_page_has_all(store):
    await store.transact([put(id) for id in "123"])
    assert (await store.search(SearchQuery(("Patient",), count=3))).total == 3
    assert (await store.search(SearchQuery(("Patient",), count=2, total="accurate"))).total == 3
    nothing = await store.search(SearchQuery(("Patient",), count=0))
    assert (nothing.matches, nothing.next, nothing.total) == ((), None, 3)


async def test_a_cursor_that_was_tampered_with_or_is_of_another_search_is_refused(store):
    await store.transact([put(id) for id in "123"])
    cursor = (await store.search(SearchQuery(("Patient",), count=1))).next
    for query in (
        SearchQuery(("Patient",), count=1, cursor=cursor[:-2] + "AA"),
        SearchQuery(("Patient",), count=1, cursor="nonsense"),
        SearchQuery(("Patient",), count=1, cursor=cursor, sort=(SortKey("_id", ""),)),
        SearchQuery(("Group",), count=1, cursor=cursor),
    ):
        with pytest.raises(InvalidParameter):
            await store.search(query)
    with pytest.raises(InvalidParameter):
        await store.history(HistoryQuery(cursor=cursor))


async def test_included_resources_are_whole_and_without_repeats(store):
    subject = [("subject", "Patient", "1", "", "")]
    await store.transact(
        [put("1"), put("a", "Observation", references=subject), put("b", "Observation", references=subject)]
    )
    forth = await store.search(SearchQuery(("Observation",), includes=(Include("Observation", "subject"),)))
    assert forth.included == (await store.read("Patient", "1"),)
    back = await store.search(
        SearchQuery(("Patient",), includes=(Include("Observation", "subject", reverse=True),))
    )
    assert [s.id for s in back.included] == ["a", "b"]
    both = SearchQuery((), includes=(Include("Observation", "subject"),))
    assert (await store.search(both)).included == ()


async def test_types_that_were_never_stored_have_no_matches(store):
    query = SearchQuery(
        ("Device",), TokenIs("x", None, "y"), (SortKey("x", "token"),), includes=(Include("Device", "p"),)
    )
    assert (await store.search(query)).matches == ()
    assert (await store.search(SearchQuery(("Device",), Everything()))).total == 0
    assert await store.matching_ids("Device", RefersTo("p", "Patient", "1")) == ()
    assert (await store.history(HistoryQuery("Device"))).total == 0
    assert (await store.history(HistoryQuery("Device", "1"))).versions == ()
    assert await store.read("Device", "1") is None
    assert await store.read_version("Device", "1", 1) is None


async def test_a_long_list_of_alternatives_can_be_asked_for(store):
    await store.transact([put(str(n), tokens=[("code", "urn:s", str(n))]) for n in range(30)])
    codes = Or(tuple(TokenIs("code", "urn:s", str(n)) for n in range(25, 3000)))
    references = Or(tuple(RefersTo("subject", "Patient", str(n)) for n in range(3000)))
    names = IdIs(tuple(str(n) for n in range(27, 3000)))
    mixed = Or(tuple(TokenIs("code", f"urn:{n}", "1") for n in range(1200)))
    assert await store.matching_ids("Patient", And((codes, names)), 9) == ("27", "28", "29")
    assert await store.matching_ids("Patient", And((Not(codes), Not(references), Not(mixed))), 99) == tuple(
        map(str, range(25))
    )
    assert await store.matching_ids("Patient", mixed) == ()


async def test_many_are_read_at_once_without_the_deleted(store):
    await store.transact([put("1"), put("2"), put("1", "Group")])
    await store.transact([delete("2")])
    keys = [("Patient", "1"), ("Patient", "2"), ("Group", "1"), ("Group", "9"), ("Device", "1")]
    found = await store.read_many(keys)
    assert set(found) == {("Patient", "1"), ("Group", "1")}
    assert found["Group", "1"] == await store.read("Group", "1")
    assert await store.read_many([]) == {}


async def test_counts_are_of_live_resources(store):
    assert await store.counts() == {}
    await store.transact([put("1"), put("2"), put("1", "Group"), put("2", "Group")])
    await store.transact([delete("2"), delete("1", "Group"), delete("2", "Group")])
    assert await store.counts() == {"Patient": 1}


async def test_changes_are_all_versions_in_order(store):
    await store.transact([put(str(n)) for n in range(1200)])
    await store.transact([delete("7")])
    seen = [stored async for stored in store.changes()]
    assert [s.sequence for s in seen] == list(range(1, 1202))
    assert seen[-1] == await store.read("Patient", "7")
    assert [s.sequence async for s in store.changes(1199)] == [1200, 1201]
    assert [s.sequence async for s in store.changes(5, 2)] == [6, 7]
    assert [s async for s in store.changes(1201)] == []
    assert [s async for s in store.changes(0, 0)] == []


histories = st.builds(
    HistoryQuery,
    type=st.none() | st.sampled_from(["Patient", "Group"]),
    id=st.none(),
    since=st.none() | st.integers(-1, 8).map(lambda n: START + n * 500),
    at=st.none()
    | st.tuples(st.integers(0, 8), st.integers(0, 3)).map(
        lambda p: (START + p[0] * 500, START + sum(p) * 500)
    ),
    count=st.integers(1, 3),
) | st.builds(HistoryQuery, type=st.just("Patient"), id=st.sampled_from("129"), count=st.integers(0, 2))
written = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["Patient", "Group"]), st.sampled_from("12"), st.booleans()), max_size=3
    ),
    max_size=5,
)


async def pages(store, query):
    found, cursor = [], None
    while True:
        page = await store.history(
            HistoryQuery(query.type, query.id, query.since, query.at, query.count, cursor)
        )
        found.append((page.versions, page.total))
        cursor = page.next
        if cursor is None:
            return found


async def same_histories(steps, query):
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        reference, store = MemoryStore(clock), SqliteStore(Path(folder) / "store.db", clock, readers=1)
        await store.open()
        try:
            for step in steps:
                ops = [put(id, type) if live else delete(id, type) for type, id, live in step]
                assert await store.transact(ops) == await reference.transact(ops)
                clock.now += 500
            assert await pages(store, query) == await pages(reference, query)
        finally:
            await store.close()


@given(written, histories)
@settings(max_examples=80, deadline=None)
def test_histories_are_those_of_the_reference_store(steps, query):
    asyncio.run(same_histories(steps, query))
