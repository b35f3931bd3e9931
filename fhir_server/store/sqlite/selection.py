"""Which resources match, in which order: the rids of a stretch of the matches, and how many there are in all.

An invariant to keep: a stretch begins after the sort values and the rid of a row, never at an offset, so it neither repeats
nor skips what does not change meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from fhir_server.search.tree import Expression
from fhir_server.store.sqlite.compile import MERGED, Compiler, Effort, Source
from fhir_server.store.sqlite.leaves import ALWAYS, SCAN, Lookup, Sql, one_of
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.sorting import ORDERED, Key, Place, beyond, order_by


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
        self._compiler = Compiler(connection, names, effort, horizon)
        self._source = self._compiler.source(where, types)
        self._all: list[int] | None = None
        if horizon is not None or without:
            self._source = self._source.narrowed(self._within)

    def total(self) -> int:
        if not self._source.branches:
            return 0
        if self.known is not None:
            return self.known
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
        held = live & self._within("r.rid") & self._compiler.test(self._where, self._types, "r.rid")
        return int(self._run(Sql(f"SELECT count(*) FROM resource r WHERE {held.text}", held.values))[0][0])

    def rows(self, keys: Sequence[Key], place: Place | None, limit: int) -> list[tuple[Any, ...]]:
        """The first rows (rid, value of each key) from the beginning, or on from the place, in the order they are met."""
        if not self._source.branches:
            return []
        if not keys:
            return [(rid,) for rid in self._by_creation(place, limit)]
        stretch = self._stretch(keys)
        at_once = stretch is not None or self._source.rank == SCAN
        found = self._first_by_value(keys, place, limit, stretch) if at_once else None
        few = self._few() if found is None else None
        if found is None and few is None and not at_once:
            found = self._first_by_value(keys, place, limit, stretch)
        if found is not None:
            return found
        listed = _distinct(self._source)
        if few is not None:
            listed = Sql("SELECT value AS rid FROM json_each(?)", (json.dumps(few),))
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
            found = self._among(self._in_turn(place), ALWAYS, limit)
            if found is not None:
                return [row[0] for row in found]
        source = self._source if place is None else self._source.narrowed(lambda rid: _from(place, rid))
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

    def _within(self, rid: str) -> Sql:
        held = Sql("")
        if self._horizon is not None:
            held &= Sql(f"{rid}<=?", (self._horizon,))
        if self._without is not None:
            held &= Sql(f"{rid} NOT IN (SELECT value FROM json_each(?))", (self._without,))
        return held

    def _among(self, first: Sql, condition: Sql, limit: int) -> list[tuple[Any, ...]] | None:
        """The page when the rows (rid, value) of `first`, in the order asked for, already fill it; else None.

        SQLite hands the rows of a subquery with a LIMIT on in their order, so it may stop at the page's last row.
        """
        held = condition & self._within("w.rid") & self._compiler.test(self._where, self._types, "w.rid")
        found = self._run(
            Sql(
                f"SELECT DISTINCT w.rid, w.value FROM ({first.text} LIMIT ?) w WHERE {held.text} LIMIT ?",
                (*first.values, self._effort.window, *held.values, limit),
            )
        )
        return found if len(found) == limit else None

    def _in_turn(self, place: Place | None) -> Sql:
        """Resources of the types by creation; what follows the horizon is not met."""
        everything = self._compiler.everything(self._types)
        if place is not None:
            everything = everything.narrowed(lambda rid: _from(place, rid))
        elif self._horizon is not None:
            everything = everything.narrowed(lambda rid: Sql(f"{rid}<=?", (self._horizon,)))
        parts = [b.select(f"{b.alias}.rid AS rid, NULL AS value") for b in everything.branches]
        text = " UNION ALL ".join(part.text for part in parts)
        direction = "DESC" if place is not None and place.backwards else "ASC"
        return Sql(f"{text} ORDER BY 1 {direction}", tuple(v for part in parts for v in part.values))

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
            return None
        key = keys[0]
        number = self._names.number(self._types[0]) if len(self._types) == 1 else None
        if key.table is None:
            return None if number is None else self._among(_by_column(key, number, place), ALWAYS, limit)
        if not 0 < len(key.pids) <= MERGED or (key.table.name, key.column) not in ORDERED:
            return None
        pid = one_of("b.pid", key.pids)
        others = f"SELECT 1 FROM {key.table.name} b WHERE b.rid=w.rid AND {pid.text}"
        if place is not None and place.values[0] is None:
            return self._among(self._in_turn(place), Sql(f"NOT EXISTS ({others})", pid.values), limit)
        better = ">" if key.descending else "<"
        best = Sql(f"NOT EXISTS ({others} AND +b.{key.column}{better}w.value)", pid.values)
        return self._among(_by_value(key, place, stretch), best, limit)

    def _run(self, sql: Sql) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.text, sql.values).fetchall()


def _from(place: Place, rid: str) -> Sql:
    return Sql(f"{rid}{'<' if place.backwards else '>'}?", (place.rid,))


def _by_value(key: Key, place: Place | None, stretch: Lookup | None) -> Sql:
    """Index rows of a parameter in order of their value: all, or where the matches are."""
    assert key.table is not None
    ranges = [(ORDERED[key.table.name, key.column], Sql(""))] if stretch is None else stretch.branches
    return _in_order(
        [
            (f"{key.table.name} i INDEXED BY {index}", Sql("i.pid=?", (pid,)) & condition)
            for pid in key.pids
            for index, condition in ranges
        ],
        key,
        place,
    )


def _by_column(key: Key, type_number: int, place: Place | None) -> Sql:
    """The resources of a type in order of their id or their time."""
    index = "resource_updated" if key.column == "updated" else "resource_id"
    where = Sql("i.type=? AND i.deleted=0", (type_number,))
    return _in_order([(f"resource i INDEXED BY {index}", where)], key, place)


def _in_order(ranges: Sequence[tuple[str, Sql]], key: Key, place: Place | None) -> Sql:
    backwards = place is not None and place.backwards
    sign, direction = ("<", "DESC") if key.descending != backwards else (">", "ASC")
    column = f"i.{key.column}"
    onwards = Sql("")
    if place is not None:
        value, after = place.values[0], "<" if backwards else ">"
        onwards = Sql(f"{column}{sign}=? AND ({column}{sign}? OR i.rid{after}?)", (value, value, place.rid))
    parts = [where & onwards for _, where in ranges]
    text = " UNION ALL ".join(
        f"SELECT i.rid AS rid, {column} AS value FROM {origin} WHERE {part.text}"
        for (origin, _), part in zip(ranges, parts, strict=True)
    )
    return Sql(
        f"{text} ORDER BY 2 {direction}, 1 {'DESC' if backwards else 'ASC'}",
        tuple(v for part in parts for v in part.values),
    )


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
