"""Sort keys: where a document has its value, which index is in that order, and what comes after a place.

Ascending order takes the smallest value, descending the largest; a resource without a value comes last in both; ties are
broken by order of creation. MongoDB compares texts by their UTF-8 bytes, which is the order of code points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from fhir_server.search.order import SortPosition, SortValue, position_order
from fhir_server.search.tree import SortKey
from fhir_server.store.mongo.compile import both, hidden
from fhir_server.store.mongo.entries import member
from fhir_server.store.mongo.indexes import ID, NAMED, ORDER, SORTED, UPDATED, UPDATED_LAST, sort_index
from fhir_server.store.mongo.leaves import Filter

_KINDS = frozenset({"token", "string", "date", "number", "quantity", "reference", "uri"})


@dataclass(frozen=True, slots=True)
class Row:
    """A match in the order asked for: its value for each key, and where its version is."""

    type: str
    id: str
    created: float
    sequence: int
    values: tuple[SortValue, ...] = ()

    @property
    def position(self) -> SortPosition:
        return (*self.values, self.created)


@dataclass(frozen=True, slots=True)
class Place:
    """A row in the order: its value for each key and its creation. What follows it is wanted, or `backwards` what precedes."""

    values: tuple[Any, ...]
    created: float
    backwards: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A sort key in the documents of a type. `path` '': no resource has a value; `index` '': none is in its order."""

    param: str
    path: str
    descending: bool
    index: str
    # the value that no other of the kind is below
    least: int | str = -(2**63)

    @property
    def value(self) -> Any:
        """An expression for the value, null when there is none."""
        if not self.path:
            return {"$literal": None}
        if self.path.startswith("k.") and self.descending:
            return {"$ifNull": [f"${self.path}", f"${self.path[:-1]}a", None]}
        return {"$ifNull": [f"${self.path}", None]}


def bind(key: SortKey, type: str) -> Key:
    if key.param == "_id":
        return Key("_id", "_id", key.descending, ID)
    if key.param == "_lastUpdated":
        return Key("_lastUpdated", "u", key.descending, UPDATED_LAST if key.descending else UPDATED)
    if key.kind not in _KINDS:
        return Key(key.param, "", key.descending, "")
    bound = "z" if key.descending else "a"
    name = type.rstrip("#")
    path = f"k.{member(key.param)}.{bound}"
    if key.kind == "string":
        # the largest is only kept where it is another than the smallest
        indexed = not key.descending and key.param in NAMED.get(name, ())
        return Key(key.param, path, key.descending, sort_index(key.param, bound) if indexed else "", "")
    indexed = key.kind == "date" and key.param in SORTED.get(name, ())
    return Key(key.param, path, key.descending, sort_index(key.param, bound) if indexed else "")


# By computed values


def computed(keys: Sequence[Key]) -> dict[str, Any]:
    """A projection to what a row has; m0, m1, ... say that the value is missing."""
    fields: dict[str, Any] = {"c": 1, "s": 1}
    for n, key in enumerate(keys):
        fields[f"v{n}"] = key.value
        fields[f"m{n}"] = {"$eq": [key.value, None]}
    return fields


def order_of(keys: Sequence[Key], backwards: bool) -> dict[str, int]:
    """The order by computed values."""
    onwards = -1 if backwards else 1
    order: dict[str, int] = {}
    for n, key in enumerate(keys):
        order[f"m{n}"] = onwards
        order[f"v{n}"] = -onwards if key.descending else onwards
    return {**order, "c": onwards}


def beyond(keys: Sequence[Key], place: Place) -> Filter:
    """What holds for the computed values of rows that come after the place, or before it when it is looked at backwards."""
    condition: Filter = {"c": {"$lt" if place.backwards else "$gt": place.created}}
    for n in range(len(keys) - 1, -1, -1):
        value, missing = place.values[n], f"m{n}"
        if value is None:
            equal = both({missing: True}, condition)
            condition = {"$or": [{missing: False}, equal]} if place.backwards else equal
            continue
        sign = "$lt" if keys[n].descending != place.backwards else "$gt"
        parts = [both({f"v{n}": value}, condition), both({missing: False}, {f"v{n}": {sign: value}})]
        condition = {"$or": parts if place.backwards else [*parts, {missing: True}]}
    return condition


def row_of(type: str, document: dict[str, Any], keys: Sequence[Key]) -> Row:
    values = tuple(_plain(document.get(f"v{n}")) for n in range(len(keys)))
    created = document["c"] if isinstance(document["c"], float) else int(document["c"])
    return Row(type, document["_id"], created, int(document["s"]), values)


def _plain(value: SortValue) -> SortValue:
    """The value as Python has it, without the marks that BSON gives integers."""
    return int(value) if isinstance(value, int) else value


def in_order(rows: Sequence[Row], keys: Sequence[Key], *, backwards: bool) -> list[Row]:
    order = cmp_to_key(position_order([SortKey(key.param, "", key.descending) for key in keys]))
    return sorted(rows, key=lambda row: order(row.position), reverse=backwards)


# By an index


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of an index that is in the order asked for.

    `bounds` is as much of `where` as the index alone tells, `path` the member that the stretch is in the order of; '': there
    is no value that would divide it.
    """

    index: str
    where: Filter
    order: dict[str, int]
    bounds: Filter
    path: str = ""

    def until(self, value: Any) -> Filter:
        """What holds as far as the value."""
        return {self.path: {"$lte" if self.order[self.path] == 1 else "$gte": value}}


def segments(keys: Sequence[Key], place: Place | None, low: Any = None, high: Any = None) -> list[Segment]:
    """The stretches, one after the other, of what follows the place; none when no index is in the order of the first key.

    Of several keys a stretch has the order of the first alone, and begins with all that have the value of the place.
    `low`, `high`: only values from and to these are wanted, and none that is missing.
    """
    backwards = place is not None and place.backwards
    onwards = -1 if backwards else 1
    after: Filter = {} if place is None else {"c": {"$lt" if backwards else "$gt": place.created}}
    if not keys:
        where: Filter = {"d": False, **after}
        return [Segment(ORDER, where, {"c": onwards}, where, "c")]
    key, alone = keys[0], len(keys) == 1
    if not key.index:
        return []
    valued = [_valued(key, place, low, high, alone=alone)]
    if not key.path.startswith("k.") or low is not None or high is not None:
        return valued
    at = None if place is None else place.values[0]
    beside = after if alone and place is not None and at is None else {}
    where = {"d": False, key.path: None, **beside}
    missing = [Segment(key.index, where, {"c": onwards}, where)]
    if place is None:
        return valued + missing
    if at is None:
        return missing + valued if backwards else missing
    return valued if backwards else valued + missing


def _valued(key: Key, place: Place | None, low: Any, high: Any, *, alone: bool) -> Segment:
    backwards = place is not None and place.backwards
    onwards = -1 if backwards else 1
    direction = -onwards if key.descending else onwards
    within: dict[str, Any] = {}
    if key.path != "_id":
        within["$gte"] = key.least if low is None else low
    if high is not None:
        within["$lte"] = high
    further: Filter = {}
    value = None if place is None else place.values[0]
    if place is not None and value is not None:
        if direction == 1:
            within["$gte"] = max(within.get("$gte", value), value)
        else:
            within["$lte"] = min(within.get("$lte", value), value)
        if alone:
            # what has the value of the place, also a resource of another type, was created beyond it
            later = {"c": {"$lt" if backwards else "$gt": place.created}}
            further = hidden({"$or": [{key.path: {"$ne": value}}, later]})
    bounds: Filter = {key.path: within} if within else {}
    if key.path == "u":
        bounds["d"] = False
    order = {key.path: direction} if key.path == "_id" else {key.path: direction, "c": onwards}
    return Segment(key.index, both({**bounds, "d": False}, further), order, bounds, key.path)
