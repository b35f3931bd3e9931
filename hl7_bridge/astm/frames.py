"""ASTM E1381 (LIS1-A): the dialogue of ENQ, frames, ACK, NAK and EOT, as a state machine without input or output.

Source: CLSI LIS01-A2, https://clsi.org/standards/products/automation-and-informatics/documents/lis01/. Invariants to keep: a frame
that ends a message is acknowledged only after the message has been dealt with, because its reply is the event after it; a
frame that comes twice is taken once; every byte that is fed is in exactly one event or still held.
"""

from __future__ import annotations

import re

from hl7_bridge.astm.writing import as_astm
from hl7_bridge.framing import MOST_BYTES, Broken, Event, Frame, Noise, Reply

STX, ETX, EOT, ENQ, ACK, LF, CR, NAK, ETB = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0D, 0x15, 0x17
FRAME_BYTES = 240
ATTEMPTS = 6
# a frame may be so long, with what a device puts beyond the 240 bytes of the standard
_MOST_FRAME = 64_000
_END = re.compile(rb"[\x03\x17]")
_LAST_RECORD = re.compile(rb"[\r\n]L[^A-Za-z0-9\r\n][^\r\n]*[\r\n]*\Z")


def checksum(body: bytes) -> bytes:
    """Of a frame's number, text and ETB or ETX: their sum in two hexadecimal digits."""
    return b"%02X" % (sum(body) % 256)


def frames(payload: bytes, size: int = FRAME_BYTES) -> list[bytes]:
    """A message as frames: each record in frames of its own, numbered from 1 to 7, 0, 1 and so on."""
    made: list[bytes] = []
    for record in (line + b"\r" for line in re.split(rb"[\r\n]+", payload) if line):
        pieces = [record[n : n + size] for n in range(0, len(record), size)]
        for piece in pieces:
            last = piece is pieces[-1]
            body = b"%d" % ((len(made) + 1) % 8) + piece + (b"\x03" if last else b"\x17")
            made.append(b"\x02" + body + checksum(body) + b"\r\n")
    return made


class E1381:
    """Both sides of the dialogue. Bytes that are replies count as much as they answer, in `Reply.size`.

    `say` queues a message of our own; it is sent when the line is free. `refused` are messages that the other side did
    not take after six attempts.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._buffer = bytearray()
        self._text = bytearray()
        self._state = "neutral"  # or receiving, asking (ENQ is out), sending
        self._last = 0  # number of the frame that was taken last, and what it was
        self._last_body = b""
        self._queue: list[bytes] = []
        self._frames: list[bytes] = []
        self._attempt = 0
        self.refused: list[bytes] = []

    @property
    def held(self) -> int:
        return len(self._buffer)

    @property
    def begun(self) -> bool:
        return self._state != "neutral" or bool(self._buffer)

    @property
    def ends_with_silence(self) -> bool:
        if self._buffer[:1] != b"\x02":
            return False
        end = _END.search(self._buffer, 1)
        return end is not None and len(self._buffer) >= end.end() + 2

    @property
    def saying(self) -> bool:
        """Whether a message of our own is queued or on its way."""
        return bool(self._queue)

    def silence(self) -> list[Event]:
        events: list[Event] = []
        if self.ends_with_silence:
            self._frame(events, complete=True)
        return events

    def feed(self, data: bytes) -> list[Event]:
        self._buffer += data
        events: list[Event] = []
        while self._buffer and self._step(events):
            pass
        return events

    def say(self, payload: bytes) -> list[Event]:
        """Send a message when the line is free; what is to be written for that now. What means nothing in ASTM is not sent."""
        records = as_astm(payload)
        if records is None:
            return []
        self._queue.append(records)
        return self._ask() if self._state == "neutral" and not self._buffer else []

    def end(self, reason: str = "cut-off") -> list[Event]:
        events: list[Event] = []
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self._text or rest[:1] == b"\x02":
            events.append(Broken(bytes(self._text) + rest[2:], len(rest), reason))
        elif rest:
            events.append(Noise(rest))
        self._text.clear()
        self._state = "neutral"
        return events

    def _step(self, events: list[Event]) -> bool:
        first = self._buffer[0]
        if first == STX:
            return self._frame(events)
        handled = {ENQ: self._enquiry, EOT: self._over, ACK: self._taken, NAK: self._not_taken}.get(first)
        if handled is None:
            end = next(
                (n for n, one in enumerate(self._buffer) if one in (STX, ENQ, EOT, ACK, NAK)),
                len(self._buffer),
            )
            events.append(Noise(self._take(end)))
            return True
        self._take(1)
        events += handled()
        return True

    # we listen

    def _enquiry(self) -> list[Event]:
        if self._state == "asking":
            # both want to speak; the instrument goes first
            self._frames.clear()
        found: list[Event] = self._broken("restarted")
        self._state, self._last, self._last_body = "receiving", 0, b""
        return [*found, Reply(b"\x06", 1)]

    def _over(self) -> list[Event]:
        found: list[Event] = []
        if bytes(self._text[:8].lstrip()[:3]) in (b"MSH", b"FHS", b"BHS"):
            # a device that was switched from HL7 still sends what it had queued
            found.append(Frame(bytes(self._text), 0))
            self._text.clear()
        found += self._broken("cut-off")
        self._state = "neutral"
        return [*found, Reply(b"", 1), *self._ask()]

    def _frame(self, events: list[Event], complete: bool = False) -> bool:
        """Judge a frame; `complete` when CR and LF will not come any more."""
        buffer = self._buffer
        end = _END.search(buffer, 1)
        if end is None:
            if len(buffer) > _MOST_FRAME:
                events.append(Reply(b"\x15", len(self._take(len(buffer)))))
            return False
        at = end.start()
        if len(buffer) < at + 3:
            return False
        closing = 3
        for mark in (CR, LF):
            if len(buffer) <= at + closing:
                if complete:
                    break
                return False
            if buffer[at + closing] != mark:
                break
            closing += 1
        body, told = bytes(buffer[1 : at + 1]), bytes(buffer[at + 1 : at + 3])
        self._take(at + closing)
        events += self._judge(body, told, at + closing)
        return True

    def _judge(self, body: bytes, told: bytes, size: int) -> list[Event]:
        """Take a frame, or ask for it again."""
        number = body[0] - 48
        if self._state != "receiving" or not 0 <= number <= 7 or told.upper() != checksum(body):
            return [Reply(b"\x15", size)]
        if number == self._last and body == self._last_body:
            return [Reply(b"\x06", size)]
        if number != (self._last + 1) % 8:
            return [Reply(b"\x15", size)]
        self._last, self._last_body = number, body
        self._text += body[1:-1]
        if len(self._text) > self._most:
            found = self._broken("too-long")
            return [*found, Reply(b"\x15", size)]
        if body[-1] == ETX and _LAST_RECORD.search(self._text[-300:]):
            payload = bytes(self._text)
            self._text.clear()
            return [Frame(payload, 0), Reply(b"\x06", size)]
        return [Reply(b"\x06", size)]

    def _broken(self, reason: str) -> list[Event]:
        if not self._text:
            return []
        payload = bytes(self._text)
        self._text.clear()
        return [Broken(payload, 0, reason)]

    # we speak

    def _ask(self) -> list[Event]:
        if not self._queue:
            return []
        self._state, self._attempt = "asking", 0
        self._frames = frames(self._queue[0])
        return [Reply(b"\x05")]

    def _taken(self) -> list[Event]:
        if self._state == "asking":
            self._state, self._attempt = "sending", 0
            return [Reply(self._frames[0], 1)]
        if self._state != "sending":
            return [Noise(b"\x06")]
        self._attempt = 0
        self._frames.pop(0)
        if self._frames:
            return [Reply(self._frames[0], 1)]
        self._queue.pop(0)
        return [Reply(b"\x04", 1), *self._next()]

    def _not_taken(self) -> list[Event]:
        if self._state not in ("asking", "sending"):
            return [Noise(b"\x15")]
        self._attempt += 1
        if self._attempt >= ATTEMPTS:
            self.refused.append(self._queue.pop(0))
            return [Reply(b"\x04", 1), *self._next()]
        return [Reply(b"\x05" if self._state == "asking" else self._frames[0], 1)]

    def _next(self) -> list[Event]:
        self._state = "neutral"
        return self._ask()

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data
