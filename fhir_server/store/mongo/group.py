"""A group of transactions inside one MongoDB transaction: judging each, and writing the documents of all together.

https://www.mongodb.com/docs/manual/core/transactions/. The first thing that a group does is to change the document that
counts versions: of two groups, of whatever servers, that overlap in time one fails and begins anew. So groups follow each
other, sequences have no gaps, and what a group has read is true when it commits. An invariant to keep: a transaction is
judged before any of its documents is gathered, so one that fails leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any, Protocol

from pymongo import InsertOne, ReplaceOne

from fhir_r4.temporal import format_instant
from fhir_server.search.contained import is_contained
from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression, any_of
from fhir_server.store.gathered import Gathered, alternatives, asks_for_token
from fhir_server.store.mongo.claims import Ledger, Replacement
from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.documents import Prepared, state_document, version_document
from fhir_server.store.mongo.inside import Inner, Inside, document_of, known_inside, mark, plan
from fhir_server.store.mongo.schema import SEQUENCE
from fhir_server.store.protocol import Stale
from fhir_server.store.records import MatchesAre, NewestIs, Precondition, Stored, VersionIs, WriteOp

Key = tuple[str, str]
Write = InsertOne[Document] | ReplaceOne[Document]
Making = Callable[[], Write]


class Matching(Protocol):
    """What a group asks of the search."""

    async def matching_ids(
        self, type: str, where: Expression, limit: int, session: Session | None = None
    ) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A transaction: what to write, and what must hold for it; with `rehearse` it is judged and not written.

    `prepared` has what was made of each write before (empty: nothing was).
    """

    ops: Sequence[WriteOp]
    preconditions: Sequence[Precondition]
    rehearse: bool = False
    prepared: Sequence[Prepared | None] = ()


@dataclass(frozen=True, slots=True)
class Manner:
    """How a group is written: whether ids that were made for their write are looked up all the same, and whether
    resources are kept in native form as well. A group that could not be written is tried in another manner.
    """

    wary: bool = False
    native: bool = True


@dataclass(slots=True)
class Head:
    """The current state of a resource while a group is written: `first` is the sequence of its first version (0: to
    come), `claims` how many it has in the database, `stored` whether the database has a document of it; `inside` is what it
    contains or has contained.
    """

    version: int
    deleted: bool
    first: int
    claims: int
    stored: bool
    inside: Inside = field(default_factory=dict)


class Group:
    """Begin with the transaction of `session` open and `begin` first; `finish` before it is committed."""

    def __init__(
        self, connection: Connection, session: Session, matching: Matching, manner: Manner = Manner()
    ) -> None:
        self._connection = connection
        self._session = session
        self._matching = matching
        self._manner = manner
        self._heads: dict[Key, Head | None] = {}
        self._versions: list[Stored] = []
        self._states: dict[Key, tuple[Head, Stored, Entries | Prepared, int]] = {}
        self._inside: dict[Key, tuple[Inner, Stored, Entries | None]] = {}
        # what was gathered since the last flush, and since the beginning
        self._unwritten, self._gathered = Gathered(), Gathered()
        # the questions for identifiers that nothing answered when the group began
        self._absent: set[MatchesAre] = set()
        self.wrote = False

    async def begin(self, transactions: Sequence[Asked], clock: int) -> None:
        """Take the next sequences, and read what the transactions are about."""
        ops = [op for one in transactions for op in one.ops]
        self._reserved = len(ops)
        expected = {op.type: position for position, op in enumerate(ops, 1)}
        before = await self._connection.state.find_one_and_update(
            {"_id": SEQUENCE},
            [
                {
                    "$set": {
                        "n": {"$add": ["$n", len(ops)]},
                        "u": {"$max": ["$u", clock - clock % 1000]},
                        **{f"types.{type}": {"$add": ["$n", n]} for type, n in expected.items()},
                    }
                }
            ],
            session=self._session,
        )
        assert before is not None
        self.first = self.last = int(before["n"])
        self._expected = {type: self.first + n for type, n in expected.items()}
        self._newest: dict[str, int] = before["types"]
        self.now = max(clock - clock % 1000, before["u"])
        self._stamp = b'","lastUpdated":"' + format_instant(self.now).encode() + b'"'
        self._ledger = Ledger(self._connection, self._session, self.now)
        await self._look_up(key for one in transactions for key in self._keys(one))
        await self._ledger.look_up({claim.key for op in ops for claim in op.claims})
        await self._look_for([p for one in transactions for p in one.preconditions])

    async def _look_for(self, preconditions: Iterable[Precondition]) -> None:
        """Ask at once for all that must not be there: most often nothing of it is."""
        by_type: dict[str, dict[MatchesAre, None]] = {}
        for one in preconditions:
            if (
                isinstance(one, MatchesAre)
                and not one.ids
                and all(map(asks_for_token, alternatives(one.where)))
            ):
                by_type.setdefault(one.type, {})[one] = None
        for type, several in by_type.items():
            if len(several) > 1:
                where = any_of(one.where for one in several)
                if not await self._matching.matching_ids(type, where, 1, self._session):
                    self._absent.update(several)

    def _keys(self, asked: Asked) -> set[Key]:
        keys = {(op.type, op.id) for op in asked.ops if self._manner.wary or not op.fresh}
        keys.update((p.type, p.id) for p in asked.preconditions if isinstance(p, VersionIs))
        return keys

    async def _look_up(self, keys: Iterable[Key]) -> None:
        by_type: dict[str, list[str]] = {}
        for key in keys:
            if key not in self._heads:
                self._heads[key] = None
                by_type.setdefault(key[0], []).append(key[1])
        containers: dict[Key, list[str]] = {}
        for type, ids in by_type.items():
            found = self._connection.of_type(type).find(
                {"_id": {"$in": ids}}, {"v": 1, "d": 1, "c": 1, "h": 1, "i": 1}, session=self._session
            )
            for d in await found.to_list():
                self._heads[type, d["_id"]] = Head(d["v"], d["d"], d["c"], d["h"], stored=True)
                if "i" in d:
                    containers[type, d["_id"]] = d["i"]
        inside = await known_inside(self._connection, self._session, containers)
        for key, known in inside.items():
            head = self._heads[key]
            assert head is not None
            head.inside = known

    async def transact(self, asked: Asked) -> tuple[Stored, ...]:
        """Judge a transaction and gather its documents. Raises Stale or ClaimRefused, with nothing gathered.

        A rehearsed one is not gathered either: what it would write has sequence 0.
        """
        for precondition in asked.preconditions:
            await self._judge(precondition)
        heads: dict[Key, Head] = {}
        planned = [self._plan(op, heads) for op in asked.ops]
        replacements = self._replacements(asked.ops, planned)
        if replacements:
            self._ledger.judge(replacements)
        if asked.rehearse:
            return tuple(
                self._version(op, head, created, 0)
                for op, (head, created) in zip(asked.ops, planned, strict=True)
            )
        self._ledger.replace(replacements)
        self._heads.update(heads)
        return tuple(
            self._gather(op, head, created, made)
            for op, (head, created), made in zip(
                asked.ops, planned, asked.prepared or repeat(None, len(planned)), strict=True
            )
        )

    async def _judge(self, precondition: Precondition) -> None:
        found: object
        if isinstance(precondition, VersionIs):
            head = self._heads.get((precondition.type, precondition.id))
            found = None if head is None or head.deleted else head.version
            holds = found == precondition.version
        elif isinstance(precondition, NewestIs):
            found = self._newest.get(precondition.type, 0)
            holds = found == precondition.sequence
        else:
            found = await self._matches(precondition)
            holds = sorted(found) == sorted(precondition.ids)
        if not holds:
            raise Stale(precondition, found)

    async def _matches(self, asked: MatchesAre) -> tuple[str, ...]:
        if asked in self._absent and not self._gathered.matters(asked.type, asked.where):
            return ()
        if is_contained(asked.type) or self._unwritten.matters(asked.type, asked.where):
            await self.flush()
        return await self._matching.matching_ids(asked.type, asked.where, asked.limit, self._session)

    def _plan(self, op: WriteOp, heads: dict[Key, Head]) -> tuple[Head | None, bool]:
        """The state after the write, None when there is nothing to delete; and whether the resource is created."""
        key = (op.type, op.id)
        before = heads.get(key) or self._heads.get(key)
        if op.body is None and (before is None or before.deleted):
            return None, False
        if before is None:
            after = Head(1, False, 0, 0, stored=False)
        else:
            after = replace(before, version=before.version + 1, deleted=op.body is None)
        heads[key] = after
        return after, before is None or before.deleted

    def _replacements(
        self, ops: Sequence[WriteOp], planned: Sequence[tuple[Head | None, bool]]
    ) -> list[Replacement]:
        last: dict[Key, Replacement] = {}
        for position, (op, (head, _)) in enumerate(zip(ops, planned, strict=True)):
            if head is not None and (op.claims or head.version > 1):
                claims = () if op.body is None else op.claims
                key = (op.type, op.id)
                last[key] = Replacement(position, key, claims, head.claims > 0)
        return list(last.values())

    def _gather(self, op: WriteOp, head: Head | None, created: bool, prepared: Prepared | None) -> Stored:
        if head is None:
            return self._version(op, None, created, 0)
        self.wrote = True
        self.last += 1
        self._newest[op.type] = self.last
        key = (op.type, op.id)
        current = self._heads[key]
        assert current is not None
        if head.first == 0:
            head.first = current.first or self.last
            current.first = head.first
        stored = self._version(op, head, created, self.last)
        self._versions.append(stored)
        for gathered in (self._unwritten, self._gathered):
            gathered.add(op.type, op.entries, new=head.version == 1)
        claims = 0 if op.body is None else len(op.claims)
        self._states[key] = (head, stored, prepared or op.entries, claims)
        if op.entries.contained or head.inside:
            entries = Entries() if op.body is None else op.entries
            for own, made in plan(key, head.inside, self.last, entries).items():
                self._inside[own] = (head.inside[own], stored, made)
        return stored

    def _version(self, op: WriteOp, head: Head | None, created: bool, sequence: int) -> Stored:
        """The version that a write makes; version 0 when there is nothing to delete."""
        if head is None:
            return Stored(op.type, op.id, 0, 0, self.now, op.method, b"")
        body = b""
        if op.body is not None:
            body = b'%b"versionId":"%d%b%b' % (op.body.before, head.version, self._stamp, op.body.after)
        return Stored(op.type, op.id, head.version, sequence, self.now, op.method, body, created)

    async def flush(self) -> None:
        """Write what was gathered; searches in this transaction find it then."""
        if not self._versions:
            return
        by_type: dict[str, list[Making]] = {}
        for key in self._states:
            by_type.setdefault(key[0], []).append(partial(self._state, key))
        for key in self._inside:
            by_type.setdefault(key[0], []).append(partial(self._inner, key))
        # documents are made while MongoDB writes others: those of the commonest type, then all the rest
        types = sorted(by_type, key=lambda type: len(by_type[type]), reverse=True)
        made: dict[str, list[Write]] = {}
        versions = map(version_document, self._versions)
        async with beside(self._write("osler.versions", [InsertOne(one) for one in versions])):
            for type in types[:1]:
                made[type] = [make() for make in by_type[type]]
        for n, type in enumerate(types):
            async with beside(self._write(type, made[type])):
                for other in types[1:] if n == 0 else ():
                    made[other] = [make() for make in by_type[other]]
        for key in self._states:
            current = self._heads[key]
            assert current is not None
            current.stored = True
        await self._ledger.flush()
        self._versions = []
        self._states = {}
        self._inside = {}
        self._unwritten = Gathered()

    def _state(self, key: Key) -> Write:
        head, stored, made, claims = self._states[key]
        document = state_document(stored, made, head.first, claims, native=self._manner.native)
        mark(document, head.inside)
        return ReplaceOne({"_id": key[1]}, document) if head.stored else InsertOne(document)

    def _inner(self, key: Key) -> Write:
        inner, stored, made = self._inside[key]
        document = document_of(key, inner, stored, made)
        write: Write = ReplaceOne({"_id": key[1]}, document) if inner.stored else InsertOne(document)
        inner.stored = True
        return write

    async def _write(self, collection: str, writes: Sequence[Write]) -> None:
        into = self._connection.database[collection]
        await into.bulk_write(writes, ordered=False, session=self._session)

    async def finish(self) -> None:
        """Write the rest, and give back the sequences that were not used."""
        await self.flush()
        if self.last != self.first + self._reserved:
            values: Document = {"n": self.last}
            values |= {f"types.{type}": self._newest.get(type, 0) for type in self._expected}
            await self._connection.state.update_one(
                {"_id": SEQUENCE}, {"$set": values}, session=self._session
            )


@asynccontextmanager
async def beside(act: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Send the command of `act`, do what stands in the block, and wait for the answer."""
    task = asyncio.create_task(act)
    try:
        # until it waits for the network
        await asyncio.sleep(0)
        yield
    finally:
        await task
