"""How many matches a search has, about: counted up to a bound, beyond it projected from a sample.

The sample is spread evenly over the resources by creation, so the same state always gives the same estimate.
"""

from __future__ import annotations

import sqlite3

from fhir_server.store.sqlite.selection import Selection

COUNTED = 2_000
SAMPLE = 1_000


def estimated(connection: sqlite3.Connection, selection: Selection) -> tuple[int, bool]:
    """The number, and whether it is a guess."""
    counted = selection.counted(COUNTED + 1)
    if counted <= COUNTED:
        return counted, False
    (highest,) = connection.execute("SELECT coalesce(max(rid), 0) FROM resource").fetchone()
    rids = range(1, highest + 1, max(1, highest // SAMPLE))
    share = selection.holding(rids) / len(rids)
    return max(counted, round(share * highest)), True
