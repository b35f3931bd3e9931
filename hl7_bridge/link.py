"""The conversation with a sender on one socket: bytes in, messages to the receiver, its answers out, in order.

Invariants to keep: an answer is written only after the receiver has given it; a message that the receiver could not take is
not answered, and the socket is closed so that its sender tries again; of what comes next nothing is read before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from hl7_bridge import acks
from hl7_bridge.acks import Outcome
from hl7_bridge.devices.profile import Answering
from hl7_bridge.figures import WireFigures
from hl7_bridge.framing import MOST_BYTES, REFUSAL, Broken, Event, Frame, Framing, Noise, Reply

TOO_LONG = Outcome("rejected", "207", "The message is too long.")

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024
# so little may wait to be sent without anybody waiting for it: the low mark of asyncio's flow control
_LITTLE = 16 * 1024


class Receiver(Protocol):
    """Who takes messages. The answers are payloads without framing; what is raised closes the link without an answer."""

    async def receive(self, link: Link, raw: bytes) -> Sequence[bytes]:
        """Keep a message; it is durable when the answers are given."""

    async def incomplete(self, link: Link, raw: bytes, reason: str) -> Sequence[bytes]:
        """Keep what began as a message and did not end as one; `reason` as in `framing.Broken`, or `timed-out`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sender may ask of us; seconds of 0 are without end.

    `held_bytes`: of unfinished messages of all links of a listener together; `noise_bytes`: without a message between them;
    `frame_seconds`: from the first byte of a message to its last; `silence_seconds`: after which a message without an end
    mark has ended; `write_seconds`: in which the other side must take an answer.
    """

    connections: int = 256
    connections_of_an_address: int = 64
    message_bytes: int = MOST_BYTES
    held_bytes: int = 128 * 1024 * 1024
    noise_bytes: int = 64 * 1024
    frame_seconds: float = 60.0
    silence_seconds: float = 0.5
    idle_seconds: float = 0.0
    write_seconds: float = 15.0
    close_seconds: float = 10.0


class Link:
    """One socket. `name` is that of the registered connection, `address` the other side's, `subject` who its certificate says it is."""

    def __init__(
        self,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        framing: Framing,
        receiver: Receiver,
        limits: Limits,
        figures: WireFigures,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        peer = writer.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.subject = _subject(writer)
        self._reader = reader
        self._writer = writer
        self._framing = framing
        self._receiver = receiver
        self._limits = limits
        self._figures = figures
        self._clock = clock
        self._closing = False
        self._reading: asyncio.Task[None] | None = None
        self._noise = 0
        self._deadline: float | None = None
        self._held = 0
        self._read_at = 0.0

    @property
    def closed(self) -> bool:
        return self._closing or self._writer.is_closing()

    async def send(self, payload: bytes) -> None:
        """Send a message of our own. Raises ConnectionError or TimeoutError when the other side does not take it."""
        if self.closed:
            raise ConnectionResetError("the link is closed")
        self._say(payload)
        await self._drain()

    def stop(self) -> None:
        """End the conversation after what is being done; who `converse`s returns soon."""
        self._closing = True
        if self._reading is not None:
            self._reading.cancel()

    async def converse(self) -> None:
        """Talk until one side ends it; the socket is closed afterwards."""
        figures = self._figures
        figures.open += 1
        figures.opened += 1
        try:
            await self._talk()
        except (ConnectionError, TimeoutError, OSError) as error:
            log.info("link %s ended: %s", self.name, type(error).__name__)
            if isinstance(error, TimeoutError):
                # what the other side does not take is not waited for once more
                self._writer.transport.abort()
        finally:
            figures.open -= 1
            await self._finish()

    async def _talk(self) -> None:
        while not self._closing:
            events = await self._next()
            if events is None:
                break
            self._account(events)
            await self._handle_all(events)

    async def _handle_all(self, events: list[Event]) -> None:
        done = 0
        try:
            for event in events:
                await self._handle(event)
                done += 1
        finally:
            self._figures.failed += sum(isinstance(event, Frame) for event in events[done:])

    async def _next(self) -> list[Event] | None:
        """What the next bytes, or their absence, bring to an end; None when the conversation is over."""
        seconds, why = self._patience()
        self._reading = asyncio.current_task()
        try:
            if seconds is None:
                data = await self._reader.read(_CHUNK)
            else:
                async with asyncio.timeout(seconds):
                    data = await self._reader.read(_CHUNK)
        except TimeoutError:
            if why == "silence":
                return self._framing.silence()
            log.warning("link %s: %s", self.name, "a message took too long" if why == "frame" else "idle")
            self._closing = True
            return self._framing.end("timed-out") if why == "frame" else None
        except asyncio.CancelledError:
            if not self._closing:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return None
        finally:
            self._reading = None
        if not data:
            return None
        self._figures.bytes += len(data)
        self._read_at = time.monotonic()
        # who always has something to read would keep all others waiting
        await asyncio.sleep(0)
        return self._framing.feed(data)

    def _patience(self) -> tuple[float | None, str]:
        limits = self._limits
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if self._framing.ends_with_silence and (left is None or left > limits.silence_seconds):
            return limits.silence_seconds, "silence"
        if left is not None:
            return left, "frame"
        return limits.idle_seconds or None, "idle"

    def _account(self, events: list[Event]) -> None:
        """Set the time of the message that has begun, and see to it that not too much is held."""
        framing, limits = self._framing, self._limits
        if not framing.begun:
            self._deadline = None
        elif self._deadline is None or any(not isinstance(event, Noise) for event in events):
            self._deadline = time.monotonic() + limits.frame_seconds if limits.frame_seconds else None
        self._figures.held_bytes += framing.held - self._held
        self._held = framing.held
        if self._figures.held_bytes > limits.held_bytes:
            log.warning("link %s: too much is held of unfinished messages", self.name)
            self._closing = True

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Frame):
            self._noise = 0
            await self._receive(event)
        elif isinstance(event, Broken):
            self._noise = 0
            self._figures.incomplete += 1
            answers = await self._receiver.incomplete(self, event.payload, event.reason)
            if event.reason == "too-long" and not answers:
                # it is not stored as a message, so its sender is told
                time = int(self._clock() * 1_000_000)
                answers = acks.answers(
                    event.payload, TOO_LONG, Answering(), sha256(event.payload).hexdigest(), time
                )
            await self._answer([one for one in answers if one != REFUSAL])
            self._closing = self._closing or event.reason == "too-long"
        elif isinstance(event, Reply):
            self._writer.write(event.data)
            await self._drain()
        else:
            self._figures.noise_bytes += event.size
            if event.heartbeat:
                self._figures.heartbeat_bytes += event.size
                return
            self._noise += event.size
            if self._noise > self._limits.noise_bytes:
                log.warning("link %s: too many bytes that belong to no message", self.name)
                self._closing = True

    async def _receive(self, event: Frame) -> None:
        figures = self._figures
        figures.received += 1
        figures.last_message = self._clock()
        try:
            answers = await self._receiver.receive(self, event.payload)
        except Exception as error:
            log.warning("link %s: a message could not be taken: %s", self.name, type(error).__name__)
            raise ConnectionAbortedError from error
        if REFUSAL in answers:
            raise ConnectionAbortedError
        await self._answer(answers)
        figures.answer_seconds.add(time.monotonic() - self._read_at)

    async def _answer(self, answers: Sequence[bytes]) -> None:
        for answer in answers:
            self._say(answer)
            self._figures.answered += 1
        if answers:
            await self._drain()

    def _say(self, payload: bytes) -> None:
        for event in self._framing.say(payload):
            if isinstance(event, Reply):
                self._writer.write(event.data)

    async def _drain(self) -> None:
        writer = self._writer
        if writer.transport.get_write_buffer_size() < _LITTLE and not writer.is_closing():
            return
        async with asyncio.timeout(self._limits.write_seconds or None):
            await self._writer.drain()

    async def _finish(self) -> None:
        """Hand over what is left, and close."""
        self._closing = True
        try:
            for event in self._framing.end():
                await self._handle(event)
        except Exception as error:
            log.warning("link %s: the rest could not be kept: %s", self.name, type(error).__name__)
        finally:
            self._figures.held_bytes -= self._held
            self._held = 0
            self._writer.close()
            try:
                async with asyncio.timeout(self._limits.close_seconds or None):
                    await self._writer.wait_closed()
            except (OSError, TimeoutError):
                self._writer.transport.abort()


def _subject(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("peercert") or {}
    parts = [part for group in certificate.get("subject", ()) for part in group]
    return next((value for name, value in parts if name == "commonName"), "")
