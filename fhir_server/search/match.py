"""The meaning of a search: whether an expression holds for a resource, given its index entries.

Source: https://hl7.org/fhir/R4/search.html. This is the reference: subscriptions and the memory store use it, and whatever a
store compiles an expression to must answer the same. A leaf holds when one entry of its parameter satisfies it, so every
leaf but Present is false for a resource without entries for the parameter; `Not` is its plain complement.

- Updated compares like a date entry of [updated, updated + 1 ms).
- TextIs: an empty text starts, ends, and is contained in every text; `equals` compares the normalised text.
- RefersTo: type None, base None and version None match any; id None matches any.
- QuantityIs: with system None the code is compared with the entry's code and unit text, else system and code with both.
- UriIs below: the entry is the value or goes on after it with a `/` (which the value may end with); above: the entry is the
  value or one of its beginnings up to a `/` (`uri_beginnings`).
- Composite: one entry has as many components as there are parts, and each satisfies its part; a component of another
  kind than its part does not.
- Near: by the haversine formula in double precision, at most the radius; a distance within a millimetre of it may differ.
- FullText: words and phrases are looked for in the words of `Candidate.texts`, whole words only.
- Chain and Has follow references to local resources that exist; versions of references are not looked at. Chain also
  follows those to what the resource itself contains, or what is contained beside it; of those Has asks when the resource
  it is asked of is a contained one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fhir_server.search.contained import (
    CONTAINED,
    contained_key,
    contained_type,
    container_of,
    is_contained,
    logical_id,
)
from fhir_server.search.entries import Component, Entries
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    ContainedIn,
    DateComparison,
    DateIs,
    Everything,
    Expression,
    FullText,
    Has,
    IdIs,
    Include,
    Near,
    Not,
    Nothing,
    NumberIs,
    Or,
    Present,
    QuantityIs,
    RefersTo,
    Repeats,
    TextIs,
    TokenIn,
    TokenIs,
    TypeIs,
    Updated,
    UriIs,
)

MILLISECOND = 1000
EARTH_RADIUS = 6_371_008.8


def no_texts() -> tuple[str, str]:
    """The texts of a resource without any."""
    return "", ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live resource as a search sees it; `updated` in microseconds since 1970 UTC, `created` orders by creation.

    `texts` gives the words of its narrative and of its whole content (`fulltext.full_texts`); it is called for FullText
    alone.
    """

    type: str
    id: str
    updated: int
    created: int
    entries: Entries
    texts: Callable[[], tuple[str, str]] = field(default=no_texts, compare=False)


class Lookup(Protocol):
    """The other resources, for Chain and Has."""

    def find(self, type: str, id: str) -> Candidate | None:
        """The live resource, or None."""

    def referring(self, source: str, param: str | None, type: str, id: str) -> Iterable[Candidate]:
        """The live resources of type `source` whose reference entries for `param` (None: any) name the local resource."""


class NoLookup:
    """A lookup that knows no other resource: Chain and Has hold for nothing."""

    def find(self, type: str, id: str) -> Candidate | None:
        return None

    def referring(self, source: str, param: str | None, type: str, id: str) -> Iterable[Candidate]:
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
            return logical_id(candidate.id) in ids
        case TypeIs(types):
            return candidate.type in types
        case Updated(prefix, low, high):
            return compare_date(prefix, candidate.updated, candidate.updated + MILLISECOND, low, high)
        case FullText(field, query):
            return _mentions(candidate.texts()[field == "content"], query)
        case Chain(param, target, part):
            return any(matches(part, other, lookup) for other in _referred(candidate, param, target, lookup))
        case Has(source, param, part):
            code = param + CONTAINED if is_contained(candidate.type) else param
            others = lookup.referring(source, code, candidate.type, candidate.id)
            return any(matches(part, other, lookup) for other in others)
        case ContainedIn(part):
            container = _container(candidate, lookup)
            return container is not None and matches(part, container, lookup)
        case Repeats(types, part):
            return any(matches(part, o, lookup) for o in _before(candidate, lookup) if o.type in types)
        case _:
            return _leaf(expression, candidate.entries)


def _referred(candidate: Candidate, param: str, target: str, lookup: Lookup) -> Iterable[Candidate]:
    ways = ((param, target), (param + CONTAINED, contained_type(target)))
    for code, type, id, base, _ in candidate.entries.references:
        if (code, type) in ways and base == "":
            found = lookup.find(type, id)
            if found is not None:
                yield found


def _container(candidate: Candidate, lookup: Lookup) -> Candidate | None:
    return lookup.find(*container_of(candidate.id)) if is_contained(candidate.type) else None


def _before(candidate: Candidate, lookup: Lookup) -> Iterable[Candidate]:
    """The container, and what is contained in it and was created before the candidate."""
    container = _container(candidate, lookup)
    if container is None:
        return
    yield container
    for one in container.entries.contained:
        found = lookup.find(*contained_key((container.type, container.id), one.type, one.id))
        if found is not None and found.created < candidate.created:
            yield found


def _mentions(text: str, query: tuple[tuple[tuple[str, ...], ...], ...]) -> bool:
    words = f" {text} "
    return any(all(f" {' '.join(phrase)} " in words for phrase in phrases) for phrases in query)


def _leaf(expression: Expression, entries: Entries) -> bool:
    match expression:
        case Present(param):
            return any(entry[0] == param for kind in all_kinds(entries) for entry in kind)
        case Composite(param, parts):
            return any(code == param and _components(parts, found) for code, found in entries.composites)
        case Near():
            return any(code == expression.param and _near(expression, *at) for code, *at in entries.positions)
        case _:
            _, found, holds = _LEAVES[type(expression)]
            param = expression.param  # type: ignore[union-attr]
            return any(entry[0] == param and holds(expression, *entry[1:]) for entry in found(entries))


def _components(parts: Sequence[Expression], components: Sequence[Component]) -> bool:
    return len(parts) == len(components) and all(map(_component, parts, components))


def _component(part: Expression, component: Component) -> bool:
    if isinstance(part, Or):
        return any(_component(one, component) for one in part.parts)
    kind, _, holds = _LEAVES[type(part)]
    return bool(component[0] == kind and holds(part, *component[1:]))


def _near(wanted: Near, latitude: float, longitude: float) -> bool:
    return distance(wanted.latitude, wanted.longitude, latitude, longitude) <= wanted.radius


def distance(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Metres between two points in degrees, along the great circle of a sphere."""
    north, to_north = math.radians(latitude), math.radians(to_latitude)
    across = math.sin((to_north - north) / 2) ** 2
    along = math.sin(math.radians(to_longitude - longitude) / 2) ** 2
    # rounding leaves [0, 1] by a little, beyond the poles and between antipodes
    share = min(1.0, max(0.0, across + math.cos(north) * math.cos(to_north) * along))
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(share))


def all_kinds(entries: Entries) -> tuple[Sequence[tuple[Any, ...]], ...]:
    """The lists of entries, in the order of Entries."""
    return (
        entries.tokens,
        entries.strings,
        entries.dates,
        entries.numbers,
        entries.quantities,
        entries.references,
        entries.uris,
        entries.composites,
        entries.positions,
    )


def _token(wanted: TokenIs, system: str, code: str) -> bool:
    return wanted.system in (None, system) and wanted.code in (None, code)


def _token_in(wanted: TokenIn, system: str, code: str) -> bool:
    return (system, code) in wanted.codes


def _text(wanted: TextIs, normal: str, written: str) -> bool:
    match wanted.mode:
        case "exact":
            return written == wanted.text
        case "equals":
            return normal == wanted.text
        case "contains":
            return wanted.text in normal
        case "starts":
            return normal.startswith(wanted.text)
        case "ends":
            return normal.endswith(wanted.text)
        case "gt":
            return normal > wanted.text
        case "lt":
            return normal < wanted.text
        case "ge":
            return normal >= wanted.text
        case "le":
            return normal <= wanted.text


def _date(wanted: DateIs, low: int, high: int) -> bool:
    return compare_date(wanted.prefix, low, high, wanted.low, wanted.high)


def compare_date(prefix: DateComparison, l: int, h: int, low: int, high: int) -> bool:  # noqa: E741 - as in the tree
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
        case "co":
            return l <= low and high <= h


def _number(wanted: NumberIs, low: float, high: float) -> bool:
    return compare_number(wanted, low, high)


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


def _quantity(wanted: QuantityIs, low: float, high: float, system: str, code: str, unit: str) -> bool:
    if wanted.system is not None:
        if (system, code) != (wanted.system, wanted.code or ""):
            return False
    elif wanted.code is not None and wanted.code not in (code, unit):
        return False
    return compare_number(wanted, low, high)


def _reference(wanted: RefersTo, type: str, id: str, base: str, version: str) -> bool:
    return (
        wanted.id in (None, id)
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


# leaf -> the kind of component that it is about, the entries that it is about, whether it holds for the members of one
_LEAVES: Mapping[
    type[Any], tuple[str, Callable[[Entries], Sequence[tuple[Any, ...]]], Callable[..., bool]]
] = {
    TokenIs: ("token", lambda e: e.tokens, _token),
    TokenIn: ("token", lambda e: e.tokens, _token_in),
    TextIs: ("string", lambda e: e.strings, _text),
    DateIs: ("date", lambda e: e.dates, _date),
    NumberIs: ("number", lambda e: e.numbers, _number),
    QuantityIs: ("quantity", lambda e: e.quantities, _quantity),
    RefersTo: ("reference", lambda e: e.references, _reference),
    UriIs: ("uri", lambda e: e.uris, _uri),
}


def followed(include: Include, candidate: Candidate, lookup: Lookup) -> Iterable[Candidate]:
    """The resources that one include leads to from a resource, whatever else it asks of them."""
    if include.reverse:
        if include.target in (None, candidate.type):
            yield from lookup.referring(include.source, include.param, candidate.type, candidate.id)
        return
    if include.source not in ("*", candidate.type):
        return
    for code, type, id, base, _ in candidate.entries.references:
        if is_contained(type):
            continue
        if include.param in (None, code) and include.target in (None, type) and base == "":
            found = lookup.find(type, id)
            if found is not None:
                yield found
