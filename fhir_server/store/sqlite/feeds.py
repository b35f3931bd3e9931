"""Leases and cursors of the consumers of the change feed, in the file's `meta` table; in a writing transaction."""

from __future__ import annotations

import json
import sqlite3
import time


def take(connection: sqlite3.Connection, name: str, owner: str, seconds: float) -> int | None:
    """The cursor, when nobody else holds the lease; the owner holds it for `seconds` then."""
    held_by, until, cursor = _state(connection, name)
    if held_by != owner and until > time.time():
        return None
    _set(connection, name, owner, seconds, cursor)
    return cursor


def keep(connection: sqlite3.Connection, name: str, owner: str, cursor: int, seconds: float) -> bool:
    """Move the cursor, when the owner still holds the lease."""
    if _state(connection, name)[0] != owner:
        return False
    _set(connection, name, owner, seconds, cursor)
    return True


def _state(connection: sqlite3.Connection, name: str) -> tuple[str, float, int]:
    row = connection.execute("SELECT value FROM meta WHERE key=?", (f"feed {name}",)).fetchone()
    if row is None:
        return "", 0.0, 0
    owner, until, cursor = json.loads(row[0])
    return owner, until, cursor


def _set(connection: sqlite3.Connection, name: str, owner: str, seconds: float, cursor: int) -> None:
    value = json.dumps([owner, time.time() + seconds, cursor])
    connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (f"feed {name}", value))
