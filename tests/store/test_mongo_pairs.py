"""A code and a quantity of one Observation are found by the composite of both, and nothing is missed where there is none."""

import asyncio
import secrets
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.search.entries import Entries
from fhir_server.search.tree import And, Or, QuantityIs, SearchQuery, TokenIn, TokenIs
from fhir_server.store.memory import MemoryStore
from fhir_server.store.mongo.composites import joint
from fhir_server.store.mongo.entries import indexed
from fhir_server.store.mongo.leaves import Access
from fhir_server.store.mongo.schema import PAIRS
from fhir_server.store.mongo.selection import Effort
from fhir_server.store.mongo.store import PAIRED_NAMES, MongoStore
from tests import mongod
from tests.store.making import START, Clock, put

MARK = "code&value-quantity\0m"
CODES = ("a", "b", "c")


def entries(codes, values, composite=True):
    tokens = [("code", "s", code) for code in codes]
    quantities = [("value-quantity", low, high, "u", "mg", "") for low, high in values]
    pairs = [
        ("code-value-quantity", (("token", "s", code), ("quantity", low, high, "u", "mg", "")))
        for code, (low, high) in product(codes, values)
    ]
    return {"tokens": tokens, "quantities": quantities, "composites": pairs if composite else []}


def above(value, prefix="gt", param="value-quantity"):
    return QuantityIs(param, prefix, float(value), value - 0.5, value + 0.5, None, None)


def test_an_observation_whose_pairs_are_all_composites_has_no_mark():
    assert MARK not in indexed(Entries(**entries(["a", "b"], [(1.0, 1.0), (2.0, 5.0)])))["e"]


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_an_observation_without_one_of_its_composites_is_marked(missing):
    made = entries(["a", "b"], [(1.0, 1.0), (2.0, 5.0)])
    del made["composites"][missing]
    assert MARK in indexed(Entries(**made))["e"]


def test_two_conditions_that_are_no_pair_have_no_way_in_of_their_own():
    code = TokenIs("code", "s", "a")
    assert joint([code]) is None
    assert joint([code, above(1, param="component-value-quantity")]) is None
    assert joint([TokenIs("status", "s", "a"), above(1)]) is None
    assert joint([TokenIs("code", "s", None), above(1)]) is None
    found = joint([above(1), Or((code, TokenIs("code", None, "b")))])
    assert found is not None
    access, quantity = found
    assert quantity == above(1)
    assert MARK in access.points
    assert isinstance(access, Access)
    assert len(access.ranges) == 4


@pytest.fixture(scope="module")
def stores(mongodb):
    address = mongod.with_database(mongodb, f"osler-test-{secrets.token_hex(6)}")
    efforts = (Effort(), Effort(few=1, counted=2, window=3, tested=0, listed=1, pressed=2))
    with asyncio.Runner() as runner:
        made = [MongoStore(address, Clock(), b"key", effort=effort) for effort in efforts]
        for store in made:
            runner.run(store.open())
        yield made, runner, address
        for store in made:
            runner.run(store.close())
    with mongod.client(address) as client:
        client.drop_database(client.get_default_database().name)


values = st.tuples(st.integers(0, 5), st.integers(0, 2)).map(lambda v: (float(v[0]), float(v[0] + v[1])))
observations = st.lists(
    st.tuples(
        st.lists(st.sampled_from(CODES), max_size=2, unique=True),
        st.lists(values, max_size=2, unique=True),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
codes = st.sampled_from(CODES).flatmap(
    lambda code: st.sampled_from(
        [
            TokenIs("code", "s", code),
            TokenIs("code", None, code),
            TokenIn("code", frozenset({("s", code), ("s", "a")})),
            Or((TokenIs("code", "s", code), TokenIs("code", "s", "b"))),
        ]
    )
)
quantities = st.builds(above, st.integers(0, 6), st.sampled_from(["gt", "lt", "ge", "le", "eq", "ne", "ap"]))


@settings(max_examples=60, deadline=None)
@given(observations, codes, st.lists(quantities, min_size=1, max_size=2), st.integers(1, 4))
def test_a_code_and_a_quantity_are_found_as_the_reference_store_finds_them(stores, made, code, asked, count):
    mongo, runner, address = stores
    with mongod.client(address) as client:
        database = client.get_default_database()
        for name in ("Observation", "osler.versions"):
            database[name].delete_many({})
        database["osler.state"].update_one({"_id": "sequence"}, {"$set": {"n": 0, "u": START, "types": {}}})
    reference = MemoryStore(Clock(), b"key")
    ops = [put(f"{n}", "Observation", **entries(*one)) for n, one in enumerate(made)]
    where = And((code, *asked))
    query = SearchQuery(("Observation",), where, count=count, total="accurate")

    async def both():
        await mongo[0].transact(ops)
        await reference.transact(ops)
        wanted = await reference.matching_ids("Observation", where, 100)
        page = await reference.search(query)
        for store in mongo:
            assert await store.matching_ids("Observation", where, 100) == wanted
            found = await store.search(query)
            assert [s.id for s in found.matches] == [s.id for s in page.matches]
            assert found.total == page.total

    runner.run(both())


async def test_a_database_of_before_uses_composites_once_its_observations_are_indexed_anew(mongo_address):
    query = SearchQuery(("Observation",), And((TokenIs("code", "s", "a"), above(1))))
    first = MongoStore(mongo_address, Clock())
    await first.open()
    await first.transact([put("1", "Observation", **entries(["a"], [(3.0, 3.0)], composite=False))])
    assert [s.id for s in (await first.search(query)).matches] == ["1"]
    await first.close()
    with mongod.client(mongo_address) as client:
        database = client.get_default_database()
        # as the program before has left them
        assert database["Observation"].update_one({}, {"$pull": {"e": MARK}}).modified_count == 1
        assert database["osler.state"].delete_one({"_id": PAIRS}).deleted_count == 1
        second = MongoStore(mongo_address, Clock())
        await second.open()
        assert [s.id for s in (await second.search(query)).matches] == ["1"]
        await second.set_fingerprints({"Observation.code": "x"})
        assert database["osler.state"].find_one({"_id": PAIRS}) is None
        await second.set_fingerprints(dict.fromkeys(PAIRED_NAMES, "x"))
        assert database["osler.state"].find_one({"_id": PAIRS}) is not None
        # only marks and composites are looked at now
        assert (await second.search(query)).matches == ()
        await second.close()
