"""A group of transactions inside one SQLite transaction: judging each, and writing the rows of all together.

Transactions are judged one after the other against what the ones before left; their rows are gathered and written in
few statements at the end. An invariant to keep: a transaction is judged before any of its rows is gathered, so one that
fails leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fhir_r4.temporal import format_instant
from fhir_server.search.entries import Entries
from fhir_server.store.protocol import Stale
from fhir_server.store.records import MatchesAre, NewestIs, Precondition, Stored, VersionIs, WriteOp
from fhir_server.store.sqlite.claims import Ledger, Replacement
from fhir_server.store.sqlite.history import newest_of
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import (
    DELETES,
    INDEX_TABLES,
    INSERTS,
    SELECTS,
    Row,
    RowMaker,
    Statement,
    kinds_of,
)
from fhir_server.store.sqlite.selection import matching_ids

METHODS = ("POST", "PUT", "PATCH", "DELETE")
_METHOD_NUMBERS = {name: number for number, name in enumerate(METHODS)}

_VERSIONS = Statement("INSERT INTO version(seq,rid,version,type,id,updated,method,created,body) VALUES ", 9)
_RESOURCES = Statement(
    "INSERT INTO resource(rid,type,id,version,seq,updated,deleted,kinds) VALUES ",
    8,
    " ON CONFLICT(rid) DO UPDATE SET version=excluded.version, seq=excluded.seq, updated=excluded.updated,"
    " deleted=excluded.deleted, kinds=excluded.kinds",
)
_HEADS = Statement(
    "SELECT id,rid,version,deleted,kinds FROM resource WHERE type=? AND id IN (", 1, ")", tuples=False
)
_NEWEST = """
SELECT coalesce((SELECT max(seq) FROM version), 0), coalesce((SELECT max(rid) FROM resource), 0),
       coalesce((SELECT updated FROM version ORDER BY seq DESC LIMIT 1), 0)
"""


class Head:
    """The current state of a resource while a group is written; `kinds` are the index tables that the file has rows in."""

    __slots__ = ("deleted", "kinds", "rid", "version")

    def __init__(self, rid: int, version: int, deleted: bool, kinds: int) -> None:
        self.rid = rid
        self.version = version
        self.deleted = deleted
        self.kinds = kinds


class Group:
    """Begin with the SQLite transaction open; `flush` before it is committed."""

    def __init__(self, connection: sqlite3.Connection, names: Names, rows: RowMaker, clock: int) -> None:
        self._connection = connection
        self._names = names
        self._rows = rows
        self._sequence, self._rid, last = connection.execute(_NEWEST).fetchone()
        self.now: int = max(clock - clock % 1000, last)
        self._stamp = b'","lastUpdated":"' + format_instant(self.now).encode() + b'"'
        self._ledger = Ledger(connection, self.now)
        self._heads: dict[tuple[str, str], Head | None] = {}
        self._versions: list[Any] = []
        self._resources: dict[int, Row] = {}
        self._entries: dict[int, tuple[int, Entries, int]] = {}
        self._newest: dict[str, int] = {}
        self.wrote = False

    def look_up(self, keys: Iterable[tuple[str, str]]) -> None:
        """Read the current state of resources that transactions will ask for."""
        by_type: dict[str, list[str]] = {}
        for key in keys:
            if key not in self._heads:
                self._heads[key] = None
                by_type.setdefault(key[0], []).append(key[1])
        for type_name, ids in by_type.items():
            number = self._names.number(type_name)
            if number is not None:
                for id, rid, version, deleted, kinds in _HEADS.select(self._connection, ids, number):
                    self._heads[type_name, id] = Head(rid, version, bool(deleted), kinds)

    def transact(self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition]) -> tuple[Stored, ...]:
        """Judge a transaction and gather its rows. Raises Stale or ClaimRefused, with nothing gathered."""
        for precondition in preconditions:
            self._judge(precondition)
        first_rid = self._rid
        heads: dict[tuple[str, str], Head] = {}
        planned = [self._plan(op, heads) for op in ops]
        try:
            replacements = self._replacements(ops, planned)
            if replacements:
                self._ledger.judge(replacements)
        except BaseException:
            self._rid = first_rid
            raise
        self._ledger.replace(replacements)
        self._heads.update(heads)
        return tuple(
            self._gather(op, head, created) for op, (head, created) in zip(ops, planned, strict=True)
        )

    def _judge(self, precondition: Precondition) -> None:
        found: object
        if isinstance(precondition, VersionIs):
            head = self._heads.get((precondition.type, precondition.id))
            found = None if head is None or head.deleted else head.version
            holds = found == precondition.version
        elif isinstance(precondition, NewestIs):
            found = self._newest_of(precondition.type)
            holds = found == precondition.sequence
        else:
            found = self._matches(precondition)
            holds = sorted(found) == sorted(precondition.ids)
        if not holds:
            raise Stale(precondition, found)

    def _newest_of(self, type_name: str) -> int:
        found = self._newest.get(type_name)
        if found is None:
            found = self._newest[type_name] = newest_of(self._connection, self._names, type_name)
        return found

    def _matches(self, precondition: MatchesAre) -> tuple[str, ...]:
        self.flush()
        return matching_ids(
            self._connection, self._names, precondition.type, precondition.where, precondition.limit
        )

    def _plan(self, op: WriteOp, heads: dict[tuple[str, str], Head]) -> tuple[Head | None, bool]:
        """The state after the write, None when there is nothing to delete; and whether the resource is created."""
        key = (op.type, op.id)
        before = heads.get(key) or self._heads.get(key)
        if op.body is None and (before is None or before.deleted):
            return None, False
        if before is None:
            self._rid += 1
            after = Head(self._rid, 1, False, 0)
        else:
            after = Head(before.rid, before.version + 1, op.body is None, before.kinds)
        heads[key] = after
        return after, before is None or before.deleted

    def _replacements(
        self, ops: Sequence[WriteOp], planned: Sequence[tuple[Head | None, bool]]
    ) -> list[Replacement]:
        last: dict[int, Replacement] = {}
        for position, (op, (head, _)) in enumerate(zip(ops, planned, strict=True)):
            if head is not None and (op.claims or head.version > 1):
                claims = () if op.body is None else op.claims
                last[head.rid] = Replacement(position, head.rid, (op.type, op.id), claims, head.version > 1)
        return list(last.values())

    def _gather(self, op: WriteOp, head: Head | None, created: bool) -> Stored:
        if head is None:
            return Stored(op.type, op.id, 0, 0, self.now, op.method, b"")
        self.wrote = True
        self._sequence += 1
        self._newest[op.type] = self._sequence
        sequence, rid, version, now = self._sequence, head.rid, head.version, self.now
        body = b""
        if op.body is not None:
            body = b'%b"versionId":"%d%b%b' % (op.body.before, version, self._stamp, op.body.after)
        type_number = self._names.add(op.type)
        method = _METHOD_NUMBERS[op.method]
        self._versions += (sequence, rid, version, type_number, op.id, now, method, created, body)
        entries = Entries() if op.body is None else op.entries
        kinds = kinds_of(entries)
        self._resources[rid] = (rid, type_number, op.id, version, sequence, now, head.deleted, kinds)
        waiting = self._entries.get(rid)
        in_file = head.kinds if waiting is None else waiting[2]
        self._entries[rid] = (type_number, entries, in_file)
        head.kinds = kinds
        return Stored(op.type, op.id, version, sequence, now, op.method, body, created)

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._versions:
            return
        connection = self._connection
        _VERSIONS.run(connection, self._versions)
        _RESOURCES.run(connection, [value for row in self._resources.values() for value in row])
        self._ledger.flush()
        write_index(connection, self._rows, self._entries)
        self._versions = []
        self._resources = {}
        self._entries = {}


def write_index(
    connection: sqlite3.Connection, rows: RowMaker, entries: Mapping[int, tuple[int, Entries, int]]
) -> int:
    """Bring the index rows of resources (rid: type's number, entries, tables that may have rows) up to date.

    Gives how many rows were added or deleted. Rows that stay are not touched.
    """
    flats: list[list[Any]] = [[] for _ in INDEX_TABLES]
    known: dict[int, tuple[list[Row], ...]] = {}
    present: list[list[int]] = [[] for _ in INDEX_TABLES]
    for rid, (type_number, made, kinds) in entries.items():
        wanted = rows.rows(type_number, made)
        if kinds:
            known[rid] = wanted
            for rids, table in zip(present, INDEX_TABLES, strict=True):
                if kinds & table.bit:
                    rids.append(rid)
        else:
            for flat, of_table in zip(flats, wanted, strict=True):
                for row in of_table:
                    flat.append(rid)
                    flat += row
    deleted = _compare(connection, known, present, flats) if known else 0
    added = 0
    for insert, flat, table in zip(INSERTS, flats, INDEX_TABLES, strict=True):
        if flat:
            insert.run(connection, flat)
            added += len(flat) // (len(table.columns) + 1)
    return deleted + added


def _compare(
    connection: sqlite3.Connection,
    wanted: Mapping[int, tuple[list[Row], ...]],
    present: Sequence[Sequence[int]],
    flats: Sequence[list[Any]],
) -> int:
    """Delete the rows that are not wanted any more and add those that are missing to `flats`; gives how many it deleted."""
    deleted = 0
    for position, rids in enumerate(present):
        old: dict[int, set[Row]] = {}
        for found in SELECTS[position].select(connection, rids):
            old.setdefault(found[0], set()).add(found[1:])
        flat = flats[position]
        for rid, tables in wanted.items():
            before, after = old.get(rid, set()), set(tables[position])
            for row in before - after:
                connection.execute(DELETES[position], (rid, *row))
                deleted += 1
            for row in after - before:
                flat.append(rid)
                flat += row
    return deleted
