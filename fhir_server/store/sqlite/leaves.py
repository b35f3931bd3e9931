"""The leaves of an expression as conditions on the rows of one index table.

Each leaf gives `Lookup`s: what must hold for a row (`test`, for a candidate that is known), and how to find rows by value
(`branches`, each bound to an index). An invariant to keep: a branch may give a row twice, and never one that fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.bounds import Bounds, bounds_of, highest, lowest
from fhir_server.search.match import uri_beginnings
from fhir_server.search.text import normalise, successor
from fhir_server.search.tree import DateIs, NumberIs, QuantityIs, RefersTo, TextIs, TokenIn, TokenIs, UriIs
from fhir_server.store.sqlite.migrations.m0001_tables import SPAN
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import (
    DATE,
    NUMBER,
    QUANTITY,
    REFERENCE,
    STRING,
    TOKEN,
    URI,
    IndexTable,
    written,
)

# How a leaf finds its rows, best first: a value, a range of values, every row of the parameter.
EQUAL, RANGE, SCAN = 1, 2, 3

_SIGNS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<="}


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

    `ordered`: the branch gives the rids of one of the pids in ascending order; `unique`: each once. `branches` are (index, condition); without
    any, no index helps. `complete`: the rows are those of all that match the question, not of a part of it.
    """

    table: IndexTable
    pids: tuple[int, ...]
    test: Sql
    branches: tuple[tuple[str, Sql], ...]
    rank: int
    ordered: bool = False
    unique: bool = False
    complete: bool = False


Leaf = TokenIs | TokenIn | TextIs | DateIs | NumberIs | QuantityIs | RefersTo | UriIs
Interval = DateIs | NumberIs | QuantityIs


def one_of(column: str, values: tuple[Any, ...]) -> Sql:
    """`column` equals one of the values; the statement's text does not depend on how many there are beyond one."""
    if len(values) == 1:
        return Sql(f"{column}=?", (values[0],))
    return Sql(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(values),))


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
    return Lookup(table, pids, test, ((f"{table.name}_value", test),), rank, ordered)


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


def _token_in(leaf: TokenIn, pids: tuple[int, ...], names: Names) -> Lookup | None:
    pairs = [
        (number, code) for system, code in sorted(leaf.codes) if (number := names.number(system)) is not None
    ]
    if not pairs:
        return None
    systems = {number for number, _ in pairs}
    if len(systems) == 1:
        test = one_of("code", tuple(code for _, code in pairs)) & Sql("system=?", tuple(systems))
        return _simple(TOKEN, pids, test, EQUAL)
    test = Sql(
        "(code, system) IN (SELECT json_extract(value, '$[1]'), json_extract(value, '$[0]') FROM json_each(?))",
        (json.dumps(pairs),),
    )
    return _simple(TOKEN, pids, test, EQUAL)


def _text(leaf: TextIs, pids: tuple[int, ...], names: Names) -> Lookup:
    text = leaf.text
    match leaf.mode:
        case "exact":
            norm = normalise(text)
            test = Sql("norm=? AND text=?", (norm, written(norm, text)))
            return _simple(STRING, pids, test, EQUAL, ordered=True)
        case "equals":
            return _simple(STRING, pids, Sql("norm=?", (text,)), EQUAL)
        case "starts":
            return _simple(STRING, pids, beginning("norm", text), RANGE)
        case "gt" | "lt" | "ge" | "le" as order:
            return _simple(STRING, pids, Sql(f"norm{_SIGNS[order]}?", (text,)), RANGE)
        case "ends":
            return _simple(
                STRING, pids, Sql("substr(norm, -?)=?", (len(text), text)) if text else Sql(""), SCAN
            )
        case "contains":
            return _simple(STRING, pids, Sql("instr(norm, ?)>0", (text,)), SCAN)


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


def _date_test(leaf: DateIs) -> Sql:
    low, high = leaf.low, leaf.high
    match leaf.prefix:
        case "eq":
            return Sql("lo>=? AND hi<=?", (low, high))
        case "ne":
            return Sql("NOT (lo>=? AND hi<=?)", (low, high))
        case "gt":
            return Sql("hi>?", (high,))
        case "lt":
            return Sql("lo<?", (low,))
        case "ge":
            return Sql("(hi>? OR (lo>=? AND hi<=?))", (high, low, high))
        case "le":
            return Sql("(lo<? OR (lo>=? AND hi<=?))", (low, low, high))
        case "sa":
            return Sql("lo>=?", (high,))
        case "eb":
            return Sql("hi<=?", (low,))
        case "ap":
            return Sql("lo<? AND hi>?", (high, low))
        case "co":
            return Sql("lo<=? AND hi>=?", (low, high))


def _number_test(leaf: NumberIs | QuantityIs) -> Sql:
    value, low, high = float(leaf.value), float(leaf.low), float(leaf.high)
    match leaf.prefix:
        case "eq":
            return Sql("lo>=? AND hi<?", (low, high))
        case "ne":
            return Sql("NOT (lo>=? AND hi<?)", (low, high))
        case "gt":
            return Sql("hi>?", (value,))
        case "lt":
            return Sql("lo<?", (value,))
        case "ge":
            return Sql("hi>=?", (value,))
        case "le":
            return Sql("lo<=?", (value,))
        case "sa":
            return Sql("lo>?", (value,))
        case "eb":
            return Sql("hi<?", (value,))
        case "ap":
            return Sql("lo<? AND hi>=?", (high, low))


def _interval_of(leaf: Interval, names: Names) -> tuple[Sql, Bounds] | None:
    if isinstance(leaf, DateIs):
        return _date_test(leaf), bounds_of(leaf)
    test = _number_test(leaf)
    if isinstance(leaf, QuantityIs):
        unit = _unit(leaf, names)
        if unit is None:
            return None
        test &= unit
    return test, bounds_of(leaf)


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
    wanted = _all_of(leaves, names)
    if wanted is None:
        return None
    branches, rank = _branches(table, *wanted, span)
    if table is QUANTITY and branches:
        units = _units([leaf for leaf in leaves if isinstance(leaf, QuantityIs)], pids, names)
        (index, short), *long = branches
        branches = (*((index, unit & short) for unit in units), *long)
    return Lookup(table, pids, wanted[0], branches, rank)


def _units(leaves: Sequence[QuantityIs], pids: tuple[int, ...], names: Names) -> list[Sql]:
    """Ranges of the codes of units, by which quantities are in order before their values."""
    for leaf in leaves:
        if leaf.system is not None:
            return [Sql("code=?", (leaf.code or "",))]
    every = one_of("code", names.units(pids) or ("",))
    for leaf in leaves:
        if leaf.code is not None:
            return [Sql("code=?", (leaf.code,)), every & Sql("unit=?", (leaf.code,))]
    return [every]


def _all_of(leaves: tuple[Interval, ...], names: Names) -> tuple[Sql, Bounds] | None:
    test, bounds = Sql(""), Bounds()
    for leaf in leaves:
        made = _interval_of(leaf, names)
        if made is None:
            return None
        test, bounds = test & made[0], bounds.both(made[1])
    return test, bounds


def in_order_of(
    column: str, leaves: tuple[Interval, ...], pids: tuple[int, ...], names: Names
) -> Lookup | None:
    """The rows that all `leaves` want at once, the branches by indexes that begin with the column, and so in its order.

    The index of long intervals is in the order of their upper end. None when no bound helps.
    """
    table, span = _INTERVAL_TABLES[type(leaves[0])]
    wanted = _all_of(leaves, names)
    if wanted is None or table is QUANTITY:
        return None
    test, b = wanted
    is_long = Sql(f"hi - lo > {SPAN}" if table is DATE else "hi > lo")
    long = (f"{table.name}_long", is_long & between("hi", b.high_from, b.high_to) & test)
    if column == "lo":
        reach = None if b.high_from is None else b.high_from - span
        low, high = highest(b.low_from, reach), lowest(b.low_to, b.high_to)
        needs_long = b.high_from is not None and b.low_from is None
        short = (f"{table.name}_value", between("lo", low, high) & test)
    elif table is DATE:
        reach = None if b.low_to is None else b.low_to + span
        low, high = highest(b.high_from, b.low_from), lowest(b.high_to, reach)
        needs_long = b.low_to is not None and b.high_to is None
        short = ("ix_date_high", between("hi", low, high) & test)
    else:
        return None
    return Lookup(table, pids, test, (short, long) if needs_long else (short,), RANGE)


def _branches(
    table: IndexTable, test: Sql, bounds: Bounds, span: int
) -> tuple[tuple[tuple[str, Sql], ...], int]:
    if bounds == Bounds():
        return (), SCAN
    if bounds.high_from is None:
        to = lowest(bounds.low_to, bounds.high_to)
        return ((f"{table.name}_value", between("lo", bounds.low_from, to) & test),), RANGE
    if table is DATE and bounds.low_to is None and bounds.high_to is None:
        return (("ix_date_high", between("hi", bounds.high_from, None) & test),), RANGE
    low_from = highest(bounds.low_from, bounds.high_from - span)
    short = between("lo", low_from, lowest(bounds.low_to, bounds.high_to))
    if bounds.low_from == low_from:
        return ((f"{table.name}_value", short & test),), RANGE
    is_long = Sql(f"hi - lo > {SPAN}" if table is DATE else "hi > lo")
    long = is_long & between("hi", bounds.high_from, bounds.high_to)
    return ((f"{table.name}_value", short & test), (f"{table.name}_long", long & test)), RANGE


def between(column: str, low: Any, high: Any) -> Sql:
    return Sql("" if low is None else f"{column}>=?", () if low is None else (low,)) & Sql(
        "" if high is None else f"{column}<=?", () if high is None else (high,)
    )


_INTERVAL_TABLES: dict[type[Interval], tuple[IndexTable, int]] = {
    DateIs: (DATE, SPAN),
    NumberIs: (NUMBER, 0),
    QuantityIs: (QUANTITY, 0),
}
KINDS_OF_INTERVALS: dict[IndexTable, type[Interval]] = {
    table: kind for kind, (table, _) in _INTERVAL_TABLES.items()
}
_MAKERS: dict[type[Leaf], Callable[[Any, tuple[int, ...], Names], Lookup | None]] = {
    TokenIs: _token,
    TokenIn: _token_in,
    TextIs: _text,
    DateIs: _interval,
    NumberIs: _interval,
    QuantityIs: _interval,
    RefersTo: _reference,
    UriIs: _uri,
}
