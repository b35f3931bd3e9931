"""The leaves of an expression as conditions on the rows of one index table.

Each leaf gives `Lookup`s: what must hold for a row (`test`, for a candidate that is known), and how to find rows by value
(`branches`, each bound to an index). An invariant to keep: a branch may give a row twice, and never one that fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhir_server.search.match import uri_beginnings
from fhir_server.search.text import normalise
from fhir_server.search.tree import DateIs, NumberIs, QuantityIs, RefersTo, TextIs, TokenIs, UriIs
from fhir_server.store.sqlite.migrations.m0001_tables import SPAN
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import DATE, NUMBER, QUANTITY, REFERENCE, STRING, TOKEN, URI, IndexTable

# How a leaf finds its rows, best first: a value, a range of values, every row of the parameter.
EQUAL, RANGE, SCAN = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Sql:
    """A condition on the columns of one table, written without an alias, and its values."""

    text: str
    values: tuple[Any, ...] = ()

    def __and__(self, other: Sql) -> Sql:
        if not self.text or not other.text:
            return self if self.text else other
        return Sql(f"{self.text} AND {other.text}", self.values + other.values)


# Not literals: SQLite drops what a literal decides, and with it the condition that lets a partial index be used.
ALWAYS = Sql("?", (1,))
NEVER = Sql("?", (0,))


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows of `table` for the parameters `pids` that a leaf wants.

    `ordered`: the branch gives the rids of one parameter in ascending order. `branches` are (index, condition); without
    any, no index helps.
    """

    table: IndexTable
    pids: tuple[int, ...]
    test: Sql
    branches: tuple[tuple[str, Sql], ...]
    rank: int
    ordered: bool = False


Leaf = TokenIs | TextIs | DateIs | NumberIs | QuantityIs | RefersTo | UriIs
Interval = DateIs | NumberIs | QuantityIs


def one_of(column: str, values: tuple[Any, ...]) -> Sql:
    """`column` equals one of the values; the statement's text does not depend on how many there are beyond one."""
    if len(values) == 1:
        return Sql(f"{column}=?", (values[0],))
    return Sql(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(values),))


def successor(text: str) -> str | None:
    """The smallest text that is greater than every text beginning with `text`; None when there is none."""
    for end in range(len(text), 0, -1):
        point = ord(text[end - 1])
        if point < 0x10FFFF:
            following = 0xE000 if point == 0xD7FF else point + 1
            return text[: end - 1] + chr(following)
    return None


def beginning(column: str, text: str) -> Sql:
    if not text:
        return Sql("")
    high = successor(text)
    if high is None:
        return Sql(f"{column}>=?", (text,))
    return Sql(f"{column}>=? AND {column}<?", (text, high))


def look_up(leaf: Leaf, pids: tuple[int, ...], names: Names) -> Lookup | None:
    """What the leaf wants; None when no row can have it."""
    make: Callable[[Any, tuple[int, ...], Names], Lookup | None] = _MAKERS[type(leaf)]
    return make(leaf, pids, names)


def _simple(
    table: IndexTable, pids: tuple[int, ...], test: Sql, rank: int, *, ordered: bool = False
) -> Lookup:
    return Lookup(table, pids, test, ((f"{table.name}_value", test),), rank, ordered and len(pids) == 1)


def _token(leaf: TokenIs, pids: tuple[int, ...], names: Names) -> Lookup | None:
    return tokens(pids, leaf.system, None if leaf.code is None else (leaf.code,), names)


def tokens(
    pids: tuple[int, ...], system: str | None, codes: tuple[str, ...] | None, names: Names
) -> Lookup | None:
    """Token rows with this system (None: any) and one of the codes (None: any)."""
    test = Sql("") if codes is None else one_of("code", codes)
    if system is not None:
        number = names.number(system)
        if number is None:
            return None
        test &= Sql("system=?", (number,))
    equal = codes is not None
    return _simple(
        TOKEN,
        pids,
        test,
        EQUAL if equal else SCAN,
        ordered=equal and len(codes or ()) == 1 and system is not None,
    )


def _text(leaf: TextIs, pids: tuple[int, ...], names: Names) -> Lookup:
    if leaf.mode == "exact":
        return _simple(
            STRING, pids, Sql("norm=? AND text=?", (normalise(leaf.text), leaf.text)), EQUAL, ordered=True
        )
    if leaf.mode == "starts":
        return _simple(STRING, pids, beginning("norm", leaf.text), RANGE)
    return _simple(STRING, pids, Sql("instr(norm, ?)>0", (leaf.text,)), SCAN)


def _reference(leaf: RefersTo, pids: tuple[int, ...], names: Names) -> Lookup | None:
    return references(pids, leaf, None if leaf.id is None else (leaf.id,), names)


def references(
    pids: tuple[int, ...], leaf: RefersTo, ids: tuple[str, ...] | None, names: Names
) -> Lookup | None:
    """Reference rows like `leaf`, with one of the ids (None: any) in the place of its own."""
    test = Sql("") if ids is None else one_of("id", ids)
    for column, text in (("type", leaf.type), ("base", leaf.base)):
        if text is not None:
            number = names.number(text)
            if number is None:
                return None
            test &= Sql(f"{column}=?", (number,))
    if leaf.version is not None:
        test &= Sql("version=?", (leaf.version,))
    if ids is None:
        return Lookup(REFERENCE, pids, test, (), SCAN)
    complete = leaf.type is not None and leaf.base is not None
    return _simple(REFERENCE, pids, test, EQUAL, ordered=complete and len(ids) == 1)


def _uri(leaf: UriIs, pids: tuple[int, ...], names: Names) -> Lookup:
    return uris(pids, leaf)


def uris(pids: tuple[int, ...], leaf: UriIs) -> Lookup:
    if leaf.mode == "exact":
        return _simple(URI, pids, Sql("uri=?", (leaf.value,)), EQUAL, ordered=True)
    if leaf.mode == "above":
        return _simple(URI, pids, one_of("uri", tuple(sorted(uri_beginnings(leaf.value)))), EQUAL)
    below = beginning("uri", leaf.value.removesuffix("/") + "/")
    same = Sql("uri=?", (leaf.value,))
    test = Sql(f"({same.text} OR {below.text})", same.values + below.values)
    return Lookup(URI, pids, test, (("ix_uri_value", same), ("ix_uri_value", below)), RANGE)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a condition on an interval [lo, hi] implies for its ends, closed; None: nothing."""

    low_from: Any = None
    low_to: Any = None
    high_from: Any = None
    high_to: Any = None

    def both(self, other: Bounds) -> Bounds:
        return Bounds(
            _stricter(max, self.low_from, other.low_from),
            _stricter(min, self.low_to, other.low_to),
            _stricter(max, self.high_from, other.high_from),
            _stricter(min, self.high_to, other.high_to),
        )


def _stricter(choose: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)


def _date_bounds(leaf: DateIs) -> tuple[Sql, Bounds]:
    low, high = leaf.low, leaf.high
    match leaf.prefix:
        case "eq":
            return Sql("lo>=? AND hi<=?", (low, high)), Bounds(
                low_from=low, low_to=high, high_from=low, high_to=high
            )
        case "ne":
            return Sql("NOT (lo>=? AND hi<=?)", (low, high)), Bounds()
        case "gt":
            return Sql("hi>?", (high,)), Bounds(high_from=high)
        case "lt":
            return Sql("lo<?", (low,)), Bounds(low_to=low)
        case "ge":
            return Sql("(hi>? OR (lo>=? AND hi<=?))", (high, low, high)), Bounds(high_from=low)
        case "le":
            return Sql("(lo<? OR (lo>=? AND hi<=?))", (low, low, high)), Bounds(low_to=high)
        case "sa":
            return Sql("lo>=?", (high,)), Bounds(low_from=high, high_from=high)
        case "eb":
            return Sql("hi<=?", (low,)), Bounds(low_to=low, high_to=low)
        case "ap":
            return Sql("lo<? AND hi>?", (high, low)), Bounds(low_to=high, high_from=low)


def _number_bounds(leaf: NumberIs | QuantityIs) -> tuple[Sql, Bounds]:
    value, low, high = float(leaf.value), float(leaf.low), float(leaf.high)
    match leaf.prefix:
        case "eq":
            return Sql("lo>=? AND hi<?", (low, high)), Bounds(
                low_from=low, low_to=high, high_from=low, high_to=high
            )
        case "ne":
            return Sql("NOT (lo>=? AND hi<?)", (low, high)), Bounds()
        case "gt":
            return Sql("hi>?", (value,)), Bounds(high_from=value)
        case "lt":
            return Sql("lo<?", (value,)), Bounds(low_to=value)
        case "ge":
            return Sql("hi>=?", (value,)), Bounds(high_from=value)
        case "le":
            return Sql("lo<=?", (value,)), Bounds(low_to=value)
        case "sa":
            return Sql("lo>?", (value,)), Bounds(low_from=value, high_from=value)
        case "eb":
            return Sql("hi<?", (value,)), Bounds(low_to=value, high_to=value)
        case "ap":
            return Sql("lo<? AND hi>=?", (high, low)), Bounds(low_to=high, high_from=low)


def _interval_of(leaf: Interval, names: Names) -> tuple[Sql, Bounds] | None:
    if isinstance(leaf, DateIs):
        return _date_bounds(leaf)
    test, bounds = _number_bounds(leaf)
    if isinstance(leaf, QuantityIs):
        unit = _unit(leaf, names)
        if unit is None:
            return None
        test &= unit
    return test, bounds


def _unit(leaf: QuantityIs, names: Names) -> Sql | None:
    if leaf.system is None:
        return Sql("") if leaf.code is None else Sql("(code=? OR unit=?)", (leaf.code, leaf.code))
    number = names.number(leaf.system)
    return None if number is None else Sql("system=? AND code=?", (number, leaf.code or ""))


def _interval(leaf: Interval, pids: tuple[int, ...], names: Names) -> Lookup | None:
    return intervals((leaf,), pids, names)


def intervals(leaves: tuple[Interval, ...], pids: tuple[int, ...], names: Names) -> Lookup | None:
    """Rows that all `leaves` (of one kind) want at once.

    Most intervals are short (a day, an instant, one number), so a bound on either end bounds both; the long ones are
    found by an index of their own.
    """
    table, span = _INTERVAL_TABLES[type(leaves[0])]
    test, bounds = Sql(""), Bounds()
    for leaf in leaves:
        made = _interval_of(leaf, names)
        if made is None:
            return None
        test, bounds = test & made[0], bounds.both(made[1])
    return Lookup(table, pids, test, *_branches(table, test, bounds, span))


def _branches(
    table: IndexTable, test: Sql, bounds: Bounds, span: int
) -> tuple[tuple[tuple[str, Sql], ...], int]:
    if bounds == Bounds():
        return (), SCAN
    if bounds.high_from is None:
        to = _stricter(min, bounds.low_to, bounds.high_to)
        return ((f"{table.name}_value", _between("lo", bounds.low_from, to) & test),), RANGE
    if table is DATE and bounds.low_to is None and bounds.high_to is None:
        return (("ix_date_high", _between("hi", bounds.high_from, None) & test),), RANGE
    low_from = _stricter(max, bounds.low_from, bounds.high_from - span)
    short = _between("lo", low_from, _stricter(min, bounds.low_to, bounds.high_to))
    is_long = Sql(f"hi - lo > {SPAN}" if table is DATE else "hi > lo")
    long = is_long & _between("hi", bounds.high_from, bounds.high_to)
    return ((f"{table.name}_value", short & test), (f"{table.name}_long", long & test)), RANGE


def _between(column: str, low: Any, high: Any) -> Sql:
    return Sql("" if low is None else f"{column}>=?", () if low is None else (low,)) & Sql(
        "" if high is None else f"{column}<=?", () if high is None else (high,)
    )


_INTERVAL_TABLES: dict[type[Interval], tuple[IndexTable, int]] = {
    DateIs: (DATE, SPAN),
    NumberIs: (NUMBER, 0),
    QuantityIs: (QUANTITY, 0),
}
_MAKERS: dict[type[Leaf], Callable[[Any, tuple[int, ...], Names], Lookup | None]] = {
    TokenIs: _token,
    TextIs: _text,
    DateIs: _interval,
    NumberIs: _interval,
    QuantityIs: _interval,
    RefersTo: _reference,
    UriIs: _uri,
}
