"""The manner of Location: the state of a bed is the server's own.

A bed is occupied when, and only when, a stay has it as an active place. All other states are set by hand, one after the other
as `places.TRANSITIONS` has them. What is sent without a state, or with the state that is known, takes the true one.
"""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.housekeeping import follow_status
from fhir_server.resources.beds.places import (
    BED,
    STATUS_NAMES,
    TRANSITIONS,
    in_use,
    is_bed,
    status_of,
    with_status,
)
from fhir_server.resources.beds.stays import Place
from fhir_server.resources.beds.surroundings import holders
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners

Holders = tuple[tuple[Resource, Place], ...]


async def judge_location(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of a Location. Raises BusinessRule for a bed that is in use or a state that cannot follow."""
    before, after = change.before, change.after
    was, is_ = is_bed(before), is_bed(after)
    if not was and not is_:
        return NOTHING
    since = status_of(before) if was and before is not None else None
    if change.derived and after is not None:
        return Consequence(writes=await follow_status(change, known, services, since, status_of(after)))
    held = await holders(known, change.id, services.settings.local_bases)
    if after is None or not is_:
        _require_free(change, held, "deleted" if after is None else "turned into another kind of place")
        return NOTHING
    lying = [e for e, place in held if place.state == "active"]
    if lying and not in_use(after):
        raise BusinessRule(
            f"Location/{change.id} is occupied by {_names(lying)}: it cannot be {after.get('status')}.",
            "Location.status",
        )
    if before is None or not was:
        return _arrived(after, held, bool(lying))
    said = status_of(after)
    if said is None and since is None and not lying:
        return NOTHING
    code = _occupied(change, said, since, lying) if lying else _by_hand(change, said, since or "U")
    resource = after if code == said else with_status(after, code)
    if since == "O" and code == "H":  # the stay that leaves brings the Task with it
        return Consequence(resource=resource)
    return Consequence(
        resource=None if resource is after else resource,
        writes=await follow_status(change, known, services, since, code),
    )


def _require_free(change: Change, held: Holders, what: str) -> None:
    if held:
        raise BusinessRule(
            f"Location/{change.id} is held by {_names([e for e, _ in held])}: it cannot be {what}.",
            "Location",
        )


def _names(encounters: list[Resource]) -> str:
    return ", ".join(dict.fromkeys(f"Encounter/{e['id']}" for e in encounters))


def _arrived(bed: Resource, held: Holders, occupied: bool) -> Consequence:
    """A bed that is new: stays that name it already were not known to name a bed, and hold it from now on."""
    said = status_of(bed)
    code = "O" if occupied else "U" if said == "O" else said
    if code is not None and code not in STATUS_NAMES:
        raise _unknown(code)
    resource = None if code is None or code == said else with_status(bed, code)
    writes = []
    for encounter, place in held:
        if not place.says_bed:
            places = list(encounter["location"])
            places[place.index] = {**places[place.index], "physicalType": BED}
            writes.append({**encounter, "location": places})
    return Consequence(resource=resource, writes=tuple(writes))


def _occupied(change: Change, said: str | None, since: str | None, lying: list[Resource]) -> str:
    if said not in (None, "O", since):
        raise BusinessRule(
            f"Location/{change.id} is occupied by {_names(lying)}: its state stays O until they leave; found {said!r}.",
            "Location.operationalStatus",
        )
    return "O"


def _by_hand(change: Change, said: str | None, since: str) -> str:
    if said is None or said == since:  # O: they leave with this commit, or the bed was nobody's
        return "H" if since == "O" else since
    if said not in STATUS_NAMES:
        raise _unknown(said)
    if said == "O":
        raise BusinessRule(
            f"Nobody lies in Location/{change.id}: a bed becomes occupied by the Encounter of a patient, not by hand.",
            "Location.operationalStatus",
        )
    if said not in TRANSITIONS[since]:
        ways = ", ".join(sorted(TRANSITIONS[since])) or "none"
        raise BusinessRule(
            f"Location/{change.id} is {since} ({STATUS_NAMES[since]}); from there it becomes {ways}, not {said}.",
            "Location.operationalStatus",
        )
    return said


def _unknown(code: str) -> BusinessRule:
    return BusinessRule(
        f"A bed is in one of the states {', '.join(STATUS_NAMES)} (v2-0116); found {code[:20]!r}.",
        "Location.operationalStatus",
    )


LOCATION = Manners(judge_location)
