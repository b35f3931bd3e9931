"""The leaves of an expression as conditions on the document of a resource.

Each leaf gives what must hold for a document (`test`), and where in an index those are for which it may hold (`access`). An
invariant to keep: the test alone decides, and it means what `fhir_server.search.match` means; the access lists all that
pass the test, and may list more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.search.bounds import Bounds, bounds_of, lowest
from fhir_server.search.contained import is_contained
from fhir_server.search.match import EARTH_RADIUS, MILLISECOND, uri_beginnings
from fhir_server.search.text import normalise, successor
from fhir_server.search.tree import (
    DateIs,
    IdIs,
    Near,
    NumberIs,
    Present,
    QuantityIs,
    RefersTo,
    TextIs,
    TokenIn,
    TokenIs,
    Updated,
    UriIs,
)
from fhir_server.store.mongo.comparing import compared
from fhir_server.store.mongo.entries import (
    SPAN,
    escaped,
    of_integer,
    of_number,
    point,
    reference_text,
    several_text,
    string_text,
    token_text,
    uri_text,
)
from fhir_server.store.mongo.indexes import ENTRIES, FRAGMENT, ID, POSITIONED, POSITIONS, UPDATED

Filter = dict[str, Any]
Interval = DateIs | NumberIs | QuantityIs

NEVER: Filter = {"_id": {"$in": []}}
# Longer patterns are refused by MongoDB (32,764 bytes).
_LONGEST_PATTERN = 10_000
# So many stretches of an index MongoDB merges in their order (internalQueryMaxScansToExplode is 200).
_MERGED = 200
# Half a millimetre, so that a point on the very edge of a circle is in it.
_SLACK = 0.0005


@dataclass(frozen=True, slots=True)
class Range:
    """Texts from `low` up to `high`, which is among them when the range is `closed`."""

    low: str
    high: str
    closed: bool = False

    @property
    def condition(self) -> Filter:
        return {"$gte": self.low, "$lte" if self.closed else "$lt": self.high}


@dataclass(frozen=True, slots=True)
class Access:
    """Where to look: texts of the array of entries, ranges of them, and (index, filter) of other indexes."""

    points: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    others: tuple[tuple[str, Filter], ...] = ()

    def __or__(self, other: Access) -> Access:
        points = tuple(dict.fromkeys(self.points + other.points))
        return Access(points, self.ranges + other.ranges, self.others + other.others)

    @property
    def filter(self) -> Filter:
        parts: list[Filter] = []
        if self.points:
            parts.append({"e": self.points[0] if len(self.points) == 1 else {"$in": list(self.points)}})
        parts += [{"e": {"$elemMatch": one.condition}} for one in self.ranges]
        parts += [condition for _, condition in self.others]
        if not parts:
            return NEVER
        return parts[0] if len(parts) == 1 else {"$or": parts}

    @property
    def index(self) -> str:
        """The one index that serves all, '' when there is more than one."""
        names = {ENTRIES} if self.points or self.ranges else set()
        names |= {name for name, _ in self.others}
        return names.pop() if len(names) == 1 else ""

    @property
    def ordered(self) -> bool:
        """Whether what is listed comes in the order of creation."""
        return 0 < len(self.points) <= _MERGED and not self.ranges and not self.others

    @property
    def empty(self) -> bool:
        return not (self.points or self.ranges or self.others)


@dataclass(frozen=True, slots=True)
class Condition:
    """`exact`: the access lists just those that pass the test. Without an access, no index helps."""

    test: Filter
    access: Access | None = None
    exact: bool = False


def condition_of(leaf: Any, type: str) -> Condition:
    """The condition of any leaf but Composite and FullText."""
    make: Callable[[Any, str], Condition] = _MAKERS[leaf.__class__]
    return make(leaf, type)


def listed(access: Access) -> Condition:
    """A condition that its access alone decides."""
    return Condition(access.filter, access, exact=True)


def below(prefix: str) -> Range:
    """All texts that begin with a text of `e`."""
    high = successor(prefix)
    assert high is not None, "the parameter's name has a successor"
    return Range(prefix, high)


def any_entry(range: Range, pattern: str) -> Filter:
    return {"e": {"$elemMatch": {**range.condition, "$regex": pattern}}}


def quoted(text: str) -> str:
    """A text as a part of a pattern."""
    return re.escape(text).replace("\0", r"\x00").replace("\1", r"\x01")


# Tokens, texts, addresses


def _token(leaf: TokenIs, _: str) -> Condition:
    if leaf.code is None:
        return _of_system(leaf)
    if leaf.system is None:
        return listed(Access(ranges=(below(f"{leaf.param}\0t{escaped(leaf.code)}\0"),)))
    return listed(Access(points=(token_text(leaf.param, leaf.system, leaf.code),)))


def _of_system(leaf: TokenIs) -> Condition:
    every = below(f"{leaf.param}\0t")
    if leaf.system is None:
        return listed(Access(ranges=(every,)))
    system = escaped(leaf.system)
    if len(system) > _LONGEST_PATTERN:
        return Condition(NEVER, Access(), exact=True)
    pattern = rf"^{quoted(leaf.param)}\x00t[^\x00]*\x00{quoted(system)}\z"
    return Condition(any_entry(every, pattern), Access(ranges=(every,)))


def _token_in(leaf: TokenIn, _: str) -> Condition:
    points = tuple(token_text(leaf.param, system, code) for system, code in sorted(leaf.codes))
    return listed(Access(points=points))


def _text(leaf: TextIs, _: str) -> Condition:
    param, text = leaf.param, escaped(leaf.text)
    every = below(f"{param}\0s")
    at = f"{param}\0s{text}"
    match leaf.mode:
        case "exact":
            return listed(Access(points=(string_text(param, normalise(leaf.text), leaf.text),)))
        case "equals":
            return listed(Access(ranges=(below(at + "\0"),)))
        case "starts":
            return listed(Access(ranges=(below(at),)))
        case "gt":
            return listed(Access(ranges=(Range(at + "\1", every.high),)))
        case "ge":
            return listed(Access(ranges=(Range(at, every.high),)))
        case "lt":
            return listed(Access(ranges=(Range(every.low, at),)))
        case "le":
            return listed(Access(ranges=(Range(every.low, at + "\1"),)))
        case "contains" | "ends":
            return Condition(_within(every, param, text, leaf.mode == "ends"), Access(ranges=(every,)))


def _within(every: Range, param: str, text: str, ends: bool) -> Filter:
    """That a text has another in it, or at its end."""
    if len(text) <= _LONGEST_PATTERN:
        end = r"\x00" if ends else ""
        return any_entry(every, rf"^{quoted(param)}\x00s[^\x00]*{quoted(text)}{end}")
    own = {"$and": [{"$gte": ["$$this", every.low]}, {"$lt": ["$$this", every.high]}]}
    norm = {"$arrayElemAt": [{"$split": ["$$this", "\0"]}, 1]}
    where = [{"$concat": [norm, "\0"]}, {"$literal": text + "\0" if ends else text}, 1]
    held = {"$map": {"input": {"$filter": {"input": "$e", "cond": own}}, "as": "this",
                     "in": {"$gte": [{"$indexOfBytes": where}, 0]}}}  # fmt: skip
    return {"$expr": {"$anyElementTrue": [held]}}


def _uri(leaf: UriIs, _: str) -> Condition:
    if leaf.mode == "above":
        beginnings = sorted(uri_beginnings(leaf.value))
        return listed(Access(points=tuple(uri_text(leaf.param, one) for one in beginnings)))
    same = uri_text(leaf.param, leaf.value)
    if leaf.mode == "exact":
        return listed(Access(points=(same,)))
    under = below(uri_text(leaf.param, leaf.value.rstrip("/") + "/"))
    return listed(Access(points=(same,), ranges=(under,)))


def _reference(leaf: RefersTo, _: str) -> Condition:
    param, id, type, base, version = leaf.param, leaf.id, leaf.type, leaf.base, leaf.version
    if version == "":
        return _without_version(leaf)
    tail = "" if version is None else f"\0{escaped(version)}"
    if id is not None and type is not None and base is not None:
        return listed(Access(points=(reference_text(param, type, id, base) + tail,)))
    known = f"{param}\0r"
    if id is not None:
        known += f"{escaped(id)}\0"
        if type is not None:
            known += f"{escaped(type)}\0"
    every = below(known)
    if version is None and type is None and base is None:
        return listed(Access(ranges=(every,)))
    if max(len(part or "") for part in (id, type, base, version)) > _LONGEST_PATTERN:
        return Condition(NEVER, Access(), exact=True)
    parts = [r"[^\x00]*" if part is None else quoted(escaped(part)) for part in (id, type, base)]
    pattern = rf"^{quoted(param)}\x00r" + r"\x00".join(parts) + quoted(tail) + r"\z"
    return Condition(any_entry(every, pattern), Access(ranges=(every,)))


def _without_version(leaf: RefersTo) -> Condition:
    """A reference that has no version: `ix` has all references where some have one."""
    whatever = _reference(replace(leaf, version=None), "")
    exact = {"ix.r": {"$elemMatch": {"p": leaf.param, **held_by(leaf, "")}}}
    test = {"$or": [{"$and": [{"ix.r": {"$exists": False}}, whatever.test]}, exact]}
    return Condition(test, whatever.access)


# Intervals


_PLACES: Mapping[type[Any], tuple[str, str, int]] = {
    DateIs: ("d", "D", SPAN),
    NumberIs: ("n", "N", 0),
    QuantityIs: ("v", "V", 0),
}


def _interval(leaf: Interval, _: str) -> Condition:
    ranges = interval_ranges((leaf,))
    return Condition(_interval_test(leaf), None if ranges is None else Access(ranges=ranges))


def _interval_test(leaf: Interval) -> Filter:
    letter = {DateIs: "d", NumberIs: "n", QuantityIs: "q"}[leaf.__class__]
    return {f"ix.{letter}": {"$elemMatch": {"p": leaf.param, **held_by(leaf, "")}}}


def joint_access(leaves: Sequence[Interval]) -> Access | None:
    """Where resources are for which all `leaves`, of one kind and parameter, may hold.

    Of a resource with one value it is that value for which all hold; those with several are listed whole.
    """
    ranges = interval_ranges(leaves)
    return None if ranges is None else Access((several_text(leaves[0].param),), ranges)


def interval_ranges(leaves: Sequence[Interval]) -> tuple[Range, ...] | None:
    """Where values are that all `leaves` want at once; None when nothing bounds them.

    Most intervals are short (a day, an instant, one number), so a bound on either end bounds both; the long ones are
    found by their upper end.
    """
    letter, long_letter, span = _PLACES[leaves[0].__class__]
    bounds = Bounds()
    for leaf in leaves:
        bounds = bounds.both(bounds_of(leaf))
    if bounds == Bounds():
        return None
    param = leaves[0].param
    short, long = f"{param}\0{letter}", f"{param}\0{long_letter}"
    for one in leaves:
        code = unit_of(one)
        if code is not None:
            short = f"{param}\0q{escaped(code)}\0"
            break
    write = of_integer if span else of_number
    return spread(bounds, span, short, long, write)


def unit_of(leaf: Interval) -> str | None:
    """The unit that values are listed under; None: under none in particular."""
    if not isinstance(leaf, QuantityIs):
        return None
    # a unit text that is empty is not listed
    return (leaf.code or None) if leaf.system is None else leaf.code or ""


def spread(
    bounds: Bounds, span: int, short: str, long: str, write: Callable[[Any], str]
) -> tuple[Range, ...]:
    """The ranges of texts that begin with `short` and have the lower end, and with `long` and have the upper one."""
    if bounds.high_from is None:
        return (_between(short, bounds.low_from, lowest(bounds.low_to, bounds.high_to), write),)
    reach = bounds.high_from - span
    low_from = reach if bounds.low_from is None else max(bounds.low_from, reach)
    found = _between(short, low_from, lowest(bounds.low_to, bounds.high_to), write)
    if bounds.low_from == low_from:
        return (found,)
    return found, _between(long, bounds.high_from, bounds.high_to, write)


def _between(prefix: str, low: Any, high: Any, write: Callable[[Any], str]) -> Range:
    every = below(prefix)
    start = every.low if low is None else prefix + write(low)
    return Range(start, every.high) if high is None else Range(start, prefix + write(high), closed=True)


# What must hold for the members of one entry, under names that begin with `at`.


def held_by(leaf: Any, at: str) -> Filter:
    make: Callable[[Any, str], Filter] = _MEMBERS[leaf.__class__]
    return make(leaf, at)


def _token_members(leaf: TokenIs, at: str) -> Filter:
    held = {f"{at}s": leaf.system, f"{at}c": leaf.code}
    return {name: value for name, value in held.items() if value is not None}


def _token_in_members(leaf: TokenIn, at: str) -> Filter:
    by_system: dict[str, list[str]] = {}
    for system, code in sorted(leaf.codes):
        by_system.setdefault(system, []).append(code)
    return _either([{f"{at}s": system, f"{at}c": {"$in": codes}} for system, codes in by_system.items()])


def _either(parts: list[Filter]) -> Filter:
    if not parts:
        return {"p": {"$in": []}}
    return parts[0] if len(parts) == 1 else {"$or": parts}


def _beginning(text: str) -> Filter:
    high = successor(text)
    return {"$gte": text} if high is None else {"$gte": text, "$lt": high}


def _text_members(leaf: TextIs, at: str) -> Filter:
    text, norm = leaf.text, f"{at}n"
    match leaf.mode:
        case "exact":
            return {f"{at}w": text}
        case "equals":
            return {norm: text}
        case "starts":
            return {norm: _beginning(text)}
        case "gt" | "lt" | "ge" | "le":
            return {norm: {_SIGNS[leaf.mode]: text}}
        case "contains" | "ends":
            # longer ones than patterns may be do not come in components, whose texts are displays and names
            return {norm: {"$regex": quoted(text) + (r"\z" if leaf.mode == "ends" else "")}}


_SIGNS = {"gt": "$gt", "lt": "$lt", "ge": "$gte", "le": "$lte"}


def _interval_members(leaf: Interval, at: str) -> Filter:
    held = compared(leaf, f"{at}l", f"{at}h")
    if not isinstance(leaf, QuantityIs):
        return held
    if leaf.system is not None:
        return {"$and": [held, {f"{at}s": leaf.system, f"{at}c": leaf.code or ""}]}
    if leaf.code is not None:
        return {"$and": [held, {"$or": [{f"{at}c": leaf.code}, {f"{at}u": leaf.code}]}]}
    return held


def _reference_members(leaf: RefersTo, at: str) -> Filter:
    held = {f"{at}t": leaf.type, f"{at}i": leaf.id, f"{at}b": leaf.base, f"{at}v": leaf.version}
    return {name: value for name, value in held.items() if value is not None}


def _uri_members(leaf: UriIs, at: str) -> Filter:
    name = f"{at}u"
    if leaf.mode == "above":
        return {name: {"$in": sorted(uri_beginnings(leaf.value))}}
    if leaf.mode == "exact":
        return {name: leaf.value}
    return {"$or": [{name: leaf.value}, {name: _beginning(leaf.value.rstrip("/") + "/")}]}


# What no entry is looked at for


def _present(leaf: Present, _: str) -> Condition:
    return listed(Access(ranges=(below(f"{leaf.param}\0"),)))


def _ids(leaf: IdIs, type: str) -> Condition:
    if is_contained(type):
        return listed(Access(others=((FRAGMENT, {"f": {"$in": list(leaf.ids)}}),)))
    # a deleted resource has no entries to be found by, but an id
    return listed(Access(others=((ID, {"_id": {"$in": list(leaf.ids)}, "d": False}),)))


def _updated(leaf: Updated, _: str) -> Condition:
    within = updated_within(leaf)
    if within is None:
        first, last = leaf.low, leaf.high - MILLISECOND
        return Condition({"$or": [{"u": {"$lt": first}}, {"u": {"$gt": last}}]})
    bounds = {sign: at for sign, at in zip(("$gte", "$lte"), within, strict=True) if at is not None}
    # what is deleted has a time as well
    return listed(Access(others=((UPDATED, {"d": False, "u": bounds}),)))


def updated_within(leaf: Updated) -> tuple[int | None, int | None] | None:
    """From which to which microsecond (None: without an end) the update was, None for "ne".

    An instant is the millisecond that begins with it.
    """
    low, high = leaf.low, leaf.high - MILLISECOND
    match leaf.prefix:
        case "eq":
            return low, high
        case "gt":
            return high + 1, None
        case "lt":
            return None, low - 1
        case "ge":
            return min(low, high + 1), None
        case "le":
            return None, max(high, low - 1)
        case "sa":
            return leaf.high, None
        case "eb":
            return None, low - MILLISECOND
        case "ap":
            return low - MILLISECOND + 1, leaf.high - 1
        case _:
            return None


def _near(leaf: Near, type: str) -> Condition:
    angle = (leaf.radius + _SLACK) / EARTH_RADIUS
    anywhere = below(f"{leaf.param}\0g")
    if angle >= 3.14159:
        return listed(Access(ranges=(anywhere,)))
    circle = {"$geoWithin": {"$centerSphere": [point(leaf.latitude, leaf.longitude)["coordinates"], angle]}}
    test = {"g": {"$elemMatch": {"p": leaf.param, "l": circle}}}
    if type.rstrip("#") in POSITIONED:
        return Condition(test, Access(others=((POSITIONS, {"g.l": circle}),)))
    return Condition(test, Access(ranges=(anywhere,)))


_MAKERS: Mapping[type[Any], Callable[[Any, str], Condition]] = {
    TokenIs: _token,
    TokenIn: _token_in,
    TextIs: _text,
    UriIs: _uri,
    RefersTo: _reference,
    DateIs: _interval,
    NumberIs: _interval,
    QuantityIs: _interval,
    Present: _present,
    IdIs: _ids,
    Updated: _updated,
    Near: _near,
}
_MEMBERS: Mapping[type[Any], Callable[[Any, str], Filter]] = {
    TokenIs: _token_members,
    TokenIn: _token_in_members,
    TextIs: _text_members,
    UriIs: _uri_members,
    RefersTo: _reference_members,
    DateIs: _interval_members,
    NumberIs: _interval_members,
    QuantityIs: _interval_members,
}
