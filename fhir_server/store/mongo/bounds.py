"""Intervals: comparing the two ends of an entry with a value, and what that implies for each end.

https://hl7.org/fhir/R4/search.html#prefix; the meaning is that of `match.compare_date` and `match.compare_number`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_server.search.tree import DateIs, NumberIs, QuantityIs
from fhir_server.store.mongo.entries import bounded

Filter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a condition on an interval implies for its ends, closed; None: nothing."""

    low_from: Any = None
    low_to: Any = None
    high_from: Any = None
    high_to: Any = None

    def both(self, other: Bounds) -> Bounds:
        return Bounds(
            self.highest(self.low_from, other.low_from),
            self.lowest(self.low_to, other.low_to),
            self.highest(self.high_from, other.high_from),
            self.lowest(self.high_to, other.high_to),
        )

    @staticmethod
    def lowest(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return min(one, other)

    @staticmethod
    def highest(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return max(one, other)


def bounds_of(leaf: DateIs | NumberIs | QuantityIs) -> Bounds:
    low, high = leaf.low, leaf.high
    # a date is compared with its interval, a number with its value where the prefix gives a direction
    above: Any = high if isinstance(leaf, DateIs) else leaf.value
    under: Any = low if isinstance(leaf, DateIs) else leaf.value
    is_date = isinstance(leaf, DateIs)
    match leaf.prefix:
        case "eq":
            return Bounds(low_from=low, low_to=high, high_from=low, high_to=high)
        case "gt":
            return Bounds(high_from=above)
        case "lt":
            return Bounds(low_to=under)
        case "ge":
            return Bounds(high_from=low if is_date else above)
        case "le":
            return Bounds(low_to=high if is_date else under)
        case "sa":
            return Bounds(low_from=above, high_from=above)
        case "eb":
            return Bounds(low_to=under, high_to=under)
        case "ap":
            return Bounds(low_to=high, high_from=low)
        case "co":
            return Bounds(low_to=low, high_from=high)
        case _:
            return Bounds()


def compared(leaf: DateIs | NumberIs | QuantityIs, l: str, h: str) -> Filter:  # noqa: E741 - as in the tree
    """That an entry with its ends in the members `l` and `h` stands to the value as the prefix says."""
    if isinstance(leaf, DateIs):
        return _date(leaf.prefix, bounded(leaf.low), bounded(leaf.high), l, h)
    return _number(leaf, l, h)


def _date(prefix: str, low: int, high: int, l: str, h: str) -> Filter:  # noqa: E741
    within = {l: {"$gte": low}, h: {"$lte": high}}
    match prefix:
        case "eq":
            return within
        case "ne":
            return {"$or": [{l: {"$lt": low}}, {h: {"$gt": high}}]}
        case "gt":
            return {h: {"$gt": high}}
        case "lt":
            return {l: {"$lt": low}}
        case "ge":
            return {"$or": [{h: {"$gt": high}}, within]}
        case "le":
            return {"$or": [{l: {"$lt": low}}, within]}
        case "sa":
            return {l: {"$gte": high}}
        case "eb":
            return {h: {"$lte": low}}
        case "ap":
            return {l: {"$lt": high}, h: {"$gt": low}}
        case _:
            return {l: {"$lte": low}, h: {"$gte": high}}


def _number(leaf: NumberIs | QuantityIs, l: str, h: str) -> Filter:  # noqa: E741
    value, low, high = float(leaf.value), float(leaf.low), float(leaf.high)
    match leaf.prefix:
        case "eq":
            return {l: {"$gte": low}, h: {"$lt": high}}
        case "ne":
            return {"$or": [{l: {"$lt": low}}, {h: {"$gte": high}}]}
        case "gt":
            return {h: {"$gt": value}}
        case "lt":
            return {l: {"$lt": value}}
        case "ge":
            return {h: {"$gte": value}}
        case "le":
            return {l: {"$lte": value}}
        case "sa":
            return {l: {"$gt": value}}
        case "eb":
            return {h: {"$lt": value}}
        case "ap":
            return {l: {"$lt": high}, h: {"$gte": low}}
