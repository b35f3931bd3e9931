"""Searches in the MongoDB store: words that are indexed late, pages of a moment that is gone, orders without an index."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from fhir_r4.temporal import DAY
from fhir_server.search.entries import Entries
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import (
    And,
    Chain,
    DateIs,
    Everything,
    Has,
    Not,
    Present,
    RefersTo,
    SearchQuery,
    SortKey,
    TextIs,
    TokenIn,
    TokenIs,
    Updated,
)
from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo import feeds, fulltext, selection, totals
from fhir_server.store.mongo import store as mongo_store
from fhir_server.store.mongo.fulltext import LateWords
from fhir_server.store.mongo.selection import Effort
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.mongo.traffic import Traffic
from fhir_server.store.records import NewestIs
from tests import mongod
from tests.store.making import START, Clock, delete, ids, mentions, narrated, put
from tests.store.test_same_answers import pages


@pytest.fixture(params=[0, 50])
async def store(request, mongo_address):
    """A store that always indexes words before it answers, and one that looks at what is new itself."""
    made = MongoStore(mongo_address, Clock(), b"key", effort=Effort(late=request.param))
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def unhurried(monkeypatch):
    """Stores that are opened after this index no words of their own accord."""

    async def never(_):
        pass

    monkeypatch.setattr(LateWords, "run", never)


async def test_words_are_indexed_step_by_step_until_none_is_late(
    unhurried, mongo, mongo_address, monkeypatch
):
    monkeypatch.setattr(fulltext, "STEP", 20)
    await mongo.transact(
        [narrated(str(n), f"word{n}") for n in range(30)] + [narrated("1", "other", "Group")]
    )
    with mongod.client(mongo_address) as client:
        database = client.get_default_database()
        words = LateWords(mongo._open.connection, Traffic())
        done = []
        while found := await words.step():
            done.append(found)
        assert sorted(done) == [1, 10, 20]
        assert database["Patient"].count_documents({"late": True}) == 0
        assert database["Patient"].find_one({"w": "nword7"})["_id"] == "7"
        # words that other rules made are made anew
        monkeypatch.setattr(fulltext, "FORMAT", "2")
        assert await words.step() > 0
        assert await ids(mongo, mentions("word29")) == ("29",)


async def test_words_wait_for_what_is_in_flight_but_not_for_ever(unhurried, mongo, monkeypatch):
    await mongo.transact([narrated(str(n), "femur") for n in range(50)])
    traffic = Traffic()
    words = LateWords(mongo._open.connection, traffic)
    with traffic:
        monkeypatch.setattr(fulltext, "GIVES_WAY", 0.01)
        assert await words.step() == 20
        monkeypatch.setattr(fulltext, "GIVES_WAY", 3_600)
        step = asyncio.create_task(words.step())
        for _ in range(5):
            await mongo.read("Patient", "1")
        assert not step.done()
        assert await late(mongo) == 30
    assert await step == 20
    assert await late(mongo) == 10


async def test_one_server_at_a_time_indexes_words(unhurried, mongo):
    await mongo.transact([narrated("1", "femur")])
    connection = mongo._open.connection
    # as when a server has just begun, and then dies
    assert await feeds.take(connection, fulltext.LEASE_NAME, "another", 60) == 0
    one, other = LateWords(connection, Traffic()), LateWords(connection, Traffic())
    assert not await one.work()
    assert await late(mongo) == 1
    assert await feeds.keep(connection, fulltext.LEASE_NAME, "another", 0, 0)
    assert await one.work()
    assert await late(mongo) == 0
    await mongo.transact([narrated("2", "femur")])
    assert await other.work()
    assert await late(mongo) == 0


async def test_words_are_indexed_when_nobody_writes_any_more(mongo_address, monkeypatch):
    monkeypatch.setattr(fulltext, "IDLE", 0.01)
    store = MongoStore(mongo_address)
    await store.open()
    for n in range(3):
        await store.transact([narrated(str(n), "femur")])
        async with asyncio.timeout(30):
            while await late(store):
                await store.last_sequence()
    await store.close()


async def late(store):
    return await store._open.connection.of_type("Patient").count_documents({"late": True})


async def test_a_page_of_a_moment_that_is_gone_is_of_the_present_and_says_so(mongo_address):
    store = MongoStore(mongo_address, Clock(), b"key")
    await store.open()
    await store.transact([put(id) for id in "123"])
    query = SearchQuery(("Patient",), count=1)
    first = await store.search(query)
    second = await store.search(replace(query, cursor=first.next))
    assert ([s.id for s in second.matches], second.unstable) == (["2"], False)
    seconds, *rest = Cursors(b"key").read(search_scope(query), second.next)
    old = Cursors(b"key").write(search_scope(query), [seconds - 86_400, *rest])
    third = await store.search(replace(query, cursor=old))
    assert ([s.id for s in third.matches], third.unstable) == (["3"], True)
    await store.close()


async def test_a_type_that_is_new_has_nothing_on_pages_of_before(mongo):
    await mongo.transact([put(str(n)) for n in range(4)])
    query = SearchQuery((), Not(Has("Group", "ref", Everything())), count=2)
    first = await mongo.search(query)
    await mongo.transact([put("9", "Group", references=[("ref", "Patient", "3", "", "")])])
    second = await mongo.search(replace(query, cursor=first.next))
    assert [(s.type, s.id) for s in second.matches] == [("Patient", "2"), ("Patient", "3")]
    assert not second.unstable


async def test_the_total_of_a_later_page_is_that_of_the_first_moment(mongo):
    await mongo.transact([put(str(n)) for n in range(30)])
    query = SearchQuery(("Patient",), count=10, total="accurate")
    first = await mongo.search(query)
    await mongo.transact([put("new"), put("7")])
    second = await mongo.search(replace(query, cursor=first.next))
    assert (first.total, second.total) == (30, 30)


async def test_what_there_are_many_of_is_counted_in_parts_to_the_same_number(mongo, monkeypatch):
    monkeypatch.setattr(selection, "_MANY", 0)
    monkeypatch.setattr(selection, "_SHARES", 3)
    reference = MemoryStore(Clock())
    ops = [
        put(str(n), tokens=[("gender", "", "male")], dates=[("birthdate", n % 7 * DAY, n % 7 * DAY + DAY)])
        for n in range(20)
    ]
    for store in (mongo, reference):
        await store.transact(ops)
        await store.transact([delete("3"), put("4")])
    asked = [TokenIs("gender", "", "male"), TokenIs("gender", "", "female")]
    asked += [
        DateIs("birthdate", p, n * DAY, n * DAY + DAY)
        for p in ("gt", "ge", "lt", "le")
        for n in (-1, 0, 3, 6, 9)
    ]
    for where in asked:
        query = SearchQuery(("Patient",), where, count=0)
        assert (await mongo.search(query)).total == (await reference.search(query)).total


async def test_conditions_that_both_find_many_are_put_together_in_the_index(mongo):
    """More than are asked one by one (Effort.tested), of which the last alone has both names."""
    many = Effort().tested + 100
    ops = [
        put(str(n), strings=[("family", "ros", "ros"), ("given", "ann", "ann")][n % 2 :: 2])
        for n in range(2 * many)
    ]
    both = [("family", "rossi", "rossi"), ("given", "anna", "anna")]
    await mongo.transact([*ops, put("both", strings=both)])
    where = And((TextIs("family", "ros", "starts"), TextIs("given", "ann", "starts")))
    assert await ids(mongo, where) == ("both",)
    explanation = await mongo.explain(SearchQuery(("Patient",), where, count=10))
    assert explanation.matches == 1
    documents = [line for step in explanation.steps for line in step.plan if "docsExamined" in line]
    read = sum(int(line.rpartition("docsExamined=")[2].split()[0]) for line in documents)
    assert read < Effort().tested


async def test_an_estimate_of_few_is_exact_and_of_many_comes_near(mongo, monkeypatch):
    await mongo.transact(
        [put(str(n), tokens=[("gender", "", "female" if n % 3 else "male")]) for n in range(300)]
    )
    male, female = (TokenIn("gender", frozenset({("", one)})) for one in ("male", "female"))
    page = await mongo.search(SearchQuery(("Patient",), male, count=10, total="estimate"))
    assert (page.total, page.total_estimated) == (100, False)
    monkeypatch.setattr(totals, "COUNTED", 20)
    monkeypatch.setattr(totals, "SAMPLE", 80)
    for where, number in ((female, 200), (Everything(), 300)):
        page = await mongo.search(SearchQuery(("Patient",), where, count=10, total="estimate"))
        assert page.total_estimated
        assert number * 0.7 < page.total < number * 1.3


async def test_a_resource_that_most_refer_to_is_found_by_those_that_do(mongo_address):
    store = MongoStore(
        mongo_address, Clock(), effort=Effort(few=2, counted=3, window=2, tested=0, listed=1, pressed=1)
    )
    await store.open()
    ops = [put("popular", "Organization"), put("other", "Organization")]
    ops += [put(str(n), references=[("organization", "Organization", "popular", "", "")]) for n in range(30)]
    await store.transact(ops)
    query = SearchQuery(("Organization",), Has("Patient", "organization", Everything()))
    assert [s.id for s in (await store.search(query)).matches] == ["popular"]
    chain = SearchQuery(
        ("Patient",), Chain("organization", "Organization", Not(RefersTo("partof", None, None))), count=7
    )
    page = await store.search(chain)
    assert len(page.matches) == 7
    assert page.next is not None
    await store.close()


async def test_texts_that_are_longer_than_a_pattern_may_be_are_looked_for_all_the_same(mongo):
    long = "ab" * 20_000
    await mongo.transact(
        [put("1", strings=[("name", f"x{long}y", f"x{long}y")]), put("2", strings=[("name", "ab", "ab")])]
    )
    assert await ids(mongo, TextIs("name", long, "contains")) == ("1",)
    assert await ids(mongo, TextIs("name", long + "y", "ends")) == ("1",)
    assert await ids(mongo, TextIs("name", long, "ends")) == ()
    assert await ids(mongo, TextIs("name", "x" + long, "starts")) == ("1",)


async def test_characters_that_mean_something_to_patterns_are_taken_as_they_are(mongo):
    for n, text in enumerate(["a.b", "axb", "(a|b)*", "a\\b", "a$", "[a]", "^a", "a\nb"]):
        await mongo.transact([put(str(n), strings=[("name", text, text)])])
        assert await ids(mongo, TextIs("name", text, "contains")) == (str(n),)
        assert str(n) in await ids(mongo, TextIs("name", text[-2:], "ends"))


async def test_a_search_by_an_order_without_an_index_reads_all_and_is_in_order(mongo):
    await mongo.transact([put(str(n), tokens=[("code", "", f"{n * 7 % 50:02d}")]) for n in range(50)])
    query = SearchQuery(("Patient",), sort=(SortKey("code", "token", True),), count=20)
    seen, cursor = [], None
    while True:
        page = await mongo.search(replace(query, cursor=cursor))
        seen += [int(s.id) * 7 % 50 for s in page.matches]
        cursor = page.next
        if cursor is None:
            break
    assert seen == sorted(range(50), reverse=True)


LISTED_BY = [
    (SortKey("family", "string"),),
    (SortKey("family", "string"), SortKey("given", "string", True)),
    (SortKey("birthdate", "date", True), SortKey("family", "string")),
    (SortKey("_lastUpdated", "date"), SortKey("family", "string", True)),
]


@pytest.mark.parametrize("sort", LISTED_BY)
async def test_lists_by_an_index_and_more_keys_are_in_order_on_all_pages(mongo_address, clock, sort):
    """With many that are alike in the first key, and some that lack a key, as the reference store gives them."""
    effort = Effort(few=1, counted=1, window=15)
    mongo, reference = MongoStore(mongo_address, clock, b"key", effort=effort), MemoryStore(clock, b"key")
    await mongo.open()
    for first in range(0, 60, 12):
        ops = [listed(n) for n in range(first, first + 12)]
        assert await mongo.transact(ops) == await reference.transact(ops)
        clock.now += 5_000
    for where in (Everything(), TokenIs("gender", None, "f"), Updated("ge", START + 5_000, START + 6_000)):
        query = SearchQuery(("Patient",), where, sort, count=7)
        assert await pages(mongo, query, clock) == await pages(reference, query, clock)
    await mongo.close()


def listed(n):
    names = [("given", f"g{n % 4}", f"g{n % 4}")] if n % 7 else []
    if n % 5:
        names.append(("family", "abc"[n % 3], "abc"[n % 3]))
    born = [("birthdate", n % 3 * DAY, n % 3 * DAY + DAY)] if n % 11 else []
    return put(str(n), strings=names, dates=born, tokens=[("gender", "", "f" if n % 2 else "m")])


async def test_what_has_no_date_is_found_by_the_index_of_dates(mongo):
    born = [put(str(n), dates=[("birthdate", n * DAY, n * DAY + DAY)]) for n in range(300)]
    await mongo.transact([*born, put("x"), put("y"), delete("7")])
    query = SearchQuery(("Patient",), Not(Present("birthdate")))
    assert [one.id for one in (await mongo.search(query)).matches] == ["x", "y"]
    assert (await mongo.explain(query)).work < 30


async def test_a_new_index_waits_for_what_is_in_flight_but_not_for_ever(mongo, monkeypatch):
    await mongo.transact([put(str(n)) for n in range(3)])
    act = partial(mongo.reindex, lambda _: Entries(), NewestIs("SearchParameter", 0))
    with mongo._open.traffic:
        monkeypatch.setattr(mongo_store, "GIVES_WAY", 0.01)
        assert (await act()).resources == 3
        monkeypatch.setattr(mongo_store, "GIVES_WAY", 3_600)
        stretch = asyncio.create_task(act())
        for _ in range(5):
            await mongo.read("Patient", "1")
        assert not stretch.done()
    assert (await stretch).resources == 3
