"""A group of transactions inside one SQLite transaction: judging each, and writing the rows of all together.

Transactions are judged one after the other against what the ones before left; their rows are gathered and written in
few statements at the end. An invariant to keep: a transaction is judged before any of its rows is gathered, so one that
fails leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fhir_r4.temporal import format_instant
from fhir_server.search.contained import contained_key
from fhir_server.search.entries import Entries
from fhir_server.store.gathered import Gathered
from fhir_server.store.protocol import OutOfStep, Stale
from fhir_server.store.records import (
    Copied,
    MatchesAre,
    NewestIs,
    Precondition,
    Stored,
    VersionIs,
    WriteOp,
)
from fhir_server.store.sqlite.claims import Ledger, Replacement
from fhir_server.store.sqlite.history import newest_of
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import (
    CONTAINER,
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
_INSIDE = """
SELECT type,id,rid,version,deleted,kinds FROM resource INDEXED BY resource_inside
WHERE type<0 AND id>? || '#' AND id<? || '$' ORDER BY rid
"""
_NEWEST = """
SELECT coalesce((SELECT max(seq) FROM version), 0), coalesce((SELECT max(rid) FROM resource), 0),
       coalesce((SELECT updated FROM version ORDER BY seq DESC LIMIT 1), 0)
"""


Key = tuple[str, str]


class Head:
    """The current state of a resource while a group is written; `kinds` are the index tables that the file has rows in.

    `inside` are the states of what it contains or has contained, None where they were not looked at.
    """

    __slots__ = ("deleted", "inside", "kinds", "rid", "version")

    def __init__(
        self, rid: int, version: int, deleted: bool, kinds: int, inside: dict[Key, Head] | None = None
    ) -> None:
        self.rid = rid
        self.version = version
        self.deleted = deleted
        self.kinds = kinds
        self.inside = inside


class Plan(NamedTuple):
    """What a write comes to: the state after it, None when there is nothing to delete, and whether it creates.

    `inside` are the contained resources that it writes or takes away, each with its state after and its entries.
    """

    head: Head | None
    created: bool
    inside: Sequence[tuple[Key, Head, Entries]] = ()


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
        self._gathered = Gathered()
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

    def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition], rehearse: bool = False
    ) -> tuple[Stored, ...]:
        """Judge a transaction and gather its rows. Raises Stale or ClaimRefused, with nothing gathered.

        With `rehearse` nothing is gathered at all.
        """
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
        if rehearse:
            self._rid = first_rid
            return tuple(
                self._version(op, plan.head, plan.created, 0) for op, plan in zip(ops, planned, strict=True)
            )
        self._ledger.replace(replacements)
        self._heads.update(heads)
        return tuple(self._gather(op, plan) for op, plan in zip(ops, planned, strict=True))

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
        if self._gathered.matters(self._names.number(precondition.type), precondition.where):
            self.flush()
        return matching_ids(
            self._connection, self._names, precondition.type, precondition.where, precondition.limit
        )

    def _plan(self, op: WriteOp, heads: dict[tuple[str, str], Head]) -> Plan:
        key = (op.type, op.id)
        before = heads.get(key) or self._heads.get(key)
        if op.body is None and (before is None or before.deleted):
            return Plan(None, False)
        if before is None:
            self._rid += 1
            after = Head(self._rid, 1, False, 0)
        else:
            after = Head(before.rid, before.version + 1, op.body is None, before.kinds, before.inside)
        heads[key] = after
        created = before is None or before.deleted
        if op.entries.contained or after.kinds & CONTAINER or after.inside:
            entries = Entries() if op.body is None else op.entries
            return Plan(after, created, self._plan_inside(key, entries, before, after))
        return Plan(after, created)

    def _plan_inside(
        self, key: Key, entries: Entries, before: Head | None, after: Head
    ) -> Sequence[tuple[Key, Head, Entries]]:
        """What is contained gets the state of its container, and what is so no more that of a deleted resource."""
        known = after.inside
        if known is None:
            known = {} if before is None else heads_inside(self._connection, self._names, key)
        now = {contained_key(key, one.type, one.id): one.entries for one in entries.contained}
        planned: list[tuple[Key, Head, Entries]] = []
        for own, made in now.items():
            head = known.get(own)
            if head is None:
                self._rid += 1
                head = Head(self._rid, 0, False, 0)
            planned.append((own, Head(head.rid, after.version, False, head.kinds), made))
        for own, head in known.items():
            if own not in now and not head.deleted:
                planned.append((own, Head(head.rid, after.version, True, head.kinds), Entries()))
        after.inside = {**known, **{own: head for own, head, _ in planned}}
        return planned

    def _replacements(self, ops: Sequence[WriteOp], planned: Sequence[Plan]) -> list[Replacement]:
        last: dict[int, Replacement] = {}
        for position, (op, (head, _, _)) in enumerate(zip(ops, planned, strict=True)):
            if head is not None and (op.claims or head.version > 1):
                claims = () if op.body is None else op.claims
                last[head.rid] = Replacement(position, head.rid, (op.type, op.id), claims, head.version > 1)
        return list(last.values())

    def _version(self, op: WriteOp, head: Head | None, created: bool, sequence: int) -> Stored:
        if head is None:
            return Stored(op.type, op.id, 0, 0, self.now, op.method, b"")
        body = b""
        if op.body is not None:
            body = b'%b"versionId":"%d%b%b' % (op.body.before, head.version, self._stamp, op.body.after)
        return Stored(op.type, op.id, head.version, sequence, self.now, op.method, body, created)

    def _gather(self, op: WriteOp, plan: Plan) -> Stored:
        head, created, inside = plan
        if head is None:
            return self._version(op, head, created, 0)
        self.wrote = True
        self._sequence += 1
        self._newest[op.type] = self._sequence
        stored = self._version(op, head, created, self._sequence)
        self._keep(stored, head, Entries() if op.body is None else op.entries, inside)
        return stored

    def _keep(
        self,
        stored: Stored,
        head: Head,
        entries: Entries,
        inside: Sequence[tuple[Key, Head, Entries]],
    ) -> None:
        type_number = self._names.add(stored.type)
        method = _METHOD_NUMBERS[stored.method]
        about = (stored.version, type_number, stored.id, stored.updated, method, stored.created, stored.body)
        self._versions += (stored.sequence, head.rid, *about)
        self._gather_entries(type_number, stored.id, head, entries, stored)
        for (type_name, id), contained, made in inside:
            self._gather_entries(self._names.add(type_name), id, contained, made, stored)

    def _gather_entries(
        self, type_number: int, id: str, head: Head, entries: Entries, stored: Stored
    ) -> None:
        """The row of a state as of a version, and its index rows."""
        rid, kinds = head.rid, kinds_of(entries)
        self._resources[rid] = (
            rid,
            type_number,
            id,
            head.version,
            stored.sequence,
            stored.updated,
            head.deleted,
            kinds,
        )
        waiting = self._entries.get(rid)
        self._gathered.add(type_number, entries, new=head.version == 1)
        in_file = head.kinds if waiting is None else waiting[2]
        self._entries[rid] = (type_number, entries, in_file)
        head.kinds = kinds

    def copy(self, versions: Sequence[Copied]) -> None:
        """Gather versions of another store as they are. Raises OutOfStep when the first does not follow the newest."""
        self.look_up((one.stored.type, one.stored.id) for one in versions)
        for position, one in enumerate(versions):
            stored = one.stored
            if stored.sequence != self._sequence + 1:
                raise OutOfStep(self._sequence, stored.sequence)
            self._sequence = stored.sequence
            key = (stored.type, stored.id)
            before = self._heads.get(key)
            if before is None:
                self._rid += 1
                head = Head(self._rid, 1, stored.deleted, 0)
            else:
                head = Head(before.rid, stored.version, stored.deleted, before.kinds, before.inside)
            self._heads[key] = head
            entries = one.entries or Entries()
            inside: Sequence[tuple[Key, Head, Entries]] = ()
            if entries.contained or head.kinds & CONTAINER or head.inside:
                inside = self._plan_inside(key, entries, before, head)
            self._ledger.replace([Replacement(position, head.rid, key, one.claims, head.version > 1)])
            self._keep(stored, head, entries, inside)

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
        self._gathered = Gathered()


def heads_inside(connection: sqlite3.Connection, names: Names, container: Key) -> dict[Key, Head]:
    """The states of what a resource contains or has contained, by its own type and id."""
    at = f"{container[0]}/{container[1]}"
    return {
        (names.text(number), id): Head(rid, version, bool(deleted), kinds)
        for number, id, rid, version, deleted, kinds in connection.execute(_INSIDE, (at, at)).fetchall()
    }


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
