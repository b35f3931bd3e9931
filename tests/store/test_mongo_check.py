"""`osler check` on MongoDB finds what does not agree, and nothing where everything does."""

import pytest

from fhir_server.search.entries import Contained, Entries
from fhir_server.store.records import Body, Claim, WriteOp
from tests import mongod
from tests.store.making import Written, container, delete


def entries(resource):
    return Entries(tokens=[("code", "", resource["code"])], dates=[("date", 5, 9)])


def claims(resource):
    return (Claim(resource["claims"]),) if "claims" in resource else ()


def put(id, code="a", claimed=None):
    members = f'"code":"{code}"' + ("" if claimed is None else f',"claims":"{claimed}"')
    text = f'{{"resourceType":"Patient","id":"{id}",{members},"value":1.50,"meta":{{'
    resource = {"code": code} | ({} if claimed is None else {"claims": claimed})
    return WriteOp("PUT", "Patient", id, Body(text.encode(), b"}}"), entries(resource), claims(resource))


@pytest.fixture
async def filled(mongo):
    await mongo.transact([put("1", claimed="bed"), put("2"), put("3")])
    await mongo.transact([put("2", "b"), delete("3")])
    await mongo.transact([put("1", "c", "chair"), put("4")])
    return mongo


async def problems(store):
    return (await store.check(entries, claims)).problems


async def test_nothing_is_wrong_after_writes(filled):
    told = []
    report = await filled.check(entries, claims, told.append)
    assert report.clean, report.problems
    assert (report.versions, report.resources, report.claims) == (7, 3, 1)
    assert report.entries > 3


CORRUPTIONS = {
    "gap": ("osler.versions", {"_id": 4}, None, "gap"),
    "body": ("osler.versions", {"_id": 7}, {"$set": {"b": b"{"}}, "no JSON"),
    "version": ("osler.versions", {"_id": 4}, {"$set": {"v": 5}}, "count up"),
    "time": ("osler.versions", {"_id": 4}, {"$set": {"u": 1}}, "earlier"),
    "state": ("Patient", {"_id": "2"}, {"$set": {"s": 2, "v": 1}}, "newest version"),
    "lost state": ("Patient", {"_id": "2"}, None, "without a resource"),
    "native": ("Patient", {"_id": "2"}, {"$set": {"resource.code": "x"}}, "native"),
    "missing entry": ("Patient", {"_id": "2"}, {"$set": {"e": []}}, "missing from"),
    "surplus entry": ("Patient", {"_id": "2"}, {"$push": {"e": "x"}}, "should not be in"),
    "exact entry": ("Patient", {"_id": "2"}, {"$set": {"ix.d": []}}, "member ix"),
    "deleted and found": ("Patient", {"_id": "3"}, {"$set": {"e": ["x"]}}, "still in the index"),
    "claim": ("osler.claims", {"id": "1"}, None, "claim on chair is missing"),
    "claim of another": ("osler.claims", {"id": "1"}, {"$set": {"key": "x"}}, "claim on x should not"),
    "counter": ("osler.state", {"_id": "sequence"}, {"$set": {"types.Patient": 3}}, "counter"),
}


async def test_a_claim_that_nobody_holds_is_found(filled, mongo_address):
    with mongod.client(mongo_address) as client:
        held = client.get_default_database()["osler.claims"]
        held.insert_one(held.find_one({}, {"_id": 0}) | {"id": "2"})
    assert await problems(filled) == ["2 claims are there, 1 of live resources"]


@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_what_does_not_agree_is_found(filled, mongo_address, what):
    collection, where, update, told = CORRUPTIONS[what]
    with mongod.client(mongo_address) as client:
        found = client.get_default_database()[collection]
        changed = (
            found.delete_one(where).deleted_count
            if update is None
            else found.update_one(where, update).modified_count
        )
    assert changed == 1
    assert any(told in problem for problem in await problems(filled)), await problems(filled)


@pytest.fixture
async def containing(mongo):
    made = Written()

    def inner(id, value):
        return Contained("Patient", id, Entries(tokens=[("code", "", value)]))

    for ops in (
        [container("1", inner=(inner("m", "a"), inner("n", "b")))],
        [container("2", inner=(inner("m", "b"),)), container("3", inner=(inner("m", "b"),))],
        [container("1", inner=(inner("n", "c"),)), delete("3", "Group")],
    ):
        made.keep(ops, await mongo.transact(ops))
    return mongo, made


async def test_a_database_with_contained_resources_is_sound(containing):
    store, made = containing
    report = await store.check(made, lambda _: ())
    assert report.problems == []
    assert (report.versions, report.resources) == (5, 2)


NEWEST = "does not point at the newest version"
INSIDE = {
    "lost": ("Patient#", "Group/2#m", None, "the contained Patient Group/2#m is missing"),
    "gone": ("Patient#", "Group/1#m", {"$set": {"d": False}}, "Group/1#m should not be there"),
    "deleted": ("Patient#", "Group/3#m", {"$set": {"d": False}}, NEWEST),
    "version": ("Patient#", "Group/1#n", {"$set": {"v": 1}}, NEWEST),
    "owner": ("Patient#", "Group/2#m", {"$set": {"o": "Group/9"}}, NEWEST),
    "entry": ("Patient#", "Group/1#n", {"$set": {"e": []}}, "Group/1#n: the entry"),
    "id": ("Patient#", "Group/2#m", {"$unset": {"f": ""}}, "its id within the container"),
    "mark": ("Group", "2", {"$unset": {"i": ""}}, "does not tell of all that it contains"),
}


@pytest.mark.parametrize("what", INSIDE)
async def test_what_does_not_agree_with_its_container_is_found(containing, mongo_address, what):
    store, made = containing
    collection, id, update, told = INSIDE[what]
    with mongod.client(mongo_address) as client:
        found = client.get_default_database()[collection]
        if update is None:
            found.delete_one({"_id": id})
        else:
            assert found.update_one({"_id": id}, update).modified_count == 1
    problems = (await store.check(made, lambda _: ())).problems
    assert any(told in problem for problem in problems), problems


async def test_claims_beyond_those_of_the_resource_are_left_to_governed_types(mongo):
    await mongo.transact([put("1", claimed="bed")])
    told = await mongo.check(entries, lambda _: ())
    assert told.problems == ["Patient/1: the claim on bed should not be there"]
    assert (await mongo.check(entries, lambda _: (), governed={"Patient"})).clean
    more = [Claim("bed"), Claim("chair")]
    (problem,) = (await mongo.check(entries, lambda _: more, governed={"Patient"})).problems
    assert problem == "Patient/1: the claim on chair is missing"
