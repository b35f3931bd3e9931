"""How many messages are in which state, and when the last one came, exactly as of one version of the store.

It counts once and then follows the change feed, so that at any moment every message is counted in one state, whoever has
changed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fhir_r4.jsonio import decode_object
from fhir_server.bridge.store_journal import StoreJournal
from fhir_server.context import Services
from fhir_server.store.records import Stored
from hl7_bridge.journal import State, connection_of, status_of

Key = tuple[str, State]
BATCH = 500
# so often is counted anew while somebody writes in between
MOST_TIMES = 3


class Counting:
    """The figures of a store's journal. `last` says when the last message of a connection came, in microseconds since 1970."""

    def __init__(self, services: Services, journal: StoreJournal) -> None:
        self._store = services.store
        self._journal = journal
        self._counts: dict[Key, int] | None = None
        self.last: dict[str, int] = {}
        self._after = 0
        self._lock = asyncio.Lock()

    async def counts(self) -> Mapping[Key, int]:
        """The number of messages by connection and state. Raises Unavailable."""
        async with self._lock:
            if self._counts is None:
                await self._begin()
            await self._catch_up()
            return dict(self._counts or {})

    async def _begin(self) -> None:
        for _ in range(MOST_TIMES):
            self._after = await self._store.last_sequence()
            counts = dict(await self._journal.counts())
            for name in {name for name, _ in counts}:
                self.last[name] = max(self.last.get(name, 0), await self._journal.last(name) or 0)
            if await self._store.last_sequence("Binary") <= self._after:
                self._counts = counts
                return
        # never quiet: every version from the beginning
        self._counts, self._after = {}, 0

    async def _catch_up(self) -> None:
        while await self._store.last_sequence("Binary") > self._after:
            changes = [stored async for stored in self._store.changes(self._after, BATCH)]
            for stored in changes:
                if stored.type == "Binary":
                    await self._count(stored)
                self._after = stored.sequence
            if not changes:
                return

    async def _count(self, stored: Stored) -> None:
        if not stored.created:
            before = await self._store.read_version("Binary", stored.id, stored.version - 1)
            self._add(before, -1)
        self._add(stored, 1)

    def _add(self, stored: Stored | None, number: int) -> None:
        if stored is None or stored.deleted or self._counts is None or b"/hl7-state" not in stored.body:
            return
        binary = decode_object(stored.body)
        status = status_of(binary)
        if status is not None:
            name = connection_of(binary)
            self._counts[name, status.state] = self._counts.get((name, status.state), 0) + number
            if stored.created:
                self.last[name] = max(self.last.get(name, 0), stored.updated)
