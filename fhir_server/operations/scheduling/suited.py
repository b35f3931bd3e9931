"""Whom `$find` looks for, and at which Schedules and times these would be refused: nothing of it is offered.

What is asked are the functions by which bookings are judged (resources/scheduling/suiting, limits). An invariant to keep: a
question that names nobody is answered for anybody, and costs no look at patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from fhir_r4.temporal import OPEN_HIGH, OPEN_LOW
from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.scheduling.bookable import Bookable
from fhir_server.operations.scheduling.people import known_id
from fhir_server.operations.scheduling.question import Question
from fhir_server.resources.beds.wards import birth_date
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.intervals import Interval, intersection
from fhir_server.resources.scheduling.limits import Open, bookings_refusal, open_bookings
from fhir_server.resources.scheduling.suiting import (
    acquaintance_refusal,
    age_refusal,
    ages,
    qualification_refusal,
    qualified,
    seeing,
    seen_by,
)

ALWAYS = ((OPEN_LOW, OPEN_HIGH),)


@dataclass(frozen=True, slots=True)
class Visitor:
    """One for whom times are looked for: `seen_by` are those who have seen them, `open` what they have booked."""

    name: str
    born: date | None = None
    seen_by: frozenset[str] = frozenset()
    open: Open = ()


@dataclass(frozen=True, slots=True)
class Suited:
    """At which starts the Schedules, by reference, may be had by all for whom a question looks; all starts where nothing is said.

    `reasons` say of the Schedules that cannot be had at all why that is.
    """

    visitors: tuple[Visitor, ...]
    starts: Mapping[str, Sequence[Interval]]
    reasons: tuple[str, ...]

    def allowed(self, bookable: Bookable) -> Sequence[Interval]:
        """The starts at which a booking of the Schedule, alone or with others, is not refused."""
        return self.starts.get(bookable.reference, ALWAYS)

    def refusal(self, bookables: Sequence[Bookable], service: str | None) -> str | None:
        """Why those for whom the question looks, having been seen here before or not, are not booked with these together."""
        if not self.visitors or all(b.rules.patients is None for b in bookables):
            return None
        here = seeing((a for b in bookables for a in (*b.rules.actors, *b.people)), service)
        refusals = (
            acquaintance_refusal(b.rules, v.name, known_here=not here.isdisjoint(v.seen_by))
            for b in bookables
            for v in self.visitors
        )
        return next((refusal for refusal in refusals if refusal is not None), None)


async def suited(services: Services, question: Question, bookables: Iterable[Bookable]) -> Suited:
    """What the rules of the Schedules say to those for whom a question looks."""
    stating = [b for b in bookables if b.rules.who or b.rules.open_bookings is not None]
    if not stating:
        return Suited((), {}, ())
    known = Plan(services, ())
    visitors = await _visitors(question, known, services, stating)
    starts: dict[str, Sequence[Interval]] = {}
    reasons: dict[str, None] = {}
    for bookable in stating:
        allowed, why = await _allowed(bookable, visitors, question.period, known)
        starts[bookable.reference] = allowed
        if why is not None:
            reasons[f"{bookable.reference}: {why}"] = None
    return Suited(visitors, starts, tuple(reasons))


async def _visitors(
    question: Question, known: Known, services: Services, stating: Sequence[Bookable]
) -> tuple[Visitor, ...]:
    """Each patient with what the rules ask of them, and no more."""
    records: dict[str, Resource | None] = {p: await known.current(*_key(p)) for p in question.patients}
    for number, sent in enumerate(question.new_patients, 1):
        id = await known_id(sent, known)
        name = f"patient-resource {number}" if id is None else f"Patient/{id}"
        records[name] = sent if id is None else await known.current("Patient", id)
    asked_seen = any(b.rules.patients is not None for b in stating)
    asked_open = any(b.rules.open_bookings is not None for b in stating)
    moved = None if question.without is None else question.without.partition("/")[2]
    visitors = []
    for name, record in records.items():
        seen: set[str] = set()
        booked: Open = ()
        if asked_seen and name.startswith("Patient/"):
            seen = await seen_by(name, known, but=moved)
        if asked_open and name.startswith("Patient/"):
            booked = await open_bookings(name, known, services.settings.default_timezone, but=moved)
        born = None if record is None else birth_date(record.get("birthDate"))
        visitors.append(Visitor(name, born, frozenset(seen), booked))
    return tuple(visitors)


async def _allowed(
    bookable: Bookable, visitors: Sequence[Visitor], period: Interval, known: Known
) -> tuple[list[Interval], str | None]:
    """The starts within the period that a Schedule allows, and when there are none, why."""
    rules, allowed = bookable.rules, [period]
    for visitor in visitors:
        limit = rules.open_bookings
        refusal = None if limit is None else bookings_refusal(limit, visitor.name, visitor.open)
        if refusal is not None:
            return [], refusal
        allowed = intersection(allowed, [ages(rules, visitor.born)])
        if not allowed:
            return [], age_refusal(rules, visitor.born, visitor.name, period[0])
    for person in bookable.people if rules.qualification else ():
        if person.startswith("Practitioner/"):
            held = qualified(await known.current(*_key(person)), rules)
            allowed = intersection(allowed, held)
            if not allowed:
                return [], qualification_refusal(rules, person, held, period[0])
    return allowed, None


def _key(reference: str) -> tuple[str, str]:
    type, _, id = reference.partition("/")
    return type, id
