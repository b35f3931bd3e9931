"""Appointment/$reschedule: the same Appointment at another time, or with others. docs/scheduling.md

An invariant to keep: the new time is taken and the old one released in one commit, so the two may overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest, NotFound
from fhir_r4.temporal import format_instant, parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.given import Given
from fhir_server.operations.scheduling.changes import changed, overridden
from fhir_server.operations.scheduling.proposed import appointment_of
from fhir_server.operations.scheduling.rules import check_bookable
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.booked import booked_as
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.resources.scheduling.taking import ACTOR_TYPES, slots_of
from fhir_server.search.tree import DateIs, RefersTo, all_of

MOVABLE = ("proposed", "pending", "booked", "waitlist")


async def reschedule(call: OperationCall, services: Services) -> FhirResponse:
    """The Appointment at its new time."""

    async def change(appointment: Resource, taken: Given, known: Known) -> Sequence[Write]:
        if appointment["status"] not in MOVABLE:
            raise BusinessRule(
                f"An Appointment that is {appointment['status']} cannot be moved.", "Appointment.status"
            )
        reference, start = taken.one("appointment-reference"), taken.one("start")
        if (reference is None) == (start is None):
            raise InvalidRequest("Either start or appointment-reference is needed.", "start")
        if reference is not None:
            moved = await _as_proposed(appointment, reference, services)
        else:
            moved = await _moved(appointment, start, taken, known)
        check_bookable(moved, known.now)
        return [Write(overridden(moved, taken, call))]

    return await changed(call, services, "reschedule", change)


async def _as_proposed(appointment: Resource, reference: Resource, services: Services) -> Resource:
    """The Appointment with the time, Slots and actors of a proposal."""
    type, _, id = (local_reference(reference) or "").partition("/")
    proposed = await appointment_of(id, services) if type == "Appointment" else None
    if proposed is None:
        raise NotFound("appointment-reference is no proposal of this server.", "appointment-reference")
    kept = {k: v for k, v in appointment.items() if k != "slot"}
    times: Resource = {m: proposed[m] for m in ("start", "end", "slot", "minutesDuration") if m in proposed}
    moved = {**kept, **times, "participant": [*_others(appointment), *_acting(proposed)]}
    return booked_as(moved, proposed)


async def _moved(appointment: Resource, start: str, taken: Given, known: Known) -> Resource:
    period = period_of(appointment)
    if period is None:
        raise BusinessRule("An Appointment without a time has nothing to be moved.", "Appointment.start")
    begin = parse_interval(start)[0]
    end = begin + period[1] - period[0]
    moved = {k: v for k, v in appointment.items() if k != "slot"}
    moved |= {"start": format_instant(begin), "end": format_instant(end)}
    schedules = [await _schedule(reference, known) for reference in taken.all("schedule")]
    if schedules:
        actors = [a for schedule in schedules for a in schedule.get("actor", ())]
        new = [{"actor": actor, "required": "required", "status": "accepted"} for actor in actors]
        moved["participant"] = [*_others(appointment), *new]
        ids = [schedule["id"] for schedule in schedules]
    else:
        ids = await schedules_of_slots(appointment, known)
    slots = [slot for id in ids for slot in await slots_at(id, begin, end, known)]
    return {**moved, "slot": slots} if slots else moved


async def _schedule(reference: Resource, known: Known) -> Resource:
    type, _, id = (local_reference(reference) or "").partition("/")
    found = await known.current(type, id) if type == "Schedule" else None
    if found is None:
        raise NotFound(f"There is no {reference.get('reference')!s:.80}.", "schedule")
    return found


async def schedules_of_slots(appointment: Resource, known: Known) -> list[str]:
    found: dict[str, None] = {}
    for id in slots_of(appointment):
        slot = await known.current("Slot", id)
        reference = None if slot is None else local_reference(slot.get("schedule", {}))
        if reference is not None:
            found[reference.partition("/")[2]] = None
    return list(found)


async def slots_at(schedule: str, begin: int, end: int, known: Known) -> list[Resource]:
    """The Slot of a Schedule at just this time, when it keeps Slots; the time is taken without one, too."""
    found = await known.find(
        "Slot", all_of([RefersTo("schedule", "Schedule", schedule), DateIs("start", "co", begin, begin + 1)])
    )
    fitting = [s for s in found if period_of(s) == (begin, end) and s["status"] != "entered-in-error"]
    return [{"reference": f"Slot/{slot['id']}"} for slot in fitting[:1]]


def _acting(appointment: Resource) -> list[Resource]:
    """The participants whose time is taken."""
    return [p for p in appointment.get("participant", ()) if _is_acting(p)]


def _others(appointment: Resource) -> list[Resource]:
    return [p for p in appointment.get("participant", ()) if not _is_acting(p)]


def _is_acting(participant: Resource) -> bool:
    actor = local_reference(participant.get("actor", {}))
    return actor is not None and actor.partition("/")[0] in ACTOR_TYPES
