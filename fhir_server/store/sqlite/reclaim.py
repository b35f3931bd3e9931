"""Making the claims of resources anew, without a version, while the server works.

An invariant to keep: a resource that was written since it was looked at keeps the claims that its own write made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from fhir_server.store.records import Claiming
from fhir_server.store.sqlite.claims import Ledger, Replacement, claim_row
from fhir_server.store.sqlite.names import Names

_HEAD = "SELECT rid FROM resource WHERE type=? AND id=? AND seq=? AND deleted=0"
_ROWS = "SELECT rid, n, key, units, capacity, lo, hi, expires FROM claim WHERE rid=?"


def reclaim(connection: sqlite3.Connection, names: Names, wanted: Sequence[Claiming], now: int) -> int:
    """Replace what differs; the number of resources whose claims were others."""
    replacements = []
    for one in wanted:
        head = connection.execute(_HEAD, (names.number(one.type), one.id, one.sequence)).fetchone()
        if head is None:
            continue
        rid: int = head[0]
        rows: set[tuple[Any, ...]] = {claim_row(rid, n, claim) for n, claim in enumerate(one.claims)}
        if set(connection.execute(_ROWS, (rid,)).fetchall()) != rows:
            replacements.append(Replacement(0, rid, (one.type, one.id), one.claims, True))
    ledger = Ledger(connection, now)
    ledger.replace(replacements)
    ledger.flush()
    return len(replacements)
