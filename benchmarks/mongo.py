"""mongo: the server on a mongod of its own: reads and creates beside a bare application that asks as often and as much of MongoDB,
transaction Bundles, and searches beside those of the SQLite store."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import create, ingest, mongo_search, read, workload
from benchmarks.client import drive, wire
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.rounds import in_turns
from tests import mongod
from tests.scenarios.servers import Server, serving

PATIENTS = 500
ROUNDS = 3
SECONDS = 3.0
LEAST_RATIO = 0.5
LEAST_RATE = 1_500
# what the two sides of a ratio send to MongoDB
COMMANDS = ("find", "aggregate", "insert", "update", "findAndModify", "commitTransaction")

Counts = Mapping[str, int]


def run(options: Options) -> list[Figure]:
    if mongod.program() is None:
        print("mongo: NOT MEASURED, because there is no mongod here (pip install 'osler[test]')", flush=True)
        return []
    with mongod.replica_set() as started:
        figures = [
            reads(started.uri, options),
            creates(started.uri, options),
            bundles(started.uri, options),
        ]
        return figures + mongo_search.run(options)


@contextmanager
def served(uri: str, name: str, options: Options) -> Iterator[tuple[str, Server]]:
    """`osler serve` on a database of that name, and the database's address; it is dropped at the end."""
    address = mongod.with_database(uri, name)
    variables = {"OSLER_LOG_LEVEL": options.log_level}
    try:
        with serving(address, workers=options.workers, variables=variables) as server:
            yield address, server
    finally:
        with mongod.client(uri) as client:
            client.drop_database(name)


def limit(*arguments: str) -> Server:
    return Server((sys.executable, "-m", "benchmarks.mongo_limits", *arguments))


def reads(uri: str, options: Options) -> Figure:
    """GET of random patients; the limit asks for the same version by the same index and returns its bytes."""
    paths = [f"/fhir/Patient/p{number}" for number in range(PATIENTS)]
    requests = [wire("GET", path) for path in paths]
    seconds = SECONDS * options.scale
    with served(uri, "read", options) as (address, server):
        read.load_patients(server.port, PATIENTS)
        with limit("read", address) as bare:
            bare.wait_for(paths[0])
            told = [asked(uri, one, requests, read.CONNECTIONS, 200) for one in (server, bare)]
            ours, theirs = in_turns(
                server,
                bare,
                lambda port: drive(port, read.shuffled(requests), read.CONNECTIONS, seconds).require(200),
                ROUNDS,
            )
    note = f"CPU of a read {ours.cpu:.0f} µs, of the limit {theirs.cpu:.0f} µs; {' / '.join(told)}"
    return Figure("MongoDB: read Patient by id", ours.rate, "requests/s", theirs.rate, LEAST_RATIO, note=note)


def creates(uri: str, options: Options) -> Figure:
    """POST of Observations; the limit writes documents of the same bytes into the same indexes, also in groups."""
    bodies = [workload.as_bytes(o) for o in workload.observations(create.BODIES, create.PATIENTS)]
    requests = [wire("POST", "/fhir/Observation", body) for body in bodies]
    connections, seconds = create.CONNECTIONS, SECONDS * options.scale
    with (
        tempfile.TemporaryDirectory() as folder,
        served(uri, "create", options) as (_, server),
    ):
        read.load_patients(server.port, create.PATIENTS)
        drive(server.port, requests[:connections], connections).require(201)
        keep_documents(uri, Path(folder) / "documents.bson")
        with limit("create", mongod.with_database(uri, "limit"), folder) as bare:
            bare.wait_for("/fhir/metadata")
            told = [asked(uri, one, requests, connections, 201) for one in (server, bare)]
            ours, theirs = in_turns(
                server,
                bare,
                lambda port: drive(port, itertools.cycle(requests), connections, seconds).require(201),
                ROUNDS,
            )
    note = (
        f"{connections} connections; CPU of a create {ours.cpu:.0f} µs, of the limit {theirs.cpu:.0f} µs;"
        f" p50 {ours.wait * 1000:.1f} ms; {' / '.join(told)}"
    )
    return Figure("MongoDB: create Observation", ours.rate, "requests/s", theirs.rate, LEAST_RATIO, note=note)


def keep_documents(uri: str, file: Path) -> None:
    """What the server wrote for one Observation: the version and the current state, for the limit to write again."""
    from bson import encode

    with mongod.client(uri) as client:
        state = client["create"]["Observation"].find_one({"d": False})
        assert state is not None
        version = client["create"]["osler.versions"].find_one({"_id": state["s"]})
    # words come after the write
    state = {name: value for name, value in state.items() if name not in ("w", "x")} | {"late": True}
    file.write_bytes(encode({"version": version, "state": state}))


def bundles(uri: str, options: Options) -> Figure:
    records = [workload.as_bytes(bundle) for bundle in workload.bundles(ingest.DIFFERENT)]
    each = len(json.loads(records[0])["entry"])
    patients = options.amount(ingest.PATIENTS)
    with served(uri, "ingest", options) as (_, server):
        drive(server.port, ingest.requests(records, 0, ingest.WARM_UP), ingest.CONNECTIONS).require(200)
        before = server.cpu_seconds()
        sent = ingest.requests(records, ingest.WARM_UP, patients)
        load = drive(server.port, sent, ingest.CONNECTIONS).require(200)
        cpu = (server.cpu_seconds() - before) / (patients * each)
    note = (
        f"{patients * each:,} resources, {each} in a Bundle, {ingest.CONNECTIONS} connections; CPU of each {cpu * 1e6:.0f} µs"
        f" beside MongoDB's; p95 of a Bundle {load.percentile(0.95) * 1000:.0f} ms"
    )
    rate = patients * each / load.seconds
    return Figure("MongoDB: ingest by transaction Bundles", rate, "resources/s", None, LEAST_RATE, note=note)


def asked(uri: str, server: Server, requests: list[bytes], connections: int, status: int) -> str:
    """How many commands MongoDB gets for a request."""
    before = commands(uri)
    load = drive(server.port, requests, connections).require(status)
    sent = {name: count - before[name] for name, count in commands(uri).items() if count > before[name]}
    each = ", ".join(f"{count / load.requests:.2f} {name}" for name, count in sent.items())
    return f"each asks for {each or 'nothing'}"


def commands(uri: str) -> Counts:
    with mongod.client(uri) as client:
        told: Mapping[str, Any] = client.admin.command("serverStatus")["metrics"]["commands"]
    return {name: int(told[name]["total"]) for name in COMMANDS}
