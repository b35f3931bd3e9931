"""When a Schedule is open: weekly hours, recurrences, absences and public holidays, as its resources state them. Pure.

Sources: PractitionerRole.availableTime and notAvailable, HealthcareService.availableTime and notAvailable,
Location.hoursOfOperation (https://hl7.org/fhir/R4/practitionerrole.html), and the parts `available-time` and `recurrence` of
the extension `scheduling-rules`. Hours are wall times; what is open is open in every source that states hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import DAY, parse_time, period_interval
from fhir_server.context import Resource
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.resources.scheduling.recurrence import Recurrence, check_recurrence, public_holidays

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# weekday (0 is Monday), and from when to when in microseconds after that day's midnight; beyond 24 hours: the night after
Weekly = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Opening:
    """The hours that one source states: on every week, and by recurrences."""

    weekly: tuple[Weekly, ...] = ()
    recurrences: tuple[Recurrence, ...] = ()


@dataclass(frozen=True, slots=True)
class Hours:
    """Open is what is in all `openings`, in none of `absences` (instants), and on no public holiday of `holidays`.

    `holidays` are codes of ISO 3166: a country (`DE`) or a part of one (`DE-BE`). Without `openings` nothing states
    hours: open is what is published as free Slots.
    """

    openings: tuple[Opening, ...] = ()
    absences: tuple[Interval, ...] = ()
    holidays: str | None = None


def hours_of(
    schedule: Mapping[str, Any],
    related: Mapping[str, Resource],
    holidays: Any,
    zone: str,
    rules: str,
) -> Hours:
    """The hours of a Schedule: its own take the place of those of its roles; services and places narrow them.

    `rules` is the address of the extension. Raises BusinessRule for hours that make no sense.
    """
    own = _extension_opening(schedule, rules)
    openings: list[Opening] = [] if own is None else [own]
    absences: list[Interval] = []
    # what an actor says of itself; the place of a role is asked too, because nobody works where it is closed
    for resource in related.values():
        type = resource["resourceType"]
        absences += _absences(resource, zone)
        if type == "PractitionerRole" and own is not None:
            continue
        stated = _extension_opening(resource, rules) if type != "Organization" else None
        if stated is None:
            stated = _opening(resource)
        if stated is not None:
            openings.append(stated)
    known = None if holidays is None else _known_holidays(holidays)
    return Hours(tuple(dict.fromkeys(openings)), tuple(sorted(set(absences))), known)


def _known_holidays(code: Any) -> str:
    try:
        public_holidays(str(code), 2000)
    except ValueError as error:
        raise BusinessRule(f"{error}.", "holidays") from error
    return str(code)


def _opening(resource: Mapping[str, Any]) -> Opening | None:
    if resource["resourceType"] == "Location":
        names, stated = ("openingTime", "closingTime"), resource.get("hoursOfOperation", ())
    else:
        names, stated = ("availableStartTime", "availableEndTime"), resource.get("availableTime", ())
    return Opening(tuple(_weekly(stated, *names))) if stated else None


def _weekly(stated: Iterable[Mapping[str, Any]], start: str, end: str) -> Iterator[Weekly]:
    for one in stated:
        low, high = (0, DAY) if one.get("allDay") is True else wall_hours(one.get(start), one.get(end))
        for day in one.get("daysOfWeek") or DAYS:
            yield DAYS.index(day), low, high


def wall_hours(start: Any, end: Any) -> tuple[int, int]:
    """From when to when, in microseconds after midnight; an end that is not after the start is on the day after.

    Raises BusinessRule for what is no time.
    """
    try:
        low = 0 if start is None else parse_time(str(start))[0]
        high = DAY if end is None else parse_time(str(end))[0]
    except ValueError as error:
        raise BusinessRule(f"{error}.", "available-time") from error
    return low, high if high > low else high + DAY


def _absences(resource: Mapping[str, Any], zone: str) -> list[Interval]:
    return [
        period_interval(one["during"].get("start"), one["during"].get("end"), zone)
        for one in resource.get("notAvailable", ())
        if "during" in one
    ]


def _extension_opening(resource: Mapping[str, Any], rules: str) -> Opening | None:
    weekly: list[Weekly] = []
    recurrences: list[Recurrence] = []
    stated = False
    for extension in resource.get("extension", ()):
        if extension.get("url") != rules:
            continue
        for part in extension.get("extension", ()):
            if part.get("url") == "available-time":
                stated = True
                weekly += _weekly((_available_time(part),), "start", "end")
            elif part.get("url") == "recurrence":
                stated = True
                recurrences.append(_recurrence(part))
    return Opening(tuple(weekly), tuple(recurrences)) if stated else None


def _available_time(part: Mapping[str, Any]) -> dict[str, Any]:
    values = _parts(part)
    days = [str(day) for day in values.get("days-of-week", ())]
    for day in days:
        if day not in DAYS:
            raise BusinessRule(f"{day[:20]!r} is none of {', '.join(DAYS)}.", "available-time")
    return {
        "daysOfWeek": days,
        "allDay": _one(values, "all-day"),
        "start": _one(values, "start"),
        "end": _one(values, "end"),
    }


def _recurrence(part: Mapping[str, Any]) -> Recurrence:
    values = _parts(part)
    rule, first = _one(values, "rule"), _one(values, "first")
    if not isinstance(rule, str) or not isinstance(first, str):
        raise BusinessRule("A recurrence has a rule (RFC 5545) and a first day.", "recurrence")
    try:
        recurrence = Recurrence(
            rule,
            date.fromisoformat(first),
            *wall_hours(_one(values, "start"), _one(values, "end")),
            tuple(sorted(date.fromisoformat(str(day)) for day in values.get("except", ()))),
        )
        check_recurrence(recurrence)
    except ValueError as error:
        raise BusinessRule(f"The recurrence {rule[:80]!r} cannot be read: {error}.", "recurrence") from error
    return recurrence


def _parts(extension: Mapping[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in extension.get("extension", ()):
        value = next((v for k, v in part.items() if k.startswith("value")), None)
        found.setdefault(str(part.get("url")), []).append(value)
    return found


def _one(values: Mapping[str, list[Any]], name: str) -> Any:
    found = values.get(name)
    return found[0] if found else None
