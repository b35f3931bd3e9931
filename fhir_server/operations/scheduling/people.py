"""Who an Appointment is for: the Patient that was sent along becomes the one that is known, or a new one.

A Patient is known by id, or by an identifier. An invariant to keep: nobody gets a second record because two requests with
the same identifier came at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.resources.change import Known
from fhir_server.search.tree import TokenIs, any_of

# a record of somebody new has one of these
SAYING = ("identifier", "name", "telecom", "birthDate")


async def patients_given(
    patients: Sequence[Resource], known: Known, services: Services
) -> tuple[list[str], list[Write]]:
    """References to the patients, and the writes of those who are new.

    Raises BusinessRule when identifiers are those of several, and for somebody new of whom nothing is said.
    """
    references, writes = [], []
    for patient in patients:
        id = await known_id(patient, known)
        if id is None:
            if not any(member in patient for member in SAYING):
                raise BusinessRule(
                    f"Patient/{patient.get('id', '')} is not here, and nothing is said of whom to make a record.",
                    "patient-resource",
                )
            id = services.new_id()
            writes.append(Write({**patient, "id": id}, "POST", fresh=True))
        references.append(f"Patient/{id}")
    return references, writes


async def known_id(patient: Resource, known: Known) -> str | None:
    """The id of the Patient of this server that was sent; None for a new one. Raises BusinessRule when it could be several."""
    if "id" in patient and await known.current("Patient", patient["id"]) is not None:
        return str(patient["id"])
    identifiers = [
        TokenIs("identifier", i["system"], i["value"])
        for i in patient.get("identifier", ())
        if "system" in i and "value" in i
    ]
    if not identifiers:
        return None
    found = await known.find("Patient", any_of(identifiers))
    if len(found) > 1:
        raise BusinessRule(
            f"The identifiers are those of {len(found)} patients; merge them, or name one.",
            "patient-resource",
        )
    return str(found[0]["id"]) if found else None


def with_patients(appointment: Resource, references: Sequence[str]) -> Resource:
    """The Appointment with these patients taking part; a Patient that names nobody else's record is replaced."""
    participants = list(appointment.get("participant", ()))
    present = {p.get("actor", {}).get("reference") for p in participants}
    for reference in references:
        if reference not in present:
            actor = {"reference": reference}
            participants.insert(0, {"actor": actor, "required": "required", "status": "accepted"})
    return {**appointment, "participant": participants}
