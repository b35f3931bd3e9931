"""A page of a search: the matches of the moment that its first page saw, and the cursors of the pages beside it.

A cursor carries that moment, a direction and a row: sort values and rid. An invariant to keep: all pages of a search are cut
from the same matches in the same order, so none is repeated and none left out; only what was deleted since is not shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cmp_to_key

from fhir_server.search.order import SortPosition, position_order
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import SearchQuery
from fhir_server.store.protocol import Extract
from fhir_server.store.records import Page, Stored
from fhir_server.store.sqlite import read
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.estimate import estimated
from fhir_server.store.sqlite.includes import Includes
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.past import Moment, Past, TooMany, present
from fhir_server.store.sqlite.selection import Selection
from fhir_server.store.sqlite.sorting import Place, bind

# A row of the order: the sort values and, at last, the rid.
Row = SortPosition


class Search:
    """Answers one query on one snapshot. `extract` makes entries anew of versions that were replaced since."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        query: SearchQuery,
        cursors: Cursors,
        effort: Effort,
        extract: Extract | None,
    ) -> None:
        self._connection = connection
        self._names = names
        self._query = query
        self._cursors = cursors
        self._effort = effort
        self._scope = search_scope(query)
        self._place: Place | None = None
        self._moment: Moment | None = None
        self._past: Past | None = None
        self._unstable = False
        self._judged: list[Row] = []
        self._selection = self._select(extract)

    def page(self) -> Page:
        """Raises InvalidParameter for a cursor of another search."""
        query = self._query
        if query.count <= 0:
            total, guessed = self._total(None)
            return Page((), total=total, total_estimated=guessed, unstable=self._unstable)
        rows, more = self._rows()
        rids = [int(row[-1] or 0) for row in rows]
        added, truncated = self._included(rids)
        total, guessed = self._total(None if more or self._place is not None else len(rows))
        earlier, later = self._beside(more)
        return Page(
            matches=self._shown(rids),
            included=self._shown(added),
            next=self._cursor(rows[-1], backwards=False) if rows and later else None,
            previous=self._cursor(rows[0], backwards=True) if rows and earlier else None,
            total=total,
            total_estimated=guessed,
            included_truncated=truncated,
            unstable=self._unstable,
        )

    def _select(self, extract: Extract | None) -> Selection:
        query = self._query
        if query.cursor is None:
            return Selection(self._connection, self._names, query.types, query.where, self._effort)
        sequence, horizon, backwards, *values, rid = self._cursors.read(self._scope, query.cursor)
        self._place = Place(tuple(values), rid, bool(backwards))
        self._moment = Moment(sequence, horizon)
        without: frozenset[int] = frozenset()
        if present(self._connection) != self._moment:
            try:
                if extract is None:
                    raise TooMany
                past = Past(self._connection, self._names, self._moment, extract, self._effort.changed)
                without = past.affected(query.where, query.types)
                found = past.matching(query, without)
                self._judged = [row for row, _ in found]
                self._past = past
            except TooMany:
                self._unstable = True
                without = frozenset()
        return Selection(
            self._connection,
            self._names,
            query.types,
            query.where,
            self._effort,
            None if self._unstable else horizon,
            without,
        )

    def _rows(self) -> tuple[list[Row], bool]:
        """The rows of the page in order, and whether there are more in its direction."""
        query = self._query
        keys = [bind(key, self._names.pids(query.types, key.param)) for key in query.sort]
        found = self._selection.rows(keys, self._place, query.count + 1)
        rows: list[Row] = [(*values, rid) for rid, *values in found]
        backwards = self._place is not None and self._place.backwards
        if self._judged:
            rows = self._merged(rows, backwards)
        more = len(rows) > query.count
        rows = rows[: query.count]
        return (rows[::-1] if backwards else rows), more

    def _merged(self, rows: list[Row], backwards: bool) -> list[Row]:
        assert self._place is not None
        order = cmp_to_key(position_order(self._query.sort))
        mark = order((*self._place.values, self._place.rid))
        beyond = (row for row in self._judged if (order(row) < mark if backwards else order(row) > mark))
        return sorted([*rows, *beyond], key=order, reverse=backwards)[: self._query.count + 1]

    def _beside(self, more: bool) -> tuple[bool, bool]:
        """Whether there are pages before and after: the one that the cursor came from is."""
        if self._place is None:
            return False, more
        return (more, True) if self._place.backwards else (True, more)

    def _cursor(self, row: Row, *, backwards: bool) -> str:
        moment = self._moment or present(self._connection)
        return self._cursors.write(self._scope, [moment.sequence, moment.rid, int(backwards), *row])

    def _total(self, counted: int | None) -> tuple[int | None, bool]:
        """How many matches there are, None when nobody asked; and whether that is a guess."""
        query = self._query
        if counted is not None:
            return counted, False
        judged = len(self._judged)
        if self._selection.known is not None:
            return self._selection.known + judged, False
        if query.count > 0 and query.total == "none":
            return None, False
        if query.total == "estimate":
            number, guessed = estimated(self._connection, self._selection)
            return number + judged, guessed
        return self._selection.total() + judged, False

    def _included(self, rids: list[int]) -> tuple[tuple[int, ...], bool]:
        query = self._query
        if not query.includes:
            return (), False
        if self._past is not None:
            return self._past.included(rids, query)
        includes = Includes(self._connection, self._names, self._effort)
        return includes.added(rids, query.includes, query.include_limit)

    def _shown(self, rids: Sequence[int]) -> tuple[Stored, ...]:
        if self._past is not None:
            return self._past.shown(rids)
        return read.by_rids(self._connection, self._names, rids)
