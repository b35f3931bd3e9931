"""The clinics' calendar: who saw, or will see, which doctor and when; the slots of the coming week.

Invariants to keep: a doctor has one patient at a time, in clinic hours; nobody is seen while lying in a ward or after death.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random

from fhir_server.demo.elements import SNOMED, Resource, concept, instant, later, local, reference
from fhir_server.demo.house import SERVICE_TYPES
from fhir_server.demo.people import Person, chance_of
from fhir_server.demo.staff import SPECIALTIES, Worker
from fhir_server.demo.stays import Stay
from fhir_server.demo.vocabulary import MINOR, Problem

CELLS = tuple((hour, minute) for hour in (9, 10, 11, 13, 14, 15) for minute in (0, 30))
MINUTES = 30
DAYS_AHEAD = 7


@dataclass(frozen=True, slots=True)
class Visit:
    """An appointment of a person with a doctor; `slot` is the id of its Slot, '' for the past."""

    person: Person
    worker: Worker
    start: datetime
    status: str
    problem: Problem | None
    slot: str = ""

    @property
    def end(self) -> datetime:
        return later(self.start, minutes=MINUTES)


class Absences:
    """When patients cannot come: lying in a ward, or dead."""

    def __init__(self, stays: Sequence[Stay]) -> None:
        self._stays: dict[str, list[Stay]] = {}
        for stay in stays:
            self._stays.setdefault(stay.person.id, []).append(stay)

    def can_come(self, person: Person, start: datetime) -> bool:
        day = timedelta(days=1)
        return not any(
            s.start - day < start and (s.died or s.end is None or start < s.end + day)
            for s in self._stays.get(person.id, ())
        )


def plan_visits(
    seed: int, people: Sequence[Person], staff: Sequence[Worker], absences: Absences, anchor: date
) -> tuple[Visit, ...]:
    """Visits of the last year and bookings of the coming week."""
    taken: set[tuple[str, datetime]] = set()
    past = [
        v
        for person in people
        for v in _past(chance_of(seed, "visits", person.number), person, staff, absences, anchor, taken)
    ]
    return (*past, *_bookings(chance_of(seed, "bookings"), people, staff, absences, anchor))


def _past(
    chance: Random,
    person: Person,
    staff: Sequence[Worker],
    absences: Absences,
    anchor: date,
    taken: set[tuple[str, datetime]],
) -> Iterator[Visit]:
    seen: set[date] = set()
    for _ in range(chance.randint(1, 2 + len(person.chronic))):
        day = anchor - timedelta(days=chance.randint(1, 360))
        years = person.age(day)
        if (day - person.birth).days < 30:
            continue
        minor = [p for p in MINOR if p.ages[0] <= years <= p.ages[1]]
        known = [p for p, began in person.chronic if began < day]
        problem = chance.choice(known or minor) if chance.random() < 0.6 else chance.choice(minor)
        service = "paediatrics" if years < 16 else problem.service
        worker = chance.choice([w for w in staff if w.days and w.department == service])
        while day.weekday() not in worker.days:
            day -= timedelta(days=1)
        start = local(day, *chance.choice(CELLS))
        if (worker.id, start) in taken or day in seen or not absences.can_come(person, start):
            continue
        taken.add((worker.id, start))
        seen.add(day)
        status = chance.choices(("fulfilled", "noshow", "cancelled"), (90, 4, 6))[0]
        yield Visit(person, worker, start, status, problem)


def clinic_cells(staff: Sequence[Worker], anchor: date) -> Iterator[tuple[Worker, datetime]]:
    """Every half hour of every clinic in the coming week."""
    for worker in staff:
        for ahead in range(1, DAYS_AHEAD + 1):
            day = anchor + timedelta(days=ahead)
            if day.weekday() in worker.days:
                for cell in CELLS:
                    yield worker, local(day, *cell)


def slot_id(worker: Worker, start: datetime) -> str:
    return f"slot-{worker.id.removeprefix('prac-')}-{start:%Y%m%d-%H%M}"


def _bookings(
    chance: Random, people: Sequence[Person], staff: Sequence[Worker], absences: Absences, anchor: date
) -> Iterator[Visit]:
    days: set[tuple[str, date]] = set()
    for worker, start in clinic_cells(staff, anchor):
        if chance.random() > 0.42:
            continue
        person = chance.choice(people)
        child = person.age(anchor) < 16
        key = (person.id, start.date())
        if (
            child != (worker.department == "paediatrics")
            or key in days
            or not absences.can_come(person, start)
        ):
            continue
        days.add(key)
        status = "pending" if chance.random() < 0.06 else "booked"
        problem = next((p for p, _ in person.chronic if p.service == worker.department), None)
        yield Visit(person, worker, start, status, problem, slot_id(worker, start))


def slots(
    seed: int, staff: Sequence[Worker], anchor: date, booked: Mapping[str, Visit]
) -> Iterator[Resource]:
    """The slots of the coming week: taken by the bookings, blocked here and there, or free."""
    chance = chance_of(seed, "slots")
    for worker, start in clinic_cells(staff, anchor):
        id = slot_id(worker, start)
        blocked = chance.random() < 0.05
        visit = booked.get(id)
        status = "busy-unavailable" if blocked else "free"
        if visit is not None:
            status = "busy" if visit.status == "booked" else "busy-tentative"
        yield {
            "resourceType": "Slot",
            "id": id,
            "serviceType": [concept("service-type", *SERVICE_TYPES[worker.department])],
            "specialty": [concept(SNOMED, *SPECIALTIES[worker.department])],
            "schedule": reference(f"Schedule/{worker.schedule}"),
            "status": status,
            "start": instant(start),
            "end": instant(later(start, minutes=MINUTES)),
        }
