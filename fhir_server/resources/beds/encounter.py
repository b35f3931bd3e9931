"""The manner of Encounter: its states, the beds that it takes and leaves, and what it holds of them.

An invariant to keep: whoever writes a stay, a bed that it comes to is occupied from the same commit on, and one that it
leaves waits for housekeeping. Encounters that name no bed are kept as they come, apart from their history of states; those that
name no place of this house are records of elsewhere, and hold nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.flags import closed, is_of_stay, override_flag
from fhir_server.resources.beds.lifecycle import check_lifecycle, with_status_history
from fhir_server.resources.beds.places import (
    BED,
    blocked_by,
    in_use,
    is_bed,
    kind_of,
    left_by,
    status_of,
    with_status,
)
from fhir_server.resources.beds.stays import (
    ENDED,
    Place,
    claims_of_stay,
    is_lying,
    overridden,
    patient_of,
    places_of,
    reversals,
    status,
)
from fhir_server.resources.beds.surroundings import (
    beds_beside,
    holders,
    needs_in,
    situation,
    stays_in,
    today,
)
from fhir_server.resources.beds.wards import (
    ABSOLUTE,
    BLOCKING,
    RULE_SYSTEM,
    Needs,
    Violation,
    needs_of,
    violations,
)
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.resources.permissions import require
from fhir_server.search.tree import RefersTo
from fhir_server.store.records import Claim

ELSEWHERE = Issue(
    "warning",
    "informational",
    "The stay names no place that is kept here: it is taken for a record of another house and holds nothing.",
    ("Encounter.location",),
)

MOST_FLAGS = 1000

Beds = Mapping[str, Resource | None]


async def judge_encounter(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of an Encounter. Raises BusinessRule for a state or a bed that it may not have."""
    return await Judgement(change, known, services).made()


class Judgement:
    """One change of an Encounter, and what has been found out to judge it."""

    def __init__(self, change: Change, known: Known, services: Services) -> None:
        self.change = change
        self.known = known
        self.services = services
        self.bases = services.settings.local_bases
        self.beds: dict[str, Resource | None] = {}
        self.places: set[str] = set()
        self.writes: dict[tuple[str, str], Resource] = {}

    async def made(self) -> Consequence:
        before, after = self.change.before, self.change.after
        if after is None:
            await self._require_over()
            return NOTHING
        check_lifecycle(before, after)
        for place in (*places_of(before, self.bases), *places_of(after, self.bases)):
            if place.state != "over":
                await self._look(place)
        stay = with_status_history(before, self._completed(after), self.known.now)
        held = self._held(stay)
        stay = self._with_physical_types(stay, held)
        self._check_shape(stay, held)
        await self._come_and_go(before, stay, held)
        await self._close_flags(before, stay)
        here = is_lying(stay) and await self._is_here(stay)
        claims = claims_of_stay(stay, held, self.bases, here=here)
        patient = patient_of(stay, self.bases)
        lying = any(p.state == "active" and self._kind(p.location) == "bed" for p in held)
        if lying and patient is not None:
            claims = (*claims, Claim(f"in-bed:Patient/{patient}"))
        told = (ELSEWHERE,) if is_lying(stay) and not here else ()
        return Consequence(claims, None if stay is after else stay, tuple(self.writes.values()), told)

    async def _look(self, place: Place) -> None:
        """A place is a bed when its Location is one, or is not here and the stay says so."""
        if place.location in self.beds or place.location in self.places:
            return
        location = await self.known.current("Location", place.location)
        if location is not None:
            self.places.add(place.location)
        if is_bed(location) or (location is None and place.says_bed):
            self.beds[place.location] = location

    def _kind(self, id: str) -> str:
        location = self.beds.get(id)
        return "bed" if location is None else kind_of(location)

    def _held(self, encounter: Resource | None) -> tuple[Place, ...]:
        """The beds that a stay holds."""
        return tuple(
            p for p in places_of(encounter, self.bases) if p.state != "over" and p.location in self.beds
        )

    async def _is_here(self, stay: Resource) -> bool:
        """Whether a stay has a place of this house, or had one: who is on leave may have given up the bed."""
        places = places_of(stay, self.bases)
        if any(p.says_bed or p.location in self.places for p in places):
            return True
        return any([await self.known.current("Location", p.location) is not None for p in places])

    async def _require_over(self) -> None:
        before = self.change.before
        for place in places_of(before, self.bases):
            if place.state != "over":
                await self._look(place)
        held = self._held(before)
        if held or is_lying(before):
            what = f"holds Location/{held[0].location}" if held else f"is {status(before)}"
            raise BusinessRule(
                f"Encounter/{self.change.id} {what}: it cannot be deleted. Discharge the patient or cancel it first.",
                "Encounter",
            )

    def _completed(self, after: Resource) -> Resource:
        """A stay that has ended leaves the places where it still was."""
        if status(after) not in ENDED or "location" not in after:
            return after
        places = []
        for entry in after["location"]:
            if entry.get("status", "active") == "active" and "end" not in entry.get("period", {}):
                if local_id(entry.get("location"), "Location", self.bases) is not None:
                    end = (after.get("period") or {}).get("end", format_instant(self.known.now))
                    period = {**entry.get("period", {}), "end": end}
                    entry = {**entry, "status": "completed", "period": period}
            elif entry.get("status") == "active":
                entry = {**entry, "status": "completed"}
            places.append(entry)
        return {**after, "location": places} if places != after["location"] else after

    def _with_physical_types(self, stay: Resource, held: Sequence[Place]) -> Resource:
        if all(p.says_bed for p in held):
            return stay
        places = list(stay["location"])
        for place in held:
            if not place.says_bed:
                places[place.index] = {**places[place.index], "physicalType": BED}
        return {**stay, "location": places}

    def _check_shape(self, stay: Resource, held: Sequence[Place]) -> None:
        lying = [p for p in held if p.state == "active"]
        where = "Encounter.location"
        if status(stay) == "planned" and lying:
            raise BusinessRule(
                f"A planned stay lies in no bed: give Location/{lying[0].location} the status reserved, or admit.",
                f"{where}[{lying[0].index}].status",
            )
        beds = [p.location for p in lying if self._kind(p.location) == "bed"]
        if len(beds) > 1:
            names = ", ".join(f"Location/{bed}" for bed in beds)
            raise BusinessRule(f"A patient lies in one bed; the stay has {names} active.", where)

    # Coming and going

    async def _come_and_go(self, before: Resource | None, stay: Resource, held: Sequence[Place]) -> None:
        were = {p.location: p for p in self._held(before)}
        lay = {id for id, p in were.items() if p.state == "active"}
        needs: Needs | None = None
        for place in held:
            known_before = were.get(place.location)
            if known_before is not None and known_before.state in (place.state, "active"):
                continue
            needs = needs or await needs_in(self.known, stay, self.bases)
            await self._come(stay, place, needs)
        lies = {p.location for p in held if p.state == "active"}
        for id in sorted(lay - lies):
            await self._leave(id, before)
        if lay != lies or _isolation(before) != _isolation(stay):
            await self._block(stay, lay, lies)

    async def _close_flags(self, before: Resource | None, stay: Resource) -> None:
        """What a ward was to mind of a patient ends with the stay."""
        if before is None or status(before) in ENDED or status(stay) not in ENDED:
            return
        flags = await self.known.find("Flag", RefersTo("encounter", "Encounter", self.change.id), MOST_FLAGS)
        for flag in flags:
            if is_of_stay(flag):
                self.writes["Flag", flag["id"]] = closed(flag, self.known.now)

    async def _come(self, stay: Resource, place: Place, needs: Needs) -> None:
        bed = self.beds[place.location]
        if bed is None:
            return
        state = None if place.state == "active" else "U"
        bed_now = await situation(self.known, bed, needs, self.change.id, self.bases, state)
        found = list(violations(needs, bed_now, today(self.known.now, self.services)))
        if not in_use(bed):
            found.append(Violation("bed-closed", f"The bed is {bed['status']}."))
        found = [v for v in found if not self._back_to_own(v, place)]
        entry = stay["location"][place.index]
        allowed = overridden(entry)
        refused = [
            v for v in found if v.rule in ABSOLUTE or allowed is None or (allowed and v.rule not in allowed)
        ]
        if refused:
            where = f"Encounter.location[{place.index}]"
            issues = [
                Issue(
                    "error",
                    "business-rule",
                    f"Location/{place.location}: {v.text}",
                    (where,),
                    (RULE_SYSTEM, v.rule),
                )
                for v in refused
            ]
            raise BusinessRule(issues[0].diagnostics, issues=issues)
        if found:
            require(self.change.actor, "override")
            flag = override_flag(self.services.new_id(), stay, place, entry, found, self.known.now)
            self.writes["Flag", flag["id"]] = flag
        if place.state == "active" and status_of(bed) != "O":
            self.writes["Location", place.location] = with_status(bed, "O")

    def _back_to_own(self, violation: Violation, place: Place) -> bool:
        """Whether the bed is only unready because this very patient has just left it."""
        if violation.rule not in ("bed-not-ready", "bed-contaminated"):
            return False
        before, after = self.change.before, self.change.after
        if reversals(after) <= reversals(before):
            return False
        bed = self.beds[place.location]
        return bed is not None and left_by(bed) == f"Encounter/{self.change.id}"

    async def _leave(self, id: str, before: Resource | None) -> None:
        bed = self.beds[id]
        if bed is None or status_of(bed) not in ("O", "H"):
            return
        others = await holders(self.known, id, self.bases)
        if any(place.state == "active" for _, place in others):
            return
        self.writes["Location", id] = with_status(
            bed, "K" if _isolation(before) else "H", left=f"Encounter/{self.change.id}"
        )

    async def _block(self, stay: Resource, lay: set[str], lies: set[str]) -> None:
        """Keep the beds beside an isolated patient empty, and give free those that need it no longer."""
        own = f"Encounter/{self.change.id}"
        for id in sorted(lay | lies):
            bed = self.beds[id]
            if bed is None or (not _isolation(stay) and not _isolation(self.change.before)):
                continue
            isolated = id in lies and bool(_isolation(stay) & BLOCKING)
            beside = await beds_beside(self.known, bed, self.bases)
            others: tuple[Resource, ...] = ()
            if not isolated:
                in_room = await stays_in(self.known, (*beside, bed), self.bases)
                others = tuple(e for e in in_room if e["id"] != self.change.id and _isolation(e) & BLOCKING)
            for neighbour in beside:
                key = ("Location", neighbour["id"])
                if isolated and status_of(neighbour) in (None, "U"):
                    self.writes[key] = with_status(neighbour, "I", blocker=own)
                elif not isolated and status_of(neighbour) == "I" and blocked_by(neighbour) == own:
                    blocker = f"Encounter/{others[0]['id']}" if others else None
                    self.writes[key] = (
                        with_status(neighbour, "I", blocker=blocker)
                        if others
                        else with_status(neighbour, "U")
                    )


def _isolation(encounter: Resource | None) -> frozenset[str]:
    return needs_of(encounter, None).isolation


# after Location: a bed that comes in the same commit is known by then
ENCOUNTER = Manners(judge_encounter, first=1)
