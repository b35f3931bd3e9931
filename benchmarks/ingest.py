"""ingest: transaction Bundles, a patient with about 40 resources each; with `--soak` 500,000 resources, memory watched."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import workload
from benchmarks.client import Load, drive, wire
from benchmarks.figures import Figure
from benchmarks.options import Options
from tests.scenarios.servers import Server

CONNECTIONS = 4
PATIENTS = 600
WARM_UP = 20
DIFFERENT = 400
LEAST_RATE = 4000
SOAK_RESOURCES = 500_000
SAMPLE_SECONDS = 0.5
GROWTH = 1.10
MEBIBYTE = 2**20


def run(options: Options) -> list[Figure]:
    records = [workload.as_bytes(bundle) for bundle in workload.bundles(DIFFERENT)]
    each = len(next(workload.bundles(1))["entry"])
    patients = options.amount(SOAK_RESOURCES // each + 1) if options.soak else options.amount(PATIENTS)
    with tempfile.TemporaryDirectory() as folder:
        with options.serving(folder) as server:
            drive(server.port, requests(records, 0, WARM_UP), CONNECTIONS).require(200)
            before = server.cpu_seconds()
            with Memory(server) as memory:
                load = drive(server.port, requests(records, WARM_UP, patients), CONNECTIONS).require(200)
            cpu = server.cpu_seconds() - before
        stored = sum(f.stat().st_size for f in Path(folder).iterdir())
    resources = patients * each
    note = (
        f"{resources:,} resources, {each} in a Bundle, {CONNECTIONS} connections; CPU of each {cpu / resources * 1e6:.0f} µs;"
        f" {stored / resources / 1024:.1f} KiB of disk each; p95 of a Bundle {load.percentile(0.95) * 1000:.0f} ms"
    )
    figures = [
        Figure(
            "ingest by transaction Bundles",
            resources / load.seconds,
            "resources/s",
            None,
            LEAST_RATE,
            note=note,
        )
    ]
    if options.soak:
        figures.append(memory.figure(resources))
        figures.append(slowest(load, each))
    return figures


def requests(records: list[bytes], first: int, count: int) -> Iterator[bytes]:
    """`count` transactions; a record that comes again is of another patient, with a record number of his own."""
    for number in range(first, first + count):
        body = records[number % len(records)]
        if number >= len(records):
            body = body.replace(b'"%08d"' % (number % len(records)), b'"%08d"' % number)
        yield wire("POST", "/fhir", body)


def slowest(load: Load, each: int) -> Figure:
    """The rate of the last tenth: what a full store costs."""
    tenth = load.waits[-len(load.waits) // 10 :]
    rate = each * CONNECTIONS * len(tenth) / sum(tenth)
    return Figure("ingest, the last tenth of it", rate, "resources/s")


class Memory:
    """Samples the resident memory of a server while it runs."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.samples: list[int] = []

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.samples.append(self._server.resident_bytes())

    def figure(self, resources: int) -> Figure:
        """Memory in the last tenth of the time against the second tenth."""
        tenth = len(self.samples) // 10
        early, late = median(self.samples[tenth : 2 * tenth]), median(self.samples[-tenth:])
        note = f"{resources:,} resources; last tenth of the time against the second; most {max(self.samples) / MEBIBYTE:.0f} MiB"
        return Figure(
            "resident memory while loading", late / MEBIBYTE, "MiB", early / MEBIBYTE, GROWTH, True, note
        )
