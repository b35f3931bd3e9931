"""Sets of instants as sorted lists of half-open intervals [low, high) that neither touch nor overlap. Microseconds, UTC.

An invariant to keep: every function gives such a list, whatever order, overlap or emptiness it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Interval = tuple[int, int]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The instants that are in at least one of `intervals`."""
    merged: list[Interval] = []
    begins = ends = None
    for low, high in sorted(intervals):
        if low >= high:
            continue
        if begins is None or ends is None or low > ends:
            if begins is not None and ends is not None:
                merged.append((begins, ends))
            begins, ends = low, high
        elif high > ends:
            ends = high
    if begins is not None and ends is not None:
        merged.append((begins, ends))
    return merged


def intersection(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """The instants that are in both sets."""
    found: list[Interval] = []
    i = j = 0
    while i < len(one) and j < len(other):
        low = max(one[i][0], other[j][0])
        high = min(one[i][1], other[j][1])
        if low < high:
            found.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def difference(one: Sequence[Interval], taken: Sequence[Interval]) -> list[Interval]:
    """The instants of `one` that are not in `taken`."""
    left: list[Interval] = []
    j = 0
    for low, high in one:
        while j < len(taken) and taken[j][1] <= low:
            j += 1
        at, k = low, j
        while k < len(taken) and taken[k][0] < high:
            if at < taken[k][0]:
                left.append((at, taken[k][0]))
            at = max(at, taken[k][1])
            k += 1
        if at < high:
            left.append((at, high))
    return left


def shifted(intervals: Sequence[Interval], by: int) -> list[Interval]:
    return [(low + by, high + by) for low, high in intervals]
