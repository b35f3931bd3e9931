"""The Locations of the hospital that senders mean: found by identifier, or by the names of the place and of what it is in.

An invariant to keep: a place is never guessed; one that is not found stays as it was told, and a person is asked.
"""

from __future__ import annotations

from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.places import Place
from hl7_bridge.mapping.draft import Draft

DEPTH = 8


async def located(place: Place, draft: Draft, path: str) -> dict[str, Any]:
    """A reference to the Location that is meant; only its name, and a problem, where there is none or are several."""
    found = await _candidates(place, draft)
    if len(found) == 1:
        return {"reference": f"Location/{found[0]['id']}", "display": found[0].get("name", place.name)}
    if not draft.knows("unmatched-location", place.name):
        what = "Several places are" if found else "No place is"
        draft.problem("unmatched-location", f"{what} called so.", path, place.name)
    return {"display": place.name}


async def _candidates(place: Place, draft: Draft) -> list[Resource]:
    if place.identifier:
        found = await draft.find("Location", [("identifier", place.identifier)])
        if found:
            return found
    parts = [part for part in (place.bed, place.room, place.point_of_care) if part]
    parts = parts or [part for part in (place.floor, place.building, place.facility) if part]
    if not parts:
        return await _called(place.description, draft)
    found = [one for one in await _called(parts[0], draft) if await _lies_in(one, parts[1:], draft)]
    if len(found) > 1:
        around = [part for part in (place.floor, place.building, place.facility) if part]
        found = [one for one in found if await _lies_in(one, around, draft)] or found
    return found


async def _called(name: str, draft: Draft) -> list[Resource]:
    """The Locations in use with this name or identifier."""
    if not name:
        return []
    escaped = name.replace("\\", "\\\\").replace("$", "\\$").replace(",", "\\,").replace("|", "\\|")
    named = await draft.find("Location", [("name:exact", escaped)])
    numbered = await draft.find("Location", [("identifier", escaped)])
    every = {one["id"]: one for one in (*named, *numbered)}
    return [one for one in every.values() if one.get("status") != "inactive"]


async def _lies_in(location: Resource, names: list[str], draft: Draft) -> bool:
    """Whether each of the names is that of something that the Location is a part of."""
    wanted = {name.casefold() for name in names}
    around = location
    for _ in range(DEPTH):
        above = around.get("partOf", {}).get("reference", "").rpartition("/")[2]
        if not wanted or not above:
            break
        found = await draft.find("Location", [("_id", above)])
        if not found:
            break
        around = found[0]
        wanted -= {name.casefold() for name in _names(around)}
    return not wanted


def _names(location: Resource) -> list[str]:
    identifiers = [one.get("value", "") for one in location.get("identifier", [])]
    return [location.get("name", ""), *location.get("alias", []), *identifiers, location["id"]]
