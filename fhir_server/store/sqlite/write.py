"""The writer: one thread that writes waiting transactions in groups, one commit (one wait for the disk) for each group.

https://www.sqlite.org/wal.html. Nothing is acknowledged before its commit returned. Several processes may write to the
file: each takes the lock for a group, and everything a group knows was read under that lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from fhir_r4.errors import FhirError, Unavailable
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Precondition, Stored, VersionIs, WriteOp
from fhir_server.store.sqlite.connections import WRITER_CACHE_KIB, connect, translated, unavailable
from fhir_server.store.sqlite.fulltext import catch_up
from fhir_server.store.sqlite.group import Group
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import RowMaker

GROUP_OPS = 2_000
# Seconds in which nobody asked for anything, after which there is time for other work.
IDLE = 3.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction and the future that its caller waits for."""

    ops: Sequence[WriteOp]
    preconditions: Sequence[Precondition]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[tuple[Stored, ...]]
    rehearse: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A function to run alone in a transaction of the writer."""

    act: Callable[[sqlite3.Connection, Names], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


# so that the writer works on the first while the loop prepares the next
HAND_OVER = 16

Result = tuple[Stored, ...] | BaseException


class Writer:
    """Takes transactions from any thread. `clock` gives microseconds since 1970 UTC, `uses` counts what is read."""

    def __init__(
        self, path: Path, clock: Callable[[], int], busy_timeout: float, uses: Callable[[], int]
    ) -> None:
        self._clock = clock
        self._uses = uses
        self._queue: SimpleQueue[list[Waiting] | Job | None] = SimpleQueue()
        self._held: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
        self._closed = False
        self._closing = threading.Lock()
        self._words_late = True
        self.connection = connect(path, busy_timeout=busy_timeout, cache_kib=WRITER_CACHE_KIB)
        self._names = Names(self.connection)
        self._rows = RowMaker(self._names)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition], rehearse: bool = False
    ) -> asyncio.Future[tuple[Stored, ...]]:
        """Accept a transaction; its result comes by the future.

        What a turn of the event loop accepts is handed to the writer together when the turn ends: the writer is woken
        once, does not fight the loop for the interpreter's lock while requests are prepared, and commits them as one group.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Stored, ...]] = loop.create_future()
        with self._closing:
            if self._closed:
                raise Unavailable("The store is closed.")
            held = self._held.get(loop)
            if held is None:
                held = self._held[loop] = []
                loop.call_soon(self._hand_over, loop)
            held.append(Waiting(ops, preconditions, loop, future, rehearse))
            if len(held) >= HAND_OVER:
                self._queue.put(self._held.pop(loop))
        return future

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._closing:
            held = self._held.pop(loop, None)
            if held is not None:
                self._queue.put(held)

    def run(self, act: Callable[[sqlite3.Connection, Names], T]) -> asyncio.Future[T]:
        """Run `act` alone in a writing transaction that is committed when it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._closing:
            if self._closed:
                raise Unavailable("The store is closed.")
            self._queue.put(Job(act, loop, future))
        return future

    def close(self) -> None:
        """Write what was accepted, then end. Blocks."""
        with self._closing:
            if not self._closed:
                self._closed = True
                for held in self._held.values():
                    self._queue.put(held)
                self._held.clear()
                self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self.connection.close()

    def _run(self) -> None:
        item = self._next()
        while item is not None:
            if isinstance(item, Job):
                self._run_job(item)
                item = self._next()
            else:
                group, following = self._gather(item)
                self._run_group(group)
                item = following[0] if following else self._next()

    def _gather(self, first: list[Waiting]) -> tuple[list[Waiting], list[Job | None]]:
        """The transactions that wait just now, and what was taken from the queue besides: one item or none."""
        group = list(first)
        size = sum(len(waiting.ops) for waiting in group)
        while size < GROUP_OPS:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if not isinstance(item, list):
                return group, [item]
            group += item
            size += sum(len(waiting.ops) for waiting in item)
        return group, []

    def _next(self) -> list[Waiting] | Job | None:
        """What is to be written next; while nothing is asked of the store, the index of words is brought forward."""
        while self._words_late:
            uses = self._uses()
            with suppress(Empty):
                return self._queue.get(timeout=IDLE)
            while self._words_late and self._uses() == uses:
                self._words_late = self._index_words()
                with suppress(Empty):
                    return self._queue.get_nowait()
        return self._queue.get()

    def _index_words(self) -> bool:
        """Index the words of some versions; whether there are more. What fails is tried again after the next write."""
        try:
            self._begin()
            late = catch_up(self.connection)
            self._end("COMMIT")
        except (sqlite3.Error, FhirError):
            self._roll_back()
            return False
        return late > 0

    def _run_group(self, group: list[Waiting]) -> None:
        try:
            results = self._write(group)
        except Exception as error:
            told = unavailable(error) if isinstance(error, sqlite3.Error) else None
            if told is not None or len(group) == 1:
                results = [told or error] * len(group)
            else:
                # Something in one of them cannot be written at all: each alone, so that only that one fails.
                results = [self._write_alone(waiting) for waiting in group]
        _resolve(group, results)

    def _write_alone(self, waiting: Waiting) -> Result:
        try:
            return self._write([waiting])[0]
        except Exception as error:
            told = unavailable(error) if isinstance(error, sqlite3.Error) else None
            return told or error

    def _write(self, waiting: Sequence[Waiting]) -> list[Result]:
        results: list[Result] = []
        self._begin()
        try:
            group = Group(self.connection, self._names, self._rows, self._clock())
            group.look_up(key for one in waiting for key in _keys(one))
            for one in waiting:
                try:
                    results.append(group.transact(one.ops, one.preconditions, one.rehearse))
                except (Stale, ClaimRefused) as refusal:
                    results.append(refusal)
            group.flush()
            self._end("COMMIT" if group.wrote else "ROLLBACK")
            self._words_late = self._words_late or group.wrote
        except BaseException:
            self._roll_back()
            raise
        return results

    def _run_job(self, job: Job) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            with translated():
                self._begin()
                result = job.act(self.connection, self._names)
                self._end("COMMIT")
        except BaseException as error:
            self._roll_back()
            failure = error
        _call(job.loop, _settle, job.future, result if failure is None else failure)

    def _begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def _end(self, how: str) -> None:
        self.connection.execute(how)
        if how == "COMMIT":
            self._names.committed()
        else:
            self._names.rolled_back()
            self._rows.forget()

    def _roll_back(self) -> None:
        # SQLite has already rolled back after some errors (a full disk is one).
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        self._names.rolled_back()
        self._rows.forget()


def _keys(waiting: Waiting) -> set[tuple[str, str]]:
    keys = {(op.type, op.id) for op in waiting.ops if not op.fresh}
    keys.update((p.type, p.id) for p in waiting.preconditions if isinstance(p, VersionIs))
    return keys


def _resolve(group: Sequence[Waiting], results: Sequence[Result]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Result]]] = {}
    for waiting, result in zip(group, results, strict=True):
        by_loop.setdefault(waiting.loop, []).append((waiting.future, result))
    for loop, settled in by_loop.items():
        _call(loop, _settle_all, settled)


def _call(loop: asyncio.AbstractEventLoop, act: Callable[..., None], *arguments: Any) -> None:
    # A loop that was closed meanwhile has nobody left who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(act, *arguments)


def _settle_all(settled: Sequence[tuple[asyncio.Future[Any], Result]]) -> None:
    for future, result in settled:
        _settle(future, result)


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
