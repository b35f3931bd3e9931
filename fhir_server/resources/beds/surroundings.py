"""Look at what is around a bed: the rules of the places above it, the room, those who lie beside.

Only what a decision depends on is looked at, because all of it must still hold when the decision is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from fhir_server.context import Resource, Services
from fhir_server.resources.beds.places import is_bed, is_room, kind_of, parent_of, status_of
from fhir_server.resources.beds.stays import LIVE, Place, patient_of, places_of
from fhir_server.resources.beds.wards import Needs, Room, Rules, Situation, needs_of, rules_of
from fhir_server.resources.change import Known
from fhir_server.search.tree import Expression, RefersTo, TokenIs, all_of, any_of

# site, building, wing, level, ward, corridor, room, bed
MOST_LEVELS = 12
# stays that name a bed and have not ended: who lies there, and the plans of months
MOST_HOLDERS = 1000


def today(now: int, services: Services) -> date:
    """The date on the hospital's clocks."""
    return datetime.fromtimestamp(now / 1_000_000, ZoneInfo(services.settings.default_timezone)).date()


def live_at(*beds: str) -> Expression:
    """What holds for the Encounters that have not ended and name one of the Locations."""
    return all_of(
        [
            any_of(RefersTo("location", "Location", bed) for bed in beds),
            any_of(TokenIs("status", None, status) for status in sorted(LIVE)),
        ]
    )


async def holders(known: Known, bed: str, bases: Sequence[str] = ()) -> tuple[tuple[Resource, Place], ...]:
    """The stays that hold a bed, with the places that say so: those who lie there, and those who have reserved it."""
    return tuple(
        (encounter, place)
        for encounter in await known.find("Encounter", live_at(bed), MOST_HOLDERS)
        for place in places_of(encounter, bases)
        if place.location == bed and place.holds(known.now)
    )


async def situation(
    known: Known,
    bed: Resource,
    needs: Needs,
    encounter: str,
    bases: Sequence[str] = (),
    state: str | None = None,
) -> Situation:
    """The bed as the patient of the Encounter with that id would find it; `state` instead of the bed's own."""
    rules = await rules_at(known, bed, bases)
    status = state or status_of(bed) or "U"
    room = Room()
    if rules.gender == "by-room" or needs.isolation or status == "I":
        beds = await beds_beside(known, bed, bases)
        room = Room(1 + len(beds), await _lying(known, beds, encounter, bases))
    return Situation(status, rules, room)


async def rules_at(known: Known, location: Resource, bases: Sequence[str] = ()) -> Rules:
    """The rules in force at a place."""
    rules = rules_of(location)
    for _ in range(MOST_LEVELS):
        parent = parent_of(location, bases)
        above = None if parent is None else await known.current("Location", parent)
        if above is None:
            break
        location, rules = above, rules.below(rules_of(above))
    return rules


async def beds_beside(known: Known, bed: Resource, bases: Sequence[str] = ()) -> tuple[Resource, ...]:
    """The other beds of the room; none where a bed lies in no room."""
    room = parent_of(bed, bases)
    above = None if room is None else await known.current("Location", room)
    if room is None or above is None or not is_room(above):
        return ()
    found = await known.find("Location", RefersTo("partof", "Location", room))
    return tuple(o for o in found if o["id"] != bed["id"] and is_bed(o) and kind_of(o) == "bed")


async def stays_in(known: Known, beds: Sequence[Resource], bases: Sequence[str] = ()) -> tuple[Resource, ...]:
    """The stays of those who lie in the beds."""
    ids = {bed["id"] for bed in beds}
    if not ids:
        return ()
    found = await known.find("Encounter", live_at(*sorted(ids)))
    return tuple(
        e for e in found if any(p.location in ids and p.state == "active" for p in places_of(e, bases))
    )


async def _lying(
    known: Known, beds: Sequence[Resource], encounter: str, bases: Sequence[str]
) -> tuple[Needs, ...]:
    found = []
    for stay in await stays_in(known, beds, bases):
        if stay["id"] != encounter:
            found.append(await needs_in(known, stay, bases))
    return tuple(found)


async def needs_in(known: Known, encounter: Resource, bases: Sequence[str] = ()) -> Needs:
    """What the patient of a stay needs."""
    id = patient_of(encounter, bases)
    patient = None if id is None else await known.current("Patient", id)
    return needs_of(encounter, patient)


def without_state(bed: Situation) -> Situation:
    """The bed as it will be when it is free: for a reservation."""
    return replace(bed, status="U")
