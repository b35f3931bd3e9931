"""Figures of a ward's use, from who lay where and which beds were staffed. Pure.

Two definitions, never mixed. Midnight: those present at the midnights that end the days, over the beds staffed then. Hours:
the time that beds were occupied over the time that they were available; a day has 23, 24 or 25 hours as the clocks of the place
have it. Closed beds count in neither denominator. Times are microseconds UTC, intervals half-open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Bed:
    id: str
    closed: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody in a bed; `leave` are the times in between in which they were not in the house."""

    bed: str
    interval: Interval
    leave: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class Stay:
    """A whole stay. `ended` None while it goes on; `here` whether its last bed was of the place."""

    began: int
    ended: int | None
    presences: tuple[Presence, ...]
    leave: tuple[Interval, ...] = ()
    here: bool = True
    began_here: bool = True
    id: str = ""


@dataclass(frozen=True, slots=True)
class Counting:
    """How is counted: the zone of the place, whether leave counts, and what a stay of one day counts."""

    zone: str = "UTC"
    count_leave: bool = False
    same_day: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Use:
    """Occupied over available: patients over beds at midnights, or microseconds over microseconds."""

    occupied: int
    available: int

    @property
    def ratio(self) -> Decimal | None:
        return None if self.available == 0 else Decimal(self.occupied) / Decimal(self.available)

    def __add__(self, other: Use) -> Use:
        return Use(self.occupied + other.occupied, self.available + other.available)


def days_of(first: date, last: date, zone: str) -> list[tuple[date, Interval]]:
    """The days from `first` to `last`, each from its midnight to the next on the clocks of `zone`."""
    found, day = [], first
    while day <= last:
        after = day + timedelta(days=1)
        found.append((day, (midnight(day, zone), midnight(after, zone))))
        day = after
    return found


def midnight(day: date, zone: str) -> int:
    """The instant at which `day` begins."""
    return round(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000


def local_day(instant: int, zone: str) -> date:
    """The day that the clocks show."""
    return datetime.fromtimestamp(instant / 1_000_000, ZoneInfo(zone)).date()


def at_midnight(beds: Sequence[Bed], stays: Iterable[Stay], when: int, counting: Counting) -> Use:
    """Those present at an instant, over the beds that are staffed then."""
    ids = {bed.id for bed in beds}
    present = sum(
        1
        for presence in _presences(stays)
        if presence.bed in ids and _covers(presence.interval, when) and not _away(presence, when, counting)
    )
    staffed = sum(1 for bed in beds if not any(_covers(c, when) for c in bed.closed))
    return Use(present, staffed)


def by_time(beds: Sequence[Bed], stays: Iterable[Stay], span: Interval, counting: Counting) -> Use:
    """The time occupied over the time available."""
    ids = {bed.id for bed in beds}
    occupied = 0
    for presence in _presences(stays):
        if presence.bed not in ids:
            continue
        occupied += _length(_cut(presence.interval, span))
        if not counting.count_leave:
            away = [_cut(_cut(leave, presence.interval), span) for leave in presence.leave]
            occupied -= sum(_length(one) for one in away)
    available = sum(_length(span) - sum(_length(_cut(closed, span)) for closed in bed.closed) for bed in beds)
    return Use(occupied, available)


def most_at_once(beds: Sequence[Bed], stays: Iterable[Stay], span: Interval, counting: Counting) -> int:
    """The most that were present at one instant."""
    ids = {bed.id for bed in beds}
    steps: list[tuple[int, int]] = []
    for presence in _presences(stays):
        if presence.bed not in ids:
            continue
        parts = [presence.interval]
        if not counting.count_leave:
            parts = _without(presence.interval, presence.leave)
        for part in parts:
            low, high = _cut(part, span)
            if low < high:
                steps += [(low, 1), (high, -1)]
    present = most = 0
    for _, step in sorted(steps):
        present += step
        most = max(most, present)
    return most


def discharges(stays: Iterable[Stay], span: Interval) -> list[Stay]:
    """The stays that ended in the place in `span`."""
    return [s for s in stays if s.here and s.ended is not None and span[0] <= s.ended < span[1]]


def admissions(stays: Iterable[Stay], span: Interval) -> int:
    return sum(1 for s in stays if s.began_here and span[0] <= s.began < span[1])


def bed_days(stay: Stay, counting: Counting) -> Decimal:
    """The days of a stay that has ended: its midnights but for those on leave; a stay within a day counts `same_day`."""
    assert stay.ended is not None
    first, last = local_day(stay.began, counting.zone), local_day(stay.ended, counting.zone)
    if first == last:
        return counting.same_day
    midnights = [
        midnight(first + timedelta(days=n), counting.zone) for n in range(1, (last - first).days + 1)
    ]
    if not counting.count_leave:
        midnights = [m for m in midnights if not any(_covers(leave, m) for leave in stay.leave)]
    return Decimal(len(midnights))


def length_of_stay(stays: Sequence[Stay], counting: Counting) -> Decimal | None:
    """The mean of the days of stays that have ended; None without any."""
    if not stays:
        return None
    return sum((bed_days(s, counting) for s in stays), Decimal(0)) / len(stays)


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The smallest value that at least so many percent of the values do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def _presences(stays: Iterable[Stay]) -> Iterable[Presence]:
    return (presence for stay in stays for presence in stay.presences)


def _covers(interval: Interval, when: int) -> bool:
    return interval[0] <= when < interval[1]


def _away(presence: Presence, when: int, counting: Counting) -> bool:
    return not counting.count_leave and any(_covers(leave, when) for leave in presence.leave)


def _cut(interval: Interval, span: Interval) -> Interval:
    return max(interval[0], span[0]), min(interval[1], span[1])


def _length(interval: Interval) -> int:
    return max(0, interval[1] - interval[0])


def _without(interval: Interval, holes: Iterable[Interval]) -> list[Interval]:
    parts, low = [], interval[0]
    for hole in sorted(holes):
        if hole[0] > low:
            parts.append((low, min(hole[0], interval[1])))
        low = max(low, hole[1])
    if low < interval[1]:
        parts.append((low, interval[1]))
    return parts
