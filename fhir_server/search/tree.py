"""The expression tree of a search: what `parse` makes, `rewrite` extends, `match` defines and each store compiles.

Source: https://hl7.org/fhir/R4/search.html. Values are already parsed: dates are instants in microseconds since 1970 in
UTC, texts are normalised, references are split. A store must answer exactly what `fhir_server.search.match` answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Prefix = Literal["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]
# `co` (the entry contains the value) is for `_filter` alone, no prefix of a search
DateComparison = Literal[Prefix, "co"]
TextMode = Literal["starts", "exact", "contains", "equals", "ends", "gt", "lt", "ge", "le"]
UriMode = Literal["exact", "above", "below"]


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Holds for a resource for which `part` does not (`:not`, `:missing=true`)."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Everything:
    """Holds for every resource of the types searched."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Holds for none."""


@dataclass(frozen=True, slots=True)
class IdIs:
    """The logical id is one of `ids` (`_id`); that of a contained resource is the one within its container."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TypeIs:
    """The resource is of one of `types`: for expressions over several types, such as an access policy."""

    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Updated:
    """meta.lastUpdated compared as a date (`_lastUpdated`); [low, high) is the interval of the value, microseconds.

    lastUpdated itself is a millisecond long: [updated, updated + 1000).
    """

    prefix: Prefix
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Present:
    """The resource has an index entry for the parameter (of whatever kind)."""

    param: str


@dataclass(frozen=True, slots=True)
class TokenIs:
    """A token entry with this system and code. None means any; system '' means: has no system."""

    param: str
    system: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class TokenIn:
    """A token entry is one of `codes`, pairs of (system, code): what `:in`, `:below`, `:above` expand to.

    `not_in` is its negation by `Not`. The set may hold thousands; a store hands it over as one value, not as so many terms.
    """

    param: str
    codes: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TextIs:
    """A string entry: `exact` compares the text as written, every other mode the normalised text.

    `equals`, `ends`, and the order by code point (`gt`, `lt`, `ge`, `le`) are for `_filter`.
    """

    param: str
    text: str
    mode: TextMode


@dataclass(frozen=True, slots=True)
class DateIs:
    """A date entry [l, h) compared with the value's interval [low, high), microseconds since 1970 UTC.

    eq: low<=l and h<=high; ne: not eq; gt: h>high; lt: l<low; ge: gt or eq; le: lt or eq; sa: l>=high; eb: h<=low;
    ap: overlap with the interval widened by a tenth of its distance from now (`parse` has already widened it);
    co: l<=low and high<=h.
    """

    param: str
    prefix: DateComparison
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class NumberIs:
    """A number entry [l, h] (l == h but for ranges) compared with `value`, whose written precision gives [low, high).

    eq: low<=l and h<high; ne: not eq; gt: h>value; lt: l<value; ge: h>=value; le: l<=value; sa: l>value; eb: h<value;
    ap: overlap with [low, high), which `parse` has widened to a tenth of the value.
    """

    param: str
    prefix: Prefix
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QuantityIs:
    """A quantity entry, compared like a number, whose unit matches.

    system None and code None: any unit. system None and code given: code or unit text is `code`. Else both must match.
    """

    param: str
    prefix: Prefix
    value: float
    low: float
    high: float
    system: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class RefersTo:
    """A reference entry. None means any.

    Local targets have base '' with type and id; absolute ones a base (`http://other/fhir`) with type and id, or, when the
    address is not of RESTful form (canonical, urn:uuid), base '' with type '' and the whole address as id. version is the
    version asked for (`/_history/2`, `|1.0`), None for any.
    """

    param: str
    type: str | None
    id: str | None
    base: str | None = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class UriIs:
    """A uri entry: equal, or (`below`) the value is a prefix of the entry by path segments, or (`above`) the reverse."""

    param: str
    value: str
    mode: UriMode = "exact"


@dataclass(frozen=True, slots=True)
class Composite:
    """A composite entry of the parameter whose components, in their order, satisfy the `parts`.

    Each part is a leaf (TokenIs, TextIs, DateIs, NumberIs, QuantityIs, RefersTo, UriIs) or an Or of leaves of one kind;
    its own `param` is the composite's too. All parts must hold for the components of ONE entry.
    """

    param: str
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """A position entry at most `radius` metres (great circle, earth radius 6,371,008.8 m) from the point in degrees."""

    param: str
    latitude: float
    longitude: float
    radius: float


@dataclass(frozen=True, slots=True)
class FullText:
    """The words of the narrative (`field` "text") or of all texts of the resource ("content") satisfy the query.

    `query` is a disjunction of conjunctions of normalised words and phrases (tuples of consecutive words).
    """

    field: Literal["text", "content"]
    query: tuple[tuple[tuple[str, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The resource refers by `param` to a local resource of `target` type, or one that it contains, for which `part` holds."""

    param: str
    target: str
    part: Expression


@dataclass(frozen=True, slots=True)
class Has:
    """A resource of type `source` refers by its parameter `param` to this resource, and `part` holds for it (`_has`)."""

    source: str
    param: str
    part: Expression


@dataclass(frozen=True, slots=True)
class ContainedIn:
    """The resource is contained in one for which `part` holds."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Repeats:
    """Something else of one of `types` that stands for the same container satisfies `part`.

    That is the container itself, or what is contained in it and was created before. So `Not(Repeats(types, part))` leaves
    one match for each container. It holds for contained resources alone.
    """

    types: tuple[str, ...]
    part: Expression


# What an index entry of one kind can satisfy; also what a composite asks of a component.
Leaf = TokenIs | TokenIn | TextIs | DateIs | NumberIs | QuantityIs | RefersTo | UriIs

Expression = (
    And
    | Or
    | Not
    | Everything
    | Nothing
    | IdIs
    | TypeIs
    | Updated
    | Present
    | TokenIs
    | TextIs
    | DateIs
    | NumberIs
    | QuantityIs
    | RefersTo
    | UriIs
    | TokenIn
    | Composite
    | Near
    | FullText
    | Chain
    | Has
    | ContainedIn
    | Repeats
)


def all_of(parts: Iterable[Expression]) -> Expression:
    """The conjunction in its simplest form: nested ones are flattened, what says nothing is left out."""
    kept: list[Expression] = []
    for part in parts:
        if isinstance(part, Nothing):
            return part
        if isinstance(part, And):
            kept.extend(part.parts)
        elif not isinstance(part, Everything):
            kept.append(part)
    return _joined(And, kept, Everything())


def any_of(parts: Iterable[Expression]) -> Expression:
    """The disjunction in its simplest form."""
    kept: list[Expression] = []
    for part in parts:
        if isinstance(part, Everything):
            return part
        if isinstance(part, Or):
            kept.extend(part.parts)
        elif not isinstance(part, Nothing):
            kept.append(part)
    ids = tuple(dict.fromkeys(id for part in kept if isinstance(part, IdIs) for id in part.ids))
    if ids:
        kept = [IdIs(ids), *(part for part in kept if not isinstance(part, IdIs))]
    return _joined(Or, kept, Nothing())


def negation(part: Expression) -> Expression:
    """`Not` in its simplest form."""
    match part:
        case Not(inner):
            return inner
        case Everything():
            return Nothing()
        case Nothing():
            return Everything()
        case _:
            return Not(part)


def _joined(join: type[And] | type[Or], parts: list[Expression], none: Expression) -> Expression:
    unique = tuple(dict.fromkeys(parts))
    if not unique:
        return none
    return unique[0] if len(unique) == 1 else join(unique)


@dataclass(frozen=True, slots=True)
class SortKey:
    """A key of `_sort`: a parameter code of the type searched, or `_id` / `_lastUpdated`.

    Ascending order takes the smallest value of a resource, descending the largest; resources without a value come last
    either way; ties are broken by the order of creation (ascending).
    """

    param: str
    kind: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Include:
    """`_include` (resources that a match refers to) or `_revinclude` (`reverse`: resources that refer to a match).

    `source` is the type that has the parameter, `*` any type; param None means every reference. `target` limits the type.
    `where` must hold for what is included (an access policy); a resource for which it does not is not followed either.
    """

    source: str
    param: str | None
    target: str | None = None
    reverse: bool = False
    iterate: bool = False
    where: Expression = Everything()


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search as a store answers it. `types` has one type, or several for a system-level search (empty: all types).

    `Medication#` is the type of contained Medications (`search.contained`); all types are those of resources that stand alone.

    `count` is the page size (0: only the total is wanted); `cursor` is the opaque text of `Page.next` or
    `Page.previous`; `total` as in `_total`; `include_limit` bounds the included resources of a page.
    """

    types: tuple[str, ...]
    where: Expression = Everything()
    sort: tuple[SortKey, ...] = ()
    count: int = 50
    cursor: str | None = None
    total: Literal["none", "estimate", "accurate"] = "none"
    includes: tuple[Include, ...] = ()
    include_limit: int = 1000
