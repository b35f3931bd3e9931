"""The schema of the file: which steps it has seen, and bringing it up to date when the store is opened.

`PRAGMA user_version` is the number of the last step; `application_id` marks the file as ours. An invariant to keep: steps
are applied together or not at all, after a copy of the data was made; a file newer than the program is refused.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fhir_r4.errors import Unavailable
from fhir_server.store.sqlite.backup import backup
from fhir_server.store.sqlite.migrations import (
    m0001_tables,
    m0002_search,
    m0003_contained,
    m0004_claims,
)

APPLICATION_ID = 0x4F534C52


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(1, "tables", m0001_tables.STATEMENTS),
    Migration(2, "search", m0002_search.STATEMENTS),
    Migration(3, "contained", m0003_contained.STATEMENTS),
    Migration(4, "claims", m0004_claims.STATEMENTS),
)


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
    """Apply the steps that are missing, all or none; gives those applied.

    Before, a file with data is copied to a new file `<path>.schema-<number>-<time>`. Of several processes that open the file
    one does it, while the others wait for the lock.
    """
    if not planned(connection, migrations):
        return ()
    connection.execute("BEGIN IMMEDIATE")
    try:
        missing = planned(connection, migrations)
        if missing and missing[0].number > 1:
            _copy(path, missing[0].number - 1)
        for migration in missing:
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return missing


def _copy(path: Path, number: int) -> None:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    backup(path, path.with_name(f"{path.name}.schema-{number}-{now}"))
