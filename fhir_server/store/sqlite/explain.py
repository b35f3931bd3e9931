"""How a search was answered: its statements as SQLite carried them out, measured on a connection of their own.

https://www.sqlite.org/eqp.html. Values never appear: statements are told with their marks. An invariant to keep: what is
told is what ran, not what might run.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fhir_server.store.records import Explanation, Page, Step
from fhir_server.store.sqlite.connections import READER_CACHE_KIB, add_functions

UNIT = "steps of the SQLite machine"


class _Rows:
    """The rows of a statement, all fetched when it ran."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = iter(rows)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class Measured(sqlite3.Connection):
    """A connection that keeps a record of its statements; each is run to its end when it is executed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._work = 0
        self.steps: list[Step] = []
        self.set_progress_handler(self._count, 1)

    def _count(self) -> int:
        self._work += 1
        return 0

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        before, started = self._work, time.perf_counter_ns()
        rows = super().execute(sql, parameters).fetchall()
        microseconds = (time.perf_counter_ns() - started) // 1000
        work = self._work - before
        if sql.lstrip().upper().startswith(("SELECT", "WITH")):
            plan = super().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            self.steps.append(Step(" ".join(sql.split()), _told(plan), len(rows), work, microseconds))
        return _Rows(rows)


def _told(plan: Sequence[tuple[int, int, int, str]]) -> tuple[str, ...]:
    """The rows of a plan, each set in by its depth."""
    depths: dict[int, int] = {0: -1}
    told = []
    for id, parent, _, detail in plan:
        depths[id] = depths.get(parent, -1) + 1
        told.append("  " * depths[id] + detail)
    return tuple(told)


@contextmanager
def measured(path: Path, busy_timeout: float) -> Iterator[Measured]:
    """A connection for reading that measures, closed at the end."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        factory=Measured,
    )
    try:
        connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        add_functions(connection)
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def explanation_of(connection: Measured, search: Callable[[], Page]) -> Explanation:
    """What `search` did on the connection."""
    started = time.perf_counter_ns()
    page = search()
    return Explanation(
        steps=tuple(connection.steps),
        work=sum(step.work for step in connection.steps),
        unit=UNIT,
        microseconds=(time.perf_counter_ns() - started) // 1000,
        matches=len(page.matches),
        total=page.total,
    )
