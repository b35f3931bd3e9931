"""The order of search results: what `_sort` means, for the reference store and for whatever a store compiles it to.

Source: https://hl7.org/fhir/R4/search.html#sort. An invariant to keep: the order is total, because the order of creation
decides at last, so a page can begin after any place in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fhir_server.search.match import Candidate
from fhir_server.search.tree import SortKey

SortValue = str | int | float | None


def sort_value(candidate: Candidate, key: SortKey) -> SortValue:
    """What a resource is sorted by: the smallest of its values, or the largest when descending; None without any.

    token: code; string: normalised text; date, number, quantity: low when ascending, high when descending; reference:
    id; uri: itself; _id: the id; _lastUpdated: the instant. Texts are compared by code point.
    """
    values = _sort_values(candidate, key)
    if not values:
        return None
    return max(values) if key.descending else min(values)  # type: ignore[type-var]


def _sort_values(candidate: Candidate, key: SortKey) -> list[SortValue]:
    if key.param == "_id":
        return [candidate.id]
    if key.param == "_lastUpdated":
        return [candidate.updated]
    entries, param, bound = candidate.entries, key.param, 2 if key.descending else 1
    match key.kind:
        case "token":
            return [code for p, _, code in entries.tokens if p == param]
        case "string":
            return [normal for p, normal, _ in entries.strings if p == param]
        case "date":
            return [entry[bound] for entry in entries.dates if entry[0] == param]
        case "number":
            return [entry[bound] for entry in entries.numbers if entry[0] == param]
        case "quantity":
            return [float(entry[bound]) for entry in entries.quantities if entry[0] == param]
        case "reference":
            return [id for p, _, id, _, _ in entries.references if p == param]
        case "uri":
            return [uri for p, uri in entries.uris if p == param]
        case _:
            return []


SortPosition = tuple[SortValue, ...]


def position(candidate: Candidate, sort: Sequence[SortKey]) -> SortPosition:
    """The place of a resource in an order: its value for each key, then the order of creation."""
    return (*(sort_value(candidate, key) for key in sort), candidate.created)


def position_order(sort: Sequence[SortKey]) -> Callable[[SortPosition, SortPosition], int]:
    """A comparison of positions (for functools.cmp_to_key): missing values are last either way."""

    def compare(one: SortPosition, other: SortPosition) -> int:
        for key, a, b in zip(sort, one, other, strict=False):
            if a == b:
                continue
            if a is None or b is None:
                return 1 if a is None else -1
            before = a < b  # type: ignore[operator]
            return -1 if before != key.descending else 1
        # what is contained lies between whole sequences
        created, beside = one[-1], other[-1]
        return (created > beside) - (created < beside)  # type: ignore[operator]

    return compare
