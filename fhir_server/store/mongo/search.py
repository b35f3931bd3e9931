"""Answering searches: the rows of a page, the bodies of their versions, and the cursors of the pages beside it.

A cursor carries the instant that the first page saw, the newest sequence of then, a direction and a row: sort values and the
sequence of its creation. MongoDB shows the past for some minutes (minSnapshotHistoryWindowInSeconds, 5 by default); after that
pages are those of the present, and say so. An invariant to keep: all pages of a search are cut from the same matches in the
same order, so none is repeated and none left out; only what was deleted since is not shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cmp_to_key
from typing import Any, TypeVar

from bson.timestamp import Timestamp
from msgspec.structs import replace
from pymongo.errors import OperationFailure

from fhir_server.search.contained import is_contained
from fhir_server.search.order import position_order
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.mongo.connections import Connection, Session
from fhir_server.store.mongo.explain import Record, explanation_of
from fhir_server.store.mongo.fulltext import (
    Words,
    asks_for_words,
    catch_up,
    query_asks_for_words,
)
from fhir_server.store.mongo.includes import Includes
from fhir_server.store.mongo.links import Links
from fhir_server.store.mongo.selection import Effort, Selection
from fhir_server.store.mongo.snapshots import Moment, Snapshot, is_gone
from fhir_server.store.mongo.sorting import Place, Row
from fhir_server.store.mongo.totals import estimated
from fhir_server.store.protocol import Extract
from fhir_server.store.records import Explanation, Page, Stored

# Seconds that a search is tried again while collections are being made.
_PATIENCE = 5.0

T = TypeVar("T")


class Searcher:
    """Answers searches on an open connection. `effort`: when searches change their plan."""

    def __init__(
        self,
        connection: Connection,
        cursors: Cursors,
        extract: Extract | None = None,
        effort: Effort = Effort(),
    ) -> None:
        self._connection = connection
        self._cursors = cursors
        self._effort = effort

    async def page(self, query: SearchQuery) -> Page:
        """Raises InvalidParameter for a cursor of another search."""
        return await self._page(query, None)

    async def matching_ids(
        self, type: str, where: Expression, limit: int, session: Session | None = None
    ) -> tuple[str, ...]:
        """The ids of the first matches in order of creation; inside the transaction of `session` when it is given."""

        async def act() -> tuple[str, ...]:
            links = Links(Snapshot(self._connection, session=session), Words(), self._effort)
            selection = await links.selection(type, where)
            return tuple(row.id for row in await selection.rows((), None, limit))

        if session is not None:
            return await act()
        if asks_for_words(where):
            await self.index_words()
        return await _again(act)

    async def explain(self, query: SearchQuery) -> Explanation:
        """Answer the search and tell how."""
        record = Record()
        began = time.perf_counter_ns()
        page = await self._page(query, record)
        microseconds = (time.perf_counter_ns() - began) // 1000
        return await explanation_of(self._connection, record, page, microseconds)

    async def index_words(self) -> None:
        """Bring the words so near to the present that a search can look at the rest itself."""
        for type in await self._connection.types():
            while (
                await self._connection.of_type(type).count_documents(
                    {"late": True}, limit=self._effort.late + 1
                )
                > self._effort.late
            ):
                await catch_up(self._connection, type)

    async def _page(self, query: SearchQuery, record: Record | None) -> Page:
        if query_asks_for_words(query) and query.cursor is None:
            await self.index_words()
        if query.cursor is None:
            return await _again(lambda: self._look(query, None, None, record))
        seconds, counter, sequence, backwards, *values, created = self._cursors.read(
            search_scope(query), query.cursor
        )
        place = Place(tuple(values), created, bool(backwards))
        try:
            return await self._look(query, Moment(Timestamp(seconds, counter), sequence), place, record)
        except OperationFailure as error:
            if not is_gone(error):
                raise
        return await _again(lambda: self._look(query, None, place, record))

    async def _look(
        self, query: SearchQuery, moment: Moment | None, place: Place | None, record: Record | None
    ) -> Page:
        snapshot = Snapshot(self._connection, moment, record=record)
        search = _Search(snapshot, query, place, self._cursors, self._effort)
        return await search.page(unstable=place is not None and moment is None)


async def _again(act: Callable[[], Awaitable[T]]) -> T:
    """What `act` gives; it is done again while a collection is so new that a snapshot cannot show it."""
    began = time.monotonic()
    while True:
        try:
            return await act()
        except OperationFailure as error:
            if not is_gone(error) or time.monotonic() - began > _PATIENCE:
                raise
        await asyncio.sleep(0.01)


class _Search:
    """One query on one snapshot."""

    def __init__(
        self, snapshot: Snapshot, query: SearchQuery, place: Place | None, cursors: Cursors, effort: Effort
    ) -> None:
        self._snapshot = snapshot
        self._query = query
        self._place = place
        self._cursors = cursors
        self._links = Links(snapshot, Words(), effort)
        self._selections: list[Selection] = []
        self._types: Sequence[str] = ()

    async def page(self, *, unstable: bool) -> Page:
        query = self._query
        if not query.types or any(i.source == "*" or not i.reverse for i in query.includes):
            self._types = await self._snapshot.connection.types()
        for type in query.types or self._types:
            selection = await self._links.selection(type, query.where)
            if not selection.is_empty():
                self._selections.append(selection)
        if query.count <= 0:
            total, guessed = await self._total(None)
            return Page((), total=total, total_estimated=guessed, unstable=unstable)
        rows, more = await self._rows()
        added: list[Row] = []
        truncated = False
        if query.includes and rows:
            includes = Includes(self._snapshot, self._links, self._types)
            added, truncated = await includes.added(rows, query.includes, query.include_limit)
        earlier, later = self._beside(more)
        if rows and (earlier or later):
            (matches, included), _ = await asyncio.gather(self._shown(rows, added), self._snapshot.moment())
        else:
            matches, included = await self._shown(rows, added)
        total, guessed = await self._total(None if more or self._place is not None else len(rows))
        return Page(
            matches=matches,
            included=included,
            next=await self._cursor(rows[-1], backwards=False) if rows and later else None,
            previous=await self._cursor(rows[0], backwards=True) if rows and earlier else None,
            total=total,
            total_estimated=guessed,
            included_truncated=truncated,
            unstable=unstable,
        )

    async def _rows(self) -> tuple[list[Row], bool]:
        """The rows of the page in order, and whether there are more in its direction."""
        query, place = self._query, self._place
        found: list[Row] = []
        for selection in self._selections:
            found += await selection.rows(query.sort, place, query.count + 1)
        backwards = place is not None and place.backwards
        if len(self._selections) > 1:
            order = cmp_to_key(position_order(query.sort))
            found.sort(key=lambda row: order(row.position), reverse=backwards)
        more = len(found) > query.count
        rows = found[: query.count]
        return (rows[::-1] if backwards else rows), more

    def _beside(self, more: bool) -> tuple[bool, bool]:
        """Whether there are pages before and after: the one that the cursor came from is."""
        if self._place is None:
            return False, more
        return (more, True) if self._place.backwards else (True, more)

    async def _cursor(self, row: Row, *, backwards: bool) -> str:
        at, sequence = await self._snapshot.moment()
        values: list[Any] = [at.time, at.inc, sequence, int(backwards), *row.values, row.created]
        return self._cursors.write(search_scope(self._query), values)

    async def _total(self, counted: int | None) -> tuple[int | None, bool]:
        """How many matches there are, None when nobody asked; and whether that is a guess."""
        query = self._query
        if counted is not None:
            return counted, False
        if query.count > 0 and query.total == "none":
            return None, False
        if query.total == "estimate":
            return await estimated(self._snapshot, self._links, self._selections, query.where)
        return sum([await selection.total() for selection in self._selections]), False

    async def _shown(
        self, rows: Sequence[Row], added: Sequence[Row]
    ) -> tuple[tuple[Stored, ...], tuple[Stored, ...]]:
        """The versions of the rows, on later pages without those of resources that are deleted now."""
        gone: set[tuple[str, str]] = set()
        if self._place is not None:
            gone = await self._snapshot.deleted((row.type, row.id) for row in (*rows, *added))
        matches = [row for row in rows if (row.type, row.id) not in gone]
        included = [row for row in added if (row.type, row.id) not in gone]
        bodies = await self._snapshot.bodies([row.sequence for row in (*matches, *included)])
        stored = tuple(map(_shown_as, bodies, (*matches, *included)))
        return stored[: len(matches)], stored[len(matches) :]


def _shown_as(stored: Stored, row: Row) -> Stored:
    """The version that a row shows; what is contained has that of its container, by its own type and id."""
    return replace(stored, type=row.type, id=row.id) if is_contained(row.type) else stored
