"""Location/$bed-status, $reserve and $release: what is done with a bed itself."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest, NotFound
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.beds.admitting import planned_stay
from fhir_server.operations.beds.asking import (
    instant,
    override_of,
    reference_id,
    require_status,
    require_stay,
)
from fhir_server.operations.beds.moving import collection
from fhir_server.operations.given import Given, given
from fhir_server.resources.beds.housekeeping import REBED, bed_task
from fhir_server.resources.beds.moves import bed_entry, without_reservations
from fhir_server.resources.beds.places import STATUS_NAMES, is_bed, with_status
from fhir_server.resources.beds.stays import patient_of
from fhir_server.resources.beds.surroundings import holders
from fhir_server.resources.change import Known
from fhir_server.resources.permissions import require

BED_STATUS = "https://osler.health/fhir/OperationDefinition/Location-bed-status"
RESERVE = "https://osler.health/fhir/OperationDefinition/Location-reserve"
RELEASE = "https://osler.health/fhir/OperationDefinition/Location-release"


async def bed_status(call: OperationCall, services: Services) -> FhirResponse:
    """The Location in another state; the Tasks that the state asks for follow from it."""
    asked = given(call, BED_STATUS)
    code = asked.one("status")
    if code not in STATUS_NAMES:
        raise InvalidRequest(f"The parameter status is one of {', '.join(STATUS_NAMES)}.", "status")

    async def plan(known: Known) -> Sequence[Write]:
        bed = await _bed(known, call)
        return [Write(with_status(bed, code, asked.one("reason"), asked.one("until")))]

    return await carry_out(call, services, asked, plan)


async def reserve(call: OperationCall, services: Services) -> FhirResponse:
    """The planned Encounter for which the bed is kept, for its period or until the hold time has passed."""
    asked = given(call, RESERVE)
    bases = services.settings.local_bases
    existing = reference_id(asked, "encounter", "Encounter", services)
    patient = reference_id(asked, "patient", "Patient", services)
    if existing is None and patient is None:
        raise InvalidRequest("One of the parameters patient and encounter is needed.", "patient")
    new_id = services.new_id()

    async def plan(known: Known) -> Sequence[Write]:
        bed = await _bed(known, call)
        period = _period(asked, known)
        if existing is None:
            stay = {**planned_stay(new_id, patient), "period": period}
        else:
            stay = await require_stay(known, existing)
        require_status(stay, "planned", "arrived", "triaged", "in-progress", "onleave")
        request = asked.one("request")
        if request is not None:
            stay = {**stay, "basedOn": [*stay.get("basedOn", ()), request]}
        until = asked.one("hold-until")
        expires = None if until is None else format_instant(instant(until))
        entry = bed_entry(bed["id"], "reserved", period, override_of(call, asked), expires)
        stay = without_reservations(stay, bases, bed["id"])
        stay = {**stay, "location": [*stay.get("location", ()), entry]}
        evicted = await _evicted(call, asked, known, services, bed["id"], stay["id"], period)
        return [Write(stay, "POST", fresh=True) if existing is None else Write(stay), *evicted]

    return await carry_out(call, services, asked, plan)


async def release(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the Encounters whose reservation is given back: those of a patient, one Encounter, or all."""
    asked = given(call, RELEASE)
    bases = services.settings.local_bases
    encounter = reference_id(asked, "encounter", "Encounter", services)
    patient = reference_id(asked, "patient", "Patient", services)

    async def plan(known: Known) -> Sequence[Write]:
        bed = await _bed(known, call)
        writes = []
        for stay, place in await holders(known, bed["id"], bases):
            if place.state != "reserved" or (encounter is not None and stay["id"] != encounter):
                continue
            if patient is not None and patient_of(stay, bases) != patient:
                continue
            freed = without_reservations(stay, bases, bed["id"])
            if asked.one("cancel") is True and stay["status"] == "planned":
                freed = {**freed, "status": "cancelled"}
            writes.append(Write(freed))
        if not writes:
            raise BusinessRule(f"Location/{bed['id']} is not reserved for whom was asked.", "encounter")
        return writes

    return await carry_out(call, services, asked, plan, collection)


async def _bed(known: Known, call: OperationCall) -> Resource:
    found = None if call.id is None else await known.current("Location", call.id)
    if found is None:
        raise NotFound(f"There is no Location/{call.id}.")
    if not is_bed(found):
        raise BusinessRule(f"Location/{call.id} is no bed.", "Location.physicalType")
    return found


def _period(asked: Given, known: Known) -> Resource:
    period: Resource = asked.one("period") or {}
    start = period.get("start", format_instant(known.now))
    if "end" in period and instant(period["end"]) < instant(start):
        raise InvalidRequest("The period ends before it begins.", "period")
    return {**period, "start": start}


async def _evicted(
    call: OperationCall,
    asked: Given,
    known: Known,
    services: Services,
    bed: str,
    stay: str,
    period: Resource,
) -> list[Write]:
    """The stays whose reservations make way, each with a Task to find another bed."""
    reason = asked.one("evict")
    if reason is None:
        return []
    require(call.request.actor, "evict")
    bases = services.settings.local_bases
    low = instant(period["start"])
    high = instant(period["end"]) if "end" in period else None
    writes: list[Write] = []
    for other, place in await holders(known, bed, bases):
        overlaps = (high is None or place.interval[0] < high) and place.interval[1] > low
        if place.state != "reserved" or other["id"] == stay or not overlaps:
            continue
        writes.append(Write(without_reservations(other, bases, bed)))
        address = f"Encounter/{other['id']}"
        task = bed_task(
            services.new_id(),
            REBED,
            address,
            known.now,
            reasonCode=reason,
            encounter={"reference": address},
            location={"reference": f"Location/{bed}"},
        )
        writes.append(Write(task, "POST", fresh=True))
    return writes
