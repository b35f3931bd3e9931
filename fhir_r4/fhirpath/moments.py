"""Dates, times and their partial order: FHIRPath compares as far as both are precise, and says nothing beyond.

Source: http://hl7.org/fhirpath/N1/#datetime-equality, #comparison and #datetime-arithmetic.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

_DATE = r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?"
_TIME = r"(\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?"
_PATTERNS = {
    "Date": re.compile(_DATE, re.ASCII),
    "DateTime": re.compile(rf"{_DATE}(?:T(?:{_TIME}(Z|[+-]\d\d:\d\d)?)?)?", re.ASCII),
    "Time": re.compile(_TIME, re.ASCII),
}
_LIMITS = (9999, 12, 31, 23, 59, 59)
_UNITS = {
    "year": "years", "month": "months", "week": "weeks", "day": "days", "hour": "hours", "minute": "minutes",
    "second": "seconds", "millisecond": "milliseconds", "wk": "weeks", "d": "days",
    "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds",
}  # fmt: skip
_MICROSECONDS = {
    "weeks": 604_800_000_000,
    "days": 86_400_000_000,
    "hours": 3_600_000_000,
    "minutes": 60_000_000,
    "seconds": 1_000_000,
    "milliseconds": 1_000,
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A System.Date, DateTime or Time: year, month, day, hour, minute, second, as far as given; a Time begins at hour.

    `offset` are minutes east of UTC, None when no zone is given; `text` is the moment as written.
    """

    kind: str
    parts: tuple[int | Decimal, ...]
    offset: int | None
    text: str

    @classmethod
    def parse(cls, text: str, kind: str) -> Moment | None:
        """The moment that `text` writes, None when it writes none of that kind."""
        match = _PATTERNS[kind].fullmatch(text)
        if match is None:
            return None
        groups = list(match.groups())
        zone = groups.pop() if kind == "DateTime" else None
        parts = tuple(Decimal(g) if "." in g else int(g) for g in groups if g is not None)
        limits = _LIMITS[3:] if kind == "Time" else _LIMITS
        if any(part >= limit + 1 for part, limit in zip(parts, limits, strict=False)):
            return None
        if kind != "Time" and (
            0 in parts[:3] or (len(parts) > 2 and parts[2] > month_days(parts[0], parts[1]))
        ):
            return None
        return cls(kind, parts, _offset(zone), text)

    def utc(self) -> tuple[int | Decimal, ...]:
        """The parts in UTC when a zone is given and at least the minute."""
        if not self.offset or len(self.parts) < 5:
            return self.parts
        year, month, day, hour, minute = (int(part) for part in self.parts[:5])
        try:
            moved = datetime(year, month, day, hour, minute) - timedelta(minutes=self.offset)
        except (OverflowError, ValueError):
            return self.parts
        return (moved.year, moved.month, moved.day, moved.hour, moved.minute, *self.parts[5:])


def month_days(year: int | Decimal, month: int | Decimal) -> int:
    """How many days a month has."""
    return calendar.monthrange(int(year), int(month))[1]


def _offset(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def compare(left: Moment, right: Moment) -> int | None:
    """-1, 0 or 1; None when one is less precise where they would have to differ, or only one has a zone."""
    if (left.kind == "Time") != (right.kind == "Time"):
        return None
    zoned = (left.offset is None) == (right.offset is None)
    a, b = (left.utc(), right.utc()) if zoned else (left.parts, right.parts)
    if not zoned and len(a) > 3 and len(b) > 3:
        return None
    for x, y in zip(a, b, strict=False):
        if x != y:
            return -1 if x < y else 1
    return 0 if len(a) == len(b) else None


def add(moment: Moment, amount: Decimal, unit: str) -> Moment | None:
    """The moment `amount` units later (earlier when negative); None for a unit that is no duration of the calendar.

    What the moment is not precise enough for is counted in whole units of its precision. Fractions count for seconds only.
    """
    unit = _UNITS.get(unit.removesuffix("s") if len(unit) > 3 else unit, "")
    if not unit:
        return None
    if unit in ("years", "months"):
        return (
            None
            if moment.kind == "Time"
            else _add_months(moment, int(amount) * (12 if unit == "years" else 1))
        )
    microseconds = (
        int(amount * _MICROSECONDS[unit]) if "second" in unit else int(amount) * _MICROSECONDS[unit]
    )
    return _add_time(moment, microseconds)


def _add_months(moment: Moment, months: int) -> Moment | None:
    year, month, day = (int(part) for part in (*moment.parts[:3], 1, 1)[:3])
    if len(moment.parts) == 1:
        months = int(months / 12) * 12
    total = year * 12 + month - 1 + months
    year, month = divmod(total, 12)
    month += 1
    if not 1 <= year <= 9999:
        return None
    day = min(day, month_days(year, month))
    return _written(moment, (year, month, day, *moment.parts[3:])[: len(moment.parts)])


def _add_time(moment: Moment, microseconds: int) -> Moment | None:
    count = len(moment.parts)
    if moment.kind == "Time":
        parts: tuple[int | Decimal, ...] = (2000, 1, 2, *moment.parts)
    elif count < 3:
        days = int(microseconds / _MICROSECONDS["days"])
        return _add_months(moment, int(days / 365) * 12 if count == 1 else int(days / 30))
    else:
        parts = moment.parts
    year, month, day, hour, minute = (int(part) for part in (*parts, 0, 0)[:5])
    second = Decimal(parts[5]) if len(parts) > 5 else Decimal(0)
    step = {3: "days", 4: "hours", 5: "minutes"}.get(len(parts))
    if step is not None:
        microseconds = int(microseconds / _MICROSECONDS[step]) * _MICROSECONDS[step]
    try:
        moved = datetime(year, month, day, hour, minute) + timedelta(
            microseconds=microseconds + int(second * 1_000_000)
        )
    except (OverflowError, ValueError):
        return None
    seconds: int | Decimal = moved.second
    if moved.microsecond or isinstance((*parts, 0)[5] if len(parts) > 5 else 0, Decimal):
        seconds = Decimal(moved.second) + Decimal(moved.microsecond).scaleb(-6).quantize(Decimal("0.001"))
    whole = (moved.year, moved.month, moved.day, moved.hour, moved.minute, seconds)[: len(parts)]
    return _written(moment, whole[3:] if moment.kind == "Time" else whole)


def _written(moment: Moment, parts: tuple[int | Decimal, ...]) -> Moment:
    """A moment of the same kind and zone with other parts."""
    names = (
        ["hour", "minute", "second"]
        if moment.kind == "Time"
        else ["year", "month", "day", "hour", "minute", "second"]
    )
    separators = {
        "year": "",
        "month": "-",
        "day": "-",
        "hour": "" if moment.kind == "Time" else "T",
        "minute": ":",
    }
    text = ""
    for name, part in zip(names, parts, strict=False):
        digits = f"{part:04d}" if name == "year" else f"{int(part):02d}"
        if isinstance(part, Decimal):
            digits = f"{part:06.3f}"
        text += separators.get(name, ":") + digits
    if moment.offset is not None:
        sign = "-" if moment.offset < 0 else "+"
        hours, minutes = divmod(abs(moment.offset), 60)
        text += f"{sign}{hours:02d}:{minutes:02d}" if moment.offset else "Z"
    return Moment(moment.kind, parts, moment.offset, text)
