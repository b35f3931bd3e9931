"""Which resources match, in which order: the rids of a page, and how many there are in all.

An invariant to keep: pages neither repeat nor skip a resource that does not change meanwhile, because a page begins after
the sort values and the rid of the last row, never at an offset.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.sqlite.compile import Compiler, Effort, Source
from fhir_server.store.sqlite.leaves import ALWAYS, Sql
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.sorting import ORDERED, Key, after, bind, from_cursor, order_by, to_cursor


@dataclass(frozen=True, slots=True)
class Rids:
    """The matches of a page in order, and the cursor of the page after."""

    rids: tuple[int, ...]
    next: str | None


class Selection:
    """The matches of one expression among the resources of some types, as one connection sees them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        types: tuple[str, ...],
        where: Expression,
        effort: Effort = Effort(),
    ) -> None:
        self._connection = connection
        self._names = names
        self._types = types
        self._where = where
        self._effort = effort
        self._compiler = Compiler(connection, names, effort)
        self._source = self._compiler.source(where, types)

    def total(self) -> int:
        if not self._source.branches:
            return 0
        listed = _distinct(self._source)
        return int(self._run(Sql(f"SELECT count(*) FROM ({listed.text})", listed.values))[0][0])

    def in_order_of_creation(self, after_rid: int, limit: int) -> list[int]:
        """The first `limit` rids above `after_rid`."""
        if not self._source.branches:
            return []
        if not self._source.ordered and self._many():
            found = self._among(self._oldest(after_rid), ALWAYS, limit)
            if found is not None:
                return [row[0] for row in found]
        later = (
            self._source.narrowed(lambda rid: Sql(f"{rid}>?", (after_rid,))) if after_rid else self._source
        )
        listed = _distinct(later)
        return [
            row[0] for row in self._run(Sql(f"{listed.text} ORDER BY 1 LIMIT ?", (*listed.values, limit)))
        ]

    def sorted(
        self, keys: Sequence[Key], values: Sequence[Any] | None, rid: int, limit: int
    ) -> list[tuple[Any, ...]]:
        """Rows (rid, value of each key) after the row given, in order."""
        if not self._source.branches:
            return []
        if len(keys) == 1 and self._many():
            found = self._first_by_value(keys[0], None if values is None else (values[0], rid), limit)
            if found is not None:
                return found
        columns = [key.value("s.rid") for key in keys]
        listed = _distinct(self._source)
        named = ", ".join(f"{column.text} AS k{i}" for i, column in enumerate(columns))
        boundary = ALWAYS if values is None else after(keys, values, rid)
        return self._run(
            Sql(
                f"WITH c AS MATERIALIZED (SELECT s.rid AS rid, {named} FROM ({listed.text}) s)"
                f" SELECT rid, {', '.join(f'k{i}' for i in range(len(keys)))} FROM c WHERE {boundary.text}"
                f" ORDER BY {order_by(keys)} LIMIT ?",
                (*(v for column in columns for v in column.values), *listed.values, *boundary.values, limit),
            )
        )

    def _many(self) -> bool:
        return self._compiler.count(self._source, self._effort.small) >= self._effort.small

    def _among(self, first: Sql, condition: Sql, limit: int) -> list[tuple[Any, ...]] | None:
        """The page when the rows (rid, value) of `first`, in the order asked for, already fill it; else None.

        SQLite hands the rows of a subquery with a LIMIT on in their order, so it may stop at the page's last row.
        """
        held = condition & self._compiler.test(self._where, self._types, "w.rid")
        found = self._run(
            Sql(
                f"SELECT DISTINCT w.rid, w.value FROM ({first.text} LIMIT ?) w WHERE {held.text} LIMIT ?",
                (*first.values, self._effort.window, *held.values, limit),
            )
        )
        return found if len(found) == limit else None

    def _oldest(self, after_rid: int) -> Sql:
        (branch,) = self._compiler.everything(self._types).branches
        later = branch.narrowed(Sql(f"{branch.alias}.rid>?", (after_rid,)))
        listed = later.select(f"{branch.alias}.rid AS rid, NULL AS value")
        return Sql(f"{listed.text} ORDER BY {branch.alias}.rid", listed.values)

    def _first_by_value(
        self, key: Key, place: tuple[Any, int] | None, limit: int
    ) -> list[tuple[Any, ...]] | None:
        """The page looked for where it most likely is: at the beginning of the values, or of what has no value."""
        number = self._names.number(self._types[0]) if len(self._types) == 1 else None
        if key.table is None:
            return None if number is None else self._among(_by_column(key, number, place), ALWAYS, limit)
        if len(key.pids) != 1 or (key.table.name, key.column) not in ORDERED:
            return None
        others = f"SELECT 1 FROM {key.table.name} b WHERE b.rid=w.rid AND b.pid=?"
        if place is not None and place[0] is None:
            return self._among(self._oldest(place[1]), Sql(f"NOT EXISTS ({others})", key.pids), limit)
        better = ">" if key.descending else "<"
        best = Sql(f"NOT EXISTS ({others} AND +b.{key.column}{better}w.value)", key.pids)
        return self._among(_by_value(key, place), best, limit)

    def _run(self, sql: Sql) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.text, sql.values).fetchall()


def _by_value(key: Key, place: tuple[Any, int] | None) -> Sql:
    """Index rows of a parameter in order of their value."""
    assert key.table is not None
    origin = f"{key.table.name} i INDEXED BY {ORDERED[key.table.name, key.column]}"
    return _in_order(origin, key, Sql("i.pid=?", key.pids), place)


def _by_column(key: Key, type_number: int, place: tuple[Any, int] | None) -> Sql:
    """The resources of a type in order of their id or their time."""
    index = "resource_updated" if key.column == "updated" else "resource_id"
    where = Sql("i.type=? AND i.deleted=0", (type_number,))
    return _in_order(f"resource i INDEXED BY {index}", key, where, place)


def _in_order(origin: str, key: Key, where: Sql, place: tuple[Any, int] | None) -> Sql:
    beyond, direction = ("<", "DESC") if key.descending else (">", "ASC")
    column = f"i.{key.column}"
    if place is not None:
        value, rid = place
        where &= Sql(f"{column}{beyond}=? AND ({column}{beyond}? OR i.rid>?)", (value, value, rid))
    return Sql(
        f"SELECT i.rid AS rid, {column} AS value FROM {origin} WHERE {where.text} ORDER BY {column} {direction}, i.rid",
        where.values,
    )


def _distinct(source: Source) -> Sql:
    """Each rid once, in a column named rid; by the order of the index where it has one."""
    if len(source.branches) == 1:
        (branch,) = source.branches
        return branch.select(f"DISTINCT {branch.alias}.rid AS rid")
    listed = source.select()
    return Sql(f"SELECT DISTINCT rid FROM ({listed.text})", listed.values)


def page_of(
    connection: sqlite3.Connection, names: Names, selection: Selection, query: SearchQuery, cursors: Cursors
) -> Rids:
    """The rids of the page that the query asks for. Raises InvalidParameter for a cursor of another search."""
    scope = search_scope(query)
    place: list[Any] | None = None if query.cursor is None else cursors.read(scope, query.cursor)
    if query.count <= 0:
        return Rids((), None)
    limit = query.count + 1
    if not query.sort:
        rids = selection.in_order_of_creation(0 if place is None else place[0], limit)
        more = len(rids) == limit
        rids = rids[: query.count]
        return Rids(tuple(rids), cursors.write(scope, [rids[-1]]) if more else None)
    keys = [bind(key, names.pids(query.types, key.param)) for key in query.sort]
    values, rid = (None, 0) if place is None else (from_cursor(place[1:]), int(place[0]))
    rows = selection.sorted(keys, values, rid, limit)
    more = len(rows) == limit
    rows = rows[: query.count]
    return Rids(
        tuple(row[0] for row in rows),
        cursors.write(scope, [rows[-1][0], *to_cursor(rows[-1][1:])]) if more else None,
    )


def matching_ids(
    connection: sqlite3.Connection, names: Names, type_name: str, where: Expression, limit: int
) -> tuple[str, ...]:
    """The ids of the first `limit` matches in order of creation."""
    rids = Selection(connection, names, (type_name,), where).in_order_of_creation(0, limit)
    found = (connection.execute("SELECT id FROM resource WHERE rid=?", (rid,)).fetchone() for rid in rids)
    return tuple(row[0] for row in found)
