"""Building messages: segments of values, with escapes, without empty ends. Source: HL7 v2.5.1 chapters 2.5 to 2.7.

An invariant to keep: whatever text a value has, reading the message gives that text again, and no other field is changed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hl7_bridge.escapes import escape
from hl7_bridge.message import HEADERS, NULL, Delimiters

# Text; a tuple of components, each text or a tuple of subcomponents; a list of repetitions of these; None is not told.
Component = str | tuple[str | None, ...] | None
One = str | tuple[Component, ...] | None
Field = One | list[One]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that is to be sent: `fields` by their numbers, from 1; of MSH from 3."""

    name: str
    fields: Mapping[int, Field]


@dataclass(frozen=True, slots=True)
class Route:
    """MSH-3 to MSH-6: who sends to whom, each a text or the components of an HD."""

    sending_application: One = None
    sending_facility: One = None
    receiving_application: One = None
    receiving_facility: One = None


def segment(name: str, *fields: Field) -> Segment:
    """A segment with the fields from 1 on, in order."""
    return Segment(name, dict(enumerate(fields, 1)))


def header(
    route: Route,
    type: tuple[str, ...],
    control_id: str,
    time: datetime,
    version: str = "2.5.1",
    accept: str = "",
    application: str = "",
    profiles: Sequence[One] = (),
    processing: str = "P",
    charset: str = "UNICODE UTF-8",
) -> Segment:
    """MSH: `type` is (ADT, A01, ADT_A01), `accept` and `application` which acknowledgements are wanted (AL, NE, ER, SU)."""
    return Segment(
        "MSH",
        {
            3: route.sending_application,
            4: route.sending_facility,
            5: route.receiving_application,
            6: route.receiving_facility,
            7: timestamp(time),
            9: type,
            10: control_id,
            11: processing,
            12: version,
            15: accept,
            16: application,
            18: charset,
            21: list(profiles),
        },
    )


def timestamp(time: datetime) -> str:
    """An instant to the second as TS or DTM, with its offset when it has one."""
    return time.strftime("%Y%m%d%H%M%S%z")


def build(segments: Iterable[Segment], delimiters: Delimiters | None = None, charset: str = "utf-8") -> bytes:
    """The bytes of a message, each segment ended by CR. Raises UnicodeEncodeError when the charset lacks a character."""
    d = delimiters or Delimiters()
    return "".join(line(one, d) + "\r" for one in segments).encode(charset)


def line(segment: Segment, delimiters: Delimiters) -> str:
    """A segment without its end."""
    d = delimiters
    last = max((number for number, field in segment.fields.items() if field is not None), default=0)
    written = [_field(segment.fields.get(number), d) for number in range(1, last + 1)]
    if segment.name in HEADERS:
        encoding = d.component + d.repetition + d.escape + d.subcomponent + d.truncation
        return (segment.name + d.field + d.field.join([encoding, *written[2:]])).rstrip(d.field)
    return d.field.join([segment.name, *written]).rstrip(d.field)


def _field(field: Field, d: Delimiters) -> str:
    if isinstance(field, list):
        return d.repetition.join(_one(one, d) for one in field).rstrip(d.repetition)
    return _one(field, d)


def _one(one: One, d: Delimiters) -> str:
    if isinstance(one, tuple):
        return d.component.join(_component(part, d) for part in one).rstrip(d.component)
    return _text(one, d)


def _component(component: Component, d: Delimiters) -> str:
    if isinstance(component, tuple):
        return d.subcomponent.join(_text(part, d) for part in component).rstrip(d.subcomponent)
    return _text(component, d)


def _text(text: str | None, d: Delimiters) -> str:
    if text is None or text == NULL:
        return text or ""
    return escape(text, d)
