"""What a store is busy with just now, so that work which can wait gives way to it.

An invariant to keep: nobody waits for a calm without an end, because a busy hospital may never have one.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType


class Traffic:
    """Counts requests: each is a `with` block. `wrote` is to be called for each that may write."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._written = asyncio.Event()
        self._last = 0.0

    def __enter__(self) -> None:
        self._in_flight += 1
        self._calm.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._calm.set()

    @property
    def is_calm(self) -> bool:
        return not self._in_flight

    def wrote(self) -> None:
        self._last = time.monotonic()
        self._written.set()

    async def calm(self, longest: float) -> bool:
        """Wait until nothing is in flight, `longest` seconds at most; whether it is so."""
        if self._in_flight:
            try:
                await asyncio.wait_for(self._calm.wait(), longest)
            except TimeoutError:
                return False
        return True

    async def next_write(self) -> None:
        """Wait until something was written since this was last called."""
        await self._written.wait()
        self._written.clear()

    async def quiet(self, seconds: float, longest: float) -> None:
        """Wait until nothing was written for so many seconds, `longest` at most."""
        until = time.monotonic() + longest
        while True:
            left = min(self._last + seconds, until) - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)
