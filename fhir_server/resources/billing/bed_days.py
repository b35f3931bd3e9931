"""The days of a stay that are charged, and where the patient lay: by midnights, or by started days of 24 hours. Pure.

A midnight counts for the day that it ends. An invariant to keep: each day is counted once, whatever was moved on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from fhir_r4.temporal import DAY, parse_interval
from fhir_server.context import Resource
from fhir_server.resources.beds.stays import (
    ENDED,
    PRESENT,
    end_of,
    is_inpatient,
    places_of,
    start_of,
    status,
)
from fhir_server.resources.billing.settings import MIDNIGHT, BillingSettings, day_at

MOST_DAYS = 3700


@dataclass(frozen=True, slots=True)
class BedDay:
    """A day that is charged; `location` is the id of the place where the patient lay, None when that is not told."""

    day: date
    location: str | None


def bed_days(
    stay: Resource, settings: BillingSettings, until: int, zone: str, bases: Sequence[str] = ()
) -> list[BedDay]:
    """The days of a stay up to `until` (microseconds)."""
    began = start_of(stay.get("period", {}).get("start"))
    if began is None or not is_inpatient(stay) or not (status(stay) in PRESENT or status(stay) == "finished"):
        return []
    left = end_of(stay.get("period", {}).get("end")) if status(stay) in ENDED else None
    end = until if left is None else min(left, until)
    if end <= began:
        return []
    if settings.bed_day == MIDNIGHT:
        found = list(_midnights(stay, settings, began, end, zone, bases))
    else:
        found = list(_started(stay, settings, began, end, zone, bases))
    over = left is not None and left <= until
    if over and settings.discharge_day:
        found.append(BedDay(day_at(end, zone), _place(stay, end, bases)))
    if over and settings.same_day and not found and not _on_leave(stay, began):
        found.append(BedDay(day_at(began, zone), _place(stay, end, bases)))
    return list({one.day: one for one in reversed(found)}.values())[::-1]


def _midnights(
    stay: Resource, settings: BillingSettings, began: int, end: int, zone: str, bases: Sequence[str]
) -> Iterator[BedDay]:
    day = day_at(began, zone)
    for _ in range(MOST_DAYS):
        midnight = parse_interval(day.isoformat(), zone)[1]
        if midnight > end:
            return
        if settings.leave_days or not _on_leave(stay, midnight):
            yield BedDay(day, _place(stay, midnight, bases))
        day += timedelta(days=1)


def _started(
    stay: Resource, settings: BillingSettings, began: int, end: int, zone: str, bases: Sequence[str]
) -> Iterator[BedDay]:
    first = day_at(began, zone)
    for number in range(MOST_DAYS):
        start = began + number * DAY
        if start >= end:
            return
        if settings.leave_days or not _on_leave(stay, start + 1):
            yield BedDay(first + timedelta(days=number), _place(stay, start + 1, bases))


def _place(stay: Resource, at: int, bases: Sequence[str]) -> str | None:
    """Where the patient lay just before an instant."""
    for place in reversed(places_of(stay, bases)):
        entry = stay["location"][place.index]
        if entry.get("status", "active") in ("reserved", "planned"):
            continue
        if (place.start is None or place.start < at) and (place.end is None or at <= place.end):
            return place.location
    return None


def _on_leave(stay: Resource, at: int) -> bool:
    """Whether the patient was on leave just before an instant."""
    history = stay.get("statusHistory", ())
    for entry in history:
        low, high = (_bound(entry.get("period", {}), name) for name in ("start", "end"))
        if entry.get("status") == "onleave" and (low is None or low < at) and (high is None or at <= high):
            return True
    if status(stay) != "onleave":
        return False
    since = _bound(history[-1].get("period", {}), "end") if history else None
    return since is None or since < at


def _bound(period: Resource, name: str) -> int | None:
    return start_of(period.get(name)) if name == "start" else end_of(period.get(name))
