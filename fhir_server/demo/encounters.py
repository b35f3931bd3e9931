"""Visits, emergencies and stays as Encounters, with what is done in them."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta

from fhir_server.demo.elements import (
    LOINC,
    SNOMED,
    Resource,
    coding,
    concept,
    identifier,
    instant,
    later,
    local,
    period,
    quantity,
    reference,
)
from fhir_server.demo.house import DEPARTMENTS, SERVICE_TYPES
from fhir_server.demo.measurements import add_panel, add_vital_signs, order
from fhir_server.demo.patients import add_condition
from fhir_server.demo.pharmacy import dispense, prescribe
from fhir_server.demo.record import Record
from fhir_server.demo.staff import Worker
from fhir_server.demo.stays import Move, Stay
from fhir_server.demo.visits import Visit
from fhir_server.demo.vocabulary import CATEGORY_NAMES, PROCEDURES, URGENT, Problem

CLASSES = {"AMB": "ambulatory", "EMER": "emergency", "IMP": "inpatient encounter"}
BED = concept("location-physical-type", "bd", "Bed")


def _encounter(
    record: Record,
    code: str,
    department: str,
    worker: Worker,
    start: datetime,
    end: datetime | None,
    reason: Problem | None,
    **more: object,
) -> Resource:
    number = record.new_id("case")
    who = reference(f"Practitioner/{worker.id}", worker.name)
    role = concept("v3-ParticipationType", "ATND", "Attending doctor")
    return record.add(
        "Encounter",
        "enc",
        identifier=[identifier("case", number.upper())],
        status="in-progress" if end is None else "finished",
        **{"class": coding("v3-ActCode", code, CLASSES[code])},
        serviceType=concept("service-type", *SERVICE_TYPES[department])
        if department in SERVICE_TYPES
        else None,
        subject=record.subject,
        participant=[{"type": [role], "period": period(start, end), "individual": who}],
        period=period(start, end),
        reasonCode=[concept(SNOMED, reason.snomed, reason.name)] if reason is not None else None,
        serviceProvider=reference(f"Organization/org-{department}", DEPARTMENTS[department]),
        **more,
    )


def _minutes(start: datetime, end: datetime) -> Resource:
    return quantity(int((end - start).total_seconds()) // 60, "min")


def add_visit(
    record: Record, visit: Visit, appointment: Resource, account: Resource, known: dict[str, Resource]
) -> None:
    """The encounter of a visit that took place."""
    problem = visit.problem
    start = later(visit.start, minutes=record.chance.randint(0, 12))
    end = later(visit.start, minutes=record.chance.randint(22, 45))
    encounter = _encounter(
        record,
        "AMB",
        visit.worker.department,
        visit.worker,
        start,
        end,
        problem,
        appointment=[reference(appointment)],
        account=[reference(account)],
        length=_minutes(start, end),
        location=[
            {
                "location": reference(f"Location/{visit.worker.room}"),
                "status": "completed",
                "period": period(start, end),
            }
        ],
    )
    add_vital_signs(record, encounter, later(start, minutes=4), ill=False, body_size=record.happens(0.5))
    if problem is None:
        return
    condition = known.get(problem.snomed)
    if condition is None:
        over = start.date() + timedelta(days=14)
        abated = over.isoformat() if over < record.now.date() else None
        condition = add_condition(record, problem, start.date().isoformat(), start.date(), encounter, abated)
    encounter["diagnosis"] = [{"condition": reference(condition), "rank": 1}]
    for panel in problem.panels:
        if record.happens(0.55):
            add_panel(record, encounter, later(start, minutes=10), panel)
    for drug in problem.drugs:
        if record.happens(0.7):
            request = prescribe(
                record, encounter, later(start, minutes=15), drug, inpatient=False, reason=condition
            )
            if record.happens(0.6) and later(end, hours=2) < record.now:
                dispense(record, request, later(end, minutes=30), drug)
    if record.happens(0.35):
        text = f"Seen for {problem.name.lower()}. Stable; advice given, continue treatment.\n"
        add_note(record, encounter, end, ("11506-3", "Progress note"), text)


def add_emergency(record: Record, start: datetime, worker: Worker, account: Resource) -> None:
    """A visit to the emergency department that ends at home."""
    years = record.person.age(start.date())
    problem = record.chance.choice([p for p in URGENT if p.ages[0] <= years <= p.ages[1]])
    end = later(start, minutes=record.chance.randint(90, 360))
    encounter = _encounter(
        record,
        "EMER",
        "emergency",
        worker,
        start,
        end,
        problem,
        statusHistory=[
            {"status": "arrived", "period": period(start, later(start, minutes=8))},
            {"status": "triaged", "period": period(later(start, minutes=8), later(start, minutes=35))},
            {"status": "in-progress", "period": period(later(start, minutes=35), end)},
        ],
        priority=concept("v3-ActPriority", "UR", "Urgent"),
        account=[reference(account)],
        length=_minutes(start, end),
        hospitalization={"dischargeDisposition": concept("discharge-disposition", "home", "Home")},
        location=[
            {
                "location": reference("Location/emergency-department"),
                "status": "completed",
                "period": period(start, end),
            }
        ],
    )
    add_vital_signs(record, encounter, later(start, minutes=10), ill=True)
    over = (start.date() + timedelta(days=10)).isoformat()
    abated = over if over < record.now.date().isoformat() else None
    condition = add_condition(record, problem, start.date().isoformat(), start.date(), encounter, abated)
    encounter["diagnosis"] = [{"condition": reference(condition), "rank": 1}]
    for panel in problem.panels:
        add_panel(record, encounter, later(start, minutes=40), panel)
    if record.happens(0.4):
        add_imaging(record, encounter, later(start, minutes=45), "chest-x-ray", "No fresh finding.")


def add_stay(record: Record, stay: Stay, worker: Worker, account: Resource) -> Resource:
    """A stay in one or more beds; the encounter."""
    start, end, problem = stay.start, stay.end, stay.problem
    disposition = ("exp", "Died") if stay.died else ("home", "Home")
    source = (
        ("emd", "Emergency department")
        if record.happens(0.6)
        else ("gp", "Referred by a general practitioner")
    )
    hospitalization: Resource = {"admitSource": concept("admit-source", *source)}
    if end is not None:
        hospitalization["dischargeDisposition"] = concept("discharge-disposition", *disposition)
    encounter = _encounter(
        record,
        "IMP",
        stay.ward.department,
        worker,
        start,
        end,
        problem,
        account=[reference(account)],
        length=_minutes(start, end) if end is not None else None,
        hospitalization=hospitalization,
        location=[_bed(move) for move in stay.moves],
    )
    cured = None if end is None or stay.died else end.date().isoformat()
    condition = add_condition(record, problem, start.date().isoformat(), start.date(), encounter, cured)
    role = concept("diagnosis-role", "AD", "Admission diagnosis")
    encounter["diagnosis"] = [{"condition": reference(condition), "use": role, "rank": 1}]
    _add_course(record, encounter, stay, condition)
    if end is not None and not stay.died:
        text = f"Treated for {problem.name.lower()} and discharged home in good condition.\n"
        add_note(record, encounter, end, ("18842-5", "Discharge summary"), text)
    return encounter


def _bed(move: Move) -> Resource:
    return {
        "location": reference(f"Location/{move.bed}"),
        "status": "active" if move.end is None else "completed",
        "physicalType": BED,
        "period": period(move.start, move.end),
    }


def _add_course(record: Record, encounter: Resource, stay: Stay, condition: Resource) -> None:
    last = stay.end or record.now
    add_vital_signs(record, encounter, later(stay.start, minutes=20), ill=True, body_size=True)
    morning = local(stay.start.date() + timedelta(days=1), 7)
    for _ in range(3):
        if later(morning, hours=1) < last:
            add_vital_signs(record, encounter, morning, ill=True)
        morning = local(morning.date() + timedelta(days=1), 7)
    for panel in stay.problem.panels:
        add_panel(record, encounter, later(stay.start, minutes=45), panel)
    today = local(record.now.date(), 10, 30)
    if stay.end is None and stay.start < today:
        add_panel(record, encounter, today, stay.problem.panels[0])
    for drug in stay.problem.drugs:
        prescribe(record, encounter, later(stay.start, minutes=60), drug, inpatient=True, reason=condition)
    operated = local(stay.start.date() + timedelta(days=1), 9, 30)
    if stay.problem.procedure is not None and later(operated, hours=3) < last:
        add_procedure(record, encounter, operated, stay.problem.procedure, condition)


def add_procedure(record: Record, encounter: Resource, start: datetime, key: str, reason: Resource) -> None:
    code, name, category = PROCEDURES[key]
    surgical = category == "387713003"
    record.add(
        "Procedure",
        "proc",
        status="completed",
        category=concept(SNOMED, category, CATEGORY_NAMES[category]),
        code=concept(SNOMED, code, name),
        subject=record.subject,
        encounter=reference(encounter),
        performedPeriod=period(start, later(start, minutes=record.chance.randint(25, 150))),
        performer=[{"actor": encounter["participant"][0]["individual"]}],
        location=reference("Location/theatre-1") if surgical else None,
        reasonReference=[reference(reason)],
    )


def add_imaging(record: Record, encounter: Resource, when: datetime, key: str, finding: str) -> None:
    """An order for an image and its report."""
    code, name, _ = PROCEDURES[key]
    request = order(record, encounter, when, concept(SNOMED, code, name), ("363679005", "Imaging"))
    record.add(
        "DiagnosticReport",
        "rep",
        basedOn=[reference(request)],
        status="final",
        category=[concept("v2-0074", "RAD", "Radiology")],
        code=concept(SNOMED, code, name),
        subject=record.subject,
        encounter=reference(encounter),
        effectiveDateTime=instant(later(when, minutes=20)),
        issued=instant(later(when, minutes=40)),
        performer=[reference("Organization/org-radiology", "Radiology")],
        conclusion=finding,
    )


def add_note(record: Record, encounter: Resource, when: datetime, kind: tuple[str, str], text: str) -> None:
    """A DocumentReference with a small text inside."""
    data = text.encode()
    record.add(
        "DocumentReference",
        "doc",
        status="current",
        docStatus="final",
        type=concept(LOINC, *kind),
        subject=record.subject,
        date=instant(when),
        author=[encounter["participant"][0]["individual"]],
        content=[
            {
                "attachment": {
                    "contentType": "text/plain; charset=utf-8",
                    "language": "en",
                    "data": b64encode(data).decode(),
                    "size": len(data),
                    "title": kind[1],
                    "creation": instant(when),
                }
            }
        ],
        context={"encounter": [reference(encounter)], "period": encounter["period"]},
    )
