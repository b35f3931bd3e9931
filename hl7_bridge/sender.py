"""Sending to one destination: a message at a time, and what its answer says.

Source: HL7 v2.5.1 chapter 2.9. Invariants to keep: an answer belongs to the message whose control id it names, and to no
other; after a message without an answer the socket is closed, so an answer that comes late reaches nobody.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field, replace
from typing import Literal

from hl7_bridge.framing import Frame, framing, wrap
from hl7_bridge.message import Message, NotHl7, parse

Result = Literal["accepted", "error", "rejected", "no-answer", "unreachable"]

_CODES: dict[str, Result] = {
    "AA": "accepted",
    "CA": "accepted",
    "AE": "error",
    "CE": "error",
    "AR": "rejected",
    "CR": "rejected",
}
_ASKED = ("AL", "SU", "ER")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message that was sent.

    `accepted`: the other side has it. `error`: it could not be taken as it is, and a person must look. `rejected`: it never
    will be. `no-answer`: nobody knows whether it was taken; the same message may be sent again. `unreachable`: nothing was sent.
    `answer` are the bytes that said so; `strays` are answers that were not to this message or could not be read.
    """

    result: Result
    text: str = ""
    answer: bytes = b""
    strays: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. `answer_seconds`: how long an answer is waited for; `waits_for_application`: after CA, for AA, AE or AR too, where MSH-16 asks for it."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    framing: str = "mllp"
    connect_seconds: float = 10.0
    answer_seconds: float = 30.0
    waits_for_application: bool = True


@dataclass(slots=True)
class _Heard:
    """What has come since a message was sent; `all` when nothing more is expected."""

    strays: list[bytes] = field(default_factory=list)
    accepted: Sent | None = None
    all: bool = False

    def without_more(self, why: str) -> Sent:
        """What is known when nothing more comes; who accepted a message has it, also when no more is heard of it."""
        if self.accepted is not None:
            return replace(self.accepted, text=f"accepted, then {why}", strays=tuple(self.strays))
        return Sent("no-answer", why, strays=tuple(self.strays))


class Sender:
    """A connection to a destination, opened when the first message is sent and kept. `strays` counts answers to nothing."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.strays = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._framing = framing(target.framing)
        self._waiting: list[bytes] = []
        self._turn = asyncio.Lock()

    async def send(self, payload: bytes) -> Sent:
        """Send a message and wait for its answer. Raises NotHl7 when it has no header."""
        message = parse(payload)
        async with self._turn:
            try:
                writer = await self._connected()
            except (OSError, TimeoutError) as error:
                return Sent("unreachable", _reason(error))
            heard = _Heard()
            sent = Sent("no-answer", "cancelled")
            try:
                async with asyncio.timeout(self.target.answer_seconds):
                    writer.write(wrap(self.target.framing, payload))
                    await writer.drain()
                    sent = await self._answered(message, heard)
            except TimeoutError:
                sent = heard.without_more(f"no answer within {self.target.answer_seconds:g} s")
            except (OSError, EOFError) as error:
                sent = heard.without_more(_reason(error))
            finally:
                self.strays += len(heard.strays)
                if not heard.all:
                    self._drop()
            return sent

    async def close(self) -> None:
        """Close the connection, after the message that is on its way."""
        async with self._turn:
            self._drop()

    async def _connected(self) -> asyncio.StreamWriter:
        if self._streams is not None and (self._streams[1].is_closing() or self._streams[0].at_eof()):
            self._drop()
        if self._streams is None:
            target = self.target
            async with asyncio.timeout(target.connect_seconds):
                self._streams = await asyncio.open_connection(target.host, target.port, ssl=target.tls)
            self._framing = framing(target.framing)
            self._waiting.clear()
        return self._streams[1]

    async def _answered(self, message: Message, heard: _Heard) -> Sent:
        """Wait for the answer to this message; what is no such answer goes to the strays."""
        while True:
            raw = await self._next()
            code, control_id, text = _acknowledged(raw)
            if code not in _CODES or control_id != message.control_id.strip():
                heard.strays.append(raw)
                continue
            sent = Sent(_CODES[code], text, raw, tuple(heard.strays))
            if code == "CA" and heard.accepted is None and self._wants_more(message):
                heard.accepted = sent
                continue
            heard.all = True
            return sent

    def _wants_more(self, message: Message) -> bool:
        return self.target.waits_for_application and message.header.text(16).strip().upper() in _ASKED

    async def _next(self) -> bytes:
        if self._streams is None:
            raise EOFError
        while not self._waiting:
            seconds = 0.5 if self._framing.ends_with_silence else None
            try:
                async with asyncio.timeout(seconds):
                    data = await self._streams[0].read(65536)
            except TimeoutError:
                if seconds is None:
                    raise
                events = self._framing.silence()
            else:
                if not data:
                    raise EOFError
                events = self._framing.feed(data)
            self._waiting += [event.payload for event in events if isinstance(event, Frame)]
        return self._waiting.pop(0)

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None
        self._waiting.clear()


def _acknowledged(raw: bytes) -> tuple[str, str, str]:
    """(code, control id, text) of an answer; empty where it is none."""
    try:
        answer = parse(raw)
    except NotHl7:
        return "", "", ""
    text = answer.get("MSA-3") or answer.get("ERR-8") or answer.get("ERR-3.2") or answer.get("ERR-1.4.2")
    return answer.get("MSA-1").strip().upper(), answer.get("MSA-2").strip(), text


def _reason(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "the other side has hung up"
    return "timed out" if isinstance(error, TimeoutError) else type(error).__name__
