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
from fhir_server.store.sqlite.leaves import Sql
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
        source = self._source
        if not source.branches:
            return []
        if (
            not source.ordered
            and after_rid == 0
            and self._compiler.count(source, self._effort.small) >= self._effort.small
        ):
            found = self._in_window(limit)
            if found is not None:
                return found
        later = source.narrowed(lambda rid: Sql(f"{rid}>?", (after_rid,))) if after_rid else source
        listed = _distinct(later)
        return self._rids(Sql(f"{listed.text} ORDER BY 1 LIMIT ?", (*listed.values, limit)))

    def _in_window(self, limit: int) -> list[int] | None:
        """The page when the oldest resources of the type already fill it."""
        if len(self._types) != 1:
            return None
        everything = self._compiler.everything(self._types)
        (branch,) = everything.branches
        listed = branch.select()
        oldest = Sql(
            f"{listed.text} ORDER BY {branch.alias}.rid LIMIT ?", (*listed.values, self._effort.window)
        )
        held = self._compiler.test(self._where, self._types, "w.rid")
        found = self._rids(
            Sql(
                f"SELECT w.rid FROM ({oldest.text}) w WHERE {held.text} LIMIT ?",
                (*oldest.values, *held.values, limit),
            )
        )
        return found if len(found) == limit else None

    def sorted(
        self, keys: Sequence[Key], values: Sequence[Any] | None, rid: int, limit: int
    ) -> list[tuple[Any, ...]]:
        """Rows (rid, value of each key) after the row given, in order."""
        if not self._source.branches:
            return []
        if len(keys) == 1 and self._compiler.count(self._source, self._effort.small) >= self._effort.small:
            walked = self._walk_sorted(keys[0], values, rid, limit)
            if walked is not None:
                return walked
        columns = [key.value("s.rid") for key in keys]
        listed = _distinct(self._source)
        named = ", ".join(f"{column.text} AS k{i}" for i, column in enumerate(columns))
        boundary = Sql("1") if values is None else after(keys, values, rid)
        return self._run(
            Sql(
                f"WITH c AS MATERIALIZED (SELECT s.rid AS rid, {named} FROM ({listed.text}) s)"
                f" SELECT rid, {', '.join(f'k{i}' for i in range(len(keys)))} FROM c WHERE {boundary.text}"
                f" ORDER BY {order_by(keys)} LIMIT ?",
                (*(v for column in columns for v in column.values), *listed.values, *boundary.values, limit),
            )
        )

    def _walk_sorted(
        self, key: Key, values: Sequence[Any] | None, rid: int, limit: int
    ) -> list[tuple[Any, ...]] | None:
        """The page by walking the values in order and testing each resource, then those without a value."""
        if len(self._types) != 1:
            return None
        if key.table is not None and (len(key.pids) != 1 or (key.table.name, key.column) not in ORDERED):
            return None
        found: list[tuple[Any, ...]] = []
        if values is None or values[0] is not None:
            found = self._run(self._walk(key, None if values is None else values[0], rid, limit))
        if len(found) < limit and key.table is not None:
            after_rid = rid if values is not None and values[0] is None else 0
            found += self._run(self._without_value(key, after_rid, limit - len(found)))
        return found

    def _walk(self, key: Key, value: Any, rid: int, limit: int) -> Sql:
        beyond, direction = ("<", "DESC") if key.descending else (">", "ASC")
        if key.table is None:
            origin, where = self._walk_resources(key)
        else:
            better = ">" if key.descending else "<"
            origin = f"{key.table.name} w INDEXED BY {ORDERED[key.table.name, key.column]}"
            where = Sql("w.pid=?", key.pids) & Sql(
                f"NOT EXISTS (SELECT 1 FROM {key.table.name} b WHERE b.rid=w.rid AND b.pid=w.pid"
                f" AND b.{key.column}{better}w.{key.column})"
            )
        column = f"w.{key.column}"
        if value is not None:
            where &= Sql(f"{column}{beyond}=? AND ({column}{beyond}? OR w.rid>?)", (value, value, rid))
        where &= self._compiler.test(self._where, self._types, "w.rid")
        return Sql(
            f"SELECT DISTINCT w.rid, {column} FROM {origin} WHERE {where.text}"
            f" ORDER BY {column} {direction}, w.rid LIMIT ?",
            (*where.values, limit),
        )

    def _walk_resources(self, key: Key) -> tuple[str, Sql]:
        index = "resource_updated" if key.column == "updated" else "resource_id"
        number = self._names.number(self._types[0])
        return f"resource w INDEXED BY {index}", Sql("w.type=? AND w.deleted=0", (number,))

    def _without_value(self, key: Key, after_rid: int, limit: int) -> Sql:
        assert key.table is not None
        number = self._names.number(self._types[0])
        where = Sql("w.type=? AND w.deleted=0 AND w.rid>?", (number, after_rid)) & Sql(
            f"NOT EXISTS (SELECT 1 FROM {key.table.name} b WHERE b.rid=w.rid AND b.pid=?)",
            key.pids,
        )
        where &= self._compiler.test(self._where, self._types, "w.rid")
        return Sql(
            f"SELECT w.rid, NULL FROM resource w INDEXED BY resource_live WHERE {where.text} ORDER BY w.rid LIMIT ?",
            (*where.values, limit),
        )

    def _rids(self, sql: Sql) -> list[int]:
        return [row[0] for row in self._run(sql)]

    def _run(self, sql: Sql) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.text, sql.values).fetchall()


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
