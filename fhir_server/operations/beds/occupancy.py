"""Location/$occupancy: how far the beds of a place were used, as a MeasureReport. Reads only.

https://hl7.org/fhir/R4/measurereport.html. The report of a period that has ended is, unless `as-of` is given, of what was known
at its end, so that its figures stay what they were; when today's records say otherwise, the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from fhir_r4.errors import InvalidRequest, NotFound
from fhir_r4.temporal import DAY, MINUTE, format_instant
from fhir_server.context import Actor, FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.visibility import visible_ids
from fhir_server.operations.beds import census
from fhir_server.operations.beds.asking import instant
from fhir_server.operations.beds.board import Board
from fhir_server.operations.beds.census import Bed, Counting, Interval, Stay, Use
from fhir_server.operations.beds.following import board_of
from fhir_server.operations.beds.looking_back import beds_then, stays_then
from fhir_server.operations.given import Given, given
from fhir_server.operations.seeing import require_seen
from fhir_server.resources.beds.places import OSLER, kind_of, parent_of
from fhir_server.resources.beds.surroundings import MOST_LEVELS

OCCUPANCY = "https://osler.health/fhir/OperationDefinition/Location-occupancy"
MEASURE = "https://osler.health/fhir/Measure/bed-occupancy-"
CODES = "https://osler.health/fhir/CodeSystem/bed-measure"
POPULATION = "http://terminology.hl7.org/CodeSystem/measure-population"
RESTATED = OSLER + "restated"
TIMEZONE = "http://hl7.org/fhir/StructureDefinition/timezone"
UCUM = "http://unitsofmeasure.org"
MOST_DAYS = 1500
PLACES = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Question:
    """Which days of which place are asked for, and how they are counted."""

    days: tuple[tuple[date, Interval], ...]
    basis: str
    interval: str
    counting: Counting

    @property
    def span(self) -> Interval:
        return self.days[0][1][0], self.days[-1][1][1]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known at `as_of` of beds and stays."""

    beds: tuple[Bed, ...]
    stays: tuple[Stay, ...]
    as_of: int

    def span(self, wanted: Interval) -> Interval:
        """As much of an interval as had passed."""
        return wanted[0], max(wanted[0], min(wanted[1], self.as_of))


async def occupancy(call: OperationCall, services: Services) -> FhirResponse:
    """A MeasureReport with a group for each part of the period, and groups for the whole of it."""
    asked = given(call, OCCUPANCY)
    await require_seen(call, services, asked)
    board = await board_of(services)
    if call.id is not None and call.id not in board.locations:
        raise NotFound(f"There is no Location/{call.id}.")
    question = _question(asked, zone_of(board, call.id, services))
    actor = call.request.actor
    counted = [b for b in board.beds(call.id) if kind_of(board.locations[b]) == "bed"]
    seen = await visible_ids(actor, services, "Location", counted)
    beds = [b for b in counted if b in seen]
    now = services.clock()
    told = asked.one("as-of")
    as_of = min(now, question.span[1]) if told is None else min(now, instant(told))
    facts = await _facts(services, actor, beds, question, as_of)
    report = _report(call, question, facts)
    if told is None and as_of < now:
        today = await _facts(services, actor, beds, question, now)
        report |= _restated(question, facts, today)
    return FhirResponse(200, resource=report)


def zone_of(board: Board, place: str | None, services: Services) -> str:
    """The zone of a place's clocks: its own, that of a place above, or the setting."""
    at: str | None = place
    for _ in range(MOST_LEVELS):
        location = None if at is None else board.locations.get(at)
        if location is None:
            break
        for extension in location.get("extension", ()):
            if extension.get("url") == TIMEZONE:
                return str(extension.get("valueCode"))
        at = parent_of(location, services.settings.local_bases)
    return services.settings.default_timezone


def _question(asked: Given, zone: str) -> Question:
    period = asked.one("period")
    if "start" not in period or "end" not in period:
        raise InvalidRequest("The period has a start and an end, both days.", "period")
    try:
        first, last = (date.fromisoformat(period[name][:10]) for name in ("start", "end"))
    except ValueError as error:
        raise InvalidRequest("The period has a start and an end, both days.", "period") from error
    if not 0 <= (last - first).days < MOST_DAYS:
        raise InvalidRequest(f"The period has between 1 and {MOST_DAYS} days.", "period")
    basis = _choice(asked, "basis", ("midnight", "hours"))
    interval = _choice(asked, "interval", ("none", "day", "month"))
    same_day = asked.one("same-day")
    counting = Counting(
        zone, asked.one("count-leave") is True, Decimal(1) if same_day is None else Decimal(same_day)
    )
    return Question(tuple(census.days_of(first, last, zone)), basis, interval, counting)


def _choice(asked: Given, name: str, choices: Sequence[str]) -> str:
    """A code; the first of the choices when it is not given."""
    value = asked.one(name)
    if value is not None and value not in choices:
        raise InvalidRequest(f"The parameter {name} is one of {', '.join(choices)}.", name)
    return choices[0] if value is None else str(value)


async def _facts(
    services: Services, actor: Actor, beds: Sequence[str], question: Question, as_of: int
) -> Facts:
    """What was known at an instant of the beds, and of those of their stays that the actor may see."""
    closed = await beds_then(services, beds, question.span, as_of)
    bases = services.settings.local_bases
    stays = await stays_then(services, beds, question.span, as_of, bases) if beds else []
    seen = await visible_ids(actor, services, "Encounter", (s.id for s in stays))
    return Facts(tuple(closed), tuple(s for s in stays if s.id in seen), as_of)


def use_of(question: Question, facts: Facts, days: Sequence[tuple[date, Interval]]) -> Use:
    """The use of the beds on some days, by the basis that is asked for."""
    use = Use(0, 0)
    for _, day in days:
        if question.basis == "hours":
            use += census.by_time(facts.beds, facts.stays, facts.span(day), question.counting)
        elif day[1] <= facts.as_of:
            use += census.at_midnight(facts.beds, facts.stays, day[1], question.counting)
    return use


def _report(call: OperationCall, question: Question, facts: Facts) -> Resource:
    groups = [_use_group(question, "occupancy", use_of(question, facts, question.days))]
    groups += _whole(question, facts)
    groups += [
        _use_group(question, f"occupancy-{name}", use_of(question, facts, days))
        for name, days in _parts(question)
    ]
    report: Resource = {
        "resourceType": "MeasureReport",
        "extension": [{"url": OSLER + "as-of", "valueInstant": format_instant(facts.as_of)}],
        "status": "complete",
        "type": "summary",
        "measure": MEASURE + question.basis,
    }
    if call.id is not None:
        report["subject"] = {"reference": f"Location/{call.id}"}
    report["date"] = format_instant(facts.as_of)
    first, last = question.days[0][0], question.days[-1][0]
    report["period"] = {"start": first.isoformat(), "end": last.isoformat()}
    report["group"] = groups
    return report


def _parts(question: Question) -> Iterator[tuple[str, list[tuple[date, Interval]]]]:
    """The parts of the period that are told by themselves, by name: 2026-03-29 or 2026-03."""
    if question.interval == "none":
        return
    size = 10 if question.interval == "day" else 7
    parts: dict[str, list[tuple[date, Interval]]] = {}
    for day in question.days:
        parts.setdefault(day[0].isoformat()[:size], []).append(day)
    yield from parts.items()


def _whole(question: Question, facts: Facts) -> Iterator[Resource]:
    counting, span = question.counting, facts.span(question.span)
    gone = census.discharges(facts.stays, span)
    yield _count("admissions", census.admissions(facts.stays, span))
    yield _count("discharges", len(gone))
    yield _score("length-of-stay", census.length_of_stay(gone, counting), "d")
    use = use_of(question, facts, question.days)
    per_day = DAY if question.basis == "hours" else 1
    days = Decimal(span[1] - span[0]) / DAY
    if gone:
        free = Decimal(use.available - use.occupied) / per_day
        yield _score("turnover-interval", free / len(gone), "d")
    staffed = Decimal(use.available) / per_day / days if days else Decimal(0)
    if staffed:
        yield _score("turnover-rate", Decimal(len(gone)) / staffed, "1")
    if question.basis == "hours":
        yield _count("peak", census.most_at_once(facts.beds, facts.stays, span, counting))
        return
    nights = [use_of(question, facts, [day]).occupied for day in question.days if day[1][1] <= facts.as_of]
    yield _count("peak", max(nights, default=0))
    yield _count("percentile-90", census.percentile(nights, 90) or 0)


def _concept(code: str) -> Resource:
    return {"coding": [{"system": CODES, "code": code}]}


def _use_group(question: Question, name: str, use: Use) -> Resource:
    """A group with numerator and denominator: patients and beds, or minutes."""
    code, _, part = name.partition("-")
    concept = _concept(code)
    if part:
        concept["text"] = part
    unit = MINUTE if question.basis == "hours" else 1
    populations = [
        {"code": {"coding": [{"system": POPULATION, "code": kind}]}, "count": count // unit}
        for kind, count in (("numerator", use.occupied), ("denominator", use.available))
    ]
    group: Resource = {"code": concept, "population": populations}
    return group if use.ratio is None else {**group, "measureScore": _quantity(use.ratio, "1")}


def _score(code: str, value: Decimal | None, unit: str) -> Resource:
    group: Resource = {"code": _concept(code)}
    return group if value is None else {**group, "measureScore": _quantity(value, unit)}


def _count(code: str, value: int) -> Resource:
    return {"code": _concept(code), "measureScore": {"value": value, "system": UCUM, "code": "1"}}


def _quantity(value: Decimal, unit: str) -> Resource:
    return {"value": value.quantize(PLACES, ROUND_HALF_UP), "system": UCUM, "code": unit}


def _restated(question: Question, facts: Facts, today: Facts) -> dict[str, Any]:
    """What records of later change: nothing, or the use that they give."""
    later = Facts(today.beds, today.stays, facts.as_of)
    then, now = (use_of(question, f, question.days) for f in (facts, later))
    if then == now:
        return {}
    unit = MINUTE if question.basis == "hours" else 1
    parts = [
        {"url": "numerator", "valueInteger": now.occupied // unit},
        {"url": "denominator", "valueInteger": now.available // unit},
    ]
    as_of = {"url": OSLER + "as-of", "valueInstant": format_instant(facts.as_of)}
    return {"extension": [as_of, {"url": RESTATED, "extension": parts}]}
