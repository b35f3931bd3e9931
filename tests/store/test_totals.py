"""Totals of the SQLite store, where they cost nothing, where they are counted and where they are guessed; unstable pages."""

from dataclasses import replace

import pytest

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Chain, Everything, SearchQuery, SortKey, TokenIs
from fhir_server.store.sqlite import estimate
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Clock, put


@pytest.fixture
async def many(path):
    """300 patients, a third of them male, and 100 groups among them."""
    store = SqliteStore(
        path, Clock(), readers=1, extract=lambda resource: Entries(), effort=Effort(changed=5)
    )
    await store.open()
    for n in range(300):
        gender = "female" if n % 3 else "male"
        ops = [put(str(n), tokens=[("gender", "", gender)])]
        await store.transact([*ops, put(str(n), "Group")] if n % 3 == 0 else ops)
    yield store
    await store.close()


async def test_a_total_that_the_search_has_found_out_is_told_unasked(many):
    page = await many.search(SearchQuery(("Patient",), Chain("x", "Patient", Everything())))
    assert (page.total, page.total_estimated) == (0, False)
    page = await many.search(SearchQuery(("Patient",), TokenIs("gender", None, "male"), count=10))
    assert page.total == 100
    page = await many.search(SearchQuery(("Patient",), TokenIs("gender", "", "male"), count=10))
    assert page.total is None


async def test_an_estimate_of_few_is_exact(many):
    page = await many.search(
        SearchQuery(("Patient",), TokenIs("gender", "", "male"), count=10, total="estimate")
    )
    assert (page.total, page.total_estimated) == (100, False)


async def test_an_estimate_of_many_comes_near(many, monkeypatch):
    monkeypatch.setattr(estimate, "COUNTED", 20)
    monkeypatch.setattr(estimate, "SAMPLE", 80)
    for where, number in ((TokenIs("gender", "", "female"), 200), (Everything(), 300)):
        page = await many.search(SearchQuery(("Patient",), where, count=10, total="estimate"))
        assert page.total_estimated
        assert number * 0.7 < page.total < number * 1.3
        again = await many.search(SearchQuery(("Patient",), where, count=0, total="estimate"))
        assert again.total == page.total


async def test_the_total_of_a_later_page_is_that_of_the_first_moment(many):
    query = SearchQuery(("Patient",), count=10, total="accurate")
    first = await many.search(query)
    await many.transact([put("new"), put("7")])
    second = await many.search(replace(query, cursor=first.next))
    assert (first.total, second.total) == (300, 300)


async def test_pages_are_unstable_when_too_much_was_written_and_say_so(many):
    query = SearchQuery(("Patient",), sort=(SortKey("_id", ""),), count=10)
    first = await many.search(query)
    await many.transact([put(f"x{n}") for n in range(50)])
    second = await many.search(replace(query, cursor=first.next))
    assert not second.unstable, "what is new is not in the way"
    await many.transact([put(str(n)) for n in range(6)])
    third = await many.search(replace(query, cursor=second.next))
    assert third.unstable
    assert third.matches[0].id > second.matches[-1].id
    assert (await many.search(query)).unstable is False


async def test_pages_are_unstable_when_entries_cannot_be_made_anew(path):
    store = SqliteStore(path, Clock(), readers=1)
    await store.open()
    await store.transact([put(id) for id in "123"])
    query = SearchQuery(("Patient",), count=1)
    first = await store.search(query)
    assert not (await store.search(replace(query, cursor=first.next))).unstable
    await store.transact([put("3")])
    assert (await store.search(replace(query, cursor=first.next))).unstable
    await store.close()
