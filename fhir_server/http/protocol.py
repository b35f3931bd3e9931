"""uvicorn's HTTP/1.1 protocol, but answers leave together: one system call for each, all at the end of a loop turn.

uvicorn writes head and body of an answer apart, each at once. A system call that wakes a sleeping client costs more than a
whole read of this server; when the answers of all requests that came together leave together, the client is woken once
(docs/benchmarks.md). Order and content of what is sent on a connection are untouched.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fhir_server.http.streaming import STREAMS

MOST_HELD = 64 * 1024


class Gathering:
    """A transport that holds what is written until the end of this turn of the event loop, or MOST_HELD bytes."""

    __slots__ = ("_held", "_loop", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Hand everything held to the real transport."""
        held = self._held
        if held:
            self._held = []
            self._size = 0
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GatheringProtocol(HttpToolsProtocol):
    """HttpToolsProtocol over a Gathering transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Gathering(transport, asyncio.get_running_loop())))

    def shutdown(self) -> None:
        """Begin to stop: what is being answered is finished, what streams is ended, because it has no end."""
        if self.cycle is not None and STREAMS in self.cycle.scope:
            self.transport.close()
        else:
            super().shutdown()
