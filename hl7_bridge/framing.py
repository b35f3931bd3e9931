"""From bytes to messages: where a message begins and ends on a connection, as state machines without input or output.

Source: HL7 transport specification, MLLP release 1 (https://www.hl7.org/implement/standards/product_brief.cfm?product_id=55).
Invariants to keep: however the bytes are cut into pieces, the same frames come out; every byte that is fed is in exactly
one event or still held, so `fed == sum(event.size) + held`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

MOST_BYTES = 16 * 1024 * 1024
# the answer to a message that its protocol shall not acknowledge (NAK)
REFUSAL = b"\x15"
START, END, CARRIAGE_RETURN, LINE_FEED = 0x0B, 0x1C, 0x0D, 0x0A
_HEADERS = (b"MSH", b"FHS", b"BHS")
_MARK = re.compile(rb"[\x0b\x1c]")
_BEGIN = re.compile(rb"\x0b+|MSH|FHS|BHS")
_BEGIN_UNFRAMED = re.compile(rb"MSH|FHS|BHS")
# what may begin after a message that is led by a header and has no end mark
_NEXT = {
    b"MSH": re.compile(rb"(?<=[\r\n\x0b\x1c])(?:MSH|FHS|BHS)"),
    b"BHS": re.compile(rb"(?<=[\r\n\x0b\x1c])(?:FHS|BHS)"),
    b"FHS": re.compile(rb"(?<=[\r\n\x0b\x1c])FHS"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A message. `size` is what it took on the wire, with its marks."""

    payload: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Broken:
    """What began as a message and did not end as one; `reason` is `cut-off`, `restarted`, `not-started` or `too-long`."""

    payload: bytes
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes that belong to no message; `heartbeat` when the device is known to send them."""

    data: bytes
    heartbeat: bool = False

    @property
    def size(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes that a protocol answers with by itself, once all events before are dealt with."""

    data: bytes
    size: int = 0


Event = Frame | Broken | Noise | Reply


class Framing(Protocol):
    """How messages follow each other on one connection."""

    @property
    def held(self) -> int:
        """So many bytes were fed that are in no event yet."""

    @property
    def begun(self) -> bool:
        """Whether a message has begun that has not ended."""

    @property
    def ends_with_silence(self) -> bool:
        """Whether what is held is a message if nothing follows."""

    def feed(self, data: bytes) -> list[Event]:
        """What the bytes bring to an end."""

    def silence(self) -> list[Event]:
        """Nothing has come for a while: what is a message if nothing follows is one."""

    def end(self, reason: str = "cut-off") -> list[Event]:
        """Nothing will come; nothing is held afterwards."""

    def say(self, payload: bytes) -> list[Event]:
        """What is to be written to send a message of our own."""


def framing(name: str, most: int = MOST_BYTES, heartbeat: bytes = b"") -> Framing:
    """The state machine of `mllp`, `length`, `none` or `astm`. Raises ValueError for another name."""
    if name == "mllp":
        return Mllp(most, heartbeat)
    if name == "length":
        return LengthPrefixed(most)
    if name == "none":
        return Unframed(most, heartbeat)
    if name == "astm":
        from hl7_bridge.astm.frames import E1381

        return E1381(most)
    raise ValueError(f"{name!r} is no framing; there are mllp, length, none and astm")


def wrap(name: str, payload: bytes) -> bytes:
    """The payload as it is sent with a framing that is not a dialogue."""
    if name == "mllp":
        return b"\x0b" + payload + b"\x1c\r"
    if name == "length":
        return len(payload).to_bytes(4, "big") + payload
    return payload


class _Stepwise:
    """A framing that looks at what is held step by step: `_step` says whether there may be more to see."""

    __slots__ = ("_buffer", "_heartbeat", "_most", "_scanned", "_state")

    def __init__(self, most: int = MOST_BYTES, heartbeat: bytes = b"") -> None:
        self._most = most
        self._heartbeat = heartbeat
        self._buffer = bytearray()
        self._state = "outside"
        self._scanned = 0

    @property
    def held(self) -> int:
        return len(self._buffer)

    @property
    def begun(self) -> bool:
        return self._state != "outside"

    def feed(self, data: bytes) -> list[Event]:
        self._buffer += data
        events: list[Event] = []
        while self._buffer and self._step(events):
            pass
        return events

    def _step(self, events: list[Event]) -> bool:
        raise NotImplementedError


class Mllp(_Stepwise):
    """<VT> message <FS><CR>, with what devices make of it.

    FS ends a message when CR, LF or VT follows, or nothing does; else it is a part of it (some write FS in the place of CR).
    A VT within a message begins another one when a header follows. A header without VT begins what is kept as broken.
    """

    # beside outside: framed, not-started, skipping; what has begun begins at 0
    __slots__ = ()

    @property
    def ends_with_silence(self) -> bool:
        return self._state == "framed" and 2 < len(self._buffer) <= self._most + 2 and self._buffer[-1] == END

    def silence(self) -> list[Event]:
        if not self.ends_with_silence:
            return []
        return [Frame(bytes(self._buffer[1:-1]), self._take(len(self._buffer)))]

    def say(self, payload: bytes) -> list[Event]:
        return [Reply(wrap("mllp", payload))]

    def end(self, reason: str = "cut-off") -> list[Event]:
        events = self.silence()
        begin = int(self._state == "framed")
        if self._state in ("framed", "not-started") and len(self._buffer) > begin:
            why = reason if begin else "not-started"
            events.append(Broken(bytes(self._buffer[begin:]), self._take(len(self._buffer)), why))
        self._noise(len(self._buffer), events)
        self._state = "outside"
        return events

    def _step(self, events: list[Event]) -> bool:
        """Bring one thing to an end; False when more bytes are needed for that."""
        if self._state == "outside":
            return self._outside(events)
        if self._state == "skipping":
            return self._skip(events)
        return self._inside(events)

    def _outside(self, events: list[Event]) -> bool:
        found = _BEGIN.search(self._buffer)
        if found is None:
            self._noise(len(self._buffer) - _begins_at_the_end(self._buffer), events)
            return False
        self._noise(found.end() - 1 if self._buffer[found.start()] == START else found.start(), events)
        self._state = "framed" if self._buffer[0] == START else "not-started"
        self._scanned = 0
        return True

    def _inside(self, events: list[Event]) -> bool:
        begin = int(self._state == "framed")
        ending = self._ending(begin, begin + self._most)
        if ending is None:
            if self._scanned <= begin + self._most:
                return False
            size = begin + self._most
            events.append(Broken(bytes(self._buffer[begin:size]), self._take(size), "too-long"))
            self._state, self._scanned = "skipping", 0
            return True
        at, closing = ending
        payload = bytes(self._buffer[begin:at])
        if not payload:
            self._noise(at + closing, events)
        elif begin and closing:
            events.append(Frame(payload, self._take(at + closing)))
        else:
            events.append(Broken(payload, self._take(at + closing), "restarted" if begin else "not-started"))
        self._state = "outside"
        return True

    def _skip(self, events: list[Event]) -> bool:
        ending = self._ending(-1, len(self._buffer))
        self._noise(self._scanned if ending is None else sum(ending), events)
        self._scanned = 0
        if ending is not None:
            self._state = "outside"
        return ending is not None

    def _ending(self, begin: int, limit: int) -> tuple[int, int] | None:
        """Where what began at `begin` ends, up to `limit`, and how many bytes close it; None when that is not known yet."""
        buffer = self._buffer
        while found := _MARK.search(buffer, max(self._scanned, begin, 0), limit + 1):
            at = self._scanned = found.start()
            if buffer[at] == END:
                if len(buffer) == at + 1:
                    return None
                if buffer[at + 1] in (CARRIAGE_RETURN, LINE_FEED):
                    return at, 2
                if buffer[at + 1] == START:
                    return at, 1
            else:
                following = bytes(buffer[at + 1 : at + 4])
                if at == begin or following in _HEADERS:
                    return at, 0
                if any(header.startswith(following) for header in _HEADERS):
                    return None
            self._scanned = at + 1
        self._scanned = min(len(buffer), limit + 1)
        return None

    def _take(self, size: int) -> int:
        del self._buffer[:size]
        self._scanned = 0
        self._state = "outside"
        return size

    def _noise(self, size: int, events: list[Event]) -> None:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        _add_noise(data, self._heartbeat, events)


class LengthPrefixed:
    """Four bytes, big-endian, say how long the message is that follows. After an impossible length nothing is understood."""

    __slots__ = ("_buffer", "_lost", "_most")

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._buffer = bytearray()
        self._lost = False

    @property
    def held(self) -> int:
        return len(self._buffer)

    @property
    def begun(self) -> bool:
        return bool(self._buffer)

    @property
    def ends_with_silence(self) -> bool:
        return False

    def feed(self, data: bytes) -> list[Event]:
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= 4 and not self._lost:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self._most:
                events.append(Broken(b"", self._take(4), "too-long"))
                self._lost = True
            elif length == 0:
                _add_noise(bytes(4), b"", events)
                self._take(4)
            elif len(self._buffer) < 4 + length:
                break
            else:
                events.append(Frame(bytes(self._buffer[4 : 4 + length]), self._take(4 + length)))
        if self._lost:
            _add_noise(bytes(self._buffer), b"", events)
            self._buffer.clear()
        return events

    def silence(self) -> list[Event]:
        return []

    def say(self, payload: bytes) -> list[Event]:
        return [Reply(wrap("length", payload))]

    def end(self, reason: str = "cut-off") -> list[Event]:
        if not self._buffer:
            return []
        payload = bytes(self._buffer[4:])
        size = self._take(len(self._buffer))
        return [Broken(payload, size, reason)]

    def _take(self, size: int) -> int:
        del self._buffer[:size]
        return size


class Unframed(_Stepwise):
    """A message begins with its header and ends where the next one begins, or where its last line is ended and nothing follows.

    Marks of MLLP around it are left away.
    """

    # beside outside: inside, skipping
    __slots__ = ()

    @property
    def ends_with_silence(self) -> bool:
        return self._state == "inside" and self._buffer[-1] in (CARRIAGE_RETURN, LINE_FEED, END)

    def silence(self) -> list[Event]:
        if not self.ends_with_silence:
            return []
        return self._finish(len(self._buffer), [])

    def say(self, payload: bytes) -> list[Event]:
        return [Reply(wrap("none", payload))]

    def end(self, reason: str = "cut-off") -> list[Event]:
        events = self.silence()
        if self._state == "inside":
            events.append(Broken(bytes(self._buffer), len(self._buffer), reason))
            self._buffer.clear()
        _add_noise(bytes(self._buffer), self._heartbeat, events)
        self._buffer.clear()
        self._state = "outside"
        return events

    def _step(self, events: list[Event]) -> bool:
        buffer = self._buffer
        if self._state == "inside":
            return self._inside(events)
        found = (_BEGIN_UNFRAMED if self._state == "outside" else _NEXT[b"MSH"]).search(buffer)
        if found is None:
            kept = _begins_at_the_end(buffer) if self._state == "outside" else min(3, len(buffer))
            self._drop(len(buffer) - kept, events)
            return False
        self._drop(found.start(), events)
        self._state, self._scanned = "inside", 1
        return True

    def _inside(self, events: list[Event]) -> bool:
        found = _NEXT[bytes(self._buffer[:3])].search(self._buffer, self._scanned, self._most + 3)
        if found is not None:
            self._finish(found.start(), events)
            return True
        self._scanned = max(1, min(len(self._buffer), self._most + 3) - 2)
        if len(self._buffer) < self._most + 3:
            return False
        events.append(Broken(bytes(self._buffer[: self._most]), self._most, "too-long"))
        del self._buffer[: self._most]
        self._state = "skipping"
        return True

    def _finish(self, size: int, events: list[Event]) -> list[Event]:
        payload = bytes(self._buffer[:size]).rstrip(b"\x0b")
        ending = next(
            (mark for mark in (b"\x1c\r\n", b"\x1c\r", b"\x1c\n", b"\x1c") if payload.endswith(mark)), b""
        )
        events.append(Frame(payload.removesuffix(ending), size))
        del self._buffer[:size]
        self._state = "outside"
        return events

    def _drop(self, size: int, events: list[Event]) -> None:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        _add_noise(data, self._heartbeat, events)


def _begins_at_the_end(buffer: bytearray) -> int:
    """How many of the last bytes may be the beginning of a header."""
    for length in (2, 1):
        end = bytes(buffer[-length:])
        if len(end) == length and any(header.startswith(end) for header in _HEADERS):
            return length
    return 0


def _add_noise(data: bytes, heartbeat: bytes, events: list[Event]) -> None:
    if data:
        events.append(Noise(data, bool(heartbeat) and not data.strip(heartbeat)))
