"""The whole demo hospital as transaction Bundles, the same bytes for the same seed and date.

Invariants to keep: an entry refers only to entries of its own or an earlier Bundle; no Bundle has more than MOST_ENTRIES;
the record of a patient is never spread over two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from fhir_server.demo.appointments import add_appointment
from fhir_server.demo.catalogue import price_list, questionnaire
from fhir_server.demo.elements import Resource, instant, later, local
from fhir_server.demo.encounters import add_emergency, add_stay, add_visit
from fhir_server.demo.house import locations, organizations, services
from fhir_server.demo.patients import add_allergies, add_cover, add_problems, add_vaccinations, patient
from fhir_server.demo.people import Person, chance_of, people
from fhir_server.demo.pharmacy import add_statement, medications
from fhir_server.demo.record import Record
from fhir_server.demo.staff import Worker, practitioners, roles, schedules, workers
from fhir_server.demo.stays import Stay, bed_status, plan_stays
from fhir_server.demo.visits import Absences, Visit, plan_visits, slots
from fhir_server.demo.ward_care import add_ward_care, housekeeping, waiting

ANCHOR = date(2026, 11, 30)
MOST_ENTRIES = 500
WAITING = 6


def generate(seed: int = 1, anchor: date = ANCHOR) -> Iterator[Resource]:
    """Transaction Bundles of updates with ids, in the order in which they have to be loaded.

    `anchor` is the day that the hospital stands at, at noon: what goes on goes on then, bookings are for the week after.
    """
    entries: list[Resource] = []
    for group in _groups(seed, anchor):
        if len(entries) + len(group) > MOST_ENTRIES and entries:
            yield _transaction(entries)
            entries = []
        for resource in group:
            address = f"{resource['resourceType']}/{resource['id']}"
            entries.append({"resource": resource, "request": {"method": "PUT", "url": address}})
    yield _transaction(entries)


def _transaction(entries: list[Resource]) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _groups(seed: int, anchor: date) -> Iterator[list[Resource]]:
    """Resources that belong into one Bundle, in order."""
    staff = workers(seed)
    persons = tuple(people(seed, anchor))
    stays = plan_stays(seed, persons, anchor)
    absences = Absences(stays)
    visits = plan_visits(seed, persons, staff, absences, anchor)
    beds = bed_status(seed, stays)
    now = local(anchor, 12)
    yield list(organizations())
    yield list(locations(beds))
    yield [*services(), *practitioners(staff), *roles(staff), *schedules(staff, anchor)]
    yield [*price_list(anchor), questionnaire(anchor), *medications(anchor), *housekeeping(beds, now)]
    booked = {v.slot: v for v in visits if v.slot}
    all_slots = list(slots(seed, staff, anchor, booked))
    for first in range(0, len(all_slots), MOST_ENTRIES):
        yield all_slots[first : first + MOST_ENTRIES]
    for person in persons:
        own_stays = sorted((s for s in stays if s.person is person), key=lambda s: s.start)
        own_visits = sorted((v for v in visits if v.person is person), key=lambda v: v.start)
        yield _record(seed, person, staff, own_stays, own_visits, absences, anchor).resources
    able = [p for p in persons if p.age(anchor) >= 16 and absences.can_come(p, now)]
    chosen = chance_of(seed, "waiting").sample(able, WAITING)
    yield [waiting(person, number, now) for number, person in enumerate(chosen, 1)]


def _record(
    seed: int,
    person: Person,
    staff: Sequence[Worker],
    stays: Sequence[Stay],
    visits: Sequence[Visit],
    absences: Absences,
    anchor: date,
) -> Record:
    chance = chance_of(seed, "record", person.number)
    death = next((s.end for s in stays if s.died), None)
    record = Record(person, chance, death or local(anchor, 12), dead=death is not None)
    record.resources.append(patient(person, chance, instant(death) if death is not None else None))
    events = [s.start.date() for s in stays] + [v.start.date() for v in visits if not v.slot]
    first = min(events, default=anchor - timedelta(days=1))
    registered = max(person.birth, first - timedelta(days=chance.randint(10, 900)))
    account = add_cover(record, registered)
    add_allergies(record, registered)
    nurses = [w for w in staff if w.role == "nurse"]
    add_vaccinations(record, record.now.date(), [n.id for n in nurses])
    known = add_problems(record, registered)
    if person.age(registered) > 30 and record.happens(0.5):
        add_statement(record, chance.choice(("paracetamol", "ibuprofen", "aspirin")), registered)
    for visit in visits:
        appointment = add_appointment(record, visit, anchor)
        if visit.status == "fulfilled":
            add_visit(record, visit, appointment, account, known)
    _add_emergency(record, staff, absences, account, anchor)
    for stay in stays:
        doctors = [w for w in staff if w.role == "doctor" and w.department == stay.ward.department]
        doctor = chance.choice(doctors)
        encounter = add_stay(record, stay, doctor, account)
        if stay.end is None:
            add_ward_care(record, stay, encounter, doctor, chance.choice(nurses))
    return record


def _add_emergency(
    record: Record, staff: Sequence[Worker], absences: Absences, account: Resource, anchor: date
) -> None:
    """One visit to the emergency department for a quarter of the people."""
    if not record.happens(0.25):
        return
    day = anchor - timedelta(days=record.chance.randint(3, 500))
    start = local(day, record.chance.randint(17, 23), record.chance.choice((5, 20, 35, 50)))
    worker = record.chance.choice([w for w in staff if w.department == "emergency" and w.role == "doctor"])
    if (day - record.person.birth).days > 30 and absences.can_come(record.person, later(start, hours=6)):
        add_emergency(record, start, worker, account)
