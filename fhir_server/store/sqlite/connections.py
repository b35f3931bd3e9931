"""Connections to the SQLite file: how they are opened and closed, and what their errors mean.

https://www.sqlite.org/pragma.html. The file is in WAL mode with `synchronous=FULL`: a commit that returned is on disk.
An invariant to keep: every error that says "the file cannot be used just now" becomes `Unavailable`, nothing else does.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fhir_r4.errors import Unavailable
from fhir_server.search.match import distance

PAGE_SIZE = 4096
WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 8_192
# A checkpoint writes each changed page once, however often the log has it: a longer log saves writes.
CHECKPOINT_PAGES = 8_000

_MEANING = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reported an error",
    sqlite3.SQLITE_BUSY: "another process holds the lock for writing",
    sqlite3.SQLITE_LOCKED: "another connection holds the lock for writing",
    sqlite3.SQLITE_READONLY: "the file may only be read",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "the file may not be opened",
    sqlite3.SQLITE_NOMEM: "memory is exhausted",
    sqlite3.SQLITE_PROTOCOL: "too many processes want the lock",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is no database",
}


def unavailable(error: sqlite3.Error) -> Unavailable | None:
    """The error to tell when `error` says that the file cannot be used; None when it says something else."""
    code = getattr(error, "sqlite_errorcode", None)
    meaning = None if code is None else _MEANING.get(code & 0xFF)
    return None if meaning is None else Unavailable(f"The store cannot be used just now: {meaning}.")


@contextmanager
def translated() -> Iterator[None]:
    """Raise Unavailable for SQLite's errors that mean it."""
    try:
        yield
    except sqlite3.Error as error:
        told = unavailable(error)
        if told is None:
            raise
        raise told from error


def connect(path: Path, *, busy_timeout: float, cache_kib: int = READER_CACHE_KIB) -> sqlite3.Connection:
    """A connection in autocommit mode that any thread may use. It waits `busy_timeout` seconds for a lock."""
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=1024
    )
    try:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
        _enter_wal(connection, busy_timeout)
        connection.executescript(
            f"""
            PRAGMA synchronous=FULL;
            PRAGMA foreign_keys=OFF;
            PRAGMA temp_store=MEMORY;
            PRAGMA secure_delete=OFF;
            PRAGMA cache_size=-{cache_kib};
            PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};
            """
        )
        add_functions(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def add_functions(connection: sqlite3.Connection) -> None:
    """The functions that the statements of searches call."""
    connection.create_function("distance", 4, distance, deterministic=True)


def _enter_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """SQLite does not wait for a lock when the mode changes, so two processes that open a new file try until one did."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Readers:
    """The connections for reading, so that they can all be closed."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def open(self) -> sqlite3.Connection:
        """A new connection. Raises Unavailable once all were closed."""
        with self._lock, translated():
            if self._closed:
                raise Unavailable("The store is closed.")
            connection = connect(self._path, busy_timeout=self._busy_timeout)
            self._all.append(connection)
        connection.execute("PRAGMA query_only=ON")
        return connection

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._all:
                self._all.pop().close()


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One state of the file for all that is read inside."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
