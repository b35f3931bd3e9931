"""Answers before mapping: while senders wait for an answer, mapping goes on in small steps, one in a while.

An invariant to keep: mapping gives way and never stands still, however much arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hl7_bridge.delivery import FhirServer, Query, Resource

# A step of mapping waits so long for answers, in seconds: then it has its turn.
PATIENCE = 0.015
# Who has had an answer often sends the next message within so many seconds.
QUIET = 0.003


class Precedence:
    """Who goes first. A step of mapping is what lies between two questions to the server."""

    def __init__(self) -> None:
        self._answering = 0
        self._answered = 0.0
        self._next = asyncio.Lock()

    @property
    def answering(self) -> bool:
        """Whether somebody waits for an answer just now, or did a moment ago."""
        return self._answering > 0 or time.monotonic() - self._answered < QUIET

    @contextmanager
    def answer(self) -> Iterator[None]:
        """Within it a message is kept and answered."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            self._answered = time.monotonic()

    async def step(self) -> None:
        """Come back when a step of mapping may be taken; those that wait go one after the other."""
        if not self.answering and not self._next.locked():
            return
        async with self._next:
            end = time.monotonic() + PATIENCE
            while self.answering and time.monotonic() < end:  # noqa: ASYNC110 - the clock decides, no event
                await asyncio.sleep(QUIET)


class GivingWay:
    """A `FhirServer` that is asked and written to when nobody waits for an answer."""

    def __init__(self, server: FhirServer, precedence: Precedence) -> None:
        self._server = server
        self._precedence = precedence

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        await self._precedence.step()
        return await self._server.find(type, query, limit)

    async def read(self, type: str, id: str) -> Resource | None:
        await self._precedence.step()
        return await self._server.read(type, id)

    async def deliver(self, bundle: Resource) -> Resource:
        await self._precedence.step()
        return await self._server.deliver(bundle)
