"""Making the index anew from the stored resources, while the server works.

Resources are done in order of creation, a batch in one transaction, so a reader never sees half a resource. The file
remembers how far it came: an interrupted run goes on there. Fingerprints are set when everything was done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fhir_r4.jsonio import decode
from fhir_server.search.entries import Entries
from fhir_server.store.sqlite.group import write_index
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import INDEX_TABLES, RowMaker, kinds_of
from fhir_server.store.sqlite.store import SqliteStore

# Writers wait while a batch is done.
BATCH = 200
_ALL_KINDS = sum(table.bit for table in INDEX_TABLES)


@dataclass(frozen=True, slots=True)
class Reindexed:
    """How many resources were looked at, and how many index rows were not as they should be."""

    resources: int
    changed: int


async def reindex(
    store: SqliteStore,
    extractor: Callable[[dict[str, Any]], Entries],
    fingerprints: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Reindexed:
    """Make every index row what `extractor` says; afterwards keep `fingerprints`. `progress` gets the resources done."""
    resources = changed = 0
    while True:
        done, differing = await store.write_with(
            lambda connection, names: _batch(connection, names, extractor)
        )
        resources += done
        changed += differing
        if progress is not None:
            progress(resources)
        if done == 0:
            break
    if fingerprints is not None:
        await store.set_fingerprints(fingerprints)
    return Reindexed(resources, changed)


def _batch(
    connection: sqlite3.Connection, names: Names, extractor: Callable[[dict[str, Any]], Entries]
) -> tuple[int, int]:
    place = connection.execute("SELECT value FROM meta WHERE key='reindex'").fetchone()
    rows = connection.execute(
        "SELECT r.rid, r.type, v.body FROM resource r JOIN version v ON v.seq=r.seq"
        " WHERE r.rid>? AND r.deleted=0 ORDER BY r.rid LIMIT ?",
        (0 if place is None else place[0], BATCH),
    ).fetchall()
    if not rows:
        connection.execute("DELETE FROM meta WHERE key='reindex'")
        return 0, 0
    entries = {rid: (type_number, extractor(decode(body)), _ALL_KINDS) for rid, type_number, body in rows}
    differing = write_index(connection, RowMaker(names), entries)
    for rid, (_, made, _) in entries.items():
        connection.execute(
            "UPDATE resource SET kinds=? WHERE rid=? AND kinds!=?", (kinds_of(made), rid, kinds_of(made))
        )
    connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('reindex', ?)", (rows[-1][0],))
    return len(rows), differing
