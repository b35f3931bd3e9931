"""read: GET /fhir/Patient/{id}, random ids of 1,000 patients, beside a bare ASGI application that returns the same bytes."""

from __future__ import annotations

import itertools
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import workload
from benchmarks.client import drive, wire
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.rounds import in_turns
from tests.scenarios.servers import Server

PATIENTS = 1000
CONNECTIONS = 16
SECONDS = 3.0
ROUNDS = 5
LEAST_RATIO = 0.40


def run(options: Options) -> list[Figure]:
    paths = [f"/fhir/Patient/p{number}" for number in range(PATIENTS)]
    requests = [wire("GET", path) for path in paths]
    with (
        tempfile.TemporaryDirectory() as folder,
        options.serving(folder) as server,
    ):
        load_patients(server.port, PATIENTS)
        (Path(folder) / "bodies.json").write_text(json.dumps(bodies_of(server.port, paths)))
        with Server((sys.executable, "-m", "benchmarks.limits", "read", folder)) as limit:
            limit.wait_for(paths[0])
            seconds = SECONDS * options.scale
            ours, bare = in_turns(
                server,
                limit,
                lambda port: drive(port, shuffled(requests), CONNECTIONS, seconds).require(200),
                ROUNDS,
            )
    note = f"CPU of a read {ours.cpu:.0f} µs, of the limit {bare.cpu:.0f} µs; p50 {ours.wait * 1000:.2f} ms"
    return [Figure("read Patient by id", ours.rate, "requests/s", bare.rate, LEAST_RATIO, note=note)]


def load_patients(port: int, count: int) -> None:
    """Put Patient/p0 to Patient/p<count - 1> on the server."""
    requests = [
        wire("PUT", f"/fhir/Patient/p{number}", workload.as_bytes(workload.with_id(patient, f"p{number}")))
        for number, patient in enumerate(workload.patients(count))
    ]
    drive(port, requests, 32).require(201)


def bodies_of(port: int, paths: list[str]) -> dict[str, str]:
    """What the server answers to each of `paths`, and an empty object for /fhir/metadata."""
    found: list[str] = []
    drive(
        port, [wire("GET", path) for path in paths], 1, answered=lambda _, body: found.append(body.decode())
    )
    return {**dict(zip(paths, found, strict=True)), "/fhir/metadata": "{}"}


def shuffled(requests: list[bytes]) -> Iterator[bytes]:
    """The requests in random order, again and again; the order is the same in every round."""
    order = random.Random(1).sample(requests, len(requests))
    return itertools.cycle(order)
