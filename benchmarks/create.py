"""create: POST /fhir/Observation (validated, indexed, safe on the disk) over 32 connections, beside a bare ASGI application
that only group-commits the body to SQLite."""

from __future__ import annotations

import itertools
import sys
import tempfile

from benchmarks import workload
from benchmarks.client import drive, wire
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.read import load_patients
from benchmarks.rounds import in_turns
from tests.scenarios.servers import Server

PATIENTS = 100
BODIES = 1000
CONNECTIONS = 32
SECONDS = 4.0
ROUNDS = 5
LEAST_RATIO = 0.35


def run(options: Options) -> list[Figure]:
    bodies = [workload.as_bytes(o) for o in workload.observations(BODIES, PATIENTS)]
    requests = [wire("POST", "/fhir/Observation", body) for body in bodies]
    with (
        tempfile.TemporaryDirectory() as folder,
        options.serving(folder) as server,
    ):
        load_patients(server.port, PATIENTS)
        with Server((sys.executable, "-m", "benchmarks.limits", "create", folder)) as limit:
            limit.wait_for("/fhir/metadata")
            seconds = SECONDS * options.scale
            ours, bare = in_turns(
                server,
                limit,
                lambda port: drive(port, itertools.cycle(requests), CONNECTIONS, seconds).require(201),
                ROUNDS,
            )
    note = f"CPU of a create {ours.cpu:.0f} µs, of the limit {bare.cpu:.0f} µs; p50 {ours.wait * 1000:.1f} ms"
    name = f"create Observation, {CONNECTIONS} connections"
    return [Figure(name, ours.rate, "requests/s", bare.rate, LEAST_RATIO, note=note)]
