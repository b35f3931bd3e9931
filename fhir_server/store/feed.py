"""Consumers of the change feed: each is done by one server at a time, and by the next one when that server dies.

A consumer has a name, a lease and a durable cursor, kept together in the store: who does not hold the lease any more cannot
move the cursor. What is behind the cursor was handled; what is after it may have been: at least once, in order. Nothing
here knows which store it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from fhir_r4.errors import Unavailable
from fhir_server.store.protocol import Store
from fhir_server.store.records import Stored

LEASE_SECONDS = 10.0
# What is asked for again and again where the store cannot tell.
ASK_SECONDS = 0.25

Handle = Callable[[Stored], Awaitable[None]]


async def consume(
    store: Store, name: str, owner: str, handle: Handle, *, lease: float = LEASE_SECONDS
) -> None:
    """Give every version that `name` has not handled yet to `handle`, whenever this server holds the lease; never ends.

    `owner` is this server's own name, another for each process. An error of `handle` ends it, and the version counts as
    not handled. When the store cannot be reached it waits.
    """
    while True:
        with suppress(Unavailable):
            cursor = await store.take_feed(name, owner, lease)
            if cursor is not None:
                await _Turn(store, name, owner, lease, cursor).run(handle)
        await asyncio.sleep(lease / 4)


class _Lost(Exception):
    """Another holds the lease."""


class _Turn:
    """What one owner does while it holds the lease."""

    def __init__(self, store: Store, name: str, owner: str, lease: float, cursor: int) -> None:
        self._store = store
        self._name = name
        self._owner = owner
        self._lease = lease
        self._cursor = cursor

    async def run(self, handle: Handle) -> None:
        """Handle versions until the lease is lost. Raises what `handle` raises."""
        renewing = asyncio.create_task(self._renew())
        handling = asyncio.create_task(self._handle(handle))
        try:
            await asyncio.wait((renewing, handling), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (renewing, handling):
                task.cancel()
            results = await asyncio.gather(renewing, handling, return_exceptions=True)
            with suppress(Unavailable):
                await self._store.keep_feed(self._name, self._owner, self._cursor, self._lease)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, _Lost):
                raise result

    async def _handle(self, handle: Handle) -> None:
        async with aclosing(self._store.watch(self._cursor)) as versions:
            async for stored in versions:
                await handle(stored)
                self._cursor = stored.sequence

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 4)
            if not await self._store.keep_feed(self._name, self._owner, self._cursor, self._lease):
                raise _Lost


async def watch_by_asking(store: Store, after: int) -> AsyncGenerator[Stored, None]:
    """`Store.watch` for a store that does not tell of what others write."""
    while True:
        if await store.last_sequence() > after:
            async for stored in store.changes(after):
                yield stored
                after = stored.sequence
        await asyncio.sleep(ASK_SECONDS)
