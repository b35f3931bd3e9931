"""How MongoDB carries searches out, on the hospital of test_plans: through indexes, and looking at little more than it finds.

https://www.mongodb.com/docs/manual/reference/explain-results/. No plan may go through a collection (COLLSCAN), and the keys and
documents examined are bounded: by what is found for selective questions, by the sizes of `Effort` for others.
"""

import asyncio
import secrets

import pytest

from fhir_server.search.match import distance
from fhir_server.search.tree import Near, SearchQuery
from fhir_server.store.mongo.store import MongoStore
from tests import mongod
from tests.store.making import Clock
from tests.store.test_plans import EMPTY, MRN, SHAPES, fill, patient, resource

# Keys and documents examined where the question has no better bound than its candidates.
WORK = {
    "name": 1_500,
    "name and given name": 900,
    "name that contains": 5_000,
    "code, newest first": 1_500,
    "chain to many": 4_500,
    "two conditions of a chain": 2_500,
    "chain over two": 1_500,
    "chain and code": 900,
    "has many": 4_500,
    "code and quantity": 600,
    "quantity without unit": 300,
    # of a type that has no index of positions
    "near": 10_000,
    "missing": 1_500,
    "accurate total": 600,
    "estimated total": 12_000,
    "code and quantity without unit": 600,
    "quantity of a unit's text": 300,
    "contained by id": 900,
    # where all ways in are broad they are counted, and a page is looked for in the order asked for
    "quantity with unit": 5_000,
    "quantity with unit, below": 5_000,
    "has many, and a broad condition": 12_000,
    # a few of each type
    "by time, of every type": 400,
    # all of a type: nothing is in the order of the first key, and where all share it an index would not help
    "all by a key that many share": 15_000,
}
FEW = 150


@pytest.fixture(scope="module")
def hospital(mongodb):
    address = mongod.with_database(mongodb, f"osler-test-{secrets.token_hex(6)}")
    with asyncio.Runner() as runner:
        store = MongoStore(address, Clock())
        runner.run(store.open())
        runner.run(fill(store))
        yield lambda query: runner.run(store.explain(query))
        runner.run(store.close())
    with mongod.client(address) as client:
        client.drop_database(client.get_default_database().name)


@pytest.mark.parametrize("name", SHAPES)
def test_no_plan_goes_through_a_collection(name, hospital):
    explanation = hospital(SHAPES[name].query)
    assert explanation.steps
    for step in explanation.steps:
        assert not any("COLLSCAN" in line for line in step.plan), step
    assert explanation.work <= WORK.get(name, FEW)
    assert explanation.matches > 0 or name in EMPTY


async def test_places_are_found_by_their_distance_through_an_index(mongo):
    places = [
        (59.91, 10.75),
        (59.92, 10.75),
        (59.91, 10.8),
        (60.5, 11.0),
        (-33.9, 151.2),
        (90.0, 0.0),
        (-17.7, 179.9),
    ]
    ops = [
        resource("Location", f"l{n}", positions=[("near", *place), ("other", 0.0, 0.0)])
        for n, place in enumerate(places)
    ]
    await mongo.transact(ops)
    for at in [*places, (-17.7, -179.9), (89.9, 90.0), (-59.91, -169.25)]:
        for radius in (0.0, 1_200.0, 30_000.0, 5_000_000.0, 19_900_000.0, 2.1e7):
            query = SearchQuery(("Location",), Near("near", *at, radius))
            wanted = [f"l{n}" for n, place in enumerate(places) if distance(*at, *place) <= radius]
            assert [one.id for one in (await mongo.search(query)).matches] == wanted
    explanation = await mongo.explain(SearchQuery(("Location",), Near("near", 59.91, 10.75, 100.0), count=5))
    assert all("COLLSCAN" not in line for step in explanation.steps for line in step.plan)
    assert explanation.work < 60
    assert explanation.matches == 1


async def test_what_is_told_of_a_search_has_no_value_of_it(mongo):
    await mongo.transact([patient(7)])
    explanation = await mongo.explain(SearchQuery(("Patient",), MRN))
    told = " ".join(step.text + " ".join(step.plan) for step in explanation.steps)
    assert "00000123" not in told
    assert "urn:mrn" not in told
    assert "IXSCAN entries" in told
