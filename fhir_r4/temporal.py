"""FHIR dates and times as half-open intervals of microseconds since 1970 UTC, at the precision they are written with.

Source: https://hl7.org/fhir/R4/datatypes.html#dateTime and https://hl7.org/fhir/R4/search.html#date. A text means the whole
year, month, day, minute, second or fraction that it writes; what has no zone is read in a zone given by name. Total for the
years 0001 to 9999. An invariant to keep: low < high, and parse_interval(format_instant(i))[0] == i for whole milliseconds.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# The ends of a Period that is open there: outside of every date that can be written, inside of 64 bits.
OPEN_LOW = -(2**62)
OPEN_HIGH = 2**62

Interval = tuple[int, int]

_EPOCH = date(1970, 1, 1).toordinal()
_LAST = date.max.toordinal()

_TIME = r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60)(?:\.(\d+))?)?"
_ZONE = r"(Z|[+-](?:0\d|1[0-4]):[0-5]\d)?"
_DATE_TIME = re.compile(rf"(\d{{4}}-\d\d-\d\d)T{_TIME}{_ZONE}", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_CLOCK = re.compile(_TIME, re.ASCII)


def parse_interval(text: str, zone: str = "UTC") -> Interval:
    """The instants [low, high) that a date, dateTime or instant means. Raises ValueError when it is none.

    Minute precision is accepted, because searches may be written so, and second 60, which is the next minute's first.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return _days(text, zone)
    day, hour, minute, second, fraction, offset = match.groups()
    moment = _day(day) * DAY + int(hour) * HOUR + int(minute) * MINUTE
    length = MINUTE
    if second is not None:
        moment += int(second) * SECOND
        length = SECOND
        if fraction is not None:
            moment += int(fraction[:6].ljust(6, "0"))
            length = 10 ** max(0, 6 - len(fraction))
    if offset is None:
        if zone != "UTC":
            moment -= _zone_offset(moment, zone)
    elif offset != "Z":
        moment -= _east(offset)
    return moment, moment + length


@lru_cache(256)
def _east(offset: str) -> int:
    size = int(offset[1:3]) * HOUR + int(offset[4:]) * MINUTE
    return size if offset[0] == "+" else -size


@lru_cache(4096)
def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - _EPOCH


@lru_cache(4096)
def _days(text: str, zone: str) -> Interval:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date or time of FHIR")
    year, month, day = (None if part is None else int(part) for part in match.groups())
    assert year is not None
    first = date(year, month or 1, day or 1).toordinal()
    if day is not None:
        after = first + 1
    elif month is not None:
        after = first + monthrange(year, month)[1]
    else:
        after = first + 365 + isleap(year)
    return _midnight(first, zone), _midnight(after, zone)


def _midnight(ordinal: int, zone: str) -> int:
    moment = (ordinal - _EPOCH) * DAY
    return moment if zone == "UTC" else moment - _zone_offset(moment, zone)


@lru_cache(16)
def _zone(name: str) -> tzinfo:
    return ZoneInfo(name)


_LONG_AGO = datetime(1, 1, 1)


def _zone_offset(wall: int, zone: str) -> int:
    """How far east of UTC the zone's clocks are when they show `wall` (microseconds); the earlier one if they show it twice."""
    since = min(max(wall // SECOND + (_EPOCH - 1) * 86400, 0), _LAST * 86400 - 1)
    offset = _zone(zone).utcoffset(_LONG_AGO + timedelta(seconds=since))
    return 0 if offset is None else round(offset.total_seconds()) * SECOND


def parse_time(text: str) -> Interval:
    """The microseconds [low, high) after midnight that a `time` means. Raises ValueError when it is none."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of FHIR")
    hour, minute, second, fraction = match.groups()
    moment = int(hour) * HOUR + int(minute) * MINUTE + int(second or 0) * SECOND
    if fraction is None:
        return moment, moment + (MINUTE if second is None else SECOND)
    moment += int(fraction[:6].ljust(6, "0"))
    return moment, moment + 10 ** max(0, 6 - len(fraction))


def period_interval(start: str | None, end: str | None, zone: str = "UTC") -> Interval:
    """The instants [low, high) of a Period: from the beginning of `start` through all of `end`; None is open."""
    low = OPEN_LOW if start is None else parse_interval(start, zone)[0]
    high = OPEN_HIGH if end is None else parse_interval(end, zone)[1]
    return low, high


@lru_cache(1024)
def _iso_date(days: int) -> str:
    return date.fromordinal(days + _EPOCH).isoformat()


def format_instant(microseconds: int) -> str:
    """The instant in UTC with milliseconds: `2026-01-31T09:30:00.123Z`."""
    days, rest = divmod(microseconds // 1000, 86_400_000)
    seconds, milli = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_iso_date(days)}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
