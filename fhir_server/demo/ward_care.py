"""What surrounds a stay that goes on: team, plan, answers, flags and tasks; and the housekeeping of empty beds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from fhir_server.demo.catalogue import ADMISSION, QUESTIONS
from fhir_server.demo.elements import SNOMED, Resource, concept, instant, later, local, period, reference
from fhir_server.demo.people import Person
from fhir_server.demo.record import Record
from fhir_server.demo.staff import Worker
from fhir_server.demo.stays import Stay

BED_TASKS = "https://osler.health/fhir/CodeSystem/bed-task"
BED_TASK = {
    "H": concept(BED_TASKS, "housekeeping", "Clean the bed"),
    "K": concept(BED_TASKS, "decontamination", "Decontaminate the bed"),
}


def add_ward_care(record: Record, stay: Stay, encounter: Resource, doctor: Worker, nurse: Worker) -> None:
    """Team, plan, answers and, for some, flags and tasks of a stay that goes on."""
    start = stay.start
    team = record.add(
        "CareTeam",
        "team",
        status="active",
        name=f"Team of {record.person.name}",
        subject=record.subject,
        encounter=reference(encounter),
        period=period(start),
        participant=[
            {
                "role": [concept("practitioner-role", w.role)],
                "member": reference(f"Practitioner/{w.id}", w.name),
            }
            for w in (doctor, nurse)
        ],
    )
    condition = encounter["diagnosis"][0]["condition"]
    leaving = local(record.now.date() + timedelta(days=record.chance.randint(1, 6)), 11)
    record.add(
        "CarePlan",
        "plan",
        status="active",
        intent="plan",
        title=f"Treatment of {stay.problem.name.lower()}",
        subject=record.subject,
        encounter=reference(encounter),
        period=period(start, leaving),
        created=instant(later(start, hours=2)),
        author=reference(f"Practitioner/{doctor.id}", doctor.name),
        careTeam=[reference(team)],
        addresses=[condition],
        activity=[
            _activity("Vital signs every morning", "in-progress"),
            _activity(
                "Mobilise with help", "in-progress" if start.date() < record.now.date() else "not-started"
            ),
            _activity("Prepare discharge", "not-started"),
        ],
    )
    _add_answers(record, encounter, later(start, minutes=50), nurse)
    if record.happens(0.3):
        _add_flag(record, encounter, start, ("129839007", "At risk of falling"), "safety")
    if record.happens(0.12):
        _add_flag(record, encounter, start, ("409524006", "Contact isolation"), "clinical")
    if record.happens(0.5):
        _add_task(record, encounter, nurse)


def _activity(text: str, status: str) -> Resource:
    return {"detail": {"status": status, "description": text}}


def _add_answers(record: Record, encounter: Resource, when: datetime, nurse: Worker) -> None:
    answers: dict[str, Resource] = {
        "allergies": {
            "valueBoolean": any(r["resourceType"] == "AllergyIntolerance" for r in record.resources)
        },
        "alone": {"valueBoolean": record.happens(0.3)},
        "falls": {"valueInteger": record.chance.randint(0, 3)},
    }
    record.add(
        "QuestionnaireResponse",
        "answers",
        questionnaire=f"{ADMISSION}|1",
        status="completed",
        subject=record.subject,
        encounter=reference(encounter),
        authored=instant(when),
        author=reference(f"Practitioner/{nurse.id}", nurse.name),
        item=[
            {"linkId": link, "text": text, "answer": [answers[link]]}
            for link, text, _ in QUESTIONS
            if link in answers
        ],
    )


def _add_flag(
    record: Record, encounter: Resource, start: datetime, code: tuple[str, str], category: str
) -> None:
    record.add(
        "Flag",
        "flag",
        status="active",
        category=[concept("flag-category", category)],
        code=concept(SNOMED, *code),
        subject=record.subject,
        period=period(start),
        encounter=reference(encounter),
    )


def _add_task(record: Record, encounter: Resource, nurse: Worker) -> None:
    record.add(
        "Task",
        "task",
        status="requested",
        intent="order",
        priority="routine",
        code={"text": "Explain medication before discharge"},
        focus=reference(encounter),
        **{"for": record.subject},
        encounter=reference(encounter),
        authoredOn=instant(later(record.now, hours=-2)),
        lastModified=instant(later(record.now, hours=-2)),
        requester=encounter["participant"][0]["individual"],
        owner=reference(f"Practitioner/{nurse.id}", nurse.name),
    )


def housekeeping(bed_status: Mapping[str, str], now: datetime) -> Iterator[Resource]:
    """A Task for each bed that waits to be cleaned."""
    for bed, status in sorted(bed_status.items()):
        if status in "HK":
            yield {
                "resourceType": "Task",
                "id": f"task-clean-{bed}",
                "status": "requested",
                "intent": "order",
                "priority": "urgent" if status == "K" else "routine",
                "code": BED_TASK[status],
                "focus": reference(f"Location/{bed}"),
                "authoredOn": instant(later(now, hours=-1)),
                "lastModified": instant(later(now, hours=-1)),
                "location": reference(f"Location/{bed}"),
            }


def waiting(person: Person, number: int, now: datetime) -> Resource:
    """An Appointment on the waiting list, without a time."""
    return {
        "resourceType": "Appointment",
        "id": f"appt-waiting-{number}",
        "status": "waitlist",
        "serviceType": [concept("service-type", "165", "Cardiology")],
        "appointmentType": concept("v2-0276", "ROUTINE"),
        "priority": number,
        "minutesDuration": 30,
        "created": instant(later(now, days=-number)),
        "requestedPeriod": [
            {"start": instant(later(now, days=1)), "end": instant(later(now, days=30))},
        ],
        "participant": [{"actor": reference(f"Patient/{person.id}", person.name), "status": "accepted"}],
    }
