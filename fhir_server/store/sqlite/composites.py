"""Composite searches as conditions on rows that hold the components of an entry side by side.

https://hl7.org/fhir/R4/search.html#composite. A component has five columns: its main value (a code, normalised text, id,
uri, or the lower end of an interval) and, by its kind, the upper end, a code beside an interval, the number of an interned
text, and the text as written. An invariant to keep: what a part means for a component is what it means for an entry of its
own, so the conditions are those of `leaves` with the columns renamed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product

from fhir_server.search.bounds import Bounds, bounds_of, lowest
from fhir_server.search.tree import (
    Composite,
    DateIs,
    Expression,
    NumberIs,
    Or,
    QuantityIs,
    RefersTo,
    TextIs,
    TokenIn,
    TokenIs,
    UriIs,
)
from fhir_server.store.sqlite.leaves import (
    EQUAL,
    RANGE,
    SCAN,
    Leaf,
    Lookup,
    Sql,
    between,
    look_up,
)
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import COMPOSITE, MOST_COMPONENTS

MOST_BRANCHES = 30

_KINDS: Mapping[type[Expression], str] = {
    TokenIs: "token",
    TokenIn: "token",
    TextIs: "string",
    DateIs: "date",
    NumberIs: "number",
    QuantityIs: "quantity",
    RefersTo: "reference",
    UriIs: "uri",
}
# The columns of an entry's own table, and what is put behind the letter of a component for them.
_PLACES: Mapping[str, Mapping[str, str]] = {
    "token": {"code": "", "system": "_of"},
    "string": {"norm": "", "text": "_more"},
    "date": {"lo": "", "hi": "_hi"},
    "number": {"lo": "", "hi": "_hi"},
    "quantity": {"lo": "", "hi": "_hi", "code": "_main", "system": "_of", "unit": "_more"},
    "reference": {"id": "", "type": "_of", "base": "_hi", "version": "_more"},
    "uri": {"uri": ""},
}
_WORDS = re.compile("[a-z]+")


def composite(where: Composite, types: tuple[str, ...], names: Names) -> Lookup | None:
    """What the search wants; None when no row can have it."""
    parts = [part.parts if isinstance(part, Or) else (part,) for part in where.parts]
    if not all(parts) or len(parts) > MOST_COMPONENTS:
        return None
    kinds = [_KINDS[type(alternatives[0])] for alternatives in parts]
    pids = names.pids(types, where.param, ",".join(kinds))
    test = Sql("")
    for letter, kind, alternatives in zip("abc", kinds, parts, strict=False):
        held = _any(kind, letter, alternatives, names)
        if held is None:
            return None
        test &= held
    if not pids:
        return None
    return Lookup(COMPOSITE, pids, test, *_branches(kinds, parts, test, names))


def _any(kind: str, letter: str, alternatives: Sequence[Expression], names: Names) -> Sql | None:
    """That a component satisfies one of the alternatives; None when none can."""
    found = [_renamed(kind, letter, one, names) for one in alternatives]
    held = [sql for sql in found if sql is not None]
    if not held:
        return None
    if len(held) == 1 or not all(sql.text for sql in held):
        return next((sql for sql in held if not sql.text), held[0])
    return Sql(f"({' OR '.join(f'({s.text})' for s in held)})", tuple(v for s in held for v in s.values))


def _renamed(kind: str, letter: str, leaf: Expression, names: Names) -> Sql | None:
    assert isinstance(leaf, Leaf)
    found = look_up(leaf, (0,), names)
    if found is None:
        return None
    columns = {name: letter + member for name, member in _PLACES[kind].items()}
    return Sql(_WORDS.sub(lambda m: columns.get(m[0], m[0]), found.test.text), found.test.values)


def _branches(
    kinds: Sequence[str], parts: Sequence[Sequence[Expression]], test: Sql, names: Names
) -> tuple[tuple[tuple[str, Sql], ...], int]:
    """Ranges of the index by the first and the second component; the test is repeated in each."""
    first = [_equal(one, names) for one in parts[0]]
    if any(sql is None for sql in first):
        return ((f"{COMPOSITE.name}_value", test),), SCAN
    second: list[tuple[str, Sql]] = []
    if len(parts) > 1:
        for one in parts[1]:
            second += _ranges(kinds[1], one)
    if not second or len(first) * len(second) > MOST_BRANCHES:
        second = [("value", Sql(""))]
    branches = tuple(
        (f"{COMPOSITE.name}_{index}", a & b & test)
        for a, (index, b) in product(first, second)
        if a is not None
    )
    return branches, RANGE if second[0][1].text else EQUAL


def _equal(leaf: Expression, names: Names) -> Sql | None:
    """That the main value of the first component is the one wanted; None when it may be any."""
    match leaf:
        case TokenIs(code=code) if code is not None:
            return Sql("a=?", (code,))
        case RefersTo(id=id) if id is not None:
            return Sql("a=?", (id,))
        case UriIs(value=value, mode="exact"):
            return Sql("a=?", (value,))
        case TokenIn():
            return _renamed("token", "a", leaf, names)
        case TextIs(mode="exact" | "equals" | "starts"):
            return _renamed("string", "a", leaf, names)
        case _:
            return None


def _ranges(kind: str, leaf: Expression) -> list[tuple[str, Sql]]:
    """Ranges of the second component, each of an index; an interval that is not a point is in the index of long ones too."""
    match leaf:
        case TokenIs(code=code) if code is not None:
            return [("value", Sql("b=?", (code,)))]
        case RefersTo(id=id) if id is not None:
            return [("value", Sql("b=?", (id,)))]
        case UriIs(value=value, mode="exact"):
            return [("value", Sql("b=?", (value,)))]
        case DateIs() | NumberIs() | QuantityIs():
            return _of_interval(bounds_of(leaf), kind == "date")
        case _:
            return [("value", Sql(""))]


def _of_interval(bounds: Bounds, never_points: bool) -> list[tuple[str, Sql]]:
    to = lowest(bounds.low_to, bounds.high_to)
    if bounds.low_from is not None or bounds.high_from is None:
        return [("value", between("b", bounds.low_from, to))]
    long = ("long", Sql("b_hi > b") & between("b_hi", bounds.high_from, bounds.high_to))
    return [long] if never_points else [("value", between("b", bounds.high_from, to)), long]
