"""The store on one SQLite file: what `fhir_server.store.protocol` promises, put together.

Writes go to the writer's thread. Point reads run on the caller's thread; searches and histories try there for a bounded
number of steps and, when that is not enough, run again on a thread of a small pool, so no request holds up the others.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from secrets import token_bytes
from typing import TypeVar

from fhir_r4.errors import Unavailable
from fhir_server.search.paging import Cursors
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.feed import watch_by_asking
from fhir_server.store.protocol import Extract
from fhir_server.store.records import (
    Claiming,
    Copied,
    Explanation,
    HistoryPage,
    HistoryQuery,
    MatchesAre,
    NewestIs,
    Page,
    Precondition,
    Reindexed,
    Stored,
    WriteOp,
)
from fhir_server.store.sqlite import feeds, history, read, reindex, schema
from fhir_server.store.sqlite.claims import live_claims
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.connections import Readers, connect, snapshot, translated, unavailable
from fhir_server.store.sqlite.explain import explanation_of, measured
from fhir_server.store.sqlite.fulltext import asks_for_words, behind, catch_up
from fhir_server.store.sqlite.group import Group
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.pages import Search
from fhir_server.store.sqlite.reclaim import reclaim
from fhir_server.store.sqlite.rows import RowMaker
from fhir_server.store.sqlite.selection import matching_ids
from fhir_server.store.sqlite.write import Writer

# Steps of SQLite's machine that a search may take on the caller's thread: well under a millisecond.
QUICK_STEPS = 20_000
# Keys whose claims are looked up on the caller's thread.
FEW_KEYS = 8
CHANGES = 500
# Versions whose words are indexed in one transaction while a search waits for them.
WORDS = 500

T = TypeVar("T")
Act = Callable[[sqlite3.Connection, Names], T]


def _now() -> int:
    return time.time_ns() // 1000


class SqliteStore:
    """A Store on the file at `path`.

    `clock` gives microseconds since 1970 UTC. `cursor_key` signs cursors; the file keeps one when none is handed in.
    `busy_timeout`: seconds that a write waits for other processes. `readers`: threads for searches that take long;
    `effort`: when searches change their plan. `extract` makes the index entries of a resource anew: without it, pages of a
    search are unstable when what they are about is written meanwhile.
    """

    def __init__(
        self,
        path: str | Path,
        clock: Callable[[], int] = _now,
        cursor_key: bytes | None = None,
        *,
        busy_timeout: float = 5.0,
        readers: int = 2,
        effort: Effort = Effort(),
        extract: Extract | None = None,
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._cursor_key = cursor_key
        self._busy_timeout = busy_timeout
        self._pool_size = readers
        self._effort = effort
        self._extract = extract
        self._of_thread = threading.local()
        self._uses = 0
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._cursors = Cursors(cursor_key or b"")

    async def open(self) -> None:
        """Bring the schema up to date and start the writer. Raises Unavailable (NewerFile for a newer file's schema)."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        with translated():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = connect(self.path, busy_timeout=self._busy_timeout)
            try:
                schema.migrate(connection, self.path)
                self._cursors = Cursors(self._cursor_key or _kept_cursor_key(connection))
            finally:
                connection.close()
            self._writer = Writer(self.path, self._clock, self._busy_timeout, lambda: self._uses)
        self._readers = Readers(self.path, self._busy_timeout)
        self._pool = ThreadPoolExecutor(self._pool_size, thread_name_prefix="store-reader")
        self._of_thread = threading.local()
        self._writer.start()

    async def close(self) -> None:
        """Write what was accepted, then let go of the file. May be called twice."""
        writer, readers, pool = self._writer, self._readers, self._pool
        self._writer = self._readers = self._pool = None
        if writer is not None and readers is not None and pool is not None:
            await asyncio.to_thread(writer.close)
            await asyncio.to_thread(pool.shutdown)
            readers.close()

    # writing

    async def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition] = (), rehearse: bool = False
    ) -> tuple[Stored, ...]:
        if any(isinstance(p, MatchesAre) and asks_for_words(p.where) for p in preconditions):
            await self._index_words()
        return await self._open_writer().transact(ops, preconditions, rehearse)

    async def write_with(self, act: Act[T]) -> T:
        """Run `act` alone in a writing transaction, on the writer's thread: for upkeep (reindex, fingerprints)."""
        return await self._open_writer().run(act)

    async def copy(self, versions: Sequence[Copied]) -> None:
        """Keep the next versions of another store as they are (protocol.Recipient)."""

        def act(connection: sqlite3.Connection, names: Names) -> None:
            group = Group(connection, names, RowMaker(names), self._clock())
            group.copy(versions)
            group.flush()

        await self.write_with(act)

    async def ping(self) -> None:
        await self.write_with(_touch)

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise Unavailable("The store is closed.")
        return self._writer

    # reading

    async def read(self, type: str, id: str) -> Stored | None:
        try:
            return read.read(*self._reader(), type, id)
        except sqlite3.Error as error:
            raise unavailable(error) or error from error

    async def read_version(self, type: str, id: str, version: int) -> Stored | None:
        try:
            return read.read_version(*self._reader(), type, id, version)
        except sqlite3.Error as error:
            raise unavailable(error) or error from error

    async def read_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Stored]:
        return await self._look(lambda connection, names: read.read_many(connection, names, keys))

    async def claims(
        self,
        keys: Collection[str],
        interval: tuple[int, int],
        without: Collection[tuple[str, str]] = (),
    ) -> dict[str, list[tuple[Decimal, int, int]]]:
        now = self._clock() // 1000 * 1000
        look = self._look if len(keys) <= FEW_KEYS else self._look_aside
        return await look(
            lambda connection, names: live_claims(connection, names, keys, interval, now, without)
        )

    async def search(self, query: SearchQuery) -> Page:
        await self._ready_for(query)
        if query.cursor is None:
            return await self._look(lambda connection, names: self._search(connection, names, query))
        # What has changed since the first page is judged one by one, which no step of SQLite's tells.
        return await self._look_aside(lambda connection, names: self._search(connection, names, query))

    def _search(self, connection: sqlite3.Connection, names: Names, query: SearchQuery) -> Page:
        return Search(connection, names, query, self._cursors, self._effort, self._extract).page()

    async def matching_ids(self, type: str, where: Expression, limit: int = 2) -> tuple[str, ...]:
        if asks_for_words(where):
            await self._index_words()
        return await self._look(lambda connection, names: matching_ids(connection, names, type, where, limit))

    async def _ready_for(self, query: SearchQuery) -> None:
        if asks_for_words(query.where) or any(asks_for_words(include.where) for include in query.includes):
            await self._index_words()

    async def _index_words(self) -> None:
        """Bring the index of words so near to the present that a search can look at the rest itself."""
        late = await self._look(lambda connection, _: behind(connection))
        while late > self._effort.late:
            late = await self.write_with(lambda connection, _: catch_up(connection, WORDS))

    async def history(self, query: HistoryQuery) -> HistoryPage:
        return await self._look(
            lambda connection, names: history.page(connection, names, query, self._cursors)
        )

    async def changes(self, after: int = 0, limit: int | None = None) -> AsyncIterator[Stored]:
        left = limit
        while left is None or left > 0:
            wanted = CHANGES if left is None else min(CHANGES, left)
            found = await self._look(lambda c, names, a=after, w=wanted: history.changes(c, names, a, w))  # type: ignore[misc]
            for stored in found:
                yield stored
            if len(found) < wanted:
                return
            after = found[-1].sequence
            left = None if left is None else left - len(found)

    def watch(self, after: int = 0) -> AsyncGenerator[Stored, None]:
        return watch_by_asking(self, after)

    async def take_feed(self, name: str, owner: str, seconds: float) -> int | None:
        return await self.write_with(lambda connection, _: feeds.take(connection, name, owner, seconds))

    async def keep_feed(self, name: str, owner: str, cursor: int, seconds: float) -> bool:
        return await self.write_with(lambda c, _: feeds.keep(c, name, owner, cursor, seconds))

    async def last_sequence(self, type: str | None = None) -> int:
        with translated():
            connection, names = self._reader()
            if type is None:
                return history.last_sequence(connection)
            return history.newest_of(connection, names, type)

    async def counts(self, *, contained: bool = False) -> dict[str, int]:
        return await self._look(lambda connection, names: _counts(connection, names, contained))

    async def explain(self, query: SearchQuery) -> Explanation:
        await self._ready_for(query)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._explain, query)

    def _explain(self, query: SearchQuery) -> Explanation:
        with translated():
            names = self._reader()[1]
            with measured(self.path, self._busy_timeout) as connection:
                return explanation_of(connection, lambda: self._search(connection, names, query))

    async def reindex(
        self,
        extract: Extract,
        newest: NewestIs,
        types: Collection[str] = (),
        after: int = 0,
        limit: int = 100,
    ) -> Reindexed:
        found = await self._look(lambda c, names: reindex.stretch(c, names, types, after, limit))
        made = await asyncio.get_running_loop().run_in_executor(
            self._pool, reindex.entries_of, found, extract
        )
        return await self.write_with(lambda c, names: reindex.write(c, names, newest, found, made, limit))

    async def reclaim(self, wanted: Sequence[Claiming]) -> int:
        now = self._clock()
        return await self.write_with(lambda c, names: reclaim(c, names, wanted, now))

    async def indexed_fingerprints(self) -> dict[str, str]:
        """What `set_fingerprints` was told: by parameter, a text that changes with its meaning."""
        return await self._look(
            lambda connection, _: dict(connection.execute("SELECT param, value FROM fingerprint"))
        )

    async def set_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Keep in the file by which definitions its index was made, beside what is kept already."""

        def act(connection: sqlite3.Connection, _: Names) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO fingerprint(param, value) VALUES (?, ?)", fingerprints.items()
            )

        await self.write_with(act)

    def _reader(self) -> tuple[sqlite3.Connection, Names]:
        self._uses += 1
        found: tuple[sqlite3.Connection, Names] | None = getattr(self._of_thread, "reader", None)
        if found is None or self._readers is None:
            if self._readers is None:
                raise Unavailable("The store is closed.")
            connection = self._readers.open()
            found = self._of_thread.reader = (connection, Names(connection))
        return found

    async def _look(self, act: Act[T]) -> T:
        """Run `act` on one snapshot: here when it is quick, else on a thread of the pool."""
        try:
            return self._look_here(act, QUICK_STEPS)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        return await self._look_aside(act)

    async def _look_aside(self, act: Act[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._look_here, act, 0)

    def _look_here(self, act: Act[T], steps: int) -> T:
        with translated():
            connection, names = self._reader()
            with snapshot(connection):
                if not steps:
                    return act(connection, names)
                connection.set_progress_handler(_stop, steps)
                try:
                    return act(connection, names)
                finally:
                    connection.set_progress_handler(None, 0)


def _stop() -> int:
    return 1


def _kept_cursor_key(connection: sqlite3.Connection) -> bytes:
    connection.execute("INSERT OR IGNORE INTO meta(key, value) VALUES ('cursor_key', ?)", (token_bytes(32),))
    return bytes(connection.execute("SELECT value FROM meta WHERE key='cursor_key'").fetchone()[0])


def _touch(connection: sqlite3.Connection, _: Names) -> None:
    connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('ping', 1)")


def _counts(connection: sqlite3.Connection, names: Names, contained: bool) -> dict[str, int]:
    rows = connection.execute(
        "SELECT type, count(*) FROM resource INDEXED BY resource_live WHERE deleted=0 GROUP BY type"
    )
    return {names.text(number): count for number, count in rows.fetchall() if contained or number > 0}
