"""Visits as Appointments, past and to come."""

from __future__ import annotations

from datetime import date, timedelta

from fhir_server.demo.elements import SNOMED, Resource, concept, instant, local, reference
from fhir_server.demo.house import SERVICE_TYPES
from fhir_server.demo.record import Record
from fhir_server.demo.staff import SPECIALTIES
from fhir_server.demo.visits import MINUTES, Visit


def add_appointment(record: Record, visit: Visit, anchor: date) -> Resource:
    """The Appointment of a visit; booked some weeks before it, and not after `anchor`."""
    worker = visit.worker
    booked = min(visit.start.date(), anchor) - timedelta(days=record.chance.randint(1, 40))
    booked = max(booked, record.person.birth)
    waiting = visit.status == "pending"
    cancelled = visit.status == "cancelled"
    return record.add(
        "Appointment",
        "appt",
        status=visit.status,
        cancelationReason=concept("appointment-cancellation-reason", "pat", "Patient") if cancelled else None,
        serviceType=[concept("service-type", *SERVICE_TYPES[worker.department])],
        specialty=[concept(SNOMED, *SPECIALTIES[worker.department])],
        appointmentType=concept("v2-0276", "FOLLOWUP" if visit.problem is not None else "ROUTINE"),
        reasonCode=[concept(SNOMED, visit.problem.snomed, visit.problem.name)]
        if visit.problem is not None
        else None,
        start=instant(visit.start),
        end=instant(visit.end),
        minutesDuration=MINUTES,
        slot=[reference(f"Slot/{visit.slot}")] if visit.slot else None,
        created=instant(local(booked, record.chance.randint(9, 16))),
        participant=[
            {"actor": record.subject, "required": "required", "status": "accepted"},
            {
                "actor": reference(f"Practitioner/{worker.id}", worker.name),
                "required": "required",
                "status": "needs-action" if waiting else "accepted",
            },
            {
                "actor": reference(f"Location/{worker.room}"),
                "required": "information-only",
                "status": "accepted",
            },
        ],
    )
