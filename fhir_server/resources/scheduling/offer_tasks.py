"""The Task that goes with an offer to one who waits: somebody sees to it that the patient knows, and answers. Pure.

https://hl7.org/fhir/R4/task.html. An invariant to keep: an offer has one Task, under an id that follows from the Appointment and
the time, open as long as the offer is.
"""

from __future__ import annotations

from hashlib import sha256

from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import extension_value, hold_expiry
from fhir_server.resources.scheduling.notices import patients_of
from fhir_server.resources.scheduling.offers import OFFER, is_offer
from fhir_server.resources.scheduling.response import SCHEDULING

OVER = ("completed", "cancelled", "rejected", "failed", "entered-in-error")


async def offer_tasks(before: Resource | None, after: Resource | None, known: Known) -> tuple[Resource, ...]:
    """The Tasks as they are to be when an offer begins or ends: done when the time is booked, else cancelled."""
    was, is_ = _offer(before), _offer(after)
    if was == is_:
        return ()
    writes = []
    if was is not None:
        task = await known.current("Task", was)
        if task is not None and task["status"] not in OVER:
            booked = after is not None and after["status"] not in (
                "waitlist",
                "cancelled",
                "entered-in-error",
            )
            status = "completed" if booked else "cancelled"
            writes.append({**task, "status": status, "lastModified": format_instant(known.now)})
    if is_ is not None and after is not None:
        writes.append(_task(is_, after, known.now))
    return tuple(writes)


def _offer(appointment: Resource | None) -> str | None:
    """The id of the Task of an offer; None for what is none."""
    if appointment is None or not is_offer(appointment):
        return None
    told = f"{appointment['id']}\0{extension_value(appointment, OFFER)}"
    return "offer-" + sha256(told.encode()).hexdigest()[:40]


def _task(id: str, offer: Resource, now: int) -> Resource:
    task: Resource = {
        "resourceType": "Task",
        "id": id,
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": SCHEDULING, "code": "waitlist-offer"}]},
        "description": "A time is held for a patient who waits: see to it that they answer.",
        "focus": {"reference": f"Appointment/{offer['id']}"},
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
    }
    patients, until = patients_of(offer), hold_expiry(offer)
    if patients:
        task["for"] = patients[0]
    if until is not None:
        task["restriction"] = {"period": {"end": format_instant(until)}}
    return task
