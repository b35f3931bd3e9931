"""A sender that speaks MLLP over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

START, END = b"\x0b", b"\x1c\r"


class Sender:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, raw: bytes) -> bytes:
        """Send a message; its answer, without framing. Raises IncompleteReadError when the other side hangs up."""
        self._writer.write(START + raw + END)
        await self._writer.drain()
        answer = await self._reader.readuntil(END)
        return answer.removeprefix(START).removesuffix(END)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@asynccontextmanager
async def sender(port: int, host: str = "127.0.0.1") -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def adt(number: int, patient: str, family: str = "Doe", trigger: str = "A08") -> bytes:
    """An event about a patient, the `number`th of all."""
    when = f"202601020304{number % 60:02}.{number:04}"
    return (
        f"MSH|^~\\&|ADT|HOUSE|OSLER|HOUSE|{when}||ADT^{trigger}|{number}|P|2.5.1\r"
        f"EVN|{trigger}|{when}\rPID|1||{patient}^^^HOUSE^MR||{family}^Jane||19700203|F\r"
    ).encode()
