"""A network between this process and a server, on the loopback: slow, silent, or cut.

What is late is late by the network's own delay; nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_CHUNK = 65_536


@dataclass(slots=True)
class _Line:
    """A connection: both its ends, and whether the next answer on it ends it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doomed: bool = False

    def end(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Network:
    """Passes bytes on between a port of the loopback and `host:server_port`, `delay` seconds later.

    `cut_on`: the server gets the next request that has these bytes in it, but its answer is lost with the connection.
    """

    def __init__(self, host: str, server_port: int, delay: float) -> None:
        self._server = (host, server_port)
        self._delay = delay
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cut_on = b""

    def fall_silent(self) -> None:
        """Let nothing through any more, in either direction, and end no connection."""
        self._passing.clear()

    def speak_again(self) -> None:
        self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection(*self._server)
        line = _Line(writer, to)
        for act in (self._pass(line, reader, to, asks=True), self._pass(line, there, writer, asks=False)):
            task = asyncio.create_task(act)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                if asks and self.cut_on and self.cut_on in chunk:
                    self.cut_on, line.doomed = b"", True
                elif not asks and line.doomed:
                    break
                await asyncio.sleep(self._delay)
                await self._passing.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            line.end()

    async def end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def network(host: str, server_port: int, delay: float = 0.0) -> AsyncIterator[Network]:
    """A network to a server; it ends with the block."""
    made = Network(host, server_port, delay)
    async with await asyncio.start_server(made._accept, "127.0.0.1", 0) as listening:
        made.port = listening.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            listening.close()
            await made.end()
