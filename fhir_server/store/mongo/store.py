"""The store on MongoDB: what `fhir_server.store.protocol` promises, put together.

Writes go through the writer's task; reads go to a majority-committed state that is not older than what this store has
written or seen. Any number of servers may share a database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import TypeVar

from pymongo import UpdateOne

from fhir_r4.errors import Unavailable
from fhir_server.search.paging import Cursors
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.mongo import check, feeds, history, read, reindex
from fhir_server.store.mongo.check import ClaimsOf
from fhir_server.store.mongo.claims import live_claims
from fhir_server.store.mongo.connections import Connection, Session, translated
from fhir_server.store.mongo.entries import PAIRED_TYPE
from fhir_server.store.mongo.fulltext import LateWords, asks_for_words
from fhir_server.store.mongo.inside import types_inside
from fhir_server.store.mongo.reclaim import reclaim
from fhir_server.store.mongo.schema import PAIRS, Schema
from fhir_server.store.mongo.search import Searcher
from fhir_server.store.mongo.selection import Effort
from fhir_server.store.mongo.traffic import Traffic
from fhir_server.store.mongo.writer import Writer
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
from fhir_server.store.report import Report

CHANGES = 500
# Seconds that a stretch of a new index waits for the requests in flight, at most.
GIVES_WAY = 0.2
# Whose definitions are told when all Observations were indexed anew (entries.PAIRED).
PAIRED_NAMES = {f"{PAIRED_TYPE}.{code}" for code in ("code", "value-quantity", "code-value-quantity")}

T = TypeVar("T")
Look = Callable[[Connection, Session], Awaitable[T]]


def _now() -> int:
    return time.time_ns() // 1000


class _Opened:
    """What there is while the store is open."""

    def __init__(self, connection: Connection, cursors: Cursors, searcher: Searcher, writer: Writer) -> None:
        self.connection = connection
        self.cursors = cursors
        self.searcher = searcher
        self.writer = writer
        self.traffic = Traffic()
        self._words = asyncio.create_task(LateWords(connection, self.traffic).run(), name="store-words")

    async def close(self) -> None:
        """Write what was accepted, then let go of the connections."""
        while not self._words.done():
            # again, because a cancellation that meets the end of a wait in the driver can be lost
            self._words.cancel()
            await asyncio.wait([self._words], timeout=0.1)
        await self.writer.close()
        await self.connection.close()


class MongoStore:
    """A Store on the database that `address` (mongodb://... or mongodb+srv://...) names, `osler` when it names none.

    `clock` gives microseconds since 1970 UTC. `cursor_key` signs cursors; the database keeps one when none is handed in.
    `patience`: seconds that a write is tried while others write or a primary is elected. `extract` makes the index entries
    of a resource anew; `effort`: when searches change their plan. Raises InvalidRequest for an address that cannot be used.
    """

    def __init__(
        self,
        address: str,
        clock: Callable[[], int] = _now,
        cursor_key: bytes | None = None,
        *,
        patience: float = 5.0,
        extract: Extract | None = None,
        effort: Effort = Effort(),
    ) -> None:
        self._address = address
        self._clock = clock
        self._cursor_key = cursor_key
        self._patience = patience
        self._extract = extract
        self._effort = effort
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """Make collections and indexes and start the writer. Raises Unavailable, and NewerDatabase."""
        connection = Connection(self._address)
        try:
            with translated():
                await connection.require_transactions()
                schema = Schema(connection)
                kept = await schema.open()
        except BaseException:
            await connection.close()
            raise
        cursors = Cursors(self._cursor_key or kept)
        searcher = Searcher(connection, cursors, self._extract, self._effort)
        writer = Writer(connection, schema, searcher, self._clock, self._patience)
        self._opened = _Opened(connection, cursors, searcher, writer)

    async def close(self) -> None:
        """Write what was accepted, then let go of the connections. May be called twice."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    @property
    def _open(self) -> _Opened:
        if self._opened is None:
            raise Unavailable("The store is closed.")
        return self._opened

    # writing

    async def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition] = (), rehearse: bool = False
    ) -> tuple[Stored, ...]:
        opened = self._open
        opened.traffic.wrote()
        with opened.traffic:
            if any(isinstance(p, MatchesAre) and asks_for_words(p.where) for p in preconditions):
                with translated():
                    await opened.searcher.index_words()
            return await opened.writer.transact(ops, preconditions, rehearse)

    async def copy(self, versions: Sequence[Copied]) -> None:
        """Keep the next versions of another store as they are (protocol.Recipient)."""
        opened = self._open
        opened.traffic.wrote()
        with opened.traffic:
            await opened.writer.copy(versions)

    async def ping(self) -> None:
        with translated():
            await self._open.connection.state.update_one(
                {"_id": "ping"}, {"$set": {"at": self._clock()}}, upsert=True
            )

    # reading

    async def read(self, type: str, id: str) -> Stored | None:
        return await self._look(lambda connection, session: read.read(connection, session, type, id))

    async def read_version(self, type: str, id: str, version: int) -> Stored | None:
        return await self._look(lambda c, session: read.read_version(c, session, type, id, version))

    async def read_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Stored]:
        return await self._look(lambda connection, session: read.read_many(connection, session, keys))

    async def claims(
        self,
        keys: Collection[str],
        interval: tuple[int, int],
        without: Collection[tuple[str, str]] = (),
    ) -> dict[str, list[tuple[Decimal, int, int]]]:
        now = self._clock() // 1000 * 1000
        return await self._look(
            lambda connection, session: live_claims(connection, session, keys, interval, now, without)
        )

    async def search(self, query: SearchQuery) -> Page:
        opened = self._open
        with opened.traffic, translated():
            return await opened.searcher.page(query)

    async def matching_ids(self, type: str, where: Expression, limit: int = 2) -> tuple[str, ...]:
        opened = self._open
        with opened.traffic, translated():
            return await opened.searcher.matching_ids(type, where, limit)

    async def explain(self, query: SearchQuery) -> Explanation:
        with translated():
            return await self._open.searcher.explain(query)

    async def history(self, query: HistoryQuery) -> HistoryPage:
        opened = self._open
        with opened.traffic, translated():
            async with opened.connection.snapshot() as session:
                return await history.page(opened.connection, session, query, opened.cursors)

    async def changes(self, after: int = 0, limit: int | None = None) -> AsyncIterator[Stored]:
        left = limit
        while left is None or left > 0:
            wanted = CHANGES if left is None else min(CHANGES, left)
            found = await self._look(lambda c, session, a=after, w=wanted: history.changes(c, session, a, w))  # type: ignore[misc]
            for stored in found:
                yield stored
            if len(found) < wanted:
                return
            after = found[-1].sequence
            left = None if left is None else left - len(found)

    async def watch(self, after: int = 0) -> AsyncGenerator[Stored, None]:
        connection = self._open.connection
        with translated():
            async with aclosing(feeds.watch(connection, self.changes, after)) as versions:
                async for stored in versions:
                    yield stored

    async def take_feed(self, name: str, owner: str, seconds: float) -> int | None:
        with translated():
            return await feeds.take(self._open.connection, name, owner, seconds)

    async def keep_feed(self, name: str, owner: str, cursor: int, seconds: float) -> bool:
        with translated():
            return await feeds.keep(self._open.connection, name, owner, cursor, seconds)

    async def last_sequence(self, type: str | None = None) -> int:
        return await self._look(lambda connection, session: history.last_sequence(connection, session, type))

    async def counts(self, *, contained: bool = False) -> dict[str, int]:
        async def count(connection: Connection, session: Session) -> dict[str, int]:
            found = {
                type: await connection.of_type(type).count_documents({"d": False}, session=session)
                for type in await connection.types(contained=contained)
            }
            return {type: number for type, number in found.items() if number}

        return await self._look(count)

    # the index

    async def reindex(
        self,
        extract: Extract,
        newest: NewestIs,
        types: Collection[str] = (),
        after: int = 0,
        limit: int = 100,
    ) -> Reindexed:
        opened = self._open
        await opened.traffic.calm(GIVES_WAY)
        with translated():
            found = await reindex.stretch(opened.connection, types, after, limit)
        made = await reindex.entries_of(found, extract)
        await opened.writer.prepare(types_inside(made))
        return await opened.writer.run(
            lambda session: reindex.write(opened.connection, session, newest, found, made, limit)
        )

    async def reclaim(self, wanted: Sequence[Claiming]) -> int:
        opened, now = self._open, self._clock()
        return await opened.writer.run(lambda session: reclaim(opened.connection, session, wanted, now))

    async def check(
        self,
        extractor: Extract,
        claims_of: ClaimsOf,
        progress: Callable[[int], None] | None = None,
        governed: Collection[str] = (),
    ) -> Report:
        """Hold everything in the database against each other (mongo/check.py)."""
        with translated():
            return await check.check(self._open.connection, extractor, claims_of, progress, governed)

    async def indexed_fingerprints(self) -> dict[str, str]:
        """What `set_fingerprints` was told: by parameter, a text that changes with its meaning."""
        with translated():
            found = await self._open.connection.fingerprints.find().to_list()
        return {document["_id"]: document["value"] for document in found}

    async def set_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Keep in the database by which definitions its index was made, beside what is kept already."""
        writes = [
            UpdateOne({"_id": param}, {"$set": {"value": value}}, upsert=True)
            for param, value in fingerprints.items()
        ]
        connection = self._open.connection
        if writes:
            with translated():
                await connection.fingerprints.bulk_write(writes, ordered=False)
                if not connection.paired and fingerprints.keys() >= PAIRED_NAMES:
                    await connection.state.update_one({"_id": PAIRS}, {"$set": {"n": 1}}, upsert=True)
                    connection.paired = True

    async def _look(self, look: Look[T]) -> T:
        opened = self._open
        with opened.traffic, translated():
            async with opened.connection.reading() as session:
                return await look(opened.connection, session)
