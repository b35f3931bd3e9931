"""Wall-clock times of a zone and the instants they mean, by the IANA rules.

A wall time is the microseconds that a clock shows, counted since 1970-01-01T00:00 as if there were no zone. Source of the
rules: the `tzdata` package or the system's. An invariant to keep: all arithmetic is done on instants in UTC.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

from fhir_r4.temporal import DAY, SECOND

_EPOCH = datetime(1970, 1, 1)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


@lru_cache(64)
def zone_of_name(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError for one that is not known."""
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError(f"{name[:64]!r} is no time zone of the IANA database") from error


def rules_version() -> str:
    """The version of the rules, such as `2026a`: of the system's when there are any, else of the package."""
    for folder in TZPATH:
        if Path(folder).is_dir():
            listed = Path(folder) / "tzdata.zi"
            first = listed.read_text("utf-8").partition("\n")[0] if listed.is_file() else ""
            return first.removeprefix("# version ").strip() or "of the system"
    return str(import_module("tzdata").IANA_VERSION)


def midnight(day: date) -> int:
    """The wall time at which a day begins."""
    return (day.toordinal() - _EPOCH_DAY) * DAY


def day_of(wall: int) -> date:
    return date.fromordinal(wall // DAY + _EPOCH_DAY)


@lru_cache(32768)
def instants_of(wall: int, zone: str) -> tuple[int, ...]:
    """The instants at which the clocks show `wall`: none when they skip it, two when they are set back over it."""
    naive = _EPOCH + timedelta(microseconds=wall)
    known = zone_of_name(zone)
    before = wall - _microseconds(naive.replace(tzinfo=known).utcoffset())
    after = wall - _microseconds(naive.replace(tzinfo=known, fold=1).utcoffset())
    if before == after:
        return (before,)
    return (before, after) if before < after else ()


@lru_cache(32768)
def instant_at(wall: int, zone: str, last: bool = False) -> int:
    """The instant at which the clocks come to `wall`, or pass it: the first one, or the `last`."""
    found = instants_of(wall, zone)
    return found[-1 if last else 0] if found else _after_gap(wall, zone)


def offset_at(instant: int, zone: str) -> int:
    """How far east of UTC the clocks are at an instant, in microseconds."""
    moment = datetime.fromtimestamp(instant // SECOND, zone_of_name(zone))
    return _microseconds(moment.utcoffset())


def wall_at(instant: int, zone: str) -> int:
    """What the clocks show at an instant."""
    return instant + offset_at(instant, zone)


def format_local(instant: int, zone: str) -> str:
    """The instant as the zone's clocks show it, with its offset: `2026-03-30T09:00:00+02:00`."""
    moment = datetime.fromtimestamp(instant // SECOND, zone_of_name(zone))
    return moment.isoformat()


def told(instant: int, zone: str) -> str:
    """The instant for people, by the zone's clocks: `Monday, 30 March 2026, 09:00 (UTC+02:00)`."""
    moment = datetime.fromtimestamp(instant // SECOND, zone_of_name(zone))
    day = f"{_DAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"{day}, {moment:%H:%M} (UTC{moment.isoformat()[19:]})"


def _after_gap(wall: int, zone: str) -> int:
    """The first instant at which the clocks show more than `wall`, which they skip."""
    low, high = wall - DAY, wall + DAY
    while high - low > 1:
        middle = (low + high) // 2
        if wall_at(middle, zone) > wall:
            high = middle
        else:
            low = middle
    return high


def _microseconds(offset: timedelta | None) -> int:
    return 0 if offset is None else round(offset.total_seconds()) * SECOND
