"""Searches for words in the SQLite store: the index is brought up when it is needed, and what it does not know is looked at."""

import asyncio
import threading
from dataclasses import replace

import pytest

from fhir_r4.errors import NotSupported
from fhir_server.search.entries import Entries
from fhir_server.search.tree import And, FullText, Include, Not, SearchQuery
from fhir_server.store.records import Body, MatchesAre, WriteOp
from fhir_server.store.sqlite import fulltext, write
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.fulltext import behind, catch_up
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Clock, delete


def told(id, text, type="Patient", note=""):
    body = Body(
        f'{{"resourceType":"{type}","id":"{id}","text":{{"div":"<p>{text}</p>"}},"note":"{note}","meta":{{'.encode(),
        b"}}",
    )
    return WriteOp("PUT", type, id, body, Entries(references=[("subject", "Patient", "1", "", "")]))


def mentions(*words, field="text"):
    return FullText(field, ((tuple(words),),))


@pytest.fixture(params=[0, 50])
async def store(request, path):
    """A store that always indexes before it answers, and one that looks at what is new itself."""
    made = SqliteStore(path, Clock(), readers=1, effort=Effort(late=request.param))
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
    assert await ids(store, mentions("femur", field="content")) == ("1",)
    assert await ids(store, mentions("tibia"), "Group") == ("1",)
    assert await ids(store, mentions("tibia")) == ()


async def test_an_answer_is_of_the_newest_state(store):
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


async def test_the_index_comes_forward_in_steps_and_agrees_with_what_is_stored(store, path):
    await store.transact([told(str(n), f"word{n}") for n in range(30)])
    await store.transact([delete("3"), told("4", "changed")])
    late = await store.write_with(lambda connection, _: catch_up(connection, 20))
    assert late == 12
    assert await ids(store, mentions("word29")) == ("29",)
    while late:
        late = await store.write_with(lambda connection, _: catch_up(connection, 20))
    assert await store.write_with(lambda connection, _: behind(connection)) == 0
    assert await ids(store, mentions("word3")) == ()
    assert await ids(store, mentions("word4")) == ()
    assert await ids(store, mentions("changed")) == ("4",)
    assert check(path).clean
    await store.write_with(
        lambda connection, _: connection.execute("DELETE FROM fulltext_of WHERE rid=1").rowcount
    )
    assert [p.partition(":")[0] for p in check(path).problems] == ["the index of words lacks a resource"]


async def test_an_index_that_other_rules_made_is_made_anew(store, monkeypatch):
    await store.transact([told("1", "femur")])
    await store.write_with(lambda connection, _: catch_up(connection))
    monkeypatch.setattr(fulltext, "FORMAT", "2")
    assert await store.write_with(lambda connection, _: behind(connection)) == 1
    assert await ids(store, mentions("femur")) == ("1",)
    assert await store.write_with(lambda connection, _: catch_up(connection)) == 0
    assert await ids(store, mentions("femur")) == ("1",)


async def test_without_fts5_the_search_says_so(path, monkeypatch):
    monkeypatch.setattr(fulltext, "_TABLES", ("CREATE VIRTUAL TABLE fulltext USING none_such(narrative)",))
    store = SqliteStore(path, Clock(), readers=1, effort=Effort(late=0))
    await store.open()
    await store.transact([told("1", "femur")])
    with pytest.raises(NotSupported, match="FTS5"):
        await ids(store, mentions("femur"))
    await store.transact([told("2", "femur")])
    await store.close()


async def test_the_index_comes_forward_when_nobody_asks_for_anything(path, monkeypatch):
    done = threading.Event()

    def seen(connection):
        late = catch_up(connection)
        if late == 0 and behind(connection) == 0 and fulltext.indexed_until(connection) == 120:
            done.set()
        return late

    monkeypatch.setattr(write, "IDLE", 0.01)
    monkeypatch.setattr(write, "catch_up", seen)
    store = SqliteStore(path, Clock(), readers=1)
    await store.open()
    await store.transact([told(str(n), "femur") for n in range(120)])
    assert await asyncio.to_thread(done.wait, 20)
    assert len(await ids(store, mentions("femur"))) == 100
    await store.close()


async def test_later_pages_have_the_words_of_the_first_moment(path):
    store = SqliteStore(path, Clock(), readers=1, extract=lambda resource: Entries())
    await store.open()
    await store.transact([told(str(n), "femur") for n in range(4)])
    query = SearchQuery(("Patient",), mentions("femur"), count=2)
    first = await store.search(query)
    await store.transact([told("2", "tibia"), told("9", "femur")])
    second = await store.search(replace(query, cursor=first.next))
    assert [(s.id, s.version) for s in second.matches] == [("2", 1), ("3", 1)]
    assert second.next is None
    await store.close()
