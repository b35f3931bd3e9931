"""Offers as proposed Appointments, and the Appointments that the ids of proposals stand for.

The id says what is proposed (resources/scheduling/proposals), so nothing is kept; whoever takes a proposal later gets the
Schedules as they were when it was made, and the claims are judged as they are then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import MINUTE
from fhir_server.context import Resource, Services
from fhir_server.operations.scheduling.bookable import Bookable, bookables_of
from fhir_server.operations.scheduling.offering import Offer, Part
from fhir_server.operations.scheduling.published import Published
from fhir_server.operations.scheduling.question import Code
from fhir_server.resources.scheduling.booked import booking
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.proposals import Part as ProposalPart
from fhir_server.resources.scheduling.proposals import Proposal, read_proposal, sign
from fhir_server.resources.scheduling.zones import format_local
from fhir_server.settings import Settings
from fhir_server.store.records import Stored


@dataclass(frozen=True, slots=True)
class Wishes:
    """What goes into every proposal besides its time: who it is for, why, and by what service.

    `service_sequence` is that of the version of the service.
    """

    patients: tuple[str, ...] = ()
    new_patients: tuple[Resource, ...] = ()
    reasons: tuple[Code, ...] = ()
    referral: Mapping[str, Any] | None = None
    service: str | None = None
    service_sequence: int = 0


def signing_key(settings: Settings) -> bytes:
    """The key of the ids of proposals."""
    return f"proposal:{settings.signing_key}".encode()


def signed(offer: Offer, settings: Settings, service: int = 0) -> str | None:
    """The id of an offer by the version of a service with this sequence; None when it has too many parts for one."""
    parts = tuple(ProposalPart(p.bookable.sequence, p.offset, p.duration) for p in offer.parts)
    slot = 0 if offer.slot is None else offer.slot.sequence
    return sign(Proposal(offer.start, offer.duration, parts, service, slot), signing_key(settings))


def proposed(offer: Offer, wishes: Wishes, settings: Settings) -> Resource:
    """An offer as an Appointment; without an id when the offer has too many parts for one."""
    id = signed(offer, settings, wishes.service_sequence)
    made = _made(offer, wishes)
    return made if id is None else {"resourceType": "Appointment", "id": id, **made}


def _made(offer: Offer, wishes: Wishes) -> Resource:
    leading = offer.parts[0].bookable
    zone = leading.rules.zone
    made: Resource = {"resourceType": "Appointment"}
    if wishes.new_patients:
        made["contained"] = [
            {**patient, "id": f"patient{n}"} for n, patient in enumerate(wishes.new_patients, 1)
        ]
    made["extension"] = booking((part.bookable.reference for part in offer.parts), wishes.service)
    made["status"] = "proposed"
    made.update(_services(leading, wishes.service))
    if wishes.reasons:
        made["reasonCode"] = [{"coding": [_coding(code)]} for code in wishes.reasons]
    made["start"] = format_local(offer.start, zone)
    made["end"] = format_local(offer.start + offer.duration, zone)
    if offer.duration >= MINUTE:
        made["minutesDuration"] = offer.duration // MINUTE
    if offer.slot is not None:
        made["slot"] = [{"reference": f"Slot/{offer.slot.slot['id']}"}]
    if wishes.referral is not None:
        made["basedOn"] = [{"type": "ServiceRequest", "identifier": dict(wishes.referral)}]
    made["participant"] = [*_patients(wishes), *_actors(offer, zone)]
    return made


async def appointment_of(id: str, services: Services) -> Resource | None:
    """The Appointment that the id of a proposal stands for, without an id; None for any other id."""
    proposal = read_proposal(id, signing_key(services.settings))
    if proposal is None:
        return None
    versions = [await _version(services, part.schedule) for part in proposal.parts]
    known = [version for version in versions if version is not None and version.type == "Schedule"]
    service: str | None = None
    if proposal.service:
        version = await _version(services, proposal.service)
        service = None if version is None else f"{version.type}/{version.id}"
    bookables = {b.sequence: b for b in await bookables_of(services, known, service)}
    if not all(part.schedule in bookables for part in proposal.parts):
        return None
    slot = None
    if proposal.slot:
        version = await _version(services, proposal.slot)
        if version is None or version.type != "Slot":
            return None
        slot = _published(version)
    parts = tuple(Part(bookables[p.schedule], p.offset, p.duration) for p in proposal.parts)
    wishes = Wishes(service=service, service_sequence=proposal.service)
    return _made(Offer(proposal.start, proposal.duration, parts, slot), wishes)


async def _version(services: Services, sequence: int) -> Stored | None:
    async for version in services.store.changes(sequence - 1, 1):
        return version if version.sequence == sequence and not version.deleted else None
    return None


def _published(version: Stored) -> Published | None:
    slot = decode_object(version.body)
    period = period_of(slot)
    return None if period is None else Published(slot, version.sequence, *period)


def _services(leading: Bookable, service: str | None) -> dict[str, Any]:
    """What is done there: as the Schedule says, else the service that was asked for."""
    stated: dict[str, Any] = {}
    offered = leading.related.get(service or "", {})
    for member, of_service in (
        ("serviceCategory", "category"),
        ("serviceType", "type"),
        ("specialty", "specialty"),
    ):
        found = leading.schedule.get(member) or offered.get(of_service)
        if found:
            stated[member] = found
    return stated


def _patients(wishes: Wishes) -> list[dict[str, Any]]:
    named = [*wishes.patients, *(f"#patient{n}" for n in range(1, len(wishes.new_patients) + 1))]
    return [
        {"actor": {"reference": reference}, "required": "required", "status": "needs-action"}
        for reference in named
    ]


def _actors(offer: Offer, zone: str) -> list[dict[str, Any]]:
    participants: list[dict[str, Any]] = []
    named: set[str] = set()
    for part in offer.parts:
        for actor in part.bookable.schedule.get("actor", ()):
            if actor.get("reference") in named:
                continue
            named.add(str(actor.get("reference")))
            one: dict[str, Any] = {"actor": actor, "required": "required", "status": "needs-action"}
            if part.offset or part.duration != offer.duration:
                low = offer.start + part.offset
                one["period"] = {
                    "start": format_local(low, zone),
                    "end": format_local(low + part.duration, zone),
                }
            participants.append(one)
    return [*participants, *_places(offer.parts, named)]


def _places(parts: Sequence[Part], named: set[str]) -> list[dict[str, Any]]:
    """Where it is, for the patient: the place of a role that works at one place only."""
    found = []
    for part in parts:
        for actor in part.bookable.rules.actors:
            if not actor.startswith("PractitionerRole/"):
                continue
            places = part.bookable.related.get(actor, {}).get("location", ())
            if len(places) == 1:
                reference = str(places[0].get("reference"))
                if reference not in named:
                    named.add(reference)
                    found.append({"actor": places[0], "required": "information-only", "status": "accepted"})
    return found


def _coding(code: Code) -> dict[str, str]:
    system, value = code
    return {"code": value} if not system else {"system": system, "code": value}
