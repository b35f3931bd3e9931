"""The schema of the file: which steps it has seen, and bringing it up to date when the store is opened.

`PRAGMA user_version` is the number of the last step; `application_id` marks the file as ours. Each step is one
transaction; a file that holds data is copied before the first step; a file newer than the program is refused.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from fhir_r4.errors import Unavailable
from fhir_server.store.sqlite.backup import backup_connection
from fhir_server.store.sqlite.migrations import m0001_tables

APPLICATION_ID = 0x4F534C52


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    statements: tuple[str, ...]


MIGRATIONS = (Migration(1, "tables", m0001_tables.STATEMENTS),)


class NewerFile(Unavailable):
    """The file was written by a newer program: this one does not understand it."""

    id = "newer-file"


def planned(
    connection: sqlite3.Connection, migrations: tuple[Migration, ...] = MIGRATIONS
) -> tuple[Migration, ...]:
    """The steps that the file still needs. Raises NewerFile, and Unavailable for a file that is not ours."""
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    known = migrations[-1].number
    if number > known:
        raise NewerFile(
            f"The file has schema {number} and this program knows {known}: use the program that wrote it, or a newer one."
        )
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    ours: bool = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if tables and not ours:
        raise Unavailable("The file is an SQLite database of another program.")
    return tuple(m for m in migrations if m.number > number)


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: tuple[Migration, ...] = MIGRATIONS
) -> tuple[Migration, ...]:
    """Apply the steps that are missing; gives those applied. A file with data is first copied to `<path>.schema-<n>`."""
    missing = planned(connection, migrations)
    if missing and missing[0].number > 1:
        before = missing[0].number - 1
        backup_connection(connection, path.with_name(f"{path.name}.schema-{before}"))
    return tuple(m for m in missing if _apply(connection, m))


def _apply(connection: sqlite3.Connection, migration: Migration) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    try:
        number: int = connection.execute("PRAGMA user_version").fetchone()[0]
        # Another process may have done it while this one waited for the lock.
        if number >= migration.number:
            connection.execute("ROLLBACK")
            return False
        for statement in migration.statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True
