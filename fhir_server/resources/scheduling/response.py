"""What an AppointmentResponse does to its Appointment. https://hl7.org/fhir/R4/appointmentresponse.html

The answer becomes the status of the participant who gave it. When all who are required have accepted, the Appointment is
booked; when one of them declines, it is pending again and somebody has a Task to see to it. An invariant to keep: an answer
to an Appointment that is over, cancelled or not known, and one of somebody who does not take part, is a record and does
nothing; a warning says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fhir_r4.errors import Issue
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.offers import is_offer, withdrawn
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.resources.scheduling.taking import declined_by, slot_rules, slots_of

OPEN = ("proposed", "pending", "booked")
ANSWERS = ("accepted", "declined", "tentative", "needs-action")
SCHEDULING = "https://osler.health/fhir/CodeSystem/scheduling"


async def judge_response(change: Change, known: Known, services: Services) -> Consequence:
    """Bring an answer to its Appointment, or warn that it has no effect."""
    response = change.after
    if response is None or not _is_new(change.before, response):
        return NOTHING
    reference = local_reference(response["appointment"])
    appointment = None if reference is None else await known.current(*_key(reference))
    if appointment is None:
        return _without_effect("its Appointment is not here")
    if appointment["status"] not in OPEN:
        return _without_effect(f"Appointment/{appointment['id']} is {appointment['status']}")
    if response["participantStatus"] not in ANSWERS:
        return _without_effect(f"{response['participantStatus']} is no answer")
    answered = with_answer(appointment, response)
    if answered is None:
        return _without_effect(f"nobody who takes part in Appointment/{appointment['id']} has given it")
    if is_offer(answered) and any(p.get("status") == "declined" for p in answered["participant"]):
        return Consequence(writes=(withdrawn(answered),))
    if response["participantStatus"] == "declined":
        answered = await _without_slots(answered, known, services.settings.default_timezone)
    if answered["status"] == "pending" and appointment["status"] == "booked":
        return Consequence(writes=(answered, reopened_task(answered, response, known.now)))
    return Consequence(writes=(answered,))


def _is_new(before: Resource | None, after: Resource) -> bool:
    if before is None:
        return True
    return any(before.get(m) != after.get(m) for m in ("participantStatus", "actor", "appointment"))


def _without_effect(reason: str) -> Consequence:
    text = f"The answer is kept and changes nothing: {reason}."
    return Consequence(warnings=(Issue("warning", "informational", text, ("AppointmentResponse",)),))


def with_answer(appointment: Resource, response: Mapping[str, Any]) -> Resource | None:
    """The Appointment after an answer; None when who answers does not take part."""
    participants = []
    found = False
    for participant in appointment["participant"]:
        if _is_by(participant, response):
            found = True
            participant = {**participant, "status": response["participantStatus"]}
        participants.append(participant)
    if not found:
        return None
    status = _status_after(appointment, participants)
    return {**appointment, "status": status, "participant": participants}


async def _without_slots(appointment: Resource, known: Known, zone: str) -> Resource:
    """The Appointment without the Slots of those who have all declined: their time is free for others."""
    declined = declined_by(appointment)
    released = set()
    for id in slots_of(appointment):
        slot = await known.current("Slot", id)
        rules = None if slot is None else await slot_rules(slot, known, zone)
        if rules is not None and rules.actors and declined.issuperset(rules.actors):
            released.add(f"Slot/{id}")
    kept = [r for r in appointment.get("slot", ()) if local_reference(r) not in released]
    rest = {k: v for k, v in appointment.items() if k != "slot"}
    return {**rest, "slot": kept} if kept else rest


def _status_after(appointment: Mapping[str, Any], participants: list[dict[str, Any]]) -> str:
    before = str(appointment["status"])
    required = {p["status"] for p in participants if p.get("required", "required") == "required"}
    if before == "booked":
        return "pending" if "declined" in required else "booked"
    if required <= {"accepted"} and period_of(appointment) is not None:
        return "booked"
    return before


def _is_by(participant: Mapping[str, Any], response: Mapping[str, Any]) -> bool:
    actor = response.get("actor")
    if actor is not None:
        asked = participant.get("actor", {})
        return any(m in actor and asked.get(m) == actor[m] for m in ("reference", "identifier"))
    types = {_codes(type) for type in participant.get("type", ())}
    return any(_codes(type) in types for type in response.get("participantType", ()))


def _codes(concept: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((c.get("system", ""), c.get("code", "")) for c in concept.get("coding", ()))


def reopened_task(appointment: Mapping[str, Any], response: Mapping[str, Any], now: int) -> Resource:
    """The Task of finding somebody for one who has declined; the same for the same answer."""
    patient = next(
        (
            p["actor"]
            for p in appointment["participant"]
            if "Patient/" in p.get("actor", {}).get("reference", "")
        ),
        None,
    )
    task: Resource = {
        "resourceType": "Task",
        "id": "declined-" + sha256(str(response["id"]).encode()).hexdigest()[:32],
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": SCHEDULING, "code": "participant-declined"}]},
        "description": "A participant has declined: find another, or another time.",
        "focus": {"reference": f"Appointment/{appointment['id']}"},
        "authoredOn": format_instant(now),
    }
    if patient is not None:
        task["for"] = patient
    return task


def _key(reference: str) -> tuple[str, str]:
    type, _, id = reference.partition("/")
    return type, id


RESPONSE = Manners(judge_response)
