"""What patients are told about their appointments, as CommunicationRequests that the dispatcher sends.

https://hl7.org/fhir/R4/communicationrequest.html. Texts state the time by the clock of the place, with its offset. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.response import SCHEDULING
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.resources.scheduling.zones import told

Occasion = Literal["reminder", "cancelled", "offer"]

TEXTS: Mapping[Occasion, str] = {
    "reminder": "Reminder of your appointment at {start}.",
    "cancelled": "Your appointment at {start} has been cancelled.",
    "offer": "A time has become free for you: {start}. It is kept for you until {until}.",
}


def patients_of(appointment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The references to the patients who take part and have not declined."""
    found = []
    for participant in appointment.get("participant", ()):
        actor = participant.get("actor", {})
        if (local_reference(actor) or "").startswith("Patient/") and participant.get("status") != "declined":
            found.append(actor)
    return found


def notice_of(
    appointment: Mapping[str, Any],
    occasion: Occasion,
    id: str,
    due: int,
    *,
    zone: str,
    until: int = 0,
    now: int | None = None,
) -> Resource | None:
    """A CommunicationRequest to the patients, due at an instant; None when there is nobody to tell, or no time to tell of.

    Times are told by the clock of the place, which is in `zone`; `until` is the end of an offer, `now` when it is due unless
    stated.
    """
    recipients, period = patients_of(appointment), period_of(appointment)
    if not recipients or period is None:
        return None
    text = TEXTS[occasion].format(start=told(period[0], zone), until=told(until, zone))
    return {
        "resourceType": "CommunicationRequest",
        "id": id,
        "status": "active",
        "category": [{"coding": [{"system": SCHEDULING, "code": occasion}]}],
        "subject": recipients[0],
        "about": [{"reference": f"Appointment/{appointment['id']}"}],
        "payload": [{"contentString": text}],
        "occurrenceDateTime": format_instant(due),
        "authoredOn": format_instant(due if now is None else now),
        "recipient": recipients,
    }
