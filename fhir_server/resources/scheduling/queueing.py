"""Who waits for a service, and for how long: the visit as an Encounter, the place in the queue as a Task. Pure.

An Encounter's statusHistory has the periods `arrived` and `in-progress`; what lies between their starts is the waiting time.
The Task has code `queue`, the HealthcareService as owner, the Encounter it is for, and the patient. An invariant to keep:
the order of a queue is by priority, then by the time of arrival, then by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_r4.temporal import format_instant, parse_interval
from fhir_server.context import Resource
from fhir_server.resources.scheduling.response import SCHEDULING
from fhir_server.resources.scheduling.rules import local_reference

CLASSES = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
PRIORITIES = ("stat", "asap", "urgent", "routine")
WAITING = "requested"


def new_visit(appointment: Mapping[str, Any], patient: Resource, id: str, at: int) -> Resource:
    """The Encounter of a patient who has come."""
    since = format_instant(at)
    visit: Resource = {
        "resourceType": "Encounter",
        "id": id,
        "status": "arrived",
        "statusHistory": [{"status": "arrived", "period": {"start": since}}],
        "class": {"system": CLASSES, "code": "AMB"},
        "subject": patient,
        "appointment": [{"reference": f"Appointment/{appointment['id']}"}],
        "period": {"start": since},
    }
    participants = [
        {"individual": p["actor"]}
        for p in appointment.get("participant", ())
        if (local_reference(p.get("actor", {})) or "").startswith(("Practitioner/", "PractitionerRole/"))
    ]
    if participants:
        visit["participant"] = participants
    if appointment.get("serviceType"):
        visit["serviceType"] = appointment["serviceType"][0]
    return visit


def new_wait(
    encounter: Mapping[str, Any], service: Resource, id: str, at: int, priority: str | None
) -> Resource:
    """The place in the queue of a service."""
    return {
        "resourceType": "Task",
        "id": id,
        "status": WAITING,
        "intent": "order",
        "priority": priority or "routine",
        "code": {"coding": [{"system": SCHEDULING, "code": "queue"}]},
        "for": encounter["subject"],
        "encounter": {"reference": f"Encounter/{encounter['id']}"},
        "authoredOn": format_instant(at),
        "owner": service,
    }


def service_of(appointment: Mapping[str, Any]) -> Resource | None:
    """The service that takes part in an Appointment; None without."""
    for participant in appointment.get("participant", ()):
        actor: Resource = participant.get("actor", {})
        if (local_reference(actor) or "").startswith("HealthcareService/"):
            return actor
    return None


def in_order(tasks: Sequence[Resource]) -> list[Resource]:
    """The Tasks of a queue, the next one first."""
    return sorted(
        tasks,
        key=lambda t: (
            PRIORITIES.index(t.get("priority", "routine")),
            parse_interval(t["authoredOn"])[0] if "authoredOn" in t else 0,
            t["id"],
        ),
    )


def begun_visit(encounter: Mapping[str, Any], at: int) -> Resource:
    """The Encounter in progress since `at`."""
    return _in_status(encounter, "in-progress", at)


def finished_visit(encounter: Mapping[str, Any], at: int) -> Resource:
    """The Encounter finished at `at`."""
    done = _in_status(encounter, "finished", at)
    return {**done, "period": {**encounter.get("period", {}), "end": format_instant(at)}}


def _in_status(encounter: Mapping[str, Any], status: str, at: int) -> Resource:
    since = format_instant(at)
    history = list(encounter.get("statusHistory", ()))
    if not history:
        start = encounter.get("period", {}).get("start", since)
        history = [{"status": encounter["status"], "period": {"start": start}}]
    last = history[-1]
    if "end" not in last["period"]:
        history[-1] = {**last, "period": {**last["period"], "end": since}}
    if status != "finished":
        history.append({"status": status, "period": {"start": since}})
    return {**encounter, "status": status, "statusHistory": history}


def finished_wait(task: Mapping[str, Any], now: int) -> Resource | None:
    """The Task of a queue, completed; None for one that is over or is something else."""
    if task["status"] not in (WAITING, "in-progress") or not is_wait(task):
        return None
    return {**task, "status": "completed", "lastModified": format_instant(now)}


def is_wait(task: Mapping[str, Any]) -> bool:
    """Whether a Task is a place in a queue."""
    codings = task.get("code", {}).get("coding", ())
    return any(c.get("system") == SCHEDULING and c.get("code") == "queue" for c in codings)


def waiting_time(encounter: Mapping[str, Any]) -> int | None:
    """From arrival to the beginning of the visit, in microseconds; None when it has not begun, or nobody knows."""
    starts: dict[str, int] = {}
    for entry in encounter.get("statusHistory", ()):
        start = entry.get("period", {}).get("start")
        if start is not None:
            starts.setdefault(entry["status"], parse_interval(start)[0])
    if "arrived" not in starts or "in-progress" not in starts:
        return None
    return max(0, starts["in-progress"] - starts["arrived"])
