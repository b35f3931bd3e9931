"""A copy of the file while it is in use, proven to be whole; and putting a copy back.

https://www.sqlite.org/backup.html. An invariant to keep: a copy under its final name has been verified.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from fhir_r4.errors import Unavailable
from fhir_server.store.sqlite.connections import translated

PAGES = 2_000


@dataclass(frozen=True, slots=True)
class Copy:
    """A verified copy: `sequence` is its last version, `sha256` the digest of the file."""

    path: Path
    sequence: int
    resources: int
    size: int
    sha256: str


def backup(path: Path, target: Path) -> Copy:
    """Copy the store at `path` to the new file `target` while others write. Raises Unavailable when it cannot be proven."""
    if not path.exists():
        raise Unavailable(f"There is no store at {path}.")
    with translated():
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            return backup_connection(connection, target)
        finally:
            connection.close()


def backup_connection(connection: sqlite3.Connection, target: Path) -> Copy:
    """Copy what `connection` sees to the new file `target`."""
    if target.exists():
        raise Unavailable(f"{target} exists already: a backup never replaces a file.")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    copied = sqlite3.connect(partial)
    try:
        connection.backup(copied, pages=PAGES, sleep=0.001)
        copied.execute("PRAGMA journal_mode=DELETE")
    finally:
        copied.close()
    try:
        verified = verify(partial)
    except Unavailable:
        partial.unlink(missing_ok=True)
        raise
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)
    return Copy(target, verified.sequence, verified.resources, verified.size, verified.sha256)


def verify(path: Path) -> Copy:
    """Prove that a file is whole: SQLite's own check, gapless sequences, and a current version for each resource."""
    with translated():
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check").fetchall()]
            if problems != ["ok"]:
                raise Unavailable(f"{path} is damaged: {problems[0]}")
            sequence, versions = connection.execute(
                "SELECT coalesce(max(seq), 0), count(*) FROM version"
            ).fetchone()
            (resources,) = connection.execute("SELECT count(*) FROM resource WHERE type>0").fetchone()
            (pointing,) = connection.execute(
                "SELECT count(*) FROM resource r JOIN version v ON v.seq=r.seq AND v.rid=r.rid AND v.version=r.version"
            ).fetchone()
        finally:
            connection.close()
    if versions != sequence or pointing != resources:
        raise Unavailable(
            f"{path} is incomplete: {versions} of {sequence} versions, {pointing} of {resources} resources."
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Copy(path, sequence, resources, path.stat().st_size, digest)


def restore(copy: Path, path: Path) -> Copy:
    """Make a store at `path`, where there is none, from a copy. The copy is verified before and after."""
    if path.exists():
        raise Unavailable(f"There is a store at {path} already: move it away first.")
    verify(copy)
    with translated():
        connection = sqlite3.connect(f"file:{copy}?mode=ro", uri=True)
        try:
            return backup_connection(connection, path)
        finally:
            connection.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
