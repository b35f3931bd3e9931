"""Index entries as rows of the index tables, and writing many rows with few statements.

A row without its `rid` is a tuple whose first member is the parameter's number. One `INSERT` with many rows is one step
of SQLite: the interpreter's lock is given away once, not for each row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.entries import Component, CompositeEntry, Entries
from fhir_server.store.sqlite.migrations.m0002_search import COLUMNS
from fhir_server.store.sqlite.names import Interned, Names

MOST_ROWS = 64
# Components of a composite entry that rows have columns for.
MOST_COMPONENTS = 3
_NO_COMPONENT = ("", 0, "", 0, "")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class IndexTable:
    """An index table: `columns` after rid, in the order of the rows; `bit` is its place in `resource.kinds`."""

    name: str
    columns: tuple[str, ...]
    bit: int


TOKEN = IndexTable("ix_token", ("pid", "code", "system"), 1)
STRING = IndexTable("ix_string", ("pid", "norm", "text"), 2)
DATE = IndexTable("ix_date", ("pid", "lo", "hi"), 4)
NUMBER = IndexTable("ix_number", ("pid", "lo", "hi"), 8)
QUANTITY = IndexTable("ix_quantity", ("pid", "lo", "hi", "system", "code", "unit"), 16)
REFERENCE = IndexTable("ix_reference", ("pid", "id", "type", "base", "version"), 32)
URI = IndexTable("ix_uri", ("pid", "uri"), 64)
COMPOSITE = IndexTable("ix_composite", ("pid", "n", *COLUMNS), 128)
POSITION = IndexTable("ix_position", ("pid", "lat", "lon"), 256)
# The bit of resources that contain others.
CONTAINER = 512

INDEX_TABLES = (TOKEN, STRING, DATE, NUMBER, QUANTITY, REFERENCE, URI, COMPOSITE, POSITION)


def kinds_of(entries: Entries) -> int:
    """The bits of the tables that have rows for these entries, and CONTAINER."""
    return (
        (1 if entries.tokens else 0)
        | (2 if entries.strings else 0)
        | (4 if entries.dates else 0)
        | (8 if entries.numbers else 0)
        | (16 if entries.quantities else 0)
        | (32 if entries.references else 0)
        | (64 if entries.uris else 0)
        | (128 if entries.composites else 0)
        | (256 if entries.positions else 0)
        | (CONTAINER if entries.contained else 0)
    )


class Numbers(dict[tuple[str, ...], Any]):
    """The numbers of the sets of parameters of a type, by their codes; `of` gives those of composites by kinds."""

    def __init__(
        self, number: Callable[[int, tuple[str, ...], str], int | None], type_number: int, kinds: str = ""
    ) -> None:
        self._number = number
        self._type_number = type_number
        self._kinds = kinds
        self._of: dict[str, Numbers] = {}

    def __missing__(self, codes: tuple[str, ...]) -> int | None:
        found = self[codes] = self._number(self._type_number, codes, self._kinds)
        return found

    def of(self, kinds: str) -> Numbers:
        found = self._of.get(kinds)
        if found is None:
            found = self._of[kinds] = Numbers(self._number, self._type_number, kinds)
        return found


class RowMaker:
    """Makes rows of entries inside the writing transaction, interning what is new."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._numbers: dict[int, Numbers] = {}

    def forget(self) -> None:
        self._numbers = {}

    def rows(self, type_number: int, entries: Entries) -> tuple[list[Row], ...]:
        """The rows by table, in the order of INDEX_TABLES."""
        numbers = self._numbers.get(type_number)
        if numbers is None:
            numbers = self._numbers[type_number] = Numbers(self._names.add_set, type_number)
        for values in (entries.references, entries.dates, entries.numbers, entries.quantities):
            if len(values) > 1 and len({value[0] for value in values}) < len(values):
                self._mark_multiple(type_number, [value[0] for value in values])
        return _rows(entries, numbers, self._names.interning)

    def _mark_multiple(self, type_number: int, codes: list[str]) -> None:
        for code in codes:
            if codes.count(code) > 1:
                self._names.mark_multiple(type_number, code)


def find_rows(names: Names, type_number: int, entries: Entries) -> tuple[list[Row], ...]:
    """The rows that entries should have; what was never interned is None there, which no row has."""
    return _rows(entries, Numbers(names.set_number, type_number), Interned(names.number))


def _rows(entries: Entries, pids: Numbers, numbers: Mapping[str, int | None]) -> tuple[list[Row], ...]:
    """Rows by table. Parameters that have an entry in common share its row, but for dates and what is rare."""
    return (
        [(pids[p], code, numbers[system]) for (system, code), p in _shared(entries.tokens)],
        [(pids[p], norm, "" if text == norm else text) for (norm, text), p in _shared(entries.strings)],
        [(pids[p,], low, high) for p, low, high in entries.dates],
        [(pids[p,], float(low), float(high)) for p, low, high in entries.numbers],
        [
            (pids[p], float(lo), float(hi), numbers[s], code, unit)
            for (lo, hi, s, code, unit), p in _shared(entries.quantities)
        ],
        [
            (pids[p], id, numbers[type], numbers[base], version)
            for (type, id, base, version), p in _shared(entries.references)
        ],
        [(pids[p,], uri) for p, uri in entries.uris],
        _composite_rows(entries.composites, pids, numbers) if entries.composites else [],
        [(pids[p,], float(lat), in_range(float(lon))) for p, lat, lon in entries.positions],
    )


def _shared(entries: Sequence[tuple[Any, ...]]) -> Iterable[tuple[tuple[Any, ...], tuple[str, ...]]]:
    """The values of entries, each once, with the codes of the parameters that have them."""
    if len(entries) < 2:
        return [(entry[1:], entry[:1]) for entry in entries]
    shared: dict[tuple[Any, ...], tuple[str, ...]] = {}
    for entry in entries:
        values, code = entry[1:], entry[:1]
        codes = shared.setdefault(values, code)
        if codes is not code:
            shared[values] = codes + code
    return shared.items()


def written(norm: str, text: str) -> str:
    """The column of the text as written: empty where the normal form says it all."""
    return "" if text == norm else text


def in_range(longitude: float) -> float:
    """The same longitude from -180 to 180, both included."""
    return longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180


def _composite_rows(
    entries: Sequence[CompositeEntry], pids: Numbers, numbers: Mapping[str, int | None]
) -> list[Row]:
    rows: list[Row] = []
    for n, ((components,), codes) in enumerate(_shared(entries)):
        if len(components) <= MOST_COMPONENTS:
            row: Row = (pids.of(",".join([component[0] for component in components]))[codes], n)
            for component in components:
                row += _columns(component, numbers)
            rows.append(row + _NO_COMPONENT * (MOST_COMPONENTS - len(components)))
    return rows


def _columns(component: Component, numbers: Mapping[str, int | None]) -> tuple[Any, ...]:
    """The main value, the upper end, the code beside an interval, the number of an interned text, the text as written."""
    kind = component[0]
    if kind == "token":
        return component[2], 0, "", numbers[component[1]], ""
    if kind == "quantity":
        _, low, high, system, code, unit = component
        return float(low), float(high), code, numbers[system], unit
    if kind == "date":
        return component[1], component[2], "", 0, ""
    if kind == "number":
        return float(component[1]), float(component[2]), "", 0, ""
    if kind == "string":
        return component[1], 0, "", 0, written(component[1], component[2])
    if kind == "reference":
        _, type, id, base, version = component
        return id, numbers[base], "", numbers[type], version
    assert kind == "uri", component
    return component[1], 0, "", 0, ""


class Statement:
    """A statement that takes many rows (or keys) at once: `head`, the marks of each, `tail`.

    There is a text for each number of rows up to MOST_ROWS, made when it is first needed and kept prepared by the
    connection, so that a table's rows are one step of SQLite.
    """

    def __init__(self, head: str, width: int, tail: str = "", *, tuples: bool = True) -> None:
        marks = ",".join("?" * width)
        self._one = f"({marks})" if tuples else marks
        self._head, self._tail = head, tail
        self._width = width
        self._texts: dict[int, str] = {}

    def _text(self, size: int) -> str:
        text = self._texts.get(size)
        if text is None:
            text = self._texts[size] = f"{self._head}{','.join([self._one] * size)}{self._tail}"
        return text

    def run(self, connection: sqlite3.Connection, flat: Sequence[Any]) -> None:
        """Execute for all rows of `flat`, the rows' values one after the other."""
        width = self._width
        for start in range(0, len(flat), MOST_ROWS * width):
            part = flat[start : start + MOST_ROWS * width]
            connection.execute(self._text(len(part) // width), part)

    def select(self, connection: sqlite3.Connection, keys: Sequence[Any], *before: Any) -> Iterable[Row]:
        """All rows that the query gives for the keys; `before` are the values of the marks in `head`."""
        for start in range(0, len(keys), MOST_ROWS):
            part = keys[start : start + MOST_ROWS]
            yield from connection.execute(self._text(len(part)), (*before, *part)).fetchall()


def _insert(table: IndexTable) -> Statement:
    columns = ("rid", *table.columns)
    return Statement(f"INSERT OR IGNORE INTO {table.name}({','.join(columns)}) VALUES ", len(columns))


def _select(table: IndexTable) -> Statement:
    return Statement(
        f"SELECT rid,{','.join(table.columns)} FROM {table.name} WHERE rid IN (", 1, ")", tuples=False
    )


INSERTS = tuple(_insert(table) for table in INDEX_TABLES)
SELECTS = tuple(_select(table) for table in INDEX_TABLES)
DELETES = tuple(
    f"DELETE FROM {table.name} WHERE rid=? AND {' AND '.join(f'{c}=?' for c in table.columns)}"
    for table in INDEX_TABLES
)
