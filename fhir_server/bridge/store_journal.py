"""The journal in the server's own store: each entry is a Binary, written by the one door for writes.

So what a message leads to and the state of its entry are one commit. An invariant to keep: an entry is made only where there is
none with its id, so that the same bytes are one entry however often and wherever they arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container, Mapping, Sequence

from fhir_r4.errors import Conflict, Unavailable
from fhir_r4.jsonio import decode_object
from fhir_server.context import Services
from fhir_server.interactions.writing import commit, deletion, prepare
from fhir_server.search.tree import Expression, Not, SearchQuery, SortKey, TokenIs, all_of, any_of
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored, VersionIs
from hl7_bridge.delivery import Unreachable
from hl7_bridge.journal import (
    CONNECTION,
    MICROSECONDS_OF_DAY,
    STATE,
    STATES,
    STUCK,
    WAITS_FOR,
    JournalEntry,
    Received,
    State,
    Status,
    binary_of,
    connection_of,
    discarded,
    entry_of,
    first_status,
    receipt_id,
    replayed,
)
from hl7_bridge.mapping.draft import Entry
from hl7_bridge.mapping.records import Receipt

FEED = "hl7"
DONE: tuple[State, ...] = ("mapped", "administrative", "discarded")
BATCH = 200
# so many are read before others have a turn
AT_ONCE = 20
MOST_STUCK = 100_000
MOST_FORGOTTEN = 2000
Change = Callable[[Status], Status]


class StoreJournal:
    """A `Journal`. Bytes that come again after `resend_days` are a new message; 0: they never are."""

    apart = False

    def __init__(self, services: Services, resend_days: int = 30) -> None:
        self._services = services
        self._window = resend_days * MICROSECONDS_OF_DAY

    async def receive(self, connection: str, raw: bytes, now: int, *, broken: str = "") -> Received:
        number = 1
        while True:
            id = receipt_id(connection, raw, number, complete=not broken)
            receipt = Receipt(id, connection, now, raw)
            made = await self._create(receipt, first_status(broken))
            if made is not None:
                return Received(
                    Receipt(id, connection, made.updated, raw), duplicate=False, version=str(made.version)
                )
            first = await self._received(receipt.id)
            if not self._window or first + self._window > now:
                return Received(Receipt(id, connection, first, raw), duplicate=True)
            number += 1

    async def _create(self, receipt: Receipt, status: Status) -> Stored | None:
        """The first version of an entry; None when there is one already."""
        binary = binary_of(receipt, status)
        try:
            # the form of what we have made ourselves needs no check
            op = prepare(self._services, "PUT", binary, receipt.id, validated=True)
            (stored,), _ = await commit(self._services, [op], [VersionIs("Binary", receipt.id, None)])
        except Stale:
            return None
        except Unavailable as error:
            raise Unreachable(str(error)) from error
        return stored

    async def waiting(self, limit: int, known: Container[str] = ()) -> Sequence[JournalEntry]:
        found = await self._found(TokenIs("_tag", STATE, "received"), limit, known)
        # some may have been mapped since they were found
        return [entry for entry in found if entry.status.state == "received"]

    async def read(self, id: str) -> JournalEntry | None:
        try:
            stored = await self._services.store.read("Binary", id)
        except Unavailable as error:
            raise Unreachable(str(error)) from error
        return None if stored is None or stored.deleted else await self._entry(stored)

    def change(self, entry: JournalEntry, status: Status) -> tuple[Entry, ...]:
        return (change_of(entry, status),)

    async def settle(self, entry: JournalEntry, status: Status) -> None:
        """Nothing is to be done: the status was part of the transaction."""

    async def waiting_for(self, task: str) -> Sequence[str]:
        where = all_of([TokenIs("_tag", WAITS_FOR, task), _in_states(STUCK + DONE)])
        return await self._ids(where, MOST_STUCK)

    async def stuck(self) -> Sequence[JournalEntry]:
        return await self._found(TokenIs("_tag", WAITS_FOR, None), MOST_STUCK)

    async def replay(self, ids: Collection[str], task: str = "", decision: str = "") -> int:
        return await self._set(ids, lambda s: replayed(s, decision), task)

    async def discard(self, ids: Collection[str], task: str) -> int:
        return await self._set(ids, lambda s: discarded(s, task), task)

    async def forget(self, before: int) -> int:
        done = 0
        for entry in await self._found(_in_states(DONE), MOST_FORGOTTEN):
            if entry.receipt.received < before and not entry.status.waits_for:
                version = VersionIs("Binary", entry.id, int(entry.status.version))
                try:
                    await commit(self._services, [deletion("Binary", entry.id)], [version])
                except (Stale, Conflict):
                    continue
                except Unavailable as error:
                    raise Unreachable(str(error)) from error
                done += 1
        return done

    async def counts(self) -> Mapping[tuple[str, State], int]:
        """Counted one after another: figures of one moment only while nothing is written."""
        found: dict[tuple[str, State], int] = {}
        for connection in await self._connections():
            for state in STATES:
                where = all_of([TokenIs("_tag", CONNECTION, connection), TokenIs("_tag", STATE, state)])
                query = SearchQuery(("Binary",), where, count=0, total="accurate")
                found[connection, state] = (await self._services.store.search(query)).total or 0
        return found

    async def _connections(self) -> list[str]:
        """The names of the connections that entries have come by."""
        names: list[str] = []
        while True:
            others = [TokenIs("_tag", CONNECTION, name) for name in names]
            where = all_of([TokenIs("_tag", CONNECTION, None), *(Not(one) for one in others)])
            ids = await self._services.store.matching_ids("Binary", where, 1)
            stored = await self._services.store.read("Binary", ids[0]) if ids else None
            if stored is None or stored.deleted:
                return names
            names.append(connection_of(decode_object(stored.body)))

    async def last(self, connection: str) -> int | None:
        """When the message was received that was written last, of those of a connection."""
        where = TokenIs("_tag", CONNECTION, connection)
        newest = SearchQuery(("Binary",), where, (SortKey("_lastUpdated", "date", descending=True),), count=1)
        page = await self._services.store.search(newest)
        return await self._received(page.matches[0].id) if page.matches else None

    async def news(self) -> int:
        store = self._services.store
        try:
            return await store.last_sequence("Binary") + await store.last_sequence("Task")
        except Unavailable as error:
            raise Unreachable(str(error)) from error

    async def own(self, owner: str, seconds: float) -> bool:
        try:
            return await self._services.store.take_feed(FEED, owner, seconds) is not None
        except Unavailable as error:
            raise Unreachable(str(error)) from error

    # how Binaries are found and written

    async def _set(self, ids: Collection[str], change: Change, task: str) -> int:
        """Give entries another status, many in one commit: who looks at them meanwhile sees them in order."""
        all_ids, done = list(ids), 0
        for start in range(0, len(all_ids), BATCH):
            part = all_ids[start : start + BATCH]
            written = None
            while written is None:
                written = await self._try(part, change, task)
            done += written
        return done

    async def _try(self, ids: Sequence[str], change: Change, task: str) -> int | None:
        """None when somebody else has changed one of them in between."""
        found = [await self.read(id) for id in ids]
        entries = [e for e in found if e is not None and e.status.state != "received"]
        entries = [e for e in entries if not task or task in e.status.waits_for]
        binaries = [binary_of(e.receipt, change(e.status)) for e in entries]
        ops = [prepare(self._services, "PUT", b, b["id"], validated=True) for b in binaries]
        versions = [VersionIs("Binary", e.id, int(e.status.version)) for e in entries]
        if not ops:
            return 0
        try:
            await commit(self._services, ops, versions)
        except Stale:
            return None
        except Unavailable as error:
            raise Unreachable(str(error)) from error
        return len(ops)

    async def _ids(self, where: Expression, limit: int) -> Sequence[str]:
        try:
            return await self._services.store.matching_ids("Binary", where, limit)
        except Unavailable as error:
            raise Unreachable(str(error)) from error

    async def _found(self, where: Expression, limit: int, known: Container[str] = ()) -> list[JournalEntry]:
        ids = [id for id in await self._ids(where, limit) if id not in known]
        found: list[JournalEntry] = []
        for start in range(0, len(ids), AT_ONCE):
            # who waits for an answer has a turn in between
            await asyncio.sleep(0)
            keys = [("Binary", id) for id in ids[start : start + AT_ONCE]]
            try:
                stored = await self._services.store.read_many(keys)
            except Unavailable as error:
                raise Unreachable(str(error)) from error
            for key in keys:
                entry = await self._entry(stored[key]) if key in stored else None
                if entry is not None:
                    found.append(entry)
        return found

    async def _entry(self, stored: Stored) -> JournalEntry | None:
        received = stored.updated if stored.created else await self._received(stored.id)
        return entry_of(decode_object(stored.body), received)

    async def _received(self, id: str) -> int:
        """The instant of the receipt: that of the first version."""
        try:
            stored = await self._services.store.read_version("Binary", id, 1)
        except Unavailable as error:
            raise Unreachable(str(error)) from error
        return 0 if stored is None else stored.updated


def change_of(entry: JournalEntry, status: Status) -> Entry:
    """The write of an entry with another status, refused when it stands no more where it stood."""
    binary = binary_of(entry.receipt, status)
    address = f"Binary/{entry.id}"
    return Entry("PUT", address, address, binary, if_match=f'W/"{entry.status.version}"')


def _in_states(states: Sequence[State]) -> Expression:
    return any_of(TokenIs("_tag", STATE, state) for state in states)
