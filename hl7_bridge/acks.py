"""The acknowledgement of a message: which ones are due, and their bytes.

Source: HL7 v2.5.1 chapters 2.9 (original and enhanced mode) and 2.15.8 (MSA). Invariants to keep: an answer is made of the
message and its receipt alone, so the same receipt gives the same bytes; an error is told only of what was not stored, unless
the sender wants to hear what became of the message; no control byte of the message is in its answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from hl7_bridge.batch import Batch, is_batch, split
from hl7_bridge.devices.profile import Answering
from hl7_bridge.escapes import escape
from hl7_bridge.framing import REFUSAL
from hl7_bridge.message import HEADERS, Delimiters, Message, NotHl7, Segment, is_astm, parse, parse_path

Stage = Literal["received", "mapped"]

# a code of HL7 table 0357 and its meaning
ERRORS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "207": "Application internal error",
}
_MOST = 250
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_VERSION = re.compile(r"2\.\d(\.\d)?")
_CONDITIONS = ("AL", "NE", "ER", "SU")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message. `kind`: `accepted`, `error` (may be sent again) or `rejected` (never will be taken).

    `error` is a code of HL7 table 0357, `text` says in plain words why; both are only told when it was not accepted.
    """

    kind: Literal["accepted", "error", "rejected"] = "accepted"
    error: str = "207"
    text: str = ""


STORED = Outcome()


@dataclass(frozen=True, slots=True)
class _Wishes:
    """Which acknowledgements are due at a stage: of acceptance (CA, CE, CR), of the application (AA, AE, AR)."""

    accept: bool
    application: bool


def answers(
    received: bytes | Message,
    outcome: Outcome,
    answering: Answering,
    receipt: str,
    time: int,
    stage: Stage = "received",
    charsets: tuple[str, ...] = (),
) -> tuple[bytes, ...]:
    """The acknowledgements that are due at a stage, without framing; most often one, none for an ACK.

    `receipt` is the id of the receipt (of anything when nothing was stored), `time` when it was received in microseconds since
    1970 UTC. What is not HL7 at all is answered as well as can be.
    """
    if is_astm(received if isinstance(received, bytes) else received.raw):
        # frames are acknowledged by their protocol; that one shall not be is all that can be said
        return () if outcome.kind == "accepted" else (REFUSAL,)
    if isinstance(received, bytes) and is_batch(received):
        return _batch(received, outcome, answering, receipt, time, stage, charsets)
    message = received if isinstance(received, Message) else _read(received, charsets)
    wishes = _wishes(message, outcome, answering, stage)
    made = []
    if wishes.accept:
        made.append(_acknowledgement(message, "C", outcome, answering, receipt, time))
    if wishes.application:
        made.append(_acknowledgement(message, "A", outcome, answering, receipt, time))
    return tuple(made)


def _read(raw: bytes, charsets: tuple[str, ...]) -> Message | None:
    try:
        return parse(raw, charsets)
    except NotHl7:
        return None


def _wishes(message: Message | None, outcome: Outcome, answering: Answering, stage: Stage) -> _Wishes:
    none = _Wishes(False, False)
    if answering.mode == "none" or (message is not None and message.type == "ACK"):
        return none
    header = message.header if message is not None else None
    accept, application = (_condition(header, 15), _condition(header, 16))
    response = message is not None and message.first("MSA") is not None
    enhanced = answering.mode == "enhanced" or (answering.mode == "auto" and bool(accept or application))
    at_mapping = answering.when == "mapped"
    now = at_mapping if stage == "mapped" else not at_mapping or outcome.kind != "accepted"
    if not enhanced:
        return _Wishes(False, now and not response)
    if answering.mode == "enhanced" and not (accept or application):
        accept = "AL"
    accepting = stage == "received" and _due(accept, outcome)
    refused = accepting and outcome.kind != "accepted"
    return _Wishes(accepting, now and _due(application, outcome) and not response and not refused)


def _condition(header: Segment | None, field: int) -> str:
    if header is None or not header.raw(field):
        return ""
    found = header.text(field).strip().upper()
    return found if found in _CONDITIONS else ""


def _due(condition: str, outcome: Outcome) -> bool:
    if condition == "AL":
        return True
    return condition == ("SU" if outcome.kind == "accepted" else "ER")


def _acknowledgement(
    message: Message | None, level: str, outcome: Outcome, answering: Answering, receipt: str, time: int
) -> bytes:
    delimiters = _delimiters(message)
    version = answering.version or _version(message)
    code = level + {"accepted": "A", "error": "E", "rejected": "R"}[outcome.kind]
    control_id = _echo(message, 10, delimiters)
    header = _header(message, delimiters, version, receipt + level, time)
    if answering.type:
        header[9] = answering.type.replace("^", delimiters.component)
    acknowledged = ["MSA", code, control_id]
    if outcome.kind == "accepted":
        acknowledged.append(escape(answering.accepted_text, delimiters))
    elif version < "2.5":
        acknowledged.append(_text(outcome, delimiters))
    segments = {"MSH": header, "MSA": acknowledged}
    if outcome.kind != "accepted":
        segments["ERR"] = _error(outcome, delimiters, version)
    for source, target in answering.echo:
        _copy(message, source, target, segments, delimiters)
    lines = [_line(fields, delimiters) for fields in segments.values()]
    text = "".join(line + "\r" for line in lines)
    return _encode(text, message)


def _encode(text: str, message: Message | None) -> bytes:
    charset = "utf-8" if message is None else message.charset
    try:
        return text.encode(charset, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("ascii", "replace")


def _header(
    message: Message | None, delimiters: Delimiters, version: str, made_from: str, time: int
) -> list[str]:
    d = delimiters
    encoding = d.component + d.repetition + d.escape + d.subcomponent + d.truncation
    trigger = _echo(message, 9, delimiters, component=2)
    kinds = ["ACK"]
    if trigger and version >= "2.3":
        kinds += [trigger, "ACK"] if version >= "2.3.1" else [trigger]
    fields = [""] * 19
    fields[0:3] = ["MSH", d.field, encoding]
    fields[3:7] = [_echo(message, number, delimiters) for number in (5, 6, 3, 4)]
    fields[7] = _second(time // 1_000_000)
    fields[9] = d.component.join(kinds)
    fields[10] = sha256(made_from.encode()).hexdigest()[:20].upper()
    fields[11] = _echo(message, 11, delimiters) or "P"
    told = message is not None and message.version == version
    fields[12] = _echo(message, 12, delimiters) if told else version
    fields[18] = _echo(message, 18, delimiters)
    return fields


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H%M%S}+0000"


def _error(outcome: Outcome, delimiters: Delimiters, version: str) -> list[str]:
    """ERR as the version has it: since 2.5 with fields of its own for code, severity and text."""
    meaning = ERRORS.get(outcome.error, "Application internal error")
    if version < "2.5":
        s = delimiters.subcomponent
        return ["ERR", delimiters.component * 3 + s.join([outcome.error, meaning, "HL70357"])]
    code = delimiters.component.join([outcome.error, meaning, "HL70357"])
    return ["ERR", "", "", code, "E", "", "", "", _text(outcome, delimiters)]


def _text(outcome: Outcome, delimiters: Delimiters) -> str:
    return escape(_CONTROL.sub(" ", outcome.text)[:80], delimiters)


def _copy(
    message: Message | None, source: str, target: str, segments: dict[str, list[str]], delimiters: Delimiters
) -> None:
    """Put a value of the message where the sender wants to see it again."""
    name, number, *_ = parse_path(target)
    if message is None or name not in segments:
        return
    fields = segments[name]
    fields += [""] * (number + 1 - len(fields))
    fields[number] = _clean(escape(message.get(source), delimiters))


def _echo(message: Message | None, field: int, delimiters: Delimiters, component: int = 0) -> str:
    """A field of the header as it was sent, without control characters; one component of it when it is named."""
    if message is None:
        return ""
    header = message.segments[0]
    raw = header.raw(field)
    if not raw or header.name not in HEADERS:
        return ""
    if delimiters is not message.delimiters:
        return _clean(escape(header.value(field).text(component or 1), delimiters))
    return _clean(header.value(field).raw_component(component) if component else raw)


def _clean(text: str) -> str:
    return (text if text.isprintable() else _CONTROL.sub("", text))[:_MOST]


def _version(message: Message | None) -> str:
    found = "" if message is None else message.version.strip()
    return found if _VERSION.fullmatch(found) else "2.5.1"


def _delimiters(message: Message | None) -> Delimiters:
    """Those of the message where they can be used, else the usual ones."""
    if message is not None and _usable(message.delimiters):
        return message.delimiters
    return Delimiters()


@lru_cache(maxsize=64)
def _usable(d: Delimiters) -> bool:
    used = d.field + d.component + d.repetition + d.escape + d.subcomponent + d.truncation
    marks = all("!" <= one <= "~" and not one.isalnum() and one not in '"+.' for one in used)
    return marks and len(set(used)) == len(used)


def _line(fields: list[str], delimiters: Delimiters) -> str:
    """A segment; MSH-1 is the separator itself."""
    shown = [fields[0], *fields[2:]] if fields[0] in HEADERS else fields
    return delimiters.field.join(shown).rstrip(delimiters.field)


def _batch(
    raw: bytes,
    outcome: Outcome,
    answering: Answering,
    receipt: str,
    time: int,
    stage: Stage,
    charsets: tuple[str, ...],
) -> tuple[bytes, ...]:
    """A batch of the answers to the messages of a batch; none when no message is to be answered."""
    batch = split(raw)
    made: list[bytes] = []
    for number, message in enumerate(batch.messages, 1):
        made += answers(message, outcome, answering, f"{receipt}/{number}", time, stage, charsets)
    return (batch_answer(batch, raw, made),) if made else ()


def batch_answer(batch: Batch, raw: bytes, made: Sequence[bytes]) -> bytes:
    """The answers to the messages of a batch as a batch, with what does not add up told in the comment of its trailer.

    It is made of what was received and of the answers alone, so it is the same for the same batch.
    """
    time = parse(made[0]).get("MSH-7") if made else ""
    comment = "; ".join(batch.warnings)[:80]
    digest = sha256(raw).hexdigest()
    opening, closing = b"", b""
    for header in batch.headers:
        message = Message(b"", (header,), header.delimiters, "utf-8")
        delimiters = _delimiters(message)
        fields = _header(message, delimiters, "2.5.1", digest + header.name, 0)
        kept = [header.name, *fields[1:7], time, "", "", "", fields[10], _echo(message, 11, delimiters)]
        opening += _encode(_line(kept, delimiters) + "\r", message)
        name, count = ("BTS", len(made)) if header.name == "BHS" else ("FTS", 1)
        trailer = [name, str(count), escape(comment, delimiters)]
        closing = _encode(_line(trailer, delimiters) + "\r", message) + closing
    return opening + b"".join(made) + closing
