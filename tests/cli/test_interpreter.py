"""While a server answers, the collector leaves alone what was loaded, and looks through what requests make rarely."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from fhir_server.app import create_app
from fhir_server.settings import Settings


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Puts the process's collector back as it was."""
    enabled, thresholds = gc.isenabled(), gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    if enabled:
        gc.enable()


async def test_the_collector_is_tuned_when_the_server_is_ready() -> None:
    gc.disable()  # as `osler serve` begins
    app = create_app(Settings(store="memory:", log_level="error"))
    asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    asked.put_nowait({"type": "lifespan.startup"})
    running = asyncio.create_task(app({"type": "lifespan"}, asked.get, told.put))
    assert (await told.get())["type"] == "lifespan.startup.complete"
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] >= 50_000
    asked.put_nowait({"type": "lifespan.shutdown"})
    assert (await told.get())["type"] == "lifespan.shutdown.complete"
    await running
