"""The SQLite store answers every search as the reference store does: matches, order, pages, totals and includes."""

import asyncio
import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.temporal import DAY, HOUR, OPEN_HIGH, OPEN_LOW
from fhir_server.search import tree
from fhir_server.search.entries import Entries
from fhir_server.search.text import normalise
from fhir_server.search.tree import Include, SearchQuery, SortKey
from fhir_server.store.memory import MemoryStore
from fhir_server.store.records import MatchesAre, WriteOp
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock, delete, put

TYPES = ("Patient", "Observation", "Group")
IDS = ("1", "2", "3", "4")
pick = st.sampled_from

codes = pick(["", "a", "b", "A", "é"])
systems = pick(["", "urn:s", "urn:t"])
texts = pick(["", "Ann", "ann", "Anna Bo", "Änn", "bo", "\ud7ff", "a\U0010ffff"])
instants = pick([OPEN_LOW, 0, HOUR, DAY, 2 * DAY, 40 * DAY, OPEN_HIGH])
numbers = pick([-math.inf, -1.0, 0.0, 0.1, 1.0, 2.5, math.inf])
uris = pick(["http://x", "http://x/", "http://x/a", "http://x/ab", "http://x/a/b", "urn:oid:1", "http:"])
bases = pick(["", "", "", "http://other"])
versions = pick(["", "", "1"])


def ordered(values, *, strictly=False):
    pairs = st.tuples(values, values)
    return pairs.filter(lambda p: p[0] < p[1]) if strictly else pairs.map(lambda p: (min(p), max(p)))


def entries_of(params, *parts):
    return st.lists(st.tuples(pick(params), *parts), max_size=3, unique=True)


strings = st.lists(
    st.tuples(pick(["str", "str2"]), texts).map(lambda e: (e[0], normalise(e[1]), e[1])),
    max_size=2,
    unique=True,
)
dates = st.lists(
    st.tuples(pick(["date", "date", "date2"]), ordered(instants, strictly=True)).map(lambda e: (e[0], *e[1])),
    max_size=2,
    unique=True,
)
number_entries = st.lists(
    st.tuples(pick(["num", "num2"]), ordered(numbers)).map(lambda e: (e[0], *e[1])), max_size=2, unique=True
)
quantities = st.lists(
    st.tuples(pick(["qty"]), ordered(numbers), systems, codes, codes).map(lambda e: (e[0], *e[1], *e[2:])),
    max_size=2,
    unique=True,
)
references = entries_of(["ref", "ref2"], pick([*TYPES, "Device", ""]), pick(IDS), bases, versions)
entries = st.builds(
    Entries,
    tokens=entries_of(["tok", "tok2"], systems, codes),
    strings=strings,
    dates=dates,
    numbers=number_entries,
    quantities=quantities,
    references=references,
    uris=entries_of(["uri"], uris),
)


@st.composite
def writes(draw) -> WriteOp:
    type, id = draw(pick(TYPES)), draw(pick(IDS))
    if draw(st.integers(0, 9)) == 0:
        return delete(id, type)
    made = draw(entries)
    op = put(id, type)
    return WriteOp(op.method, type, id, op.body, made)


transactions = st.lists(
    st.lists(writes(), min_size=1, max_size=4, unique_by=lambda op: (op.type, op.id)), max_size=6
)

prefixes = pick(["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
ticks = st.integers(0, 8).map(lambda n: START + n * 500)
leaves = st.one_of(
    st.just(tree.Everything()),
    st.just(tree.Nothing()),
    st.builds(tree.IdIs, st.lists(pick([*IDS, "9"]), max_size=3).map(tuple)),
    st.tuples(prefixes, ordered(ticks, strictly=True)).map(lambda e: tree.Updated(e[0], *e[1])),
    st.builds(tree.Present, pick(["tok", "str", "date", "num", "qty", "ref", "uri", "none"])),
    st.builds(tree.TokenIs, pick(["tok", "tok2", "none"]), systems | st.none(), codes | st.none()),
    st.builds(tree.TextIs, pick(["str", "str2"]), texts, st.just("exact")),
    st.builds(tree.TextIs, pick(["str", "str2"]), texts.map(normalise), pick(["starts", "contains"])),
    st.tuples(pick(["date", "date2"]), prefixes, ordered(instants, strictly=True)).map(
        lambda e: tree.DateIs(e[0], e[1], *e[2])
    ),
    st.tuples(pick(["num", "num2"]), prefixes, numbers, ordered(numbers)).map(
        lambda e: tree.NumberIs(e[0], e[1], e[2], *e[3])
    ),
    st.tuples(prefixes, numbers, ordered(numbers), systems | st.none(), codes | st.none()).map(
        lambda e: tree.QuantityIs("qty", e[0], e[1], *e[2], e[3], e[4])
    ),
    st.builds(
        tree.RefersTo,
        pick(["ref", "ref2"]),
        pick([*TYPES, ""]) | st.none(),
        pick(IDS) | st.none(),
        bases | st.none(),
        versions | st.none(),
    ),
    st.builds(tree.UriIs, st.just("uri"), uris, pick(["exact", "below", "above"])),
)


def combined(parts):
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(tree.And, several),
        st.builds(tree.Or, several),
        st.builds(tree.Not, parts),
        st.builds(tree.Chain, pick(["ref", "ref2"]), pick(TYPES), parts),
        st.builds(tree.Has, pick(TYPES), pick(["ref", "ref2"]), parts),
    )


expressions = st.recursive(leaves, combined, max_leaves=5)
kinds = {
    "tok": "token",
    "str": "string",
    "date": "date",
    "num": "number",
    "qty": "quantity",
    "ref": "reference",
    "uri": "uri",
}
sorts = st.lists(
    st.tuples(pick([*kinds, "_id", "_lastUpdated"]), st.booleans()).map(
        lambda e: SortKey(e[0], kinds.get(e[0], ""), e[1])
    ),
    max_size=2,
).map(tuple)
includes = st.lists(
    st.builds(
        Include,
        pick([*TYPES, "*"]),
        pick(["ref", "ref2"]) | st.none(),
        pick(TYPES) | st.none(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=2,
).map(tuple)
queries = st.builds(
    SearchQuery,
    types=pick([("Patient",), ("Observation",), ("Patient", "Group"), ()]),
    where=expressions,
    sort=sorts,
    count=st.integers(1, 5),
    total=pick(["none", "accurate"]),
    includes=includes,
    include_limit=pick([1, 3, 1000]),
)
# Sizes so small that every plan is taken, and those of real use.
efforts = pick([Effort(), Effort(counted=2, small=1, window=3), Effort(counted=1, small=3, window=100)])


async def pages(store, query):
    """What a client sees that follows the links to the end."""
    seen, cursor = [], None
    while True:
        page = await store.search(
            SearchQuery(
                query.types,
                query.where,
                query.sort,
                query.count,
                cursor,
                query.total,
                query.includes,
                query.include_limit,
            )
        )
        included = [(s.type, s.id, s.version) for s in page.included]
        seen.append(([(s.type, s.id, s.version) for s in page.matches], included, page.included_truncated))
        cursor = page.next
        if cursor is None:
            return seen
        assert len(seen) < 20, "pages without end"


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
            assert await pages(store, query) == await pages(reference, query)
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


@given(transactions, queries, efforts)
@settings(max_examples=120, deadline=None)
def test_every_search_is_answered_as_the_reference_store_answers_it(written, query, effort):
    asyncio.run(compare(written, query, effort))
