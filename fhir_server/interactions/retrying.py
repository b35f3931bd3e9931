"""Try a write again whose preconditions were overtaken by another write, until it holds or the deadline has passed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fhir_r4.errors import Conflict
from fhir_server.store.protocol import Stale

T = TypeVar("T")

DEADLINE_SECONDS = 15.0


async def retrying(attempt: Callable[[], Awaitable[T]]) -> T:
    """The answer of `attempt`, called anew for each `Stale`. Raises Conflict when the deadline has passed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = 0.0
    while True:
        try:
            return await attempt()
        except Stale as stale:
            if time.monotonic() > deadline:
                raise Conflict(
                    "The resource kept being changed by others; nothing was written. Try again."
                ) from stale
        await asyncio.sleep(pause * random.random())
        pause = min(0.1, pause * 2 + 0.001)
