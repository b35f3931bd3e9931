"""Messages that wait for a record go on when it comes, whoever writes it: a patient who is registered after the first result.

A consumer of the change feed: the Task that waits for an identifier is resolved by the resource that has it. ARCHITECTURE.md, Change
feed. An invariant to keep: a Task is changed only as it was read, so a person who resolves it at the same moment wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from fhir_r4.jsonio import decode_object
from fhir_server.context import Services
from fhir_server.interactions.writing import commit, prepare
from fhir_server.store.feed import LEASE_SECONDS, consume
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored, VersionIs
from hl7_bridge.work import AWAITED, OPEN, awaiting, resolved

log = structlog.get_logger("osler.hl7")

NAME = "hl7-awaited"
PAUSE_SECONDS = 5.0


class Awaited:
    """Resolves what waits for records. `owner` is this process's own name."""

    def __init__(self, services: Services, owner: str, lease: float = LEASE_SECONDS) -> None:
        self._services = services
        self._owner = owner
        self._lease = lease
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, the first time with what changes from now on."""
        store = self._services.store
        if await store.take_feed(NAME, self._owner, self._lease) == 0:
            last = max(1, await store.last_sequence())
            await store.keep_feed(NAME, self._owner, last, self._lease)
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await consume(self._services.store, NAME, self._owner, self.see_to, lease=self._lease)
            except Exception as error:
                log.error("looking for what waits begins anew", error=type(error).__qualname__)
            await asyncio.sleep(PAUSE_SECONDS)

    async def see_to(self, stored: Stored) -> None:
        """Resolve the Tasks that wait for an identifier of this resource."""
        if stored.type not in AWAITED or stored.deleted or b'"identifier"' not in stored.body:
            return
        resource = decode_object(stored.body)
        ids = [id for one in resource.get("identifier", ()) for id in _awaiting(stored.type, one)]
        found = await self._services.store.read_many([("Task", id) for id in ids])
        for (_, id), version in found.items():
            task = decode_object(version.body)
            if task["status"] in OPEN:
                why = f"{stored.type}/{stored.id} has the identifier now."
                after = resolved(task, "replay", self._services.clock(), why=why)
                op = prepare(self._services, "PUT", after, id)
                try:
                    await commit(self._services, [op], [VersionIs("Task", id, version.version)], [after])
                except Stale:
                    # somebody has just seen to it, or has to anew
                    continue


def _awaiting(type: str, identifier: Mapping[str, Any]) -> list[str]:
    value = identifier.get("value")
    return [] if value is None else awaiting(type, identifier.get("system", ""), value)
