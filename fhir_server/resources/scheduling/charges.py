"""What was to be charged for an Appointment that does not take place. https://hl7.org/fhir/R4/chargeitem.html

R4 lets no ChargeItem be for an Appointment by `service`: it names the Appointment in `supportingInformation`. An invariant to
keep: only what is planned is given up; what is billable or billed is for people to settle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_server.context import Resource
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.search.tree import RefersTo, any_of

# charges of one patient
MOST_CHARGES = 5000


async def aborted_charges(
    before: Resource | None, after: Resource | None, known: Known
) -> tuple[Resource, ...]:
    """The planned ChargeItems of an Appointment that is cancelled by this change, as aborted."""
    if before is None or after is None or after["status"] != "cancelled" or before["status"] == "cancelled":
        return ()
    patients = [p for p in _actors(after) if p.startswith("Patient/")]
    if not patients:
        return ()
    theirs = any_of(RefersTo("subject", "Patient", p.removeprefix("Patient/")) for p in patients)
    charges = await known.find("ChargeItem", theirs, MOST_CHARGES)
    about = f"Appointment/{after['id']}"
    return tuple({**charge, "status": "aborted"} for charge in charges if _is_planned(charge, about))


def _actors(appointment: Mapping[str, Any]) -> list[str]:
    found = (local_reference(p.get("actor", {})) for p in appointment.get("participant", ()))
    return [actor for actor in dict.fromkeys(found) if actor is not None]


def _is_planned(charge: Mapping[str, Any], about: str) -> bool:
    named = (local_reference(reference) for reference in charge.get("supportingInformation", ()))
    return charge.get("status") == "planned" and about in named
