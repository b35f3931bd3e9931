"""Which resources match, in which order: the rids of a stretch of the matches, and how many there are in all.

An invariant to keep: a stretch begins after the sort values and the rid of a row, never at an offset, so it neither repeats
nor skips what does not change meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from fhir_server.search.tree import Expression
from fhir_server.store.sqlite.compile import MERGED, Compiler, Effort, Source
from fhir_server.store.sqlite.leaves import ALWAYS, SCAN, Lookup, Sql
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.sorting import ORDERED, Key, Place, beyond, order_by
from fhir_server.store.sqlite.walks import (
    Walk,
    before,
    behind,
    by_column,
    by_value,
    onwards,
    without_value,
)

_LIVE_TYPES = """
WITH RECURSIVE live(type) AS (
    SELECT min(type) FROM resource INDEXED BY resource_live WHERE deleted=0 AND type>0
    UNION ALL
    SELECT (SELECT min(type) FROM resource INDEXED BY resource_live WHERE deleted=0 AND type>live.type) FROM live
    WHERE live.type IS NOT NULL)
SELECT type FROM live WHERE type IS NOT NULL
"""


class Selection:
    """The matches of one expression among the resources of some types, as one connection sees them.

    `horizon`: no rid beyond it is looked at. `without`: rids that are left out.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        types: tuple[str, ...],
        where: Expression,
        effort: Effort = Effort(),
        horizon: int | None = None,
        without: Collection[int] = (),
    ) -> None:
        self._connection = connection
        self._names = names
        self._types = types
        self._where = where
        self._effort = effort
        self._horizon = horizon
        self._without = json.dumps(sorted(without)) if without else None
        self._all: list[int] | None = None
        self._plan(effort)

    def _plan(self, effort: Effort) -> None:
        self._compiler = Compiler(self._connection, self._names, effort, self._horizon)
        self._source = self._compiler.source(self._where, self._types)
        if self._horizon is not None or self._without is not None:
            self._source = self._source.narrowed(self._within)
        self._thorough = effort is not self._effort

    def _plan_thoroughly(self) -> None:
        """Choose anew how to find candidates before very many of them are tested."""
        source, thorough = self._source.untested, max(self._effort.counted, self._effort.thorough)
        if source is None or self._thorough or source.rank == SCAN:
            return
        if self._compiler.has_more(source, thorough - 1):
            self._plan(replace(self._effort, counted=thorough))

    def total(self) -> int:
        if not self._source.branches:
            return 0
        if self.known is not None:
            return self.known
        self._plan_thoroughly()
        listed = _distinct(self._source)
        return int(self._run(Sql(f"SELECT count(*) FROM ({listed.text})", listed.values))[0][0])

    @property
    def known(self) -> int | None:
        """The number of matches where it has come to light; None where it has not."""
        return None if self._all is None else len(self._all)

    def counted(self, limit: int) -> int:
        """How many matches there are, counted up to `limit`."""
        if not self._source.branches:
            return 0
        listed = _distinct(self._source)
        return int(
            self._run(Sql(f"SELECT count(*) FROM ({listed.text} LIMIT ?)", (*listed.values, limit)))[0][0]
        )

    def holding(self, rids: Iterable[int]) -> int:
        """How many of the rids match."""
        live = Sql("r.rid IN (SELECT value FROM json_each(?)) AND r.deleted=0", (json.dumps(list(rids)),))
        numbers = [self._names.number(name) for name in self._types]
        if numbers:
            live &= Sql(f"+r.type IN ({','.join('?' * len(numbers))})", tuple(numbers))
        else:
            live &= Sql("+r.type>0")
        held = live & self._within("r.rid") & self._compiler.test(self._where, self._types, "r.rid")
        return int(self._run(Sql(f"SELECT count(*) FROM resource r WHERE {held.text}", held.values))[0][0])

    def rows(self, keys: Sequence[Key], place: Place | None, limit: int) -> list[tuple[Any, ...]]:
        """The first rows (rid, value of each key) from the beginning, or on from the place, in the order they are met."""
        if not self._source.branches:
            return []
        if not keys:
            return [(rid,) for rid in self._by_creation(place, limit)]
        stretch = self._stretch(keys)
        at_once = self._source.rank == SCAN or (stretch is not None and not self._is_short(stretch))
        found = self._first_by_value(keys, place, limit, stretch) if at_once else None
        few = self._few() if found is None else None
        if found is None and few is None and not at_once:
            found = self._first_by_value(keys, place, limit, stretch)
        if found is not None:
            return found
        if few is not None:
            return self._sorted(_these(few), keys, place, limit)
        self._plan_thoroughly()
        return self._sorted(_distinct(self._source), keys, place, limit)

    def _sorted(
        self, listed: Sql, keys: Sequence[Key], place: Place | None, limit: int
    ) -> list[tuple[Any, ...]]:
        """The first rows of the listed rids, when all are put in order."""
        columns = [key.value("s.rid") for key in keys]
        named = ", ".join(f"{column.text} AS k{i}" for i, column in enumerate(columns))
        boundary = ALWAYS if place is None else beyond(keys, place)
        return self._run(
            Sql(
                f"WITH c AS MATERIALIZED (SELECT s.rid AS rid, {named} FROM ({listed.text}) s)"
                f" SELECT rid, {', '.join(f'k{i}' for i in range(len(keys)))} FROM c WHERE {boundary.text}"
                f" ORDER BY {order_by(keys, place is not None and place.backwards)} LIMIT ?",
                (*(v for column in columns for v in column.values), *listed.values, *boundary.values, limit),
            )
        )

    def _by_creation(self, place: Place | None, limit: int) -> list[int]:
        backwards = place is not None and place.backwards
        if not self._source.ordered:
            few = self._few()
            if few is not None:
                following = [
                    rid for rid in few if place is None or (rid < place.rid if backwards else rid > place.rid)
                ]
                return sorted(following, reverse=backwards)[:limit]
            found = self._among(self._in_turn(place), limit)
            if found is not None:
                return [row[0] for row in found]
        elif (source := self._source.untested) is not None and source.rank < SCAN and self._is_long(source):
            found = self._among(self._candidates(source, place), limit, self._effort.counted)
            if found is not None:
                return [row[0] for row in found]
        self._plan_thoroughly()
        source = self._source if place is None else self._source.bounded(lambda rid: onwards(place, rid))
        listed = _merged(source) if source.ordered else _distinct(source)
        direction = "DESC" if backwards else "ASC"
        rows = self._run(Sql(f"{listed.text} ORDER BY 1 {direction} LIMIT ?", (*listed.values, limit)))
        return [row[0] for row in rows]

    def _few(self) -> list[int] | None:
        """All matches when there are few; None when there are many, or many candidates to test for them."""
        most = self._effort.small
        source = self._source.untested or self._source
        if source.inner is not None and self._compiler.count(source.inner, most) >= most:
            return None
        if source is not self._source:
            tested = self._effort.counted
            if self._compiler.count(source, tested) >= tested:
                return None
        listed = _distinct(self._source)
        rows = self._run(Sql(f"{listed.text} LIMIT ?", (*listed.values, most)))
        if len(rows) == most:
            return None
        self._all = [row[0] for row in rows]
        return self._all

    def _is_short(self, stretch: Lookup) -> bool:
        """Whether the candidates are so few that they are better read than met on the way through the stretch."""
        if stretch.complete:
            return False
        return not self._is_long(self._source.untested or self._source)

    def _is_long(self, source: Source) -> bool:
        return self._compiler.count(source, self._effort.counted) >= self._effort.counted

    def _within(self, rid: str) -> Sql:
        held = Sql("")
        if self._horizon is not None:
            held &= Sql(f"{rid}<=?", (self._horizon,))
        if self._without is not None:
            held &= Sql(f"{rid} NOT IN (SELECT value FROM json_each(?))", (self._without,))
        return held

    def _among(self, walk: Walk, limit: int, window: int | None = None) -> list[tuple[Any, ...]] | None:
        """The page when the first rows of the walk, in their order, already fill it; else None.

        SQLite hands the rows of a subquery with a LIMIT on in their order, so it may stop at the page's last row.
        """
        held = self._held(walk)
        found = self._run(
            Sql(
                f"SELECT DISTINCT w.rid, w.value FROM ({walk.rows.text} ORDER BY {walk.order} LIMIT ?) w"
                f" WHERE {held.text} LIMIT ?",
                (*walk.rows.values, window or self._effort.window, *held.values, limit),
            )
        )
        return found if len(found) == limit else None

    def _held(self, walk: Walk) -> Sql:
        """What holds for the rows of a walk that are matches."""
        return walk.own & self._within("w.rid") & self._compiler.test(self._where, self._types, "w.rid")

    def _in_turn(self, place: Place | None) -> Walk:
        """Resources of the types by creation; what follows the horizon is not met."""
        return self._candidates(self._compiler.everything(self._types), place)

    def _candidates(self, source: Source, place: Place | None) -> Walk:
        if place is not None:
            source = source.bounded(lambda rid: onwards(place, rid))
        elif self._horizon is not None:
            source = source.bounded(lambda rid: Sql(f"{rid}<=?", (self._horizon,)))
        parts = [b.select(f"{b.alias}.rid AS rid, NULL AS value") for b in source.branches]
        rows = Sql(" UNION ALL ".join(part.text for part in parts), tuple(v for p in parts for v in p.values))
        return Walk(rows, "1 DESC" if place is not None and place.backwards else "1 ASC")

    def _stretch(self, keys: Sequence[Key]) -> Lookup | None:
        """Where the matches are in the order asked for, when the question itself bounds the values."""
        key = keys[0]
        if len(keys) > 1 or key.table is None:
            return None
        return self._compiler.stretch(self._where, self._types, key.table, key.param, key.column)

    def _first_by_value(
        self, keys: Sequence[Key], place: Place | None, limit: int, stretch: Lookup | None
    ) -> list[tuple[Any, ...]] | None:
        """The page looked for where it most likely is: where the values begin, or among what has no value."""
        if len(keys) > 1:
            return self._by_several(keys, place, limit)
        walk = self._walk(keys[0], place, stretch)
        return None if walk is None else self._among(walk, limit)

    def _by_several(
        self, keys: Sequence[Key], place: Place | None, limit: int
    ) -> list[tuple[Any, ...]] | None:
        """The page among those with the first values of the first key, when they are few, or when it is one value."""
        value = None if place is None else place.values[0]
        if place is not None and value is None:
            return None
        walk = self._walk(keys[0], None if place is None else behind(place))
        page = None if walk is None else self._among(walk, limit)
        if walk is None or (page is None and place is None):
            return None
        until = None if page is None else page[-1][1]
        walk = self._walk(keys[0], None if place is None else before(place), until=until)
        leading = None if walk is None else self._leading(walk)
        if leading is not None:
            rows = self._sorted(leading, keys, place, limit)
            return rows if len(rows) == limit else None
        return self._alike(keys, page[0][1] if place is None and page else value, place, limit)

    def _leading(self, walk: Walk) -> Sql | None:
        """The matches among all rows of the walk; None when those are more than a window."""
        most = self._effort.window
        counted = f"SELECT count(*) FROM (SELECT 1 FROM ({walk.rows.text}) LIMIT ?)"
        if self._run(Sql(counted, (*walk.rows.values, most)))[0][0] == most:
            return None
        held = self._held(walk)
        text = f"SELECT DISTINCT w.rid AS rid FROM ({walk.rows.text}) w WHERE {held.text}"
        return Sql(text, walk.rows.values + held.values)

    def _alike(
        self, keys: Sequence[Key], value: Any, place: Place | None, limit: int
    ) -> list[tuple[Any, ...]] | None:
        """The page among those with one value of the first key, met in order of the second."""
        if len(keys) > 2:
            return None
        walk = self._walk(keys[1], None if place is None else replace(place, values=place.values[1:]))
        if walk is None:
            return None
        same = keys[0].value("w.rid")
        own = walk.own & Sql(f"{same.text}=?", (*same.values, value))
        found = self._among(replace(walk, own=own), limit)
        return None if found is None else [(rid, value, other) for rid, other in found]

    def _walk(
        self, key: Key, place: Place | None, stretch: Lookup | None = None, until: Any = None
    ) -> Walk | None:
        """The way through the rows of the key in their order; None when no index has them so."""
        if key.table is None:
            numbers = self._type_numbers()
            when = self._compiler.when(self._where) if key.column == "updated" else Sql("")
            return by_column(key, numbers, when, place, until) if numbers else None
        if not 0 < len(key.pids) <= MERGED or (key.table.name, key.column) not in ORDERED:
            return None
        if place is not None and place.values[0] is None:
            return replace(self._in_turn(place), own=without_value(key))
        return by_value(key, place, stretch, until)

    def _type_numbers(self) -> list[int]:
        """The numbers of the types searched; of those that there are resources of when any may match."""
        if self._types:
            return [n for name in self._types if (n := self._names.number(name)) is not None]
        return [number for (number,) in self._connection.execute(_LIVE_TYPES)]

    def _run(self, sql: Sql) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.text, sql.values).fetchall()


def _these(rids: Sequence[int]) -> Sql:
    return Sql("SELECT value AS rid FROM json_each(?)", (json.dumps(rids),))


def _distinct(source: Source) -> Sql:
    """Each rid once, in a column named rid; by the order of the index where it has one."""
    once = "" if source.unique else "DISTINCT "
    if len(source.branches) == 1:
        (branch,) = source.branches
        return branch.select(f"{once}{branch.alias}.rid AS rid")
    listed = source.select()
    return Sql(f"SELECT {once}rid FROM ({listed.text})", listed.values)


def _merged(source: Source) -> Sql:
    """The same when every branch is in order: SQLite goes through them side by side."""
    parts = [branch.select(f"DISTINCT {branch.alias}.rid AS rid") for branch in source.branches]
    return Sql(" UNION ".join(p.text for p in parts), tuple(v for p in parts for v in p.values))


def matching_ids(
    connection: sqlite3.Connection, names: Names, type_name: str, where: Expression, limit: int
) -> tuple[str, ...]:
    """The ids of the first `limit` matches in order of creation."""
    rows = Selection(connection, names, (type_name,), where).rows((), None, limit)
    found = (connection.execute("SELECT id FROM resource WHERE rid=?", (rid,)).fetchone() for (rid,) in rows)
    return tuple(row[0] for row in found)
