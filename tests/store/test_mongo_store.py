"""What only the MongoDB store has to care about: native documents, limits of BSON, abandoned transactions, addresses."""

import asyncio
import time
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from bson.decimal128 import Decimal128
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern

from fhir_r4.errors import InvalidRequest, TooLarge, Unavailable
from fhir_server.app import open_store
from fhir_server.search.entries import Entries
from fhir_server.search.tree import Everything, SearchQuery, TokenIs
from fhir_server.settings import Settings
from fhir_server.store.addresses import without_secrets
from fhir_server.store.mongo.connections import Connection
from fhir_server.store.mongo.schema import NewerDatabase
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.records import Body, Claim, HistoryQuery, MatchesAre, VersionIs, WriteOp
from tests import mongod
from tests.store.making import Clock, delete, put


def raw(id, members, type="Observation", **entries):
    body = Body(f'{{"resourceType":"{type}","id":"{id}",{members},"meta":{{'.encode(), b"}}")
    return WriteOp("PUT", type, id, body, Entries(**entries))


@pytest.fixture
def database(mongo_address):
    with mongod.client(mongo_address) as client:
        yield client.get_default_database()


@pytest.fixture
async def opened(mongo_address):
    """Opens more stores on the database; closed at the end."""
    stores = []

    async def open_one(**settings):
        stores.append(MongoStore(mongo_address, **settings))
        await stores[-1].open()
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


def deep(levels):
    return '"extension":' + '[{"extension":' * levels + "[]" + "}]" * levels


def without_meta(stored):
    return stored.body.partition(b',"meta"')[0].decode()


async def test_decimals_are_native_and_come_back_digit_for_digit(mongo, database):
    values = ["1.10", "100", "0.000", "-7.25e-3", "1E+2", "1234567890123456789012345678901234567890.5"]
    await mongo.transact([raw(str(n), f'"value":{value}') for n, value in enumerate(values)])
    for n, value in enumerate(values):
        assert without_meta(await mongo.read("Observation", str(n))).endswith(f'"value":{value}')
    found = {d["_id"]: d["resource"]["value"] for d in database.Observation.find()}
    assert found["0"] == Decimal128("1.10")
    assert str(found["0"]) == "1.10"
    total = [
        {"$match": {"_id": {"$in": ["0", "2", "3"]}}},
        {"$group": {"_id": 1, "n": {"$sum": "$resource.value"}}},
    ]
    assert next(database.Observation.aggregate(total))["n"].to_decimal() == Decimal("1.09275")


@pytest.mark.parametrize("members", ['"value":123456789012345678901234567890', deep(95), deep(60)])
async def test_what_bson_cannot_hold_is_kept_and_found(mongo, members):
    op = raw("1", members, tokens=[("code", "", "x")])
    (stored,) = await mongo.transact([op])
    assert without_meta(stored).endswith(members)
    assert await mongo.read("Observation", "1") == stored
    assert await mongo.matching_ids("Observation", TokenIs("code", None, "x")) == ("1",)


async def test_a_resource_beyond_16_mebibytes_is_refused_alone(mongo):
    large = raw("1", f'"text":"{"x" * (17 * 2**20)}"')
    results = await asyncio.gather(
        mongo.transact([put("a")]),
        mongo.transact([put("b"), large]),
        mongo.transact([put("c")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], TooLarge)
    assert await mongo.counts() == {"Patient": 2}
    assert [s.sequence async for s in mongo.changes()] == [1, 2]


async def test_what_cannot_be_encoded_fails_alone(mongo):
    bad = put("bad", strings=[("name", "\ud800", "\ud800")])
    results = await asyncio.gather(
        mongo.transact([put("1")]),
        mongo.transact([put("2"), bad]),
        mongo.transact([put("3")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], UnicodeEncodeError)
    assert (results[0][0].sequence, results[2][0].sequence) == (1, 2)
    assert await mongo.counts() == {"Patient": 2}


async def test_an_id_that_was_made_for_a_write_and_is_there_all_the_same_gets_a_version(mongo):
    def fresh(id, text):
        return WriteOp("POST", "Patient", id, put(id, text=text).body, Entries(), fresh=True)

    await mongo.transact([fresh("1", "a")])
    results = await asyncio.gather(*(mongo.transact([fresh(id, "b")]) for id in "123"))
    assert [(s.version, s.sequence) for (s,) in results] == [(2, 2), (1, 3), (1, 4)]


async def test_of_a_resource_written_again_and_again_in_one_group_every_version_is_there(mongo):
    ops = [put("1", text="a"), delete("1"), put("1", text="b"), put("1", text="c")]
    written = await asyncio.gather(*(mongo.transact([op]) for op in ops))
    assert [(s.version, s.created) for (s,) in written] == [(1, True), (2, False), (3, True), (4, False)]
    history = await mongo.history(HistoryQuery("Patient", "1"))
    assert [s.version for s in history.versions] == [4, 3, 2, 1]


async def test_sequences_of_refused_transactions_are_given_back(mongo):
    attempts = [
        mongo.transact([put(str(n))], [VersionIs("Patient", "x", 1)] if n % 2 else []) for n in range(9)
    ]
    await asyncio.gather(*attempts, return_exceptions=True)
    await mongo.transact([delete("none"), put("g", "Group")])
    assert [s.sequence async for s in mongo.changes()] == [1, 2, 3, 4, 5, 6]
    assert await mongo.last_sequence() == 6
    assert (await mongo.last_sequence("Patient"), await mongo.last_sequence("Group")) == (5, 6)


async def test_claims_are_gone_with_what_held_them(mongo, database):
    await mongo.transact([put("1", claims=(Claim("bed"), Claim("chair"))), put("2")])
    await mongo.transact([put("1", claims=(Claim("bed"),))])
    assert [d["key"] for d in database["osler.claims"].find()] == ["bed"]
    await mongo.transact([delete("1"), put("2", claims=(Claim("bed"),))])
    assert [(d["key"], d["id"]) for d in database["osler.claims"].find()] == [("bed", "2")]
    assert database["osler.heads"].find_one({"_id": "bed"})["n"] == 3


async def test_two_stores_on_a_database_see_each_others_writes_at_once(mongo, opened):
    other = await opened()
    for n in range(30):
        (written,) = await (mongo, other)[n % 2].transact([put("1", text=str(n))])
        assert await (other, mongo)[n % 2].read("Patient", "1") == written


async def test_a_transaction_that_its_process_left_open_does_not_stop_others_for_long(mongo_address, opened):
    store = await opened(patience=20)
    with MongoClient(mongo_address, appname="osler") as dead, dead.start_session() as session:
        session.start_transaction(read_concern=ReadConcern("snapshot"))
        state = dead.get_default_database()["osler.state"]
        state.update_one({"_id": "sequence"}, {"$inc": {"n": 1}}, session=session)
        began = time.monotonic()
        (written,) = await store.transact([put("1")])
        assert written.sequence == 1
        assert time.monotonic() - began < 12


async def test_a_write_that_has_no_turn_in_its_time_is_refused_and_not_there(mongo_address, opened):
    store = await opened(patience=0.3)
    with MongoClient(mongo_address) as other, other.start_session() as session, session.start_transaction():
        state = other.get_default_database()["osler.state"]
        state.update_one({"_id": "sequence"}, {"$set": {"held": 1}}, session=session)
        with pytest.raises(Unavailable, match="too many"):
            await store.transact([put("1")])
        session.abort_transaction()
    assert await store.read("Patient", "1") is None
    (written,) = await store.transact([put("1")])
    assert written.sequence == 1


async def test_indexes_that_are_missing_are_made_when_the_store_is_opened(mongo, mongo_address, database):
    await mongo.transact([put("1")])
    before = database.Patient.index_information()
    for name in before.keys() - {"_id_"}:
        database.Patient.drop_index(name)
    await mongo.close()
    await mongo.open()
    assert database.Patient.index_information() == before


async def test_a_database_of_a_newer_program_is_refused(mongo, database):
    await mongo.close()
    database["osler.state"].update_one({"_id": "schema"}, {"$set": {"n": 1000}})
    with pytest.raises(NewerDatabase, match="schema 1000"):
        await mongo.open()


async def test_a_server_that_stands_alone_is_refused_with_what_to_do(tmp_path):
    if mongod.program() is None:
        pytest.skip("no mongod to start here")
    member = mongod.Member(tmp_path / "alone", set_name=None)
    member.start()
    try:
        with pytest.raises(Unavailable, match=r"replica set .* rs\.initiate"):
            await MongoStore(f"mongodb://{member.address}/osler").open()
    finally:
        member.kill()


async def test_a_server_that_is_not_there_is_told_without_secrets(mongodb):
    options = "replicaSet=another&authMechanism=SCRAM-SHA-256&serverSelectionTimeoutMS=200"
    store = MongoStore(f"mongodb://ward:s3cret@{urlsplit(mongodb).netloc}/osler?{options}")
    with pytest.raises(Unavailable, match="no primary") as told:
        await store.open()
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "mongodb://ward:s3cret@h1:27017,h2/osler?tlsCertificateKeyFilePassword=s3cret",
        "mongodb+srv://ward:s3cret@cluster.example/osler",
        "mongodb://ward:s3cret/x@host/osler",
        "mongodb://ward:s3cret?@host/osler",
        "mongodb://ward:@s3cret@host:x/osler",
        "mongodb://host/osler?authMechanismProperties=AWS_SESSION_TOKEN:s3cret@x",
        "other://ward:s3cret@host/osler",
    ],
)
async def test_no_text_has_the_secrets_of_an_address(address):
    assert "s3cret" not in without_secrets(address)
    assert "s3cret" not in repr(Settings(store=address))
    try:
        await connected(address)
    except InvalidRequest as error:
        told = str(error)
    else:
        told = ""
    assert "s3cret" not in told
    assert "@" not in told


async def connected(address):
    """What is done with an address before the network is used."""
    if isinstance(open_store(address), MongoStore):
        await Connection(address).close()


def test_of_an_address_the_hosts_and_the_database_are_told():
    told = without_secrets("mongodb://ward:pw@h1:27017,h2/osler?tls=true")
    assert told == "mongodb://h1:27017,h2/osler"
    assert without_secrets("sqlite:////data/a@b?c.db") == "sqlite:////data/a@b?c.db"


@pytest.mark.parametrize("preference", ["secondaryPreferred", "nearest", "primaryPreferred"])
async def test_with_another_read_preference_writes_go_to_the_primary(mongo_address, preference):
    address = f"{mongo_address}{'&' if '?' in mongo_address else '?'}readPreference={preference}"
    store = MongoStore(address, Clock())
    await store.open()
    await store.transact([put(str(n)) for n in range(3)])
    await store.transact([put("1")], [VersionIs("Patient", "1", 1)])
    await store.transact([], [MatchesAre("Patient", Everything(), ("0", "1", "2"), 5)])
    found = await store.search(SearchQuery(("Patient",), count=2, total="accurate"))
    rest = await store.search(SearchQuery(("Patient",), count=2, cursor=found.next))
    assert [(s.id, s.version) for s in (*found.matches, *rest.matches)] == [("0", 1), ("1", 2), ("2", 1)]
    assert found.total == 3
    stored = await store.read("Patient", "1")
    assert stored is not None
    assert stored.version == 2
    await store.close()
