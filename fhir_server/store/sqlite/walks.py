"""Ways through an index in the order of a sort key: where a page is met before all matches are known.

An invariant to keep: a walk gives every resource that has a value at that value, and `own` holds there and at no other row
of it; after its place and up to `until`, both in the direction of the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.store.sqlite.leaves import ALWAYS, Lookup, Sql, one_of
from fhir_server.store.sqlite.sorting import ORDERED, Key, Place

# No rid is as large.
_LAST = 2**62


@dataclass(frozen=True, slots=True)
class Walk:
    """`rows` (rid, value) as a SELECT, the terms of their `order`, and what holds for w.rid at its `own` value."""

    rows: Sql
    order: str
    own: Sql = ALWAYS


def by_value(key: Key, place: Place | None, stretch: Lookup | None, until: Any) -> Walk:
    """Index rows of a parameter in order of their value: all, or where the matches are."""
    assert key.table is not None
    ranges = [(ORDERED[key.table.name, key.column], Sql(""))] if stretch is None else stretch.branches
    parts = [
        (f"{key.table.name} i INDEXED BY {index}", Sql("i.pid=?", (pid,)), condition)
        for pid in key.pids
        for index, condition in ranges
    ]
    better = ">" if key.descending else "<"
    own = _no_row(key, f" AND +b.{key.column}{better}w.value")
    return replace(_in_order(parts, key, place, until), own=own)


def by_column(key: Key, types: Sequence[int], when: Sql, place: Place | None, until: Any) -> Walk:
    """The resources of some types in order of their id or their time."""
    index = "resource_updated" if key.column == "updated" else "resource_id"
    parts = [
        (f"resource i INDEXED BY {index}", Sql("i.type=? AND i.deleted=0", (number,)), when)
        for number in types
    ]
    return _in_order(parts, key, place, until)


def without_value(key: Key) -> Sql:
    """That the resource w.rid has no value of the key."""
    return _no_row(key, "")


def before(place: Place) -> Place:
    """The place before all rows that have its first value."""
    return Place(place.values[:1], _LAST if place.backwards else -1, place.backwards)


def behind(place: Place) -> Place:
    """The place after all rows that have its first value."""
    return Place(place.values[:1], -1 if place.backwards else _LAST, place.backwards)


def onwards(place: Place, rid: str) -> Sql:
    """That a rid comes after that of the place, or before it backwards."""
    return Sql(f"{rid}{'<' if place.backwards else '>'}?", (place.rid,))


def _no_row(key: Key, condition: str) -> Sql:
    assert key.table is not None
    pid = one_of("b.pid", key.pids)
    return Sql(
        f"NOT EXISTS (SELECT 1 FROM {key.table.name} b WHERE b.rid=w.rid AND {pid.text}{condition})",
        pid.values,
    )


def _in_order(ranges: Sequence[tuple[str, Sql, Sql]], key: Key, place: Place | None, until: Any) -> Walk:
    """The rows of the ranges side by side. The bounds of the walk come first: SQLite takes the first of several."""
    backwards = place is not None and place.backwards
    down = key.descending != backwards
    column, sign = f"i.{key.column}", "<" if down else ">"
    bounds = Sql("")
    if place is not None:
        value, beyond = place.values[0], onwards(place, "i.rid")
        bounds = Sql(
            f"{column}{sign}=? AND ({column}{sign}? OR {beyond.text})", (value, value, *beyond.values)
        )
    if until is not None:
        bounds &= Sql(f"{column}{'>' if down else '<'}=?", (until,))
    parts = [where & bounds & condition for _, where, condition in ranges]
    text = " UNION ALL ".join(
        f"SELECT i.rid AS rid, {column} AS value FROM {origin} WHERE {part.text}"
        for (origin, _, _), part in zip(ranges, parts, strict=True)
    )
    order = f"2 {'DESC' if down else 'ASC'}, 1 {'DESC' if backwards else 'ASC'}"
    return Walk(Sql(text, tuple(v for part in parts for v in part.values)), order)
