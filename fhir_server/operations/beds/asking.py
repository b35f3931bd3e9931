"""What the operations of wards have in common in their parameters: moments, stays, beds, overrides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from fhir_r4.errors import BusinessRule, Conflict, InvalidRequest, NotFound
from fhir_r4.references import local_id
from fhir_r4.temporal import MINUTE, format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Answer, Write, carry_out, sole
from fhir_server.operations.beds.choosing import Candidate, Wish, best, candidates, why_none
from fhir_server.operations.beds.following import board_of
from fhir_server.operations.given import Given
from fhir_server.resources.beds.places import is_bed
from fhir_server.resources.beds.stays import OVERRIDE, start_of
from fhir_server.resources.beds.surroundings import today
from fhir_server.resources.change import Known
from fhir_server.resources.permissions import require

# how far the clocks of clients may be ahead
AHEAD = 5 * MINUTE


def moment(given: Given, known: Known, name: str = "at") -> str:
    """When it happens: the parameter, or now. Raises InvalidRequest for a day without time, BusinessRule for the future."""
    text = given.one(name)
    if text is None:
        return format_instant(known.now)
    if "T" not in text:
        raise InvalidRequest(f"The parameter {name} is a date with a time; found {text!r}.", name)
    if instant(text) > known.now + AHEAD:
        raise BusinessRule(f"{name} is {text}, which is yet to come.", name)
    return str(text)


def instant(text: str) -> int:
    """A dateTime as microseconds."""
    found = start_of(text)
    assert found is not None
    return found


async def require_stay(known: Known, id: str | None) -> Resource:
    """The Encounter. Raises NotFound."""
    found = None if id is None else await known.current("Encounter", id)
    if found is None:
        raise NotFound(f"There is no Encounter/{id}.")
    return found


def require_status(stay: Resource, *wanted: str) -> None:
    """Raise BusinessRule when the stay is in none of the states."""
    if stay.get("status") not in wanted:
        raise BusinessRule(
            f"Encounter/{stay['id']} is {stay.get('status')}; this needs {' or '.join(wanted)}.",
            "Encounter.status",
        )


def reference_id(given: Given, name: str, type: str, services: Services) -> str | None:
    """The id that a Reference parameter names. Raises InvalidRequest for anything but a resource of `type` here."""
    reference = given.one(name)
    if reference is None:
        return None
    id = local_id(reference, type, services.settings.local_bases)
    if id is None:
        raise InvalidRequest(f"The parameter {name} refers to a {type} of this server.", name)
    return id


def ward_ids(given: Given, services: Services) -> tuple[str, ...]:
    """The places that the parameter `ward` names."""
    found = []
    for reference in given.all("ward"):
        id = local_id(reference, "Location", services.settings.local_bases)
        if id is None:
            raise InvalidRequest("The parameter ward refers to a Location of this server.", "ward")
        found.append(id)
    return tuple(found)


async def require_bed(known: Known, id: str) -> Resource:
    """The Location of a bed. Raises BusinessRule when it is none."""
    found = await known.current("Location", id)
    if found is None or not is_bed(found):
        raise BusinessRule(f"Location/{id} is {'not here' if found is None else 'no bed'}.", "bed")
    return found


def override_of(call: OperationCall, given: Given) -> Resource | None:
    """The extension that the parameter `override` makes of its reason. Raises Forbidden."""
    reason = given.one("override")
    if reason is None:
        return None
    require(call.request.actor, "override")
    return {"url": OVERRIDE, "extension": [{"url": "reason", "valueCodeableConcept": reason}]}


# makes the writes for a bed; None when none was asked for
BedPlanner = Callable[[Known, str | None], Awaitable[Sequence[Write]]]
# what is looked for in the wards, when no bed was named
Wishing = Callable[[Known], Awaitable[Wish]]


async def carry_out_with_bed(
    call: OperationCall,
    services: Services,
    given: Given,
    wishing: Wishing,
    planner: BedPlanner,
    answer: Answer = sole,
) -> FhirResponse:
    """Carry out with the bed that `bed` names, or the best of the wards; when others take that, with the next best.

    Raises BusinessRule when no bed of the wards suits.
    """
    named, wards = reference_id(given, "bed", "Location", services), ward_ids(given, services)
    chosen: list[tuple[str, Wish]] = []

    async def plan(known: Known) -> Sequence[Write]:
        bed = named
        if bed is not None:
            await require_bed(known, bed)
        elif wards:
            wish = replace(await wishing(known), wards=wards)
            bed = await _choose(services, known.now, wish)
            chosen.append((bed, wish))
        return await planner(known, bed)

    while True:
        chosen.clear()
        try:
            return await carry_out(call, services, given, plan, answer)
        except (Conflict, BusinessRule):
            if not chosen or await _still_suits(services, *chosen[-1]):
                raise


async def _candidates(services: Services, now: int, wish: Wish) -> list[Candidate]:
    return candidates(await board_of(services), wish, now, today(now, services))


async def _choose(services: Services, now: int, wish: Wish) -> str:
    board = await board_of(services)
    for ward in wish.wards:
        if ward not in board.locations:
            raise BusinessRule(f"There is no Location/{ward}.", "ward")
    found = await _candidates(services, now, wish)
    bed = best(found)
    if bed is None:
        raise BusinessRule(why_none(found), "ward")
    return bed


async def _still_suits(services: Services, bed: str, wish: Wish) -> bool:
    found = await _candidates(services, services.clock(), wish)
    return any(c.bed == bed and not c.reasons for c in found)
