"""Making index rows anew from the stored resources, while the server works.

A stretch of resources is read and indexed beside the writers, then its rows are written in one transaction. An invariant to
keep: a resource that was written in between keeps the rows that its own write made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from fhir_r4.jsonio import decode
from fhir_server.search.entries import Entries
from fhir_server.store.protocol import Extract, Stale
from fhir_server.store.records import NewestIs, Reindexed
from fhir_server.store.sqlite.group import write_index
from fhir_server.store.sqlite.history import newest_of
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import INDEX_TABLES, RowMaker, kinds_of

_ALL_KINDS = sum(table.bit for table in INDEX_TABLES)


class Found(NamedTuple):
    """A live resource as it was read."""

    rid: int
    type_number: int
    sequence: int
    body: bytes


def stretch(
    connection: sqlite3.Connection, names: Names, types: Collection[str], after: int, limit: int
) -> list[Found]:
    """The next `limit` live resources of `types` (none: all) above the rid `after`."""
    numbers = [number for type in types if (number := names.number(type)) is not None]
    if types and not numbers:
        return []
    # the plus keeps SQLite in the order of rid, so that it may stop at the limit
    chosen = f" AND +r.type IN ({','.join('?' * len(numbers))})" if types else ""
    rows = connection.execute(
        "SELECT r.rid, r.type, r.seq, v.body FROM resource r CROSS JOIN version v ON v.seq=r.seq"
        f" WHERE r.rid>? AND r.deleted=0{chosen} ORDER BY r.rid LIMIT ?",
        (after, *numbers, limit),
    )
    return [Found(*row) for row in rows.fetchall()]


def entries_of(found: Sequence[Found], extract: Extract) -> list[Entries]:
    """The entries that the resources should have."""
    return [extract(decode(one.body)) for one in found]


def write(
    connection: sqlite3.Connection,
    names: Names,
    newest: NewestIs,
    found: Sequence[Found],
    made: Sequence[Entries],
    limit: int,
) -> Reindexed:
    """Bring the rows of what has not changed since it was read up to date. Raises Stale when `newest` does not hold."""
    sequence = newest_of(connection, names, newest.type)
    if sequence != newest.sequence:
        raise Stale(newest, sequence)
    entries = {
        one.rid: (one.type_number, own, _ALL_KINDS)
        for one, own in zip(found, made, strict=True)
        if _is_current(connection, one)
    }
    changed = write_index(connection, RowMaker(names), entries)
    for rid, (_, own, _) in entries.items():
        kinds = kinds_of(own)
        connection.execute("UPDATE resource SET kinds=? WHERE rid=? AND kinds!=?", (kinds, rid, kinds))
    return Reindexed(found[-1].rid if len(found) == limit else None, len(found), changed)


def _is_current(connection: sqlite3.Connection, one: Found) -> bool:
    row = connection.execute("SELECT seq FROM resource WHERE rid=?", (one.rid,)).fetchone()
    return bool(row is not None and row[0] == one.sequence)
