"""The sharding plan on the processes of a real cluster, without a router: its commands are given as a router gives them on.

A router turns `sh.shardCollection` into `_shardsvrCreateCollection` for the primary shard, which checks keys, documents and unique
indexes, makes the chunks and has the configuration servers keep them. What a router does with reads and writes is not tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from bson.son import SON
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from fhir_r4.errors import InvalidRequest
from fhir_server.store.mongo.indexes import indexes_of
from fhir_server.store.mongo.sharding import SPREAD, VERSIONS, Spread, script, spread
from fhir_server.store.mongo.store import MongoStore
from tests import mongod
from tests.conftest import NO_MONGODB
from tests.store.making import Clock, put

DATABASE = "hospital"
MAJORITY = {"w": "majority", "wtimeout": 30_000}
TYPES = ("Observation", "Patient")


class Cluster:
    """Two shards, `one` and `two`; a database whose primary shard is `one`."""

    def __init__(self, configuration: mongod.ReplicaSet, shards: dict[str, mongod.ReplicaSet]) -> None:
        self.configuration: MongoClient[dict[str, Any]] = mongod.client(configuration.uri)
        self.shards = {name: mongod.client(shard.uri) for name, shard in shards.items()}
        self.address = mongod.with_database(shards["one"].uri, DATABASE)
        self._hosts = {name: f"{name}/{shard.members[0].address}" for name, shard in shards.items()}

    @property
    def primary(self) -> Any:
        return self.shards["one"][DATABASE]

    def join(self) -> None:
        """Make the shards and the database of shard `one` parts of the cluster."""
        for name in self.shards:
            add = SON({"_configsvrAddShard": self._hosts[name], "name": name, "writeConcern": MAJORITY})
            self.configuration.admin.command(add)
        found = self.configuration.config.databases.find_one({"_id": DATABASE})
        assert found is not None, "it came with its shard"
        self._version = found["version"]

    def shard(self, one: Spread) -> None:
        """What the plan does with a collection."""
        options = {"name": one.index_name, "unique": one.unique} if one.index_name else {}
        self.primary[one.collection].create_index(list(one.index.items()), **options)
        command = SON(
            {
                "_shardsvrCreateCollection": one.collection,
                "shardKey": SON(one.key),
                "unique": False,
                "databaseVersion": self._version,
                "writeConcern": MAJORITY,
            }
        )
        self.primary.command(command)

    def keys(self) -> dict[str, Any]:
        """The shard keys that the cluster knows, by collection."""
        found = self.configuration.config.collections.find({"_id": {"$regex": f"^{DATABASE}\\."}})
        return {one["_id"].partition(".")[2]: one["key"] for one in found}

    def chunks(self, collection: str) -> list[str]:
        """On which shard each chunk is."""
        config = self.configuration.config
        uuid = config.collections.find_one({"_id": f"{DATABASE}.{collection}"})["uuid"]
        return [chunk["shard"] for chunk in config.chunks.find({"uuid": uuid})]

    def close(self) -> None:
        for client in (self.configuration, *self.shards.values()):
            client.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if mongod.program() is None:
        if mongod.required():
            pytest.fail(NO_MONGODB)
        pytest.skip(NO_MONGODB)
    with mongod.cluster(("one", "two")) as (configuration, shards):
        made = Cluster(configuration, shards)
        yield made
        made.close()


@pytest.fixture
async def filled(cluster: Cluster) -> Cluster:
    """The cluster with a store of some versions on its first shard."""
    store = MongoStore(cluster.address, Clock())
    await store.open()
    for number in range(3):
        await store.transact([put(f"p{n}") for n in range(20)])
        await store.transact([put(f"o{number}", "Observation", tokens=[("code", "s", "c")])])
    await store.close()
    cluster.join()
    return cluster


def test_the_cluster_takes_the_plan_for_a_store_in_use(filled: Cluster) -> None:
    plan = spread(TYPES)
    for one in plan:
        filled.shard(one)
    assert filled.keys() == {one.collection: one.key for one in plan}
    names = {index["name"] for index in filled.primary[VERSIONS].list_indexes()}
    assert names == {"_id_", "of", "type"}, "the unique index of the store serves the key"
    assert filled.primary[VERSIONS].count_documents({}) == 63


def test_the_counter_and_the_claims_stay_where_they_are(filled: Cluster) -> None:
    for one in spread(TYPES):
        filled.shard(one)
    left = set(filled.primary.list_collection_names()) - set(filled.keys())
    assert {"osler.state", "osler.claims", "osler.heads"} <= left
    assert all(not one.collection.startswith("osler.") or one.collection == VERSIONS for one in spread())


def test_a_new_collection_is_on_all_shards_at_once(cluster: Cluster) -> None:
    cluster.primary["osler.state"].insert_one({"_id": "ping"})
    cluster.join()
    cluster.shard(next(one for one in spread() if one.collection == "Observation"))
    assert set(cluster.chunks("Observation")) == {"one", "two"}
    assert "Observation" in cluster.shards["two"][DATABASE].list_collection_names()


def test_an_index_that_the_plan_makes_is_the_one_of_the_store(cluster: Cluster) -> None:
    cluster.primary["osler.state"].insert_one({"_id": "ping"})
    cluster.join()
    cluster.shard(spread()[0])
    index = {one["name"]: one for one in cluster.primary[VERSIONS].list_indexes()}["of"]
    assert index["unique"]
    assert dict(index["key"]) == {"t": 1, "i": 1, "v": -1}


def test_versions_cannot_be_spread_by_their_sequence(filled: Cluster) -> None:
    with pytest.raises(OperationFailure, match="Uniqueness can't be maintained"):
        filled.shard(Spread(VERSIONS, {"_id": "hashed"}, {"_id": "hashed"}))


# the commands


def test_commands_name_the_database_of_the_address_and_no_secret() -> None:
    told = "\n".join(script("mongodb://user:secret@db1,db2/north%2Dhospital?tls=true", ["Observation"]))
    assert 'sh.enableSharding("north-hospital");' in told
    assert 'sh.shardCollection("north-hospital.osler.versions", {"t": 1, "i": 1});' in told
    assert 'sh.shardCollection("north-hospital.Observation", {"_id": "hashed"});' in told
    assert "secret" not in told
    assert 'sh.enableSharding("osler");' in "\n".join(script("mongodb://db1"))


def test_a_key_has_its_index_before_it() -> None:
    lines = list(script("mongodb://db1/hospital"))
    for type in SPREAD:
        made = lines.index(f'db.getCollection("{type}").createIndex({{"_id": "hashed"}});')
        assert lines[made + 1] == f'sh.shardCollection("hospital.{type}", {{"_id": "hashed"}});'


def test_every_command_is_one_call_with_arguments_that_are_json() -> None:
    call = re.compile(
        r"(?:sh\.\w+|db\.getCollection\((?P<name>.*?)\)\.createIndex|db = db\.getSiblingDB)\((?P<given>.*)\);"
    )
    for line in script("mongodb://db1/hospital"):
        if not line.startswith("//"):
            found = call.fullmatch(line)
            assert found is not None, line
            json.loads(f"[{found['given']}]")
            json.loads(found["name"] or "null")


def test_no_type_has_a_unique_index_that_shards_could_not_keep() -> None:
    for type in SPREAD:
        assert not any(model.document.get("unique") for model in indexes_of(type))


def test_a_store_that_is_no_database_and_an_unknown_type_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"sqlite:///a\.db"):
        list(script("sqlite:///a.db"))
    with pytest.raises(InvalidRequest, match="Patients"):
        list(script("mongodb://db1", ["Patients"]))
