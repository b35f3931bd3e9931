"""Files and batches: FHS, BHS, the messages, BTS, FTS. Source: HL7 v2.5.1 chapter 2.10.3.

An invariant to keep: every message of a batch comes out as the bytes that it had; counts are checked and told, and stop nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hl7_bridge.astm.frames import E1381
from hl7_bridge.framing import Frame, Noise, Reply, Unframed
from hl7_bridge.message import NotHl7, Segment, is_astm, parse

_LINE = re.compile(rb"[^\r\n]*[\r\n]*")
# where a message of ASTM begins
_HEADER = re.compile(rb"^(?=H[^A-Za-z0-9\r\n\s]{3,})|(?<=[\r\n])(?=H[^A-Za-z0-9\r\n\s]{3,})")
ENQ, STX = b"\x05", b"\x02"
_BEFORE = b"\r\n\x0b \xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Batch:
    """`headers` are the FHS and BHS that were there, `messages` the bytes of each; `warnings` tell what does not add up."""

    headers: tuple[Segment, ...]
    messages: tuple[bytes, ...]
    warnings: tuple[str, ...]


def is_batch(raw: bytes) -> bool:
    """Whether the bytes are a file or a batch of messages."""
    return raw[:64].lstrip(_BEFORE)[:3] in (b"FHS", b"BHS")


def split(raw: bytes) -> Batch:
    """The messages of a file or batch. Raises NotHl7 when it is none."""
    if not is_batch(raw):
        raise NotHl7("The bytes do not begin with FHS or BHS.")
    headers: list[Segment] = []
    messages: list[list[bytes]] = []
    warnings: list[str] = []
    names = {b"FHS": 0, b"BHS": 0, b"BTS": 0, b"FTS": 0}
    in_batch = 0
    for line in _LINE.findall(raw.lstrip(_BEFORE)):
        name = line[:3]
        if name == b"MSH":
            messages.append([line])
            in_batch += 1
            continue
        if name in names:
            names[name] += 1
        if name in (b"FHS", b"BHS"):
            headers += _header(line, warnings)
            in_batch = 0
        elif name in (b"BTS", b"FTS"):
            counted, of = (in_batch, "messages") if name == b"BTS" else (names[b"BHS"], "batches")
            _check(line, counted, of, warnings)
        elif messages:
            messages[-1].append(line)
        elif line.strip():
            warnings.append(f"{name.decode('ascii', 'replace')} stands before the first message")
    for opening, closing in ((b"FHS", b"FTS"), (b"BHS", b"BTS")):
        if names[opening] != names[closing]:
            opened, closed = opening.decode(), closing.decode()
            warnings.append(f"there are {names[opening]} {opened} and {names[closing]} {closed}")
    return Batch(tuple(headers), tuple(b"".join(lines) for lines in messages), tuple(warnings))


def _header(line: bytes, warnings: list[str]) -> list[Segment]:
    try:
        return [parse(line).header]
    except NotHl7:
        warnings.append("a header has no delimiters")
        return []


def _check(line: bytes, counted: int, of: str, warnings: list[str]) -> None:
    told = line[4:].split(line[3:4] or b"|")[0].strip().decode("ascii", "replace")[:18]
    if told and (not told.isdigit() or int(told) != counted):
        warnings.append(f"{line[:3].decode()}-1 tells {told}, there are {counted} {of}")


def messages_in(raw: bytes) -> tuple[bytes, ...]:
    """The messages of a file, whether they stand there as they are, with the marks of MLLP, in batches, or are those of ASTM."""
    start = raw.lstrip(_BEFORE)
    if start[:1] in (ENQ, STX):
        return tuple(event.payload for event in E1381(most=len(raw)).feed(raw) if isinstance(event, Frame))
    if is_astm(start):
        return tuple(one.strip(b"\r\n") + b"\r" for one in _HEADER.split(start) if one.strip())
    machine = Unframed(most=max(len(raw), 1))
    events = [*machine.feed(raw), *machine.end()]
    found: list[bytes] = []
    for event in events:
        if isinstance(event, Noise | Reply):
            continue
        found += split(event.payload).messages if is_batch(event.payload) else [_alone(event.payload)]
    return tuple(found)


def _alone(raw: bytes) -> bytes:
    """A message without the empty lines that part it from the next one in a file."""
    kept = raw.rstrip(b"\r\n")
    end = raw[len(kept) :]
    return kept + (end[:2] if end.startswith(b"\r\n") else end[:1])
