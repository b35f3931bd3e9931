"""What a comparison with an interval implies for the two ends of an entry: ranges that a store can look up.

https://hl7.org/fhir/R4/search.html#prefix; the meaning is that of `match.compare_date` and `match.compare_number`. An invariant to
keep: bounds are implied by the condition, they need not imply it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_server.search.tree import DateIs, NumberIs, QuantityIs


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a condition on an interval implies for its ends, closed; None: nothing."""

    low_from: Any = None
    low_to: Any = None
    high_from: Any = None
    high_to: Any = None

    def both(self, other: Bounds) -> Bounds:
        return Bounds(
            highest(self.low_from, other.low_from),
            lowest(self.low_to, other.low_to),
            highest(self.high_from, other.high_from),
            lowest(self.high_to, other.high_to),
        )


def lowest(one: Any, other: Any) -> Any:
    """The smaller of two bounds, None when there is none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def highest(one: Any, other: Any) -> Any:
    """The greater of two bounds, None when there is none."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def bounds_of(leaf: DateIs | NumberIs | QuantityIs) -> Bounds:
    """What the condition implies, in microseconds or as doubles."""
    is_date = isinstance(leaf, DateIs)
    low, high = (leaf.low, leaf.high) if is_date else (float(leaf.low), float(leaf.high))
    # a date is compared with its interval, a number with its value where the prefix gives a direction
    under, above = (low, high) if isinstance(leaf, DateIs) else (float(leaf.value), float(leaf.value))
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
