"""Searches for words: whole words, phrases and pages, whether the store indexes before it answers or looks at what is new itself."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fhir_server.search.entries import Entries
from fhir_server.search.tree import And, FullText, Include, Not, SearchQuery
from fhir_server.store.mongo import selection
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import Store
from fhir_server.store.records import MatchesAre
from fhir_server.store.sqlite import compile
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Clock, delete, ids, mentions, narrated


@pytest.fixture(params=[(kind, late) for kind in ("sqlite", "mongo") for late in (0, 50)])
async def store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Store]:
    """A store that always indexes before it answers, and one that looks at what is new itself."""
    kind, late = request.param
    made: Store
    if kind == "sqlite":
        effort = compile.Effort(late=late)
        made = SqliteStore(path, Clock(), readers=1, effort=effort, extract=lambda resource: Entries())
    else:
        address = request.getfixturevalue("mongo_address")
        made = MongoStore(address, Clock(), b"key", effort=selection.Effort(late=late))
    await made.open()
    yield made
    await made.close()


async def test_words_and_phrases_are_found_whole_and_in_their_order(store):
    await store.transact(
        [narrated("1", "Fracture of the left femur"), narrated("2", "the Femur, left: no fracture")]
    )
    await store.transact([narrated("3", "Oberschenkelhalsfraktur, Größe unverändert")])
    assert await ids(store, mentions("femur")) == ("1", "2")
    assert await ids(store, mentions("left", "femur")) == ("1",)
    assert await ids(store, mentions("fem")) == ()
    assert await ids(store, mentions("unverandert")) == ("3",)
    assert await ids(store, Not(mentions("femur"))) == ("3",)
    assert await ids(store, FullText("text", ((("left",), ("no",)), (("grosse",),)))) == ("2", "3")


async def test_the_content_is_more_than_the_narrative(store):
    await store.transact([narrated("1", "femur", note="healed well"), narrated("1", "tibia", "Group")])
    assert await ids(store, mentions("healed")) == ()
    assert await ids(store, mentions("healed", "well", field="content")) == ("1",)
    assert await ids(store, mentions("femur", "healed", field="content")) == ()
    assert await ids(store, mentions("femur", field="content")) == ("1",)
    assert await ids(store, mentions("tibia"), "Group") == ("1",)
    assert await ids(store, mentions("tibia")) == ()


async def test_an_answer_is_of_the_newest_state(store):
    await store.transact([narrated("1", "femur"), narrated("2", "femur")])
    assert await ids(store, mentions("femur")) == ("1", "2")
    await store.transact([narrated("1", "tibia"), delete("2"), narrated("3", "femur")])
    assert await ids(store, mentions("femur")) == ("3",)
    assert await ids(store, mentions("tibia")) == ("1",)
    await store.transact([narrated("2", "femur once more")])
    assert await ids(store, mentions("femur")) == ("2", "3")


async def test_words_are_a_condition_of_writes_and_of_what_is_included(store):
    await store.transact(
        [narrated("1", "femur"), narrated("a", "ward round", "Group"), narrated("b", "discharge", "Group")]
    )
    await store.transact([], [MatchesAre("Patient", mentions("femur"), ("1",))])
    include = Include("Group", "subject", reverse=True, where=mentions("round"))
    page = await store.search(SearchQuery(("Patient",), includes=(include,)))
    assert [s.id for s in page.included] == ["a"]
    explained = await store.explain(
        SearchQuery(("Patient",), And((mentions("femur"), Not(mentions("tibia")))))
    )
    assert explained.matches == 1


async def test_later_pages_have_the_words_of_the_first_moment(store):
    await store.transact([narrated(str(n), "femur") for n in range(4)])
    query = SearchQuery(("Patient",), mentions("femur"), count=2)
    first = await store.search(query)
    await store.transact([narrated("2", "tibia"), narrated("9", "femur")])
    second = await store.search(replace(query, cursor=first.next))
    assert [(s.id, s.version) for s in second.matches] == [("2", 1), ("3", 1)]
    assert second.next is None
