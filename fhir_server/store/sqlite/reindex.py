"""Making index rows anew from the stored resources, while the server works.

What a resource contains is indexed with it. A stretch of resources is read and indexed beside the writers, then its rows are written in one transaction. An invariant to
keep: a resource that was written in between keeps the rows that its own write made.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from fhir_r4.jsonio import decode
from fhir_server.search.contained import contained_key
from fhir_server.search.entries import Entries
from fhir_server.store.protocol import Extract, Stale
from fhir_server.store.records import NewestIs, Reindexed
from fhir_server.store.sqlite.group import heads_inside, write_index
from fhir_server.store.sqlite.history import newest_of
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import INDEX_TABLES, RowMaker, kinds_of

_CONTAINERS = """
SELECT n.rid FROM resource c INDEXED BY resource_live CROSS JOIN version n ON n.seq=c.seq
WHERE c.type IN (SELECT value FROM json_each(:inside)) AND c.deleted=0
"""
_ROW = """
INSERT INTO resource(rid,type,id,version,seq,updated,deleted,kinds) VALUES (?,?,?,?,?,?,?,?)
ON CONFLICT(rid) DO UPDATE SET version=excluded.version, seq=excluded.seq, updated=excluded.updated,
deleted=excluded.deleted, kinds=excluded.kinds
"""
_ALL_KINDS = sum(table.bit for table in INDEX_TABLES)


class Found(NamedTuple):
    """A live resource as it was read."""

    rid: int
    type_number: int
    id: str
    version: int
    sequence: int
    updated: int
    body: bytes


def stretch(
    connection: sqlite3.Connection, names: Names, types: Collection[str], after: int, limit: int
) -> list[Found]:
    """The next `limit` live resources of `types` (none: all), or that contain one of them, above the rid `after`."""
    numbers = [number for type in types if (number := names.number(type)) is not None]
    if types and not numbers:
        return []
    # a contained resource points at the version of its container; the plus keeps SQLite in the order of rid, so that it may stop at the limit
    chosen = (
        f" AND (+r.type IN (SELECT value FROM json_each(:types)) OR r.rid IN ({_CONTAINERS}))"
        if types
        else ""
    )
    rows = connection.execute(
        "SELECT r.rid, r.type, r.id, r.version, r.seq, r.updated, v.body"
        " FROM resource r CROSS JOIN version v ON v.seq=r.seq"
        f" WHERE r.rid>:after AND r.deleted=0 AND r.type>0{chosen} ORDER BY r.rid LIMIT :limit",
        {
            "after": after,
            "limit": limit,
            "types": json.dumps(numbers),
            "inside": json.dumps([-number for number in numbers]),
        },
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
    entries: dict[int, tuple[int, Entries, int]] = {}
    for one, own in zip(found, made, strict=True):
        if _is_current(connection, one):
            entries[one.rid] = (one.type_number, own, _ALL_KINDS)
            entries.update(_inside(connection, names, one, own))
    changed = write_index(connection, RowMaker(names), entries)
    for rid, (_, own, _) in entries.items():
        kinds = kinds_of(own)
        connection.execute("UPDATE resource SET kinds=? WHERE rid=? AND kinds!=?", (kinds, rid, kinds))
    return Reindexed(found[-1].rid if len(found) == limit else None, len(found), changed)


def _inside(
    connection: sqlite3.Connection, names: Names, one: Found, own: Entries
) -> dict[int, tuple[int, Entries, int]]:
    """The entries of what a resource contains, or no more contains, whose rows are made or brought up to date."""
    container = names.text(one.type_number), one.id
    known = heads_inside(connection, names, container)
    wanted = {contained_key(container, c.type, c.id): c.entries for c in own.contained}
    found: dict[int, tuple[int, Entries, int]] = {}
    for key in {**known, **wanted}:
        head, entries = known.get(key), wanted.get(key)
        if entries is None and (head is None or head.deleted):
            continue
        rid = _next_rid(connection) if head is None else head.rid
        number = names.add(key[0])
        kinds = 0 if entries is None else kinds_of(entries)
        state = (one.version, one.sequence, one.updated, entries is None, kinds)
        connection.execute(_ROW, (rid, number, key[1], *state))
        found[rid] = (number, entries or Entries(), _ALL_KINDS)
    return found


def _next_rid(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(rid), 0) + 1 FROM resource").fetchone()[0])


def _is_current(connection: sqlite3.Connection, one: Found) -> bool:
    row = connection.execute("SELECT seq FROM resource WHERE rid=?", (one.rid,)).fetchone()
    return bool(row is not None and row[0] == one.sequence)
