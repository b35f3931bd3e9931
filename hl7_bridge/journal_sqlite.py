"""The journal of a bridge that stands alone, or that must answer while the record store is down: a SQLite file of its own.

https://www.sqlite.org/wal.html. One thread writes, and commits what waits together (`synchronous=FULL`). An invariant to keep: what is acknowledged is on the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from hl7_bridge.delivery import Unreachable
from hl7_bridge.journal import (
    MICROSECONDS_OF_DAY,
    STATES,
    JournalEntry,
    Received,
    State,
    Status,
    binary_of,
    discarded,
    first_status,
    receipt_id,
    replayed,
)
from hl7_bridge.mapping.draft import Entry
from hl7_bridge.mapping.records import Receipt

T = TypeVar("T")
Act = Callable[[sqlite3.Connection], T]

# so often is the server asked whether somebody has resolved a Task
ASK_SECONDS = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, connection TEXT NOT NULL, received INTEGER NOT NULL,
  raw BLOB, state TEXT NOT NULL, partition TEXT NOT NULL, decisions TEXT NOT NULL, attempt INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entry_waiting ON entry(number) WHERE state = 'received';
CREATE INDEX IF NOT EXISTS entry_counts ON entry(connection, state);
CREATE TABLE IF NOT EXISTS waits(task TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(task, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waits_number ON waits(number);
CREATE TABLE IF NOT EXISTS lease(name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL);
"""
_COLUMNS = "number,id,connection,received,raw,state,partition,decisions,attempt"
DONE: tuple[State, ...] = ("mapped", "administrative", "discarded")


class SqliteJournal:
    """A `Journal`. Bytes that come again after `resend_days` are a new message; 0: they never are."""

    apart = True

    def __init__(self, file: Path, resend_days: int = 30) -> None:
        self._file = file
        self._window = resend_days * MICROSECONDS_OF_DAY
        self._waiting: list[tuple[Act[Any], asyncio.Future[Any], asyncio.AbstractEventLoop]] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "hl7-journal")
        self._connection: sqlite3.Connection | None = None
        self._changes = itertools.count(1)
        self._changed = 0

    async def open(self) -> None:
        """Raises Unreachable when the file cannot be used."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except sqlite3.Error as error:
            raise Unreachable(f"{self._file}: {error}") from error

    def _open(self) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
        self._connection = connection

    async def close(self) -> None:
        def end() -> None:
            if self._connection is not None:
                self._connection.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, end)
        self._thread.shutdown()

    # the journal

    async def receive(self, connection: str, raw: bytes, now: int, *, broken: str = "") -> Received:
        status = first_status(broken)

        def act(file: sqlite3.Connection) -> Received:
            for number in itertools.count(1):
                id = receipt_id(connection, raw, number, complete=not broken)
                row = file.execute("SELECT received FROM entry WHERE id=?", (id,)).fetchone()
                if row is None:
                    values = (id, connection, now, raw, status.state, "", "\n".join(status.decisions), 0)
                    file.execute(
                        "INSERT INTO entry(id,connection,received,raw,state,partition,decisions,attempt)"
                        " VALUES(?,?,?,?,?,?,?,?)",
                        values,
                    )
                    return Received(Receipt(id, connection, now, raw), duplicate=False)
                if not self._window or row[0] + self._window > now:
                    return Received(Receipt(id, connection, row[0], raw), duplicate=True)
            raise AssertionError

        return await self._do(act)

    async def waiting(self, limit: int, known: Container[str] = ()) -> Sequence[JournalEntry]:
        found = await self._select("state='received' ORDER BY number LIMIT ?", limit)
        return [entry for entry in found if entry.id not in known]

    async def read(self, id: str) -> JournalEntry | None:
        found = await self._select("id=?", id)
        return found[0] if found else None

    def change(self, entry: JournalEntry, status: Status) -> tuple[Entry, ...]:
        """The server gets the message too, so that Provenance leads to it, and what was delivered can be seen there."""
        address = f"Binary/{entry.id}"
        return (Entry("PUT", address, address, binary_of(entry.receipt, status)),)

    async def settle(self, entry: JournalEntry, status: Status) -> None:
        def act(file: sqlite3.Connection) -> None:
            self._set(file, entry.id, status)

        await self._do(act)

    async def waiting_for(self, task: str) -> Sequence[str]:
        def act(file: sqlite3.Connection) -> list[str]:
            rows = file.execute(
                "SELECT id FROM waits JOIN entry USING(number) WHERE task=? AND state<>'received' ORDER BY number",
                (task,),
            )
            return [row[0] for row in rows]

        return await self._do(act)

    async def stuck(self) -> Sequence[JournalEntry]:
        return await self._select("number IN (SELECT number FROM waits) ORDER BY number")

    async def replay(self, ids: Collection[str], task: str = "", decision: str = "") -> int:
        return await self._change(ids, lambda s: replayed(s, decision), task)

    async def discard(self, ids: Collection[str], task: str) -> int:
        return await self._change(ids, lambda s: discarded(s, task), task)

    async def forget(self, before: int) -> int:
        def act(file: sqlite3.Connection) -> int:
            marks = ",".join("?" * len(DONE))
            gone = file.execute(
                f"UPDATE entry SET raw=NULL WHERE raw IS NOT NULL AND received<? AND state IN ({marks})"
                " AND number NOT IN (SELECT number FROM waits)",
                (before, *DONE),
            )
            return gone.rowcount

        return await self._do(act)

    async def counts(self) -> Mapping[tuple[str, State], int]:
        def act(file: sqlite3.Connection) -> dict[tuple[str, State], int]:
            rows = file.execute("SELECT connection,state,count(*) FROM entry GROUP BY 1,2")
            return {(row[0], row[1]): row[2] for row in rows}

        return await self._do(act, quiet=True)

    async def last(self, connection: str) -> int | None:
        def act(file: sqlite3.Connection) -> int | None:
            row = file.execute("SELECT max(received) FROM entry WHERE connection=?", (connection,)).fetchone()
            return None if row is None else row[0]

        return await self._do(act, quiet=True)

    async def news(self) -> int:
        return self._changed + int(time.monotonic() / ASK_SECONDS)

    async def own(self, owner: str, seconds: float) -> bool:
        def act(file: sqlite3.Connection) -> bool:
            now = time.time()
            row = file.execute("SELECT owner,until FROM lease WHERE name='hl7'").fetchone()
            if row is not None and row[0] != owner and row[1] > now:
                return False
            file.execute("INSERT OR REPLACE INTO lease VALUES('hl7',?,?)", (owner, now + seconds))
            return True

        return await self._do(act, quiet=True)

    # the file

    async def _select(self, where: str, *values: Any) -> list[JournalEntry]:
        def act(file: sqlite3.Connection) -> list[JournalEntry]:
            rows = file.execute(f"SELECT {_COLUMNS} FROM entry WHERE {where}", values).fetchall()
            return [_entry(file, row) for row in rows]

        return await self._do(act, quiet=True)

    async def _change(self, ids: Collection[str], change: Callable[[Status], Status], task: str) -> int:
        def act(file: sqlite3.Connection) -> int:
            done = 0
            for id in ids:
                row = file.execute(
                    f"SELECT {_COLUMNS} FROM entry WHERE id=? AND state<>'received'",
                    (id,),
                ).fetchone()
                if row is None or row[4] is None:
                    continue
                status = _entry(file, row).status
                if not task or task in status.waits_for:
                    self._set(file, id, change(status))
                    done += 1
            return done

        return await self._do(act)

    def _set(self, file: sqlite3.Connection, id: str, status: Status) -> None:
        (number,) = file.execute("SELECT number FROM entry WHERE id=?", (id,)).fetchone()
        file.execute(
            "UPDATE entry SET state=?, partition=?, decisions=?, attempt=? WHERE number=?",
            (status.state, status.partition, "\n".join(status.decisions), status.attempt, number),
        )
        file.execute("DELETE FROM waits WHERE number=?", (number,))
        file.executemany("INSERT INTO waits VALUES(?,?)", [(task, number) for task in status.waits_for])

    async def _do(self, act: Act[T], *, quiet: bool = False) -> T:
        """Carry out an act, together with all that wait, in one commit. Raises Unreachable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append((act, future, loop))
            first = len(self._waiting) == 1
        if first:
            self._thread.submit(self._commit)
        found = await future
        if not quiet:
            self._changed = next(self._changes)
        return found

    def _commit(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        results: list[tuple[asyncio.Future[Any], asyncio.AbstractEventLoop, Any, BaseException | None]] = []
        try:
            assert self._connection is not None, "the journal is not open"
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for act, future, loop in waiting:
                    results.append((future, loop, act(self._connection), None))
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        except Exception as error:
            told: BaseException = Unreachable(str(error)) if isinstance(error, sqlite3.Error) else error
            results = [(future, loop, None, told) for _, future, loop in waiting]
        for future, loop, found, failed in results:
            loop.call_soon_threadsafe(_give, future, found, failed)


def _give(future: asyncio.Future[Any], found: Any, failed: BaseException | None) -> None:
    if future.done():
        return
    if failed is None:
        future.set_result(found)
    else:
        future.set_exception(failed)


def _entry(file: sqlite3.Connection, row: Sequence[Any]) -> JournalEntry:
    number, id, connection, received, raw, state, partition, decisions, attempt = row
    tasks = tuple(t for (t,) in file.execute("SELECT task FROM waits WHERE number=?", (number,)))
    known: State = next(s for s in STATES if s == state)
    status = Status(known, partition, tasks, tuple(filter(None, decisions.split("\n"))), attempt)
    return JournalEntry(Receipt(id, connection, received, raw or b""), status)
