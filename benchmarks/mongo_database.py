"""The databases of MongoDB that searches are measured on: written straight into the collections, by several processes.

What is written is what the store writes, document by document; only its transactions, which give nothing to a search, are
left out, and indexes are made at the end. In a folder that is kept the data of mongod lie beside a file that says that they
are complete.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.write_concern import WriteConcern

from benchmarks.search_database import EACH, resources_of
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import format_instant
from fhir_server.app import compose
from fhir_server.interactions.writing import prepare
from fhir_server.search.fulltext import full_texts
from fhir_server.settings import Settings
from fhir_server.store.mongo.connections import Connection, Document
from fhir_server.store.mongo.documents import state_document, version_document
from fhir_server.store.mongo.fulltext import FORMAT, words_of
from fhir_server.store.mongo.schema import SEQUENCE, Schema
from fhir_server.store.records import Stored
from tests import mongod

NAME = "search"
# as mongod takes it by default on a machine with 9 GB
CACHE_GB = 4.0
PATIENTS_TOGETHER = 25
_BY_ONE = WriteConcern(1)
# when everything was written, in microseconds since 1970 UTC
_WRITTEN = 1_767_225_600_000_000


@dataclass(frozen=True, slots=True)
class Made:
    """The address of a database and what is in it; `seconds` it took to make, 0 when it was there."""

    address: str
    resources: int
    seconds: float


@contextmanager
def database(patients: int, folder: Path | None) -> Iterator[Made]:
    """The database of that many patients on a mongod of its own; in `folder` it is kept."""
    with tempfile.TemporaryDirectory() as temporary:
        path = (folder or Path(temporary)) / f"mongod-{patients}"
        complete = path / "complete"
        if not complete.exists():
            shutil.rmtree(path, ignore_errors=True)
        member = mongod.Member(path, cache=CACHE_GB)
        started = mongod.ReplicaSet([member])
        try:
            if complete.exists():
                started.start_again()
                seconds = 0.0
            else:
                started.start()
                seconds = make(mongod.with_database(started.uri, NAME), patients)
            yield Made(mongod.with_database(started.uri, NAME), patients * EACH, seconds)
            if folder is not None:
                complete.touch()
        finally:
            if member.process is not None:
                member.signal(signal.SIGTERM)
                member.process.wait()


def make(address: str, patients: int) -> float:
    """Write the records of the patients; the seconds it took."""
    began = time.perf_counter()
    processes = os.cpu_count() or 1
    size = PATIENTS_TOGETHER * 40
    stretches = [(first, min(first + size, patients)) for first in range(0, patients, size)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for done in pool.map(_write, [address] * len(stretches), stretches):
            print(f"  {done} of {patients} patients, {time.perf_counter() - began:.0f} s", flush=True)
    asyncio.run(_finish(address, patients))
    return time.perf_counter() - began


def _write(address: str, stretch: tuple[int, int]) -> int:
    """Write the records of the patients with these numbers."""
    services = compose(Settings(store="memory:", log_level="warning"))
    with mongod.client(address) as client:
        target = client.get_default_database().with_options(write_concern=_BY_ONE)
        for first in range(*stretch, PATIENTS_TOGETHER):
            documents: dict[str, list[Document]] = {"osler.versions": []}
            for number in range(first, min(first + PATIENTS_TOGETHER, stretch[1])):
                for position, resource in enumerate(resources_of(number), 1):
                    version, state = _documents(services, resource, number * EACH + position)
                    documents["osler.versions"].append(version)
                    documents.setdefault(resource["resourceType"], []).append(state)
            for name, several in documents.items():
                target[name].insert_many(several, ordered=False)
    return stretch[1]


def _documents(services: Any, resource: Document, sequence: int) -> tuple[Document, Document]:
    op = prepare(services, "POST", resource, resource["id"], validated=True)
    assert op.body is not None
    assert not op.claims, "what is loaded claims nothing"
    stamp = f'"versionId":"1","lastUpdated":"{format_instant(_WRITTEN)}"'.encode()
    body = op.body.before + stamp + op.body.after
    stored = Stored(op.type, op.id, 1, sequence, _WRITTEN, "POST", body, created=True)
    state = state_document(stored, op.entries, sequence, 0, native=True)
    del state["late"]
    state |= words_of(full_texts(decode_object(body)))
    return version_document(stored), state


async def _finish(address: str, patients: int) -> None:
    """Make the indexes, and what the store keeps about the whole."""
    services = compose(Settings(store=address, log_level="warning"))
    connection = Connection(address)
    try:
        types = {}
        for position, resource in enumerate(resources_of(patients - 1), 1):
            types[resource["resourceType"]] = (patients - 1) * EACH + position
        newest = {"n": patients * EACH, "u": _WRITTEN, "types": types}
        await connection.state.insert_one({"_id": SEQUENCE, **newest})
        await connection.state.insert_one({"_id": "words", "format": FORMAT})
        await Schema(connection).open()
        await services.store.open()
        await services.store.set_fingerprints(services.registry.current.fingerprints())
        await services.store.close()
    finally:
        await connection.close()
