"""The SQLite store answers every search as the reference store does: matches, order, pages, totals and includes."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings

from fhir_server.search.tree import SearchQuery
from fhir_server.store.memory import MemoryStore
from fhir_server.store.records import MatchesAre
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.store import SqliteStore
from tests.search.generated import TYPES, pick, queries, transactions
from tests.store.making import Clock, Written

# Sizes so small that every plan is taken, and those of real use.
efforts = pick(
    [
        Effort(),
        Effort(counted=2, small=1, window=3, late=0),
        Effort(counted=1, small=3, window=100, late=2),
    ]
)


def shown(page):
    found, included = ([(s.type, s.id, s.version) for s in part] for part in (page.matches, page.included))
    return found, included, page.included_truncated


async def pages(store, query, clock, meanwhile=(), keep=lambda ops, stored: None):
    """What a client sees that follows the links to the end and back, while others write after the first page."""
    page = await store.search(query)
    seen = [shown(page)]
    for ops in meanwhile:
        keep(ops, await store.transact(ops))
        clock.now += 700
    while page.next is not None:
        page = await store.search(replace(query, cursor=page.next))
        seen.append(shown(page))
        assert len(seen) < 20, "pages without end"
    while page.previous is not None:
        page = await store.search(replace(query, cursor=page.previous))
        seen.append(shown(page))
        assert len(seen) < 40, "pages without beginning"
    return seen


async def compare(written, query, effort):
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        reference = MemoryStore(clock, b"key")
        store = SqliteStore(Path(folder) / "store.db", clock, b"key", effort=effort, readers=1)
        await store.open()
        try:
            for ops in written:
                assert await store.transact(ops) == await reference.transact(ops)
                clock.now += 700
            assert await pages(store, query, clock) == await pages(reference, query, clock)
            nothing = SearchQuery(query.types, query.where, count=0)
            total = (await reference.search(nothing)).total
            assert (await store.search(nothing)).total == total
            first = await store.search(query)
            assert first.total in (total,) if query.total == "accurate" else (None, total)
            for type in TYPES:
                wanted = await reference.matching_ids(type, query.where)
                assert await store.matching_ids(type, query.where) == wanted
                await store.transact([], [MatchesAre(type, query.where, wanted)])
        finally:
            await store.close()


async def compare_while_others_write(written, meanwhile, query, effort):
    with tempfile.TemporaryDirectory() as folder:
        entries, clock, others = Written(), Clock(), Clock()
        store = SqliteStore(
            Path(folder) / "store.db", clock, b"key", effort=effort, readers=1, extract=entries
        )
        reference = MemoryStore(others, b"key")
        await store.open()
        try:
            for ops in written:
                entries.keep(ops, await store.transact(ops))
                await reference.transact(ops)
                clock.now += 700
                others.now = clock.now
            found = await pages(store, query, clock, meanwhile, entries.keep)
            assert found == await pages(reference, query, others, meanwhile)
        finally:
            await store.close()


@given(transactions, queries, efforts)
@settings(max_examples=60, deadline=None)
def test_every_search_is_answered_as_the_reference_store_answers_it(written, query, effort):
    asyncio.run(compare(written, query, effort))


@given(transactions, transactions, queries, efforts)
@settings(max_examples=40, deadline=None)
def test_pages_stay_those_of_the_first_moment_while_others_write(written, meanwhile, query, effort):
    asyncio.run(compare_while_others_write(written, meanwhile, query, effort))
