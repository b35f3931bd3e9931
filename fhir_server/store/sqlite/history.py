"""The history of a resource, a type or everything, newest first, and the change feed.

https://hl7.org/fhir/R4/http.html#history. Sequences have no gaps and times never go back along them, so a time is a place
in the sequence, found by halving.
"""

from __future__ import annotations

import sqlite3

from fhir_server.search.paging import Cursors
from fhir_server.store.records import HistoryPage, HistoryQuery, Stored
from fhir_server.store.sqlite.leaves import NEVER, Sql
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.read import VERSION_COLUMNS, stored_of

_FOLLOWED = (
    "NOT EXISTS (SELECT 1 FROM version n WHERE n.rid=v.rid AND n.version=v.version+1 AND n.updated<=?)"
)


def last_sequence(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM version").fetchone()[0])


def newest_of(connection: sqlite3.Connection, names: Names, type_name: str) -> int:
    """The sequence of the newest version of a type, 0 when there is none."""
    number = names.number(type_name)
    if number is None:
        return 0
    row = connection.execute("SELECT max(seq) FROM version WHERE type=?", (number,)).fetchone()
    return int(row[0] or 0)


def first_since(connection: sqlite3.Connection, instant: int) -> int:
    """The sequence of the first version whose time is not before `instant`; one above the last when there is none."""
    low, high = 1, last_sequence(connection) + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute("SELECT updated FROM version WHERE seq=?", (middle,)).fetchone()
        if row[0] < instant:
            low = middle + 1
        else:
            high = middle
    return low


def page(connection: sqlite3.Connection, names: Names, query: HistoryQuery, cursors: Cursors) -> HistoryPage:
    """The versions that the query asks for. Raises InvalidParameter for a cursor of another history."""
    scope = f"history {query.type} {query.id}"
    before = None if query.cursor is None else int(cursors.read(scope, query.cursor)[0])
    origin, where = _where(connection, names, query)
    total = _total(connection, query, origin, where)
    place = Sql("") if before is None else Sql("v.seq<?", (before,))
    paged = where & place
    rows = connection.execute(
        f"SELECT {VERSION_COLUMNS} FROM {origin} WHERE {paged.text} ORDER BY v.seq DESC LIMIT ?",
        (*paged.values, query.count + 1),
    ).fetchall()
    versions = tuple(stored_of(names, row) for row in rows[: query.count])
    more = bool(versions) and len(rows) > query.count
    return HistoryPage(versions, total, cursors.write(scope, [versions[-1].sequence]) if more else None)


def _where(connection: sqlite3.Connection, names: Names, query: HistoryQuery) -> tuple[str, Sql]:
    origin, where = "version v", Sql("v.seq>=?", (1,))
    if query.since is not None:
        where = Sql("v.seq>=?", (first_since(connection, query.since),))
    if query.at is not None:
        low, high = query.at
        where &= Sql("v.seq<?", (first_since(connection, high),)) & Sql(_FOLLOWED, (low,))
    if query.type is None:
        return origin, where
    number = names.number(query.type)
    if number is None:
        return origin, NEVER
    if query.id is None:
        return "version v INDEXED BY version_type", Sql("v.type=?", (number,)) & where
    row = connection.execute("SELECT rid FROM resource WHERE type=? AND id=?", (number, query.id)).fetchone()
    if row is None:
        return origin, NEVER
    return "version v INDEXED BY version_of", Sql("v.rid=?", (row[0],)) & where


def _total(connection: sqlite3.Connection, query: HistoryQuery, origin: str, where: Sql) -> int:
    if query.type is None and query.at is None:
        return max(0, last_sequence(connection) - int(where.values[0]) + 1)
    sql = f"SELECT count(*) FROM {origin} WHERE {where.text}"
    return int(connection.execute(sql, where.values).fetchone()[0])


def changes(connection: sqlite3.Connection, names: Names, after: int, limit: int) -> list[Stored]:
    """The next versions after a sequence, in order."""
    rows = connection.execute(
        f"SELECT {VERSION_COLUMNS} FROM version v WHERE v.seq>? ORDER BY v.seq LIMIT ?",
        (after, limit),
    ).fetchall()
    return [stored_of(names, row) for row in rows]
