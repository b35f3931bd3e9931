"""Searches on MongoDB beside the same ones on SQLite, both asked in process, on equal databases of the size asked for."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from benchmarks import mongo_database
from benchmarks.figures import Figure
from benchmarks.inprocess import Caller
from benchmarks.options import Options
from benchmarks.search_database import EACH, Resource, database
from benchmarks.search_shapes import SHAPES, Record, Shape, by_type
from benchmarks.search_speed import PAGE, Times
from fhir_server.app import create_app
from fhir_server.settings import Settings

RESOURCES = 9_000
# A search is fast enough when it takes so many times what it takes on SQLite, or so many milliseconds.
MOST_RATIO, MOST_MS = 3, 50
# Seconds for the questions of a shape, and how many are asked at least.
PASS, LEAST = 2.0, 20


def run(options: Options) -> list[Figure]:
    """The shapes, p95 of first pages; and what writing the database took."""
    patients = max(20, (options.resources or RESOURCES) // EACH)
    shapes = [shape for shape in SHAPES if options.only in shape.name]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        file = database(patients, options.database or Path(folder))
        on_file = asyncio.run(measured(file.settings, shapes, file.sample, options))
        with mongo_database.database(patients, options.database) as made:
            settings = Settings(store=made.address, log_level="warning")
            on_mongo = asyncio.run(measured(settings, shapes, file.sample, options))
    for shape, ours, theirs in zip(shapes, on_mongo, on_file, strict=True):
        name = f"MongoDB: search at {made.resources:,}: {shape.name}"
        note = f"p50/p95 {ours} ms (cache {mongo_database.CACHE_GB:.0f} GB), with SQLite {theirs} ms"
        if ours.p95 <= MOST_MS:
            figures.append(Figure(name, ours.p95, "ms", target=MOST_MS, at_most=True, note=note))
        else:
            figures.append(Figure(name, ours.p95, "ms", theirs.p95, MOST_RATIO, True, note))
    return figures


async def measured(
    settings: Settings, shapes: Sequence[Shape], sample: Sequence[Sequence[Resource]], options: Options
) -> list[Times]:
    """How long the answers to each shape take. Every question is asked once before."""
    records = [by_type(resources) for resources in sample]
    app = create_app(settings)
    await app.open()
    try:
        caller = Caller(app)
        return [await _measured(caller, shape, records, PASS * options.scale) for shape in shapes]
    finally:
        await app.close()


async def _measured(caller: Caller, shape: Shape, records: Sequence[Record], seconds: float) -> Times:
    asked = [shape.ask(record, n)[0] for n, record in enumerate(records)]
    targets = ["/fhir/" + quote(f"{query}&_count={PAGE}", safe="/?&=:_-.,") for query in asked]
    until = time.perf_counter() + seconds
    taken: list[float] = []
    found = 0
    for target in targets:
        status, body = await caller("GET", target)
        if status != 200:
            raise RuntimeError(f"{target}: {body[:500]!r}")
        found += body.count(b'"mode":"match"')
        started = time.perf_counter()
        await caller("GET", target)
        taken.append(time.perf_counter() - started)
        if len(taken) >= LEAST and time.perf_counter() > until:
            break
    if not found:
        raise RuntimeError(f"nothing is found, so the time means nothing: {targets[0]}")
    return Times.of(taken)
