"""Index entries as rows of the index tables, and writing many rows with few statements.

A row without its `rid` is a tuple whose first member is the parameter's number. One `INSERT` with many rows is one step
of SQLite: the interpreter's lock is given away once, not for each row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.entries import Entries
from fhir_server.store.sqlite.names import Names

MOST_ROWS = 64

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

INDEX_TABLES = (TOKEN, STRING, DATE, NUMBER, QUANTITY, REFERENCE, URI)


def kinds_of(entries: Entries) -> int:
    """The bits of the tables that have rows for these entries."""
    return (
        (1 if entries.tokens else 0)
        | (2 if entries.strings else 0)
        | (4 if entries.dates else 0)
        | (8 if entries.numbers else 0)
        | (16 if entries.quantities else 0)
        | (32 if entries.references else 0)
        | (64 if entries.uris else 0)
    )


class RowMaker:
    """Makes rows of entries inside the writing transaction, interning what is new."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._pids: dict[int, dict[str, int]] = {}

    def forget(self) -> None:
        self._pids = {}

    def _of_type(self, type_number: int) -> dict[str, int]:
        found = self._pids.get(type_number)
        if found is None:
            found = self._pids[type_number] = {}
        return found

    def rows(self, type_number: int, entries: Entries) -> tuple[list[Row], ...]:
        """The rows by table, in the order of INDEX_TABLES."""
        names = self._names
        add = names.add
        pids = self._of_type(type_number)
        for code in _codes(entries):
            if code not in pids:
                pids[code] = names.add_pid(type_number, code)
        for values in (entries.dates, entries.numbers, entries.quantities):
            if len(values) > 1:
                self._mark_multiple(pids, [value[0] for value in values])
        return (
            [(pids[p], code, add(system)) for p, system, code in entries.tokens],
            [(pids[p], norm, text) for p, norm, text in entries.strings],
            [(pids[p], low, high) for p, low, high in entries.dates],
            [(pids[p], float(low), float(high)) for p, low, high in entries.numbers],
            [
                (pids[p], float(lo), float(hi), add(s), code, unit)
                for p, lo, hi, s, code, unit in entries.quantities
            ],
            [
                (pids[p], id, add(type), add(base), version)
                for p, type, id, base, version in entries.references
            ],
            [(pids[p], uri) for p, uri in entries.uris],
        )

    def _mark_multiple(self, pids: dict[str, int], codes: list[str]) -> None:
        if len(set(codes)) < len(codes):
            for code in codes:
                if codes.count(code) > 1:
                    self._names.mark_multiple(pids[code])


def find_rows(names: Names, type_number: int, entries: Entries) -> tuple[list[Row], ...]:
    """The rows that entries should have; what was never interned is None there, which no row has."""
    pids = {code: names.pid(type_number, code) for code in _codes(entries)}
    return _rows(entries, pids, names.number)


def _rows(
    entries: Entries, pids: Mapping[str, int | None], number: Callable[[str], int | None]
) -> tuple[list[Row], ...]:
    return (
        [(pids[p], code, number(system)) for p, system, code in entries.tokens],
        [(pids[p], norm, text) for p, norm, text in entries.strings],
        [(pids[p], low, high) for p, low, high in entries.dates],
        [(pids[p], float(low), float(high)) for p, low, high in entries.numbers],
        [
            (pids[p], float(lo), float(hi), number(s), code, unit)
            for p, lo, hi, s, code, unit in entries.quantities
        ],
        [
            (pids[p], id, number(type), number(base), version)
            for p, type, id, base, version in entries.references
        ],
        [(pids[p], uri) for p, uri in entries.uris],
    )


def _codes(entries: Entries) -> set[str]:
    codes = {entry[0] for entry in entries.tokens}
    codes.update([entry[0] for entry in entries.references])
    codes.update([entry[0] for entry in entries.dates])
    if entries.strings:
        codes.update([entry[0] for entry in entries.strings])
    if entries.quantities:
        codes.update([entry[0] for entry in entries.quantities])
    if entries.uris:
        codes.update([entry[0] for entry in entries.uris])
    if entries.numbers:
        codes.update([entry[0] for entry in entries.numbers])
    return codes


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
