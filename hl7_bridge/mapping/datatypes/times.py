"""TS, DTM, DT and DR as FHIR date, dateTime, instant and Period: precision is kept, and no part is made up.

https://hl7.org/fhir/uv/v2mappings/ (DTM, DR). Times without a zone are wall times of the sender: those that the clocks show
twice are meant as the first time, those that they skip are as long after midnight as the clocks would have shown.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import Message, Value

_FORM = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?"
)
# the length of a time in whole seconds with an offset in whole minutes
_WHOLE = len("2026-01-01T00:00:00+00:00")
# TS.2, of versions before 2.6: how many digits count
_PRECISIONS = {"Y": 4, "L": 6, "D": 8, "H": 10, "M": 12, "S": 14}


def told_in_zone(message: Message, context: Context) -> Context:
    """The context with the zone that the message's times without one are in: that of MSH-7, if it has one.

    When the sender's zone has that offset at that time it stays, because it also knows the other half of the year.
    """
    zone = _told_zone(message.header.text(7), context.zone)
    return context if zone is context.zone else replace(context, zone=zone)


@lru_cache(1024)
def _told_zone(text: str, zone: tzinfo) -> tzinfo:
    """The offset of a time, unless the zone has it then."""
    found = _FORM.fullmatch(text)
    if found is None or found[8] is None or found[4] is None:
        return zone
    told = _offset(found[8])
    then = _moment(found, zone)
    if then is None or told is None or then.astimezone(zone).utcoffset() == told.utcoffset(None):
        return zone
    return told


@maps("DTM", "TS.1")
def date_time(value: Value | str, context: Context) -> str | None:
    """A dateTime with the precision that was told; None when there is none or it is no time.

    FHIR has no hour without minutes, so such a time is told as its day.
    """
    return _date_time(_text(value), context.zone)


@lru_cache(4096)
def _date_time(text: str, zone: tzinfo) -> str | None:
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    year, month, day, _, minute, _, fraction, _ = found.groups()
    if minute is None:
        told = "-".join(part for part in (year, month, day) if part is not None)
        return told if _is_date(told) else None
    moment = _moment(found, zone)
    if moment is None:
        return None
    if moment.year < 1000:
        return None
    written = moment.isoformat("T", "seconds")
    if fraction is None and len(written) == _WHOLE:
        return written
    return f"{written[:19]}{'.' + fraction if fraction else ''}{_written(moment)}"


def instant(value: Value | str, context: Context) -> str | None:
    """An instant; None when less than seconds, or minutes, are told."""
    told = date_time(value, context)
    return told if told is not None and "T" in told else None


@maps("DT")
def day(value: Value | str) -> str | None:
    """A date, of a time too: the day that was written."""
    found = _FORM.fullmatch(_text(value))
    if found is None:
        return None
    told = "-".join(part for part in found.groups()[:3] if part is not None)
    return told if _is_date(told) else None


def microseconds(value: Value | str, context: Context) -> int | None:
    """When what is told begins, in microseconds since 1970 UTC; None when it is no time."""
    found = _FORM.fullmatch(_text(value))
    moment = None if found is None else _moment(found, context.zone)
    if moment is None:
        return None
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@maps("DR.1", "DR.2")
def period(value: Value, context: Context) -> dict[str, str] | None:
    """A Period of a date range: `start^end`."""
    return between(value.text(1), value.text(2), context)


def between(start: str, end: str, context: Context) -> dict[str, str] | None:
    """A Period of two times, None when neither is told. One that ends before it starts keeps only its start."""
    if not start and not end:
        return None
    told = {"start": date_time(start, context), "end": date_time(end, context)}
    first, last = microseconds(start, context), microseconds(end, context)
    if first is not None and last is not None and last < first:
        del told["end"]
    return {name: text for name, text in told.items() if text is not None} or None


def _text(value: Value | str) -> str:
    if isinstance(value, str):
        return value.strip()
    text = value.text(1).strip()
    digits = _PRECISIONS.get(value.text(2).strip())
    return text if digits is None or len(text) <= digits else text[:digits]


def _moment(found: re.Match[str], zone: tzinfo) -> datetime | None:
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    told = zone if offset is None else _offset(offset)
    if told is None:
        return None
    try:
        moment = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            min(int(second or 0), 59),
            int((fraction or "0").ljust(6, "0")),
            told,
        )
        # what the clocks skip gets the offset that holds then
        return moment if offset is not None else moment.astimezone(UTC).astimezone(zone)
    except (ValueError, OverflowError):
        return None


@lru_cache(256)
def _offset(text: str) -> timezone | None:
    minutes = int(text[1:3]) * 60 + int(text[3:])
    if minutes > 14 * 60 or int(text[3:]) > 59:
        return None
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _written(moment: datetime) -> str:
    shift = moment.utcoffset() or timedelta()
    minutes = shift // timedelta(minutes=1)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text + "-01-01"[len(text) - 10 :] if len(text) < 10 else text)
    except ValueError:
        return False
    return True
