"""The Appointment that a call of $hold or $book is about: a proposal, one that is kept, or one that was sent.

An invariant to keep: whoever asks for a proposal gets an Appointment of their own; two that take the same proposal are two
Appointments, of which one is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhir_r4.errors import InvalidRequest, NotFound
from fhir_server.context import Resource, Services
from fhir_server.operations.given import Given
from fhir_server.operations.scheduling.proposed import appointment_of
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.rules import local_reference


@dataclass(frozen=True, slots=True)
class Asked:
    """The Appointment as it is to begin with, with its id; `before` is what is kept under the id."""

    appointment: Resource
    before: Resource | None = None

    @property
    def fresh(self) -> bool:
        return self.before is None


async def asked_for(given: Given, known: Known, services: Services) -> Asked:
    """What `appointment-reference` or `appointment-resource` means.

    Raises InvalidRequest unless there is one of the two, NotFound for a reference to nothing.
    """
    reference, resource = given.one("appointment-reference"), given.one("appointment-resource")
    if (reference is None) == (resource is None):
        raise InvalidRequest(
            "Either appointment-reference or appointment-resource is needed.", "appointment-reference"
        )
    if resource is not None:
        before = await known.current("Appointment", resource["id"]) if "id" in resource else None
        id = services.new_id() if before is None else before["id"]
        return Asked({**resource, "id": id}, before)
    local = local_reference(reference)
    type, _, id = (local or "").partition("/")
    if type == "Appointment":
        before = await known.current("Appointment", id)
        if before is not None:
            return Asked(before, before)
        proposed = await appointment_of(id, services)
        if proposed is not None:
            return Asked({**proposed, "id": services.new_id()})
    raise NotFound(
        f"There is no {reference.get('reference', 'Appointment')!s:.80} to be had.", "appointment-reference"
    )
