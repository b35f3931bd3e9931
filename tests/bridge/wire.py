"""What tests of the wire share: a receiver that keeps what it is given, and a device on a real socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from hl7_bridge.acks import STORED, answers
from hl7_bridge.devices.profile import Answering
from hl7_bridge.framing import Frame, framing, wrap
from hl7_bridge.link import Limits, Link
from hl7_bridge.listener import Listener, Wire

TIME = 1_767_225_600_000_000


def oru(number: int = 1, more: str = "") -> bytes:
    """A made-up result."""
    return (
        f"MSH|^~\\&|ANALYSER|LAB|LIS|HOSPITAL|20260101120000||ORU^R01^ORU_R01|{number}|P|2.5.1\r"
        f"PID|1||P{number}^^^MRN||Muster^Max\rOBR|1||F{number}|GLU^Glucose\rOBX|1|NM|GLU||5.4|mmol/L|||||F\r{more}"
    ).encode()


@dataclass
class Kept:
    """A receiver; what it gets is kept in lists. While `gate` is not set it takes its time, and it refuses what `refuses` names."""

    messages: list[bytes] = field(default_factory=list)
    broken: list[tuple[bytes, str]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    gate: asyncio.Event | None = None
    refuses: bytes | None = None

    async def receive(self, link: Link, raw: bytes) -> Sequence[bytes]:
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses is not None and self.refuses in raw:
            raise OSError("no space left")
        self.messages.append(raw)
        self.links.append(link)
        return answers(raw, STORED, Answering(), "receipt", TIME)

    async def incomplete(self, link: Link, raw: bytes, reason: str) -> Sequence[bytes]:
        self.broken.append((raw, reason))
        return ()


class Device:
    """The other side of a listener."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framed: str = "mllp"
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._framed = framed
        self._framing = framing(framed)
        self._answers: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, message: bytes) -> None:
        await self.write(wrap(self._framed, message))

    async def answer(self) -> bytes:
        """The next answer. Raises EOFError when the other side has closed."""
        while not self._answers:
            data = await asyncio.wait_for(self.reader.read(65536), 20)
            if not data:
                raise EOFError
            self._answers += [event.payload for event in self._framing.feed(data) if isinstance(event, Frame)]
        return self._answers.pop(0)

    async def closed(self) -> bool:
        """Wait until the other side has closed."""
        try:
            return await asyncio.wait_for(self.reader.read(), 20) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


@asynccontextmanager
async def listening(receiver: Kept, limits: Limits | None = None, **wire: object) -> AsyncIterator[Listener]:
    """A listener on a free port of this machine."""
    listener = Listener(Wire("lab", "127.0.0.1", 0, limits=limits or Limits(), **wire), receiver)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def device(
    listener: Listener, framed: str = "mllp", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Device]:
    """A device that is connected to the listener."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=tls)
    found = Device(reader, writer, framed)
    try:
        yield found
    finally:
        await found.close()


async def until(condition: object) -> None:
    """Wait until something has become true on the other side of a socket."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)
