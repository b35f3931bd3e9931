"""The stretches of time in which a Schedule is open, and the starts that it offers, day by day. Pure.

Hours and the grid of starts are wall times, so a clinic at 09:00 stays at 09:00; stretches and starts are instants in UTC.
A start that the clocks skip is left out, one that they show twice is offered once, unless the rules say both. An
invariant to keep: within a stretch, starts are at least `step` apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, reduce

from fhir_server.resources.scheduling.hours import Hours, Opening
from fhir_server.resources.scheduling.intervals import Interval, difference, intersection, union
from fhir_server.resources.scheduling.recurrence import public_holidays, recurring_days
from fhir_server.resources.scheduling.rules import ScheduleRules
from fhir_server.resources.scheduling.zones import day_of, instant_at, instants_of, midnight, wall_at

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Open hours as a source states them, [low, high), and the starts in it, which count from its beginning."""

    low: int
    high: int
    starts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Calendar:
    """When a Schedule is open, all sources taken together, and the stretches whose starts it offers."""

    open: tuple[Interval, ...]
    stretches: tuple[Stretch, ...]


def calendar(rules: ScheduleRules, low: int, high: int) -> Calendar:
    """The open hours around [low, high): those of every day that it touches, and of the night before."""
    if rules.hours is None:
        return Calendar((), ())
    first, last = _days(rules, low, high)
    return _calendar(rules.hours, rules.zone, rules.step, rules.both_folds, first, last)


def fitting_starts(rules: ScheduleRules, low: int, high: int, duration: int) -> tuple[int, ...]:
    """The starts around [low, high) at which a booking of `duration` is within the open hours, in order of time."""
    if rules.hours is None:
        return ()
    first, last = _days(rules, low, high)
    return _fitting(rules.hours, rules.zone, rules.step, rules.both_folds, first, last, duration)


def _days(rules: ScheduleRules, low: int, high: int) -> tuple[date, date]:
    """The days that [low, high) touches, and the night before them."""
    first = day_of(wall_at(low, rules.zone)) - _DAY
    return first, day_of(wall_at(max(low, high - 1), rules.zone))


@lru_cache(1024)
def _fitting(
    hours: Hours, zone: str, step: int, both: bool, first: date, last: date, duration: int
) -> tuple[int, ...]:
    made = _calendar(hours, zone, step, both, first, last)
    found: list[int] = []
    at = 0
    for start in (start for stretch in made.stretches for start in stretch.starts):
        while at < len(made.open) and made.open[at][1] < start + duration:
            at += 1
        if at < len(made.open) and made.open[at][0] <= start:
            found.append(start)
    return tuple(found)


@lru_cache(1024)
def _calendar(hours: Hours, zone: str, step: int, both: bool, first: date, last: date) -> Calendar:
    stated = [_stretches(opening, zone, step, both, first, last) for opening in hours.openings]
    if not stated:
        return Calendar((), ())
    opened = reduce(intersection, [union((s.low, s.high) for s in stretches) for stretches in stated])
    closed = union([*hours.absences, *_holidays(hours.holidays, zone, first, last + _DAY)])
    return Calendar(tuple(difference(opened, closed)), stated[0])


def _stretches(
    opening: Opening, zone: str, step: int, both: bool, first: date, last: date
) -> tuple[Stretch, ...]:
    found = []
    for low, high in _apart(sorted(_wall_hours(opening, first, last))):
        begins, ends = instant_at(low, zone), instant_at(high, zone, both)
        if begins < ends:
            found.append(Stretch(begins, ends, _starts(low, high, begins, ends, zone, step, both)))
    return tuple(found)


def _wall_hours(opening: Opening, first: date, last: date) -> Iterator[Interval]:
    for recurrence in opening.recurrences:
        for day in recurring_days(recurrence, first, last):
            yield midnight(day) + recurrence.low, midnight(day) + recurrence.high
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        for weekday, low, high in opening.weekly:
            if weekday == day.weekday():
                yield midnight(day) + low, midnight(day) + high


def _apart(hours: Sequence[Interval]) -> Iterator[Interval]:
    """Hours that overlap become one; those that touch stay two, each with a grid of its own."""
    kept: Interval | None = None
    for low, high in hours:
        if kept is not None and low < kept[1]:
            kept = kept[0], max(kept[1], high)
        else:
            if kept is not None:
                yield kept
            kept = low, high
    if kept is not None:
        yield kept


def _starts(low: int, high: int, begins: int, ends: int, zone: str, step: int, both: bool) -> Sequence[int]:
    if ends - begins == high - low:
        return range(begins, ends, step)
    found = sorted(
        instant
        for wall in range(low, high, step)
        for instant in (instants_of(wall, zone) if both else instants_of(wall, zone)[:1])
        if begins <= instant < ends
    )
    kept: list[int] = []
    for instant in found:
        if not kept or instant >= kept[-1] + step:
            kept.append(instant)
    return tuple(kept)


def _holidays(code: str | None, zone: str, first: date, last: date) -> Iterator[Interval]:
    if code is not None:
        for year in range(first.year, last.year + 1):
            for day in public_holidays(code, year):
                if first <= day <= last:
                    yield instant_at(midnight(day), zone), instant_at(midnight(day + _DAY), zone)
