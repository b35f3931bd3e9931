"""Point reads: a resource or a version by its identity.

An invariant to keep: each is one statement, so it sees one committed state; a read must cost little more than that.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from fhir_server.store.records import Method, Stored
from fhir_server.store.sqlite.names import Names

METHODS: tuple[Method, ...] = ("POST", "PUT", "PATCH", "DELETE")

VERSION_COLUMNS = "v.type, v.id, v.version, v.seq, v.updated, v.method, v.body, v.created"

_CURRENT = """
SELECT v.version, v.seq, v.updated, v.method, v.body, v.created
FROM resource r CROSS JOIN version v ON v.seq=r.seq WHERE r.type=? AND r.id=?
"""
_VERSION = """
SELECT v.version, v.seq, v.updated, v.method, v.body, v.created
FROM resource r CROSS JOIN version v ON v.rid=r.rid AND v.version=? WHERE r.type=? AND r.id=?
"""
_LIVE = f"""
SELECT {VERSION_COLUMNS} FROM resource r CROSS JOIN version v ON v.seq=r.seq
WHERE r.type=? AND r.id IN (SELECT value FROM json_each(?)) AND r.deleted=0
"""
_BY_RID = """
SELECT r.rid, r.type, r.id, v.version, v.seq, v.updated, v.method, v.body, v.created
FROM resource r CROSS JOIN version v ON v.seq=r.seq
WHERE r.rid IN (SELECT value FROM json_each(?))
"""


def stored_of(names: Names, row: Sequence[Any]) -> Stored:
    """The version that a row of VERSION_COLUMNS holds."""
    type_number, id, version, seq, updated, method, body, created = row
    return Stored(names.text(type_number), id, version, seq, updated, METHODS[method], body, created == 1)


def read(connection: sqlite3.Connection, names: Names, type_name: str, id: str) -> Stored | None:
    number = names.number(type_name)
    row = connection.execute(_CURRENT, (number, id)).fetchone()
    if row is None:
        return None
    version, seq, updated, method, body, created = row
    return Stored(type_name, id, version, seq, updated, METHODS[method], body, created == 1)


def read_version(
    connection: sqlite3.Connection, names: Names, type_name: str, id: str, version: int
) -> Stored | None:
    number = names.number(type_name)
    row = connection.execute(_VERSION, (version, number, id)).fetchone()
    if row is None:
        return None
    version, seq, updated, method, body, created = row
    return Stored(type_name, id, version, seq, updated, METHODS[method], body, created == 1)


def read_many(
    connection: sqlite3.Connection, names: Names, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Stored]:
    """Current versions of those that exist and are not deleted."""
    by_type: dict[str, list[str]] = {}
    for type_name, id in keys:
        by_type.setdefault(type_name, []).append(id)
    found: dict[tuple[str, str], Stored] = {}
    for type_name, ids in by_type.items():
        number = names.number(type_name)
        for row in connection.execute(_LIVE, (number, json.dumps(ids))).fetchall():
            stored = stored_of(names, row)
            found[stored.type, stored.id] = stored
    return found


def by_rids(connection: sqlite3.Connection, names: Names, rids: Sequence[int]) -> tuple[Stored, ...]:
    """Current versions in the order of `rids`; of what is contained those of its container, by its own type and id."""
    if not rids:
        return ()
    rows = connection.execute(_BY_RID, (json.dumps(list(rids)),)).fetchall()
    found = {row[0]: stored_of(names, row[1:]) for row in rows}
    return tuple(found[rid] for rid in rids)
