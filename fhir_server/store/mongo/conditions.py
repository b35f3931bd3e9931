"""Waiting for a condition of pymongo so that a task which is cancelled meanwhile never leaves its lock taken.

On Python before 3.12 `asyncio.wait_for` waits in a task of its own. When the time is over and the caller is cancelled in the
same moment, that task takes the lock of the condition back for nobody: from then on no server is selected any more and every
operation of the client waits for ever. `asyncio.timeout` waits in the task of the caller and has no such moment.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

from pymongo import lock

T = TypeVar("T")


def wait_in_place() -> None:
    """Have pymongo wait for its conditions in the task that waits. Doing it again changes nothing."""
    if sys.version_info < (3, 12):
        lock.wait_for = _wait_for  # type: ignore[attr-defined, assignment]


async def _wait_for(awaitable: Awaitable[T], seconds: float | None) -> T:
    """As `asyncio.wait_for`. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        return await awaitable
