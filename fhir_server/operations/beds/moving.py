"""Encounter/$transfer, $swap-beds, $leave and $return: patients move. HL7 v2 calls them A02, A17, A21 and A22."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.beds.asking import (
    carry_out_with_bed,
    instant,
    moment,
    override_of,
    reference_id,
    require_status,
    require_stay,
)
from fhir_server.operations.beds.choosing import Wish
from fhir_server.operations.given import given
from fhir_server.resources.beds.moves import beds_of, came, entered, left, with_extension
from fhir_server.resources.beds.places import OSLER
from fhir_server.resources.beds.stays import Place, expected_discharge
from fhir_server.resources.beds.surroundings import needs_in
from fhir_server.resources.change import Known

TRANSFER = "https://osler.health/fhir/OperationDefinition/Encounter-transfer"
SWAP = "https://osler.health/fhir/OperationDefinition/Encounter-swap-beds"
LEAVE = "https://osler.health/fhir/OperationDefinition/Encounter-leave"
RETURN = "https://osler.health/fhir/OperationDefinition/Encounter-return"
EXPECTED_RETURN = OSLER + "expected-return"
TRANSFER_REASON = OSLER + "transfer-reason"


async def transfer(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter with its patient in another bed; the old bed is left to housekeeping in the same commit."""
    asked = given(call, TRANSFER)
    bases = services.settings.local_bases

    async def wishing(known: Known) -> Wish:
        return await wish_of(known, await require_stay(known, call.id), bases)

    async def plan(known: Known, bed: str | None) -> Sequence[Write]:
        stay = await require_stay(known, call.id)
        require_status(stay, "in-progress", "arrived", "triaged")
        if bed is None:
            raise InvalidRequest("One of the parameters bed and ward is needed.", "bed")
        at = moment(asked, known)
        lying = _lying(stay, bases)
        if lying is not None and lying.location == bed:
            raise BusinessRule(f"The patient lies in Location/{bed} already.", "bed")
        require_after(lying, at)
        moved = came(stay, bed, at, override_of(call, asked), bases)
        reason = asked.one("reason")
        if reason is not None:
            entries = moved["location"]
            told = with_extension(entries[-1], {"url": TRANSFER_REASON, "valueCodeableConcept": reason})
            moved = {**moved, "location": [*entries[:-1], told]}
        return [Write(moved)]

    return await carry_out_with_bed(call, services, asked, wishing, plan)


async def swap_beds(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of both Encounters, each with its patient in the bed of the other."""
    asked = given(call, SWAP)
    bases = services.settings.local_bases
    ids = [reference_id(asked, name, "Encounter", services) for name in ("first", "second")]

    async def plan(known: Known) -> Sequence[Write]:
        if ids[0] == ids[1]:
            raise BusinessRule("Two stays are needed to swap beds.", "second")
        at, override = moment(asked, known), override_of(call, asked)
        stays = [await require_stay(known, id) for id in ids]
        places = []
        for stay in stays:
            require_status(stay, "in-progress", "arrived", "triaged")
            place = _lying(stay, bases)
            if place is None:
                raise BusinessRule(f"The patient of Encounter/{stay['id']} lies in no bed.", "first")
            require_after(place, at)
            places.append(place)
        first, second = stays
        return [
            Write(came(first, places[1].location, at, override, bases)),
            Write(came(second, places[0].location, at, override, bases)),
        ]

    return await carry_out(call, services, asked, plan, collection)


async def leave(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter, on leave; the bed is kept unless `keep-bed` says otherwise."""
    asked = given(call, LEAVE)
    bases = services.settings.local_bases

    async def plan(known: Known) -> Sequence[Write]:
        stay = await require_stay(known, call.id)
        require_status(stay, "in-progress")
        at = moment(asked, known)
        require_after(_lying(stay, bases), at)
        gone = entered(stay, "onleave", at)
        if asked.one("keep-bed") is False:
            gone = left(gone, at, bases)
        back = asked.one("expected-return")
        if back is not None:
            gone = with_extension(gone, {"url": EXPECTED_RETURN, "valueDateTime": back})
        return [Write(gone)]

    return await carry_out(call, services, asked, plan)


async def return_(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter, in progress again: in the bed that was kept, or in another."""
    asked = given(call, RETURN)
    bases = services.settings.local_bases

    async def wishing(known: Known) -> Wish:
        return await wish_of(known, await require_stay(known, call.id), bases)

    async def plan(known: Known, bed: str | None) -> Sequence[Write]:
        stay = await require_stay(known, call.id)
        require_status(stay, "onleave")
        at = moment(asked, known)
        kept = _lying(stay, bases)
        if bed is None and kept is None:
            raise BusinessRule("The bed was not kept: one of the parameters bed and ward is needed.", "bed")
        back = entered(stay, "in-progress", at)
        extensions = [e for e in back.get("extension", ()) if e.get("url") != EXPECTED_RETURN]
        back = {k: v for k, v in back.items() if k != "extension"}
        if extensions:
            back["extension"] = extensions
        if bed is not None and (kept is None or kept.location != bed):
            back = came(back, bed, at, override_of(call, asked), bases)
        return [Write(back)]

    return await carry_out_with_bed(call, services, asked, wishing, plan)


async def wish_of(known: Known, stay: Resource, bases: Sequence[str]) -> Wish:
    """A bed for a stay from now on."""
    needs = await needs_in(known, stay, bases)
    return Wish(needs, start=known.now, end=expected_discharge(stay), stay=stay["id"])


def _lying(stay: Resource, bases: Sequence[str]) -> Place | None:
    return next(iter(beds_of(stay, "active", bases)), None)


def require_after(place: Place | None, at: str) -> None:
    """Raise BusinessRule when the patient came to the place after `at`."""
    if place is not None and place.start is not None and place.start > instant(at):
        raise BusinessRule(f"The patient came to Location/{place.location} after {at}.", "at")


def collection(written: Sequence[Resource]) -> Resource:
    """A Bundle of the resources."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": resource} for resource in written],
    }
