"""HL7 v2 messages as they were received: segments, fields and components, read lazily; the bytes are kept.

Source: HL7 v2.5.1 chapter 2, https://www.hl7.org/implement/standards/product_brief.cfm?product_id=144. An invariant to keep: no
line is dropped and no byte is lost, so `encode` gives exactly what `parse` was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, repeat

from msgspec import Struct

from hl7_bridge.charsets import decode
from hl7_bridge.escapes import entities, subcomponents, unescape

# The value of a field that shall be deleted, in contrast to one that is not told.
NULL = '""'
HEADERS = frozenset(("MSH", "FHS", "BHS"))
_ASTM = re.compile(rb"[\s\x00-\x1f]*H[!-/:-@\[-`{-~]{4}")
_USUAL = frozenset(
    [
        "MSH",
        "EVN",
        "PID",
        "PD1",
        "NK1",
        "PV1",
        "PV2",
        "ORC",
        "OBR",
        "OBX",
        "NTE",
        "SPM",
        "SAC",
        "TQ1",
        "AL1",
        "DG1",
        "GT1",
        "IN1",
        "MSA",
        "ERR",
        "QRD",
        "QPD",
        "SCH",
        "AIS",
        "AIG",
        "AIL",
        "AIP",
        "FT1",
        "TXA",
    ]
)
_SEVERAL_SPELLINGS = ("iso2022_jp", "cp950")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_JOINED = re.compile(r"[A-Z]{3}_[A-Z][0-9]{2}")
_EVENT = re.compile(r"[A-Z][0-9]{2}")
_TERMINATED = re.compile(r"[^\r]*\r\n?|[^\r]+\Z")
_BY_LINE_FEED = re.compile(r"[^\n]*\n|[^\n]+\Z")
_BY_FILE_SEPARATOR = re.compile(r"[^\x1c]*\x1c|[^\x1c]+\Z")


class Delimiters(Struct, frozen=True, gc=False):
    """The characters of MSH-1 and MSH-2; `truncation` '' when there is none. `usual`: none of them is a letter or digit."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""
    usual: bool = True


class Value(Struct, frozen=True, gc=False):
    """One repetition of a field, or the whole of it. There are dozens in a message: a Struct is made faster."""

    raw: str
    delimiters: Delimiters

    def text(self, component: int = 1, subcomponent: int = 1) -> str:
        """A component without escapes, '' when it is not there; NULL stays NULL. Counted from 1."""
        return _part(self.raw, self.delimiters, component, subcomponent)

    def texts(self, count: int) -> list[str]:
        """The first components, each as `text` gives it: read at once."""
        raw, marks = self.raw, self.delimiters
        parts = raw.split(marks.component, count)[:count]
        if marks.subcomponent in raw or marks.escape in raw:
            parts = [_part(part, marks, 1, 1) for part in parts]
        return parts + [""] * (count - len(parts))

    def raw_component(self, component: int = 1) -> str:
        """A component as it was sent."""
        if self.delimiters.component not in self.raw:
            return self.raw if component == 1 else ""
        parts = self.raw.split(self.delimiters.component)
        return parts[component - 1] if component <= len(parts) else ""

    def whole(self) -> str:
        """All of it as text, for fields that hold no components whatever they contain."""
        return unescape(entities(self.raw, self.delimiters), self.delimiters)

    def components(self) -> tuple[str, ...]:
        """The components without escapes, each whole."""
        raw = entities(self.raw, self.delimiters)
        return tuple(unescape(part, self.delimiters) for part in raw.split(self.delimiters.component))

    @property
    def empty(self) -> bool:
        """Whether nothing is told; NULL is told."""
        raw, marks = self.raw, self.delimiters
        if raw and raw[0] != marks.component and raw[0] != marks.subcomponent:
            return False
        return not raw.strip(marks.component + marks.subcomponent)


def _part(raw: str, marks: Delimiters, component: int, subcomponent: int) -> str:
    """A component, or a subcomponent of one, without escapes."""
    if marks.component in raw:
        parts = raw.split(marks.component, component)
        raw = parts[component - 1] if component <= len(parts) else ""
    elif component > 1:
        return ""
    if not raw:
        return raw
    if subcomponent > 1 or marks.subcomponent in raw:
        parts = subcomponents(raw, marks)
        raw = parts[subcomponent - 1] if subcomponent <= len(parts) else ""
    return unescape(raw, marks) if marks.escape in raw else raw


class Segment(Struct, eq=False):
    """A segment. Fields, repetitions, components and subcomponents are counted from 1, as in the standard."""

    line: str
    terminator: str
    delimiters: Delimiters
    name: str
    _fields: list[str] | None = None

    @property
    def fields(self) -> list[str]:
        """The fields as they were sent, by number; nobody may change them."""
        found = self._fields
        if found is None:
            found = self._fields = self.line.split(self.delimiters.field)
            if self.name in HEADERS:
                found.insert(1, self.delimiters.field)
        return found

    def raw(self, field: int) -> str:
        """A field as it was sent, '' when it is not there."""
        found = self._fields or self.fields
        return found[field] if field < len(found) else ""

    def value(self, field: int, repetition: int = 1) -> Value:
        """One repetition of a field; empty when it is not there."""
        found, marks = self._fields or self.fields, self.delimiters
        raw = found[field] if field < len(found) else ""
        if marks.repetition in raw and not (field == 2 and self.name in HEADERS):
            parts = raw.split(marks.repetition, repetition)
            raw = parts[repetition - 1] if repetition <= len(parts) else ""
        elif repetition > 1:
            raw = ""
        return Value(raw, marks)

    def values(self, field: int) -> tuple[Value, ...]:
        """The repetitions of a field that tell something; NULL is something."""
        found = self._fields or self.fields
        raw = found[field] if field < len(found) else ""
        if not raw:
            return ()
        marks = self.delimiters
        if marks.repetition not in raw:
            value = Value(raw, marks)
            return () if value.empty else (value,)
        values = [Value(part, marks) for part in raw.split(marks.repetition)]
        return tuple([value for value in values if not value.empty])

    def text(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """A component without escapes, '' when it is not there; NULL stays NULL."""
        found = self._fields or self.fields
        raw = found[field] if field < len(found) else ""
        if not raw or (field <= 2 and self.name in HEADERS):
            return raw
        marks = self.delimiters
        if marks.usual and raw.isalnum():
            # no delimiter is in it
            return raw if component == subcomponent == repetition == 1 else ""
        if marks.repetition in raw:
            parts = raw.split(marks.repetition, repetition)
            raw = parts[repetition - 1] if repetition <= len(parts) else ""
        elif repetition > 1:
            return ""
        return _part(raw, marks, component, subcomponent)

    @property
    def length(self) -> int:
        """The number of the last field."""
        self.raw(0)
        return len(self._fields or ()) - 1

    def __repr__(self) -> str:
        return f"<Segment {self.name}>"


class Message(Struct, frozen=True):
    """A message. `warnings` tell what was odd about its form; `charset` is the codec that its bytes were read with."""

    raw: bytes
    segments: tuple[Segment, ...]
    delimiters: Delimiters
    charset: str
    warnings: tuple[str, ...] = ()

    def all(self, name: str) -> list[Segment]:
        return [segment for segment in self.segments if segment.name == name]

    def first(self, name: str) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == name), None)

    def get(self, path: str) -> str:
        """The text at a path `PID-3.1`, `PID-3[2].4.1` (repetition, component, subcomponent), in the first such segment."""
        return next(self.each(path), "")

    def each(self, path: str) -> Iterator[str]:
        """The texts at a path in every such segment. Raises ValueError for what is no path."""
        name, field, repetition, component, subcomponent = parse_path(path)
        for segment in self.all(name):
            yield segment.text(field, component, subcomponent, repetition)

    @property
    def header(self) -> Segment:
        """The first segment: MSH, of whatever else calls itself a message."""
        return self.segments[0]

    @property
    def type(self) -> str:
        """MSH-9.1, e.g. ORU; of `ADT_A01` what is before the event."""
        told = self.header.text(9, 1)
        return told[:3] if len(told) == 7 and _JOINED.fullmatch(told) is not None else told

    @property
    def trigger(self) -> str:
        """MSH-9.2, e.g. R01; where old senders leave it empty what `ADT_A01` in MSH-9.1 or EVN-1 says."""
        told = self.header.text(9, 2)
        if told:
            return told
        kind = self.header.text(9, 1)
        if _JOINED.fullmatch(kind) is not None:
            return kind[4:]
        event = next((one for one in self.segments[1:3] if one.name == "EVN"), None)
        told = "" if event is None else event.text(1)
        return told if _EVENT.fullmatch(told) is not None else ""

    @property
    def control_id(self) -> str:
        """MSH-10 as it was sent. It is told again in answers and trusted for nothing."""
        return self.header.text(10)

    @property
    def version(self) -> str:
        """MSH-12.1, e.g. 2.5.1."""
        return self.header.text(12, 1)

    def encode(self) -> bytes:
        """The bytes, made of the segments; those of a character set that has several spellings of a text as they were."""
        if self.charset in _SEVERAL_SPELLINGS:
            return self.raw
        text = "".join(segment.line + segment.terminator for segment in self.segments)
        return text.encode(self.charset, "surrogateescape")


_PATH = re.compile(r"([A-Z][A-Z0-9]{2})-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?(?:\.(\d+))?")


def parse_path(path: str) -> tuple[str, int, int, int, int]:
    """(segment, field, repetition, component, subcomponent) of a path. Raises ValueError for what is none."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no path of a field, such as PID-3.1 or PID-3[2].4.1")
    name, *numbers = found.groups()
    field, repetition, component, subcomponent = (1 if number is None else int(number) for number in numbers)
    return name, field, repetition, component, subcomponent


def is_astm(raw: bytes) -> bool:
    """Whether the bytes are records of ASTM E1394, which begin with H and its delimiters."""
    return _ASTM.match(raw[:64]) is not None


class NotHl7(ValueError):
    """The bytes have no header that would say how to read them."""


def parse(raw: bytes, charsets: tuple[str, ...] = ()) -> Message:
    """Read a message; `charsets` are tried when MSH-18 says none that fits. Raises NotHl7 when it does not begin with a header.

    ASTM records are given as the HL7 message that they are; `raw` is what was received.
    """
    if raw[:3] != b"MSH" and is_astm(raw):
        from hl7_bridge.astm.records import as_hl7

        return as_hl7(raw, charsets)
    decoded = decode(raw, charsets)
    text = decoded.text
    lead = len(text) - len(text.lstrip("\r\n\x0b\ufeff "))
    if text[lead : lead + 3] not in HEADERS or len(text) < lead + 5 or text[lead + 3] in "\r\n":
        raise NotHl7("The message does not begin with MSH, FHS or BHS and its delimiters.")
    warnings = list(decoded.warnings)
    delimiters = _delimiters(text[lead:], warnings)
    segments = [
        Segment(line, terminator, delimiters, line[:3]) for line, terminator in _lines(text, delimiters.field)
    ]
    _check(segments, delimiters.field, warnings)
    while segments and segments[0].name not in HEADERS and not segments[0].line.strip("\x0b\ufeff "):
        # what precedes the header stays a part of it, so that nothing is lost
        before = segments.pop(0)
        warnings.append("there is something before the header")
        if segments:
            lead_text = before.line + before.terminator
            segments[0] = _led(lead_text, segments[0])
    return Message(raw, tuple(segments), delimiters, decoded.charset, tuple(warnings))


def _check(segments: list[Segment], field: str, warnings: list[str]) -> None:
    """Warn of lines that are no segments, from the header on."""
    if {segment.line[:4] for segment in segments} <= _usual(field):
        return
    begun = False
    for number, segment in enumerate(segments, 1):
        line = segment.line
        if not line or (line[3:4] in (field, "") and segment.name in _USUAL):
            begun = begun or bool(line)
        elif begun or line.strip():
            begun = True
            if not (_SEGMENT.fullmatch(segment.name) and line[3:4] in (field, "")):
                warnings.append(f"line {number} is no segment")


def _led(lead: str, segment: Segment) -> Segment:
    """A header that something precedes; only `line` knows it."""
    header = Segment(lead + segment.line, segment.terminator, segment.delimiters, segment.name)
    header._fields = segment.fields
    return header


def _delimiters(text: str, warnings: list[str]) -> Delimiters:
    field = text[3]
    end = text.find(field, 4, 64)
    delimiters, warning = _told(field, text[4 : end if end >= 0 else 64])
    if warning:
        warnings.append(warning)
    return delimiters


@lru_cache(maxsize=64)
def _told(field: str, told: str) -> tuple[Delimiters, str]:
    """The delimiters, and what is odd about them."""
    told = told.split("\r", 1)[0].split("\n", 1)[0]
    odd = len(told) not in (4, 5) or len(set(told)) < len(told)
    default = Delimiters()
    characters = [*told[:5]] + [""] * 5
    delimiters = Delimiters(
        field,
        characters[0] or default.component,
        characters[1] or default.repetition,
        characters[2] or default.escape,
        characters[3] or default.subcomponent,
        characters[4],
        not any(character.isalnum() for character in (field, *told[:5])),
    )
    return delimiters, f"MSH-2 is {told[:20]!r}" if odd else ""


@lru_cache(maxsize=16)
def _usual(field: str) -> frozenset[str]:
    """How lines begin that are surely segments."""
    return frozenset(name + field for name in _USUAL)


def _lines(text: str, field: str) -> Iterable[tuple[str, str]]:
    """Lines with their terminators: by CR where there is any; else by LF; else by FS."""
    ends, line_feeds = text.count("\r"), text.count("\n")
    if ends and (not line_feeds or ends == line_feeds == text.count("\r\n")):
        # as nearly all messages are: one terminator everywhere
        usual = "\r\n" if line_feeds else "\r"
        *lines, rest = text.split(usual)
        found = zip(lines, repeat(usual))
        return chain(found, ((rest, ""),)) if rest else found
    return _lines_of_any_kind(text, field)


def _lines_of_any_kind(text: str, field: str) -> Iterator[tuple[str, str]]:
    if "\r" not in text:
        pattern = _BY_LINE_FEED if "\n" in text else _BY_FILE_SEPARATOR
        for found in pattern.findall(text):
            line = found.rstrip("\n\x1c")
            yield line, found[len(line) :]
        return
    for found in _TERMINATED.findall(text):
        line = found.rstrip("\r\n") if found.endswith(("\r", "\r\n")) else found
        terminator = found[len(line) :]
        if "\n" not in line:
            yield line, terminator
            continue
        # an LF in a message that has CRs ends a segment only where one begins
        start = 0
        for at in (n for n, character in enumerate(line) if character == "\n"):
            if _SEGMENT.fullmatch(line[at + 1 : at + 4]) and line[at + 4 : at + 5] == field:
                yield line[start:at], "\n"
                start = at + 1
        yield line[start:], terminator
