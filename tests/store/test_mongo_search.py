"""Searches in the MongoDB store: words that are indexed late, pages of a moment that is gone, orders without an index."""

from dataclasses import replace

import pytest

from fhir_server.search.entries import Entries
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import (
    And,
    Chain,
    Everything,
    FullText,
    Has,
    Include,
    Not,
    RefersTo,
    SearchQuery,
    SortKey,
    TextIs,
    TokenIn,
)
from fhir_server.store.mongo import fulltext, totals
from fhir_server.store.mongo.fulltext import LateWords
from fhir_server.store.mongo.selection import Effort
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.records import Body, MatchesAre, WriteOp
from tests import mongod
from tests.store.making import Clock, delete, put


def told(id, text, type="Patient", note=""):
    body = Body(
        f'{{"resourceType":"{type}","id":"{id}","text":{{"div":"<p>{text}</p>"}},"note":"{note}","meta":{{'.encode(),
        b"}}",
    )
    return WriteOp("PUT", type, id, body, Entries(references=[("subject", "Patient", "1", "", "")]))


def mentions(*words, field="text"):
    return FullText(field, ((tuple(words),),))


@pytest.fixture(params=[0, 50])
async def store(request, mongo_address):
    """A store that always indexes words before it answers, and one that looks at what is new itself."""
    made = MongoStore(mongo_address, Clock(), b"key", effort=Effort(late=request.param))
    await made.open()
    yield made
    await made.close()


async def ids(store, where, type="Patient"):
    return await store.matching_ids(type, where, 100)


async def test_words_and_phrases_are_found_whole_and_in_their_order(store):
    await store.transact([told("1", "Fracture of the left femur"), told("2", "the Femur, left: no fracture")])
    await store.transact([told("3", "Oberschenkelhalsfraktur, Größe unverändert")])
    assert await ids(store, mentions("femur")) == ("1", "2")
    assert await ids(store, mentions("left", "femur")) == ("1",)
    assert await ids(store, mentions("fem")) == ()
    assert await ids(store, mentions("unverandert")) == ("3",)
    assert await ids(store, Not(mentions("femur"))) == ("3",)
    assert await ids(store, FullText("text", ((("left",), ("no",)), (("grosse",),)))) == ("2", "3")


async def test_the_content_is_more_than_the_narrative(store):
    await store.transact([told("1", "femur", note="healed well"), told("1", "tibia", "Group")])
    assert await ids(store, mentions("healed")) == ()
    assert await ids(store, mentions("healed", "well", field="content")) == ("1",)
    assert await ids(store, mentions("femur", "healed", field="content")) == ()
    assert await ids(store, mentions("femur", field="content")) == ("1",)
    assert await ids(store, mentions("tibia"), "Group") == ("1",)
    assert await ids(store, mentions("tibia")) == ()


async def test_an_answer_has_the_words_of_the_newest_state(store):
    await store.transact([told("1", "femur"), told("2", "femur")])
    assert await ids(store, mentions("femur")) == ("1", "2")
    await store.transact([told("1", "tibia"), delete("2"), told("3", "femur")])
    assert await ids(store, mentions("femur")) == ("3",)
    assert await ids(store, mentions("tibia")) == ("1",)
    await store.transact([told("2", "femur once more")])
    assert await ids(store, mentions("femur")) == ("2", "3")


async def test_words_are_a_condition_of_writes_and_of_what_is_included(store):
    await store.transact(
        [told("1", "femur"), told("a", "ward round", "Group"), told("b", "discharge", "Group")]
    )
    await store.transact([], [MatchesAre("Patient", mentions("femur"), ("1",))])
    include = Include("Group", "subject", reverse=True, where=mentions("round"))
    page = await store.search(SearchQuery(("Patient",), includes=(include,)))
    assert [s.id for s in page.included] == ["a"]
    explained = await store.explain(
        SearchQuery(("Patient",), And((mentions("femur"), Not(mentions("tibia")))))
    )
    assert explained.matches == 1


async def test_words_are_indexed_step_by_step_until_none_is_late(mongo, mongo_address, monkeypatch):
    monkeypatch.setattr(fulltext, "STEP", 20)
    await mongo.transact([told(str(n), f"word{n}") for n in range(30)] + [told("1", "other", "Group")])
    with mongod.client(mongo_address) as client:
        database = client.get_default_database()
        words = LateWords(mongo._open.connection)
        done = []
        while found := await words.step():
            done.append(found)
        assert sorted(done) == [1, 10, 20]
        assert database["Patient"].count_documents({"late": True}) == 0
        assert database["Patient"].find_one({"w": "nword7"})["_id"] == "7"
        # words that other rules made are made anew
        monkeypatch.setattr(fulltext, "FORMAT", "2")
        assert await LateWords(mongo._open.connection).step() > 0
        assert await ids(mongo, mentions("word29")) == ("29",)


async def test_later_pages_have_the_words_of_the_first_moment(store):
    await store.transact([told(str(n), "femur") for n in range(4)])
    query = SearchQuery(("Patient",), mentions("femur"), count=2)
    first = await store.search(query)
    await store.transact([told("2", "tibia"), told("9", "femur")])
    second = await store.search(replace(query, cursor=first.next))
    assert [(s.id, s.version) for s in second.matches] == [("2", 1), ("3", 1)]
    assert second.next is None


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
