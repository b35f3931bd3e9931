"""What is contained, where MongoDB keeps it in documents of its own: places in the order, copies, and how often it is asked."""

import pytest

from fhir_server.search.entries import Contained, Entries
from fhir_server.search.tree import Chain, Everything, SearchQuery, TokenIs
from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo import totals
from fhir_server.store.records import Copied, NewestIs
from tests import mongod
from tests.store.making import container, delete, put

INNER = ("Patient#",)


def inner(id, value="a", type="Patient"):
    return Contained(type, id, Entries(tokens=[("code", "", value)]))


async def found(store, where=Everything(), types=INNER):
    return [stored.id for stored in (await store.search(SearchQuery(types, where))).matches]


@pytest.fixture
def database(mongo_address):
    with mongod.client(mongo_address) as client:
        yield client.get_default_database()


async def test_no_two_have_the_same_place_in_the_order(mongo, database):
    def extract(_):
        return container("1", inner=(inner("x"), inner("y"), inner("d", type="Device"))).entries

    await mongo.transact(
        [container("1", inner=(inner("m"), inner("n"))), container("2", inner=(inner("m"),))]
    )
    await mongo.reindex(extract, NewestIs("SearchParameter", 0), ["Group"], limit=1)
    assert await found(mongo) == ["Group/1#x", "Group/1#y", "Group/2#m"]
    places = [
        document["c"]
        for name in ("Group", "Patient#", "Device#")
        for document in database[name].find({}, {"c": 1})
    ]
    assert len(places) == 8
    assert len(set(places)) == 8


async def test_the_document_of_a_resource_without_any_tells_nothing_of_it(mongo, database):
    await mongo.transact([put("own"), container("1", inner=(inner("m"),))])
    assert "i" not in database["Patient"].find_one({"_id": "own"})
    assert database["Group"].find_one({"_id": "1"})["i"] == ["Patient#"]
    await mongo.transact([delete("1", "Group")])
    gone = database["Patient#"].find_one({"_id": "Group/1#m"})
    assert set(gone) == {"_id", "v", "s", "u", "c", "d", "o"}


async def test_copies_have_what_is_contained(mongo, clock):
    source = MemoryStore(clock)
    versions = []
    for op in (
        container("1", inner=(inner("m"), inner("n", "b"))),
        container("2", inner=(inner("m"),)),
        container("1", inner=(inner("n", "c"),)),
        container("3", inner=(inner("m"),)),
        delete("2", "Group"),
    ):
        (stored,) = await source.transact([op])
        versions.append(Copied(stored, None if stored.deleted else op.entries))
    await mongo.copy(versions[:2])
    assert await found(mongo) == ["Group/1#m", "Group/1#n", "Group/2#m"]
    await mongo.copy(versions[2:])
    assert await found(mongo) == await found(source) == ["Group/1#n", "Group/3#m"]
    assert await found(mongo, TokenIs("code", None, "c")) == ["Group/1#n"]
    await mongo.transact([container("1", inner=(inner("m"),))])
    assert await found(mongo) == ["Group/1#m", "Group/3#m"]
    assert await mongo.counts(contained=True) == {"Group": 2, "Patient#": 2}


async def test_a_chain_asks_of_contained_resources_only_where_some_are_referred_to(mongo):
    await mongo.transact([put("p", tokens=[("code", "", "a")])])
    await mongo.transact([put("1", "Group", references=[("member", "Patient", "p", "", "")])])
    chain = SearchQuery(("Group",), Chain("member", "Patient", TokenIs("code", None, "a")))
    assert "Patient#" not in str((await mongo.explain(chain)).steps)
    await mongo.transact([container("2", inner=(inner("m"),))])
    told = await mongo.explain(chain)
    assert told.matches == 2
    assert "Patient#" in str(told.steps)


async def test_the_number_of_contained_matches_is_guessed_from_a_sample(mongo, monkeypatch):
    monkeypatch.setattr(totals, "COUNTED", 10)
    monkeypatch.setattr(totals, "SAMPLE", 20)
    await mongo.transact([container(str(n), inner=(inner("m"), inner("n", "b"))) for n in range(60)])
    page = await mongo.search(SearchQuery(INNER, TokenIs("code", None, "a"), count=1, total="estimate"))
    assert page.total_estimated
    assert page.total == 60
