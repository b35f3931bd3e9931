"""The meaning of a search: whether an expression holds for a resource, given its index entries.

Source: https://hl7.org/fhir/R4/search.html. This is the reference: subscriptions and the memory store use it, and whatever a
store compiles an expression to must answer the same. A leaf holds when one entry of its parameter satisfies it, so every
leaf but Present is false for a resource without entries for the parameter; `Not` is its plain complement.

- Updated compares like a date entry of [updated, updated + 1 ms).
- TextIs: an empty text starts, and is contained in, every text.
- RefersTo: type None, base None and version None match any; id None matches any.
- QuantityIs: with system None the code is compared with the entry's code and unit text, else system and code with both.
- UriIs below: the entry is the value or goes on after it with a `/` (which the value may end with); above: the entry is the
  value or one of its beginnings up to a `/` (`uri_beginnings`).
- Chain and Has follow references to local resources that exist; versions of references are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fhir_server.search.entries import DateEntry, Entries, NumberEntry, QuantityEntry, ReferenceEntry
from fhir_server.search.tree import (
    And,
    Chain,
    DateIs,
    Everything,
    Expression,
    Has,
    IdIs,
    Not,
    Nothing,
    NumberIs,
    Or,
    Prefix,
    Present,
    QuantityIs,
    RefersTo,
    TextIs,
    TokenIs,
    Updated,
    UriIs,
)

MILLISECOND = 1000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live resource as a search sees it; `updated` in microseconds since 1970 UTC, `created` orders by creation."""

    type: str
    id: str
    updated: int
    created: int
    entries: Entries


class Lookup(Protocol):
    """The other resources, for Chain and Has."""

    def find(self, type: str, id: str) -> Candidate | None:
        """The live resource, or None."""

    def referring(self, source: str, param: str, type: str, id: str) -> Iterable[Candidate]:
        """The live resources of type `source` whose reference entries for `param` name the local resource."""


class NoLookup:
    """A lookup that knows no other resource: Chain and Has hold for nothing."""

    def find(self, type: str, id: str) -> Candidate | None:
        return None

    def referring(self, source: str, param: str, type: str, id: str) -> Iterable[Candidate]:
        return ()


def matches(expression: Expression, candidate: Candidate, lookup: Lookup) -> bool:
    """Whether the expression holds for the candidate."""
    match expression:
        case And(parts):
            return all(matches(part, candidate, lookup) for part in parts)
        case Or(parts):
            return any(matches(part, candidate, lookup) for part in parts)
        case Not(part):
            return not matches(part, candidate, lookup)
        case Everything():
            return True
        case Nothing():
            return False
        case IdIs(ids):
            return candidate.id in ids
        case Updated(prefix, low, high):
            return compare_date(prefix, candidate.updated, candidate.updated + MILLISECOND, low, high)
        case Chain(param, target, part):
            return any(matches(part, other, lookup) for other in _referred(candidate, param, target, lookup))
        case Has(source, param, part):
            others = lookup.referring(source, param, candidate.type, candidate.id)
            return any(matches(part, other, lookup) for other in others)
        case _:
            return _leaf(expression, candidate.entries)


def _referred(candidate: Candidate, param: str, target: str, lookup: Lookup) -> Iterable[Candidate]:
    for code, type, id, base, _ in candidate.entries.references:
        if code == param and type == target and base == "":
            found = lookup.find(type, id)
            if found is not None:
                yield found


def _leaf(expression: Expression, entries: Entries) -> bool:
    match expression:
        case Present(param):
            return any(entry[0] == param for kind in all_kinds(entries) for entry in kind)
        case TokenIs(param, system, code):
            return any(p == param and system in (None, s) and code in (None, c) for p, s, c in entries.tokens)
        case TextIs():
            return any(_text(expression, *entry) for entry in entries.strings)
        case DateIs():
            return any(_date(expression, entry) for entry in entries.dates)
        case NumberIs():
            return any(_number(expression, entry) for entry in entries.numbers)
        case QuantityIs():
            return any(_quantity(expression, entry) for entry in entries.quantities)
        case RefersTo():
            return any(_reference(expression, entry) for entry in entries.references)
        case UriIs():
            return any(p == expression.param and _uri(expression, uri) for p, uri in entries.uris)
        case _:
            raise AssertionError(expression)


def all_kinds(entries: Entries) -> tuple[Sequence[tuple[str, ...] | tuple[object, ...]], ...]:
    """The lists of entries, in the order of Entries."""
    return (
        entries.tokens,
        entries.strings,
        entries.dates,
        entries.numbers,
        entries.quantities,
        entries.references,
        entries.uris,
    )


def _text(wanted: TextIs, param: str, normal: str, written: str) -> bool:
    if param != wanted.param:
        return False
    match wanted.mode:
        case "exact":
            return written == wanted.text
        case "contains":
            return wanted.text in normal
        case "starts":
            return normal.startswith(wanted.text)


def _date(wanted: DateIs, entry: DateEntry) -> bool:
    param, low, high = entry
    return param == wanted.param and compare_date(wanted.prefix, low, high, wanted.low, wanted.high)


def compare_date(prefix: Prefix, l: int, h: int, low: int, high: int) -> bool:  # noqa: E741 - as in the tree
    """Whether the interval [l, h) of an entry stands to the value's [low, high) as the prefix says."""
    match prefix:
        case "eq":
            return low <= l and h <= high
        case "ne":
            return not (low <= l and h <= high)
        case "gt":
            return h > high
        case "lt":
            return l < low
        case "ge":
            return h > high or (low <= l and h <= high)
        case "le":
            return l < low or (low <= l and h <= high)
        case "sa":
            return l >= high
        case "eb":
            return h <= low
        case "ap":
            return l < high and low < h


def _number(wanted: NumberIs, entry: NumberEntry) -> bool:
    param, low, high = entry
    return param == wanted.param and compare_number(wanted, low, high)


def compare_number(wanted: NumberIs | QuantityIs, l: float, h: float) -> bool:  # noqa: E741 - as in the tree
    """Whether the interval [l, h] of an entry stands to the value as its prefix says."""
    value, low, high = wanted.value, wanted.low, wanted.high
    match wanted.prefix:
        case "eq":
            return low <= l and h < high
        case "ne":
            return not (low <= l and h < high)
        case "gt":
            return h > value
        case "lt":
            return l < value
        case "ge":
            return h >= value
        case "le":
            return l <= value
        case "sa":
            return l > value
        case "eb":
            return h < value
        case "ap":
            return l < high and low <= h


def _quantity(wanted: QuantityIs, entry: QuantityEntry) -> bool:
    param, low, high, system, code, unit = entry
    if param != wanted.param:
        return False
    if wanted.system is not None:
        if (system, code) != (wanted.system, wanted.code or ""):
            return False
    elif wanted.code is not None and wanted.code not in (code, unit):
        return False
    return compare_number(wanted, low, high)


def _reference(wanted: RefersTo, entry: ReferenceEntry) -> bool:
    param, type, id, base, version = entry
    return (
        param == wanted.param
        and wanted.id in (None, id)
        and wanted.type in (None, type)
        and wanted.base in (None, base)
        and wanted.version in (None, version)
    )


def _uri(wanted: UriIs, uri: str) -> bool:
    match wanted.mode:
        case "exact":
            return uri == wanted.value
        case "below":
            return uri == wanted.value or uri.startswith(wanted.value.rstrip("/") + "/")
        case "above":
            return uri in uri_beginnings(wanted.value)


def uri_beginnings(value: str) -> frozenset[str]:
    """The uri itself and what it is up to each of its slashes, with and without it: what `:above` looks for."""
    cuts = [i for i, character in enumerate(value) if character == "/"]
    return frozenset((value, *(value[:i] for i in cuts), *(value[: i + 1] for i in cuts)))
