"""search at size: first pages of 20 of many different questions, on a database of the size asked for and on a small one.

The server answers in process, without sockets; beside it the same store is asked directly, and SQLite with the statement that
an expert would write by hand. Every question is asked once before it is measured.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from benchmarks.figures import Figure
from benchmarks.inprocess import Caller
from benchmarks.options import Options
from benchmarks.search_database import Database, database, default_folder, opened
from benchmarks.search_shapes import SHAPES, Record, Shape, by_type
from fhir_server.search.tree import SearchQuery
from fhir_server.store.sqlite.store import SqliteStore

SMALL = 1_000
OF_A_PATIENT = 40
GROWTH = 1.5
PAGE = 20
EXPLAINED = 10
# Seconds of one pass over the questions of a shape; slow ones are asked less often.
PASS = 4.0


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds at the middle and at the 95th part."""

    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        ordered = sorted(seconds)
        return cls(
            ordered[len(ordered) // 2] * 1e3, ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] * 1e3
        )

    def __str__(self) -> str:
        return f"{self.p50:.2f}/{self.p95:.2f}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A shape on a database: the whole server, the store alone, SQL by hand; steps of SQLite's machine for one search."""

    server: Times
    store: Times
    bare: Times
    steps: int
    found: float
    asked: int


def run(options: Options) -> list[Figure]:
    folder = options.database or default_folder()
    figures: list[Figure] = []
    large = database(max(SMALL, options.resources // OF_A_PATIENT), folder)
    small = database(SMALL, folder)
    figures += sizes(large)
    on_small, on_large = measured(small, options), measured(large, options)
    for shape in (shape for shape in SHAPES if shape.name in on_large):
        figures += told(shape, on_small[shape.name], on_large[shape.name], small, large)
    return figures


def sizes(made: Database) -> list[Figure]:
    connection = sqlite3.connect(made.path)
    rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    connection.close()
    index = sum(size for name, size in rows if name.startswith("ix_"))
    whole = sum(size for _, size in rows)
    note = f"{made.resources:,} resources of {made.patients:,} patients; the file has {whole / 1e6:,.0f} MB"
    return [
        Figure("search: index size", index / made.resources, "bytes/resource", note=note),
        Figure(
            "search: writing the database",
            made.resources / made.seconds,
            "resources/s",
            note="one process that also makes the resources",
        ),
    ]


def told(
    shape: Shape, small: Measured, large: Measured, on_small: Database, on_large: Database
) -> list[Figure]:
    name = f"search at {on_large.resources:,}: {shape.name}"
    note = (
        f"p50/p95 of the server {large.server} ms, store {large.store}, SQL by hand {large.bare}: store to hand"
        f" {large.store.p50 / large.bare.p50:.1f}; {large.steps:,} steps of SQLite; {large.found:.0f} found;"
        f" {large.asked} questions; at {on_small.patients:,} patients {small.server}"
    )
    figures = [Figure(name, large.server.p95, "ms", target=shape.target, at_most=True, note=note)]
    if shape.selective:
        growth = Figure(
            f"search growth: {shape.name}",
            large.server.p50,
            "ms",
            small.server.p50,
            GROWTH,
            True,
            f"p50 at {on_large.patients:,} patients against {on_small.patients:,}",
        )
        figures.append(growth)
    return figures


def measured(made: Database, options: Options) -> dict[str, Measured]:
    """Every shape, by name."""
    records = [by_type(resources) for resources in made.sample]
    with opened(made) as (app, runner):
        caller, store = Caller(app), app.services.store
        assert isinstance(store, SqliteStore)
        connection = sqlite3.connect(made.path)
        found = {}
        for shape in SHAPES:
            if options.only and options.only not in shape.name:
                continue
            found[shape.name] = runner.run(measure(shape, records, caller, store, connection, options))
        connection.close()
    return found


async def measure(
    shape: Shape,
    records: Sequence[Record],
    caller: Caller,
    store: SqliteStore,
    connection: sqlite3.Connection,
    options: Options,
) -> Measured:
    asked = [shape.ask(record, n) for n, record in enumerate(records)]
    targets = ["/fhir/" + quote(f"{query}&_count={PAGE}", safe="/?&=:_-.,") for query, _ in asked]
    queries: list[SearchQuery] = []
    search = store.search

    async def recording(query: SearchQuery) -> Any:
        queries.append(query)
        return await search(query)

    seconds = PASS * options.scale
    store.search = recording  # type: ignore[method-assign]
    began = time.perf_counter()
    matches = 0
    for target in targets:
        status, body = await caller("GET", target)
        if status != 200:
            raise RuntimeError(f"{target}: {body[:500]!r}")
        matches += body.count(b'"mode":"match"')
        if time.perf_counter() - began > seconds:
            break
    store.search = search  # type: ignore[method-assign]
    targets = targets[: len(queries)]
    if not matches:
        raise RuntimeError(f"nothing is found, so the time means nothing: {targets[0]}")
    server = []
    for target in targets:
        started = time.perf_counter()
        await caller("GET", target)
        server.append(time.perf_counter() - started)
    alone = []
    for query in queries:
        started = time.perf_counter()
        await store.search(query)
        alone.append(time.perf_counter() - started)
    sql = by_hand(shape.sql, connection)
    bare = timed(
        [values for _, values in asked[: len(targets)]],
        lambda values: connection.execute(sql, values).fetchall(),
    )
    explained = [(await store.explain(query)).work for query in queries[:EXPLAINED]]
    return Measured(
        Times.of(server),
        Times.of(alone),
        Times.of(bare),
        sum(explained) // len(explained),
        matches / len(targets),
        len(targets),
    )


def timed(arguments: Sequence[Any], act: Callable[[Any], Any]) -> list[float]:
    """How long each call took the second time."""
    taken = []
    for argument in arguments:
        act(argument)
        started = time.perf_counter()
        act(argument)
        taken.append(time.perf_counter() - started)
    return taken


def by_hand(sql: str, connection: sqlite3.Connection) -> str:
    """The statement with the numbers of its names; a total of a second statement is fetched with every row."""

    def number(match: re.Match[str]) -> str:
        kind, text = match[1], match[2]
        if kind == "n":
            return str(connection.execute("SELECT nid FROM name WHERE text=?", (text,)).fetchone()[0])
        type, _, code = text.partition(".")
        rows = connection.execute(
            "SELECT o.pid FROM param_of o JOIN name n ON n.nid=o.type WHERE n.text=? AND o.code=? AND (o.kinds='')=?",
            (type, code, kind == "p"),
        )
        return ",".join(str(pid) for (pid,) in rows)

    return re.sub(r"\{([npc]):([^}]+)\}", number, sql)
