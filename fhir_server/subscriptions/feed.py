"""A consumer of the change feed with a durable cursor. ARCHITECTURE.md, Change feed.

What a stretch of changes leads to is written in one commit with the cursor behind it, so each stretch has its effect once,
however many processes read the feed. An invariant to keep: the cursor is written only together with something, or after
many changes that led to nothing; else the feed would feed on itself. Without a cursor a consumer begins at the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.interactions.writing import commit, prepare
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored

CURSOR = "https://osler.health/fhir/StructureDefinition/feed-cursor"
FEED = "https://osler.health/fhir/CodeSystem/feed"
BATCH = 200
SAVED_AFTER = 2000

# gives the resources to write, with their ids, for changes in their order
Reaction = Callable[[Sequence[Stored], Plan], Awaitable[Sequence[Resource]]]


@dataclass(slots=True)
class Feed:
    """Where a consumer named `name` is; `reaction` says what the changes of resources of `types` lead to."""

    name: str
    services: Services
    types: tuple[str, ...]
    reaction: Reaction
    read: int = 0

    async def catch_up(self) -> int:
        """React to every change since the last time, the first time to all; the number of resources written."""
        written = 0
        while True:
            plan = Plan(self.services, ())
            saved = _position(await plan.current("Basic", self._id))
            after = max(saved, self.read)
            end = await self.services.store.last_sequence()
            if not await self._concerned(after):
                self.read = max(after, end)
                return written
            changes = [c async for c in self.services.store.changes(after, BATCH)]
            last = changes[-1].sequence
            made = await self.reaction([c for c in changes if c.type in self.types], plan)
            if made or last - saved >= SAVED_AFTER:
                if not await self._write(plan, made, last):
                    self.read = 0
                    continue
                written += len(made)
            self.read = last
            await asyncio.sleep(0)

    async def _concerned(self, after: int) -> bool:
        """Whether a resource of the types was written since."""
        newest = [await self.services.store.last_sequence(type) for type in self.types]
        return max(newest) > after

    async def _write(self, plan: Plan, made: Sequence[Resource], cursor: int) -> bool:
        resources = [*made, self._cursor(cursor)]
        ops = [prepare(self.services, "PUT", resource, resource["id"]) for resource in resources]
        try:
            await commit(self.services, ops, plan.preconditions, resources)
        except Stale:
            return False
        return True

    @property
    def _id(self) -> str:
        return f"feed-{self.name}"

    def _cursor(self, position: int) -> Resource:
        return {
            "resourceType": "Basic",
            "id": self._id,
            "extension": [{"url": CURSOR, "valueString": str(position)}],
            "code": {"coding": [{"system": FEED, "code": self.name}]},
        }


def _position(cursor: Resource | None) -> int:
    if cursor is None:
        return 0
    return int(next(e["valueString"] for e in cursor["extension"] if e["url"] == CURSOR))
