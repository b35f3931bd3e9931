"""The bed board: every bed with its state, who lies there, who is to come, and what is to be done. Pure, in memory.

It is made of the resources as they are committed, one after the other (`apply`); applying a state twice changes nothing.
What a bed shows is kept as JSON text until something about it changes, so that reading the board joins texts. An invariant to
keep: the board says of a bed what its resources say at the instant that it is asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from fhir_r4.jsonio import encode
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.beds import housekeeping
from fhir_server.resources.beds.places import OSLER, is_bed, is_room, kind_of, parent_of, status_of
from fhir_server.resources.beds.stays import (
    LIVE,
    Place,
    expected_discharge,
    patient_of,
    places_of,
    status,
)
from fhir_server.resources.beds.wards import Needs, Room, Rules, needs_of, rules_of

OCCUPANCY = OSLER + "bed-occupancy"
SUBSETTED = {
    "tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]
}
STATES = "UROHKIC"


@dataclass(frozen=True, slots=True)
class Stay:
    """A stay that holds beds; `needs` has what the Encounter alone tells."""

    id: str
    status: str
    patient: str | None
    places: tuple[Place, ...]
    needs: Needs
    leaves: int | None
    class_: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """What a board shows of a patient."""

    name: str
    gender: str | None
    born: date | None


@dataclass(frozen=True, slots=True)
class Sight:
    """The ids of what somebody may see."""

    locations: frozenset[str]
    stays: frozenset[str]
    patients: frozenset[str]
    tasks: frozenset[str]


class Board:
    """The beds of one hospital as far as `apply` has been told of them."""

    def __init__(self, bases: tuple[str, ...] = ()) -> None:
        self.bases = bases
        self.sequence = 0
        self.locations: dict[str, Resource] = {}
        self.children: dict[str | None, dict[str, None]] = {}
        self.stays: dict[str, Stay] = {}
        self.people: dict[str, Person] = {}
        self.changed: dict[str, int] = {}
        self._at_bed: dict[str, dict[str, None]] = {}
        self._of_patient: dict[str, dict[str, None]] = {}
        self._tasks: dict[str, str] = {}
        self._tasks_at: dict[str, dict[str, None]] = {}
        self._texts: dict[str, bytes] = {}
        self._states: dict[str, str] = {}
        self._below: dict[str | None, tuple[str, ...]] = {}
        self._rules: dict[str, Rules] = {}
        self._beside: dict[str, tuple[str, ...]] = {}
        self._lying: dict[str, str] = {}
        self._needs: dict[str, Needs] = {}
        self._pages: dict[str | None, bytes] = {}
        self._times: list[tuple[int, str]] = []

    # Keeping up

    def apply(self, type: str, id: str, resource: Resource | None, sequence: int) -> None:
        """Take in the state of a resource, None when it was deleted."""
        if type == "Location":
            self._apply_location(id, resource, sequence)
        elif type == "Encounter":
            self._apply_stay(id, resource, sequence)
        elif type == "Patient":
            self._apply_patient(id, resource, sequence)
        elif type == "Task":
            self._apply_task(id, resource, sequence)
        self.sequence = max(self.sequence, sequence)

    def unknown_people(self) -> list[str]:
        """The patients of stays that the board has not been told of."""
        return [id for id in self._of_patient if id not in self.people]

    def pass_time(self, now: int) -> None:
        """Take notice of reservations that begin, end or expire."""
        while self._times and self._times[0][0] <= now:
            self._touch(heapq.heappop(self._times)[1], self.sequence)

    def _apply_location(self, id: str, resource: Resource | None, sequence: int) -> None:
        before = self.locations.pop(id, None)
        if before is not None:
            self.children.get(parent_of(before, self.bases), {}).pop(id, None)
        if resource is not None:
            self.locations[id] = resource
            self.children.setdefault(parent_of(resource, self.bases), {})[id] = None
        if _frame(before) != _frame(resource):
            self._below.clear()
            self._rules.clear()
            self._beside.clear()
        if is_bed(before) or is_bed(resource):
            self._touch(id, sequence)

    def _apply_stay(self, id: str, resource: Resource | None, sequence: int) -> None:
        before = self.stays.pop(id, None)
        if before is not None:
            self._forget(before)
        stay = None if resource is None else self._stay(resource)
        if stay is not None:
            self.stays[id] = stay
            for place in stay.places:
                self._at_bed.setdefault(place.location, {})[id] = None
                if place.state == "active":
                    self._lying[place.location] = id
                for time in (*place.interval, place.expires):
                    if place.state == "reserved" and time is not None and abs(time) < 2**61:
                        heapq.heappush(self._times, (time, place.location))
            if stay.patient is not None:
                self._of_patient.setdefault(stay.patient, {})[id] = None
        for one in (before, stay):
            for place in one.places if one is not None else ():
                self._touch(place.location, sequence)

    def _stay(self, resource: Resource) -> Stay | None:
        if status(resource) not in LIVE:
            return None
        places = tuple(p for p in places_of(resource, self.bases) if p.state != "over" and p.says_bed)
        if not places:
            return None
        return Stay(
            resource["id"],
            status(resource),
            patient_of(resource, self.bases),
            places,
            needs_of(resource, None),
            expected_discharge(resource),
            resource.get("class", {}).get("code"),
        )

    def _forget(self, stay: Stay) -> None:
        for place in stay.places:
            self._at_bed.get(place.location, {}).pop(stay.id, None)
            if self._lying.get(place.location) == stay.id:
                del self._lying[place.location]
                for other, there in self._at(place.location):
                    if there.state == "active":
                        self._lying[place.location] = other.id
        self._needs.pop(stay.id, None)
        if stay.patient is not None:
            stays = self._of_patient[stay.patient]
            stays.pop(stay.id, None)
            if not stays:
                del self._of_patient[stay.patient]
                self.people.pop(stay.patient, None)

    def _apply_patient(self, id: str, resource: Resource | None, sequence: int) -> None:
        if id not in self._of_patient:
            return
        needs = needs_of(None, resource)
        name = "" if resource is None else _name(resource)
        self.people[id] = Person(name, needs.gender, needs.born)
        for stay in self._of_patient[id]:
            self._needs.pop(stay, None)
            for place in self.stays[stay].places:
                self._touch(place.location, sequence)

    def _apply_task(self, id: str, resource: Resource | None, sequence: int) -> None:
        before = self._tasks.pop(id, None)
        if before is not None:
            self._tasks_at.get(before, {}).pop(id, None)
            self._touch(before, sequence)
        if resource is None or not housekeeping.is_open(resource):
            return
        bed = local_id(resource.get("focus"), "Location", self.bases)
        if bed is not None and housekeeping.kind_of(resource) in housekeeping.BRINGS:
            self._tasks[id] = bed
            self._tasks_at.setdefault(bed, {})[id] = None
            self._touch(bed, sequence)

    def _touch(self, bed: str, sequence: int) -> None:
        self.changed[bed] = max(sequence, self.changed.get(bed, 0))
        self._texts.pop(bed, None)
        self._states.pop(bed, None)
        self._pages.clear()

    # Reading

    def beds(self, root: str | None = None) -> tuple[str, ...]:
        """The ids of the beds at or below a place, None: of all."""
        if root not in self._below:
            self._below[root] = tuple(sorted(self._walk(root), key=self._order))
        return self._below[root]

    def _walk(self, root: str | None) -> Iterator[str]:
        if root is None:
            yield from (id for id, location in self.locations.items() if is_bed(location))
            return
        waiting, seen = [root], {root}
        while waiting:
            id = waiting.pop()
            if is_bed(self.locations.get(id)):
                yield id
            below = [child for child in self.children.get(id, ()) if child not in seen]
            seen.update(below)
            waiting += below

    def _order(self, id: str) -> tuple[str, str]:
        location = self.locations[id]
        return str(location.get("name", "")), id

    def rules(self, id: str) -> Rules:
        """The rules in force at a place."""
        found = self._rules.get(id)
        if found is None:
            found, seen, at = Rules(), {id}, id
            while at in self.locations:
                found = found.below(rules_of(self.locations[at]))
                above = parent_of(self.locations[at], self.bases)
                if above is None or above in seen:
                    break
                seen.add(above)
                at = above
            self._rules[id] = found
        return found

    def room(self, bed: str, besides: str | None = None) -> Room:
        """The room of a bed and who lies in its other beds, but for the stay `besides`."""
        beside = self._beds_beside(bed)
        lying = (self._lying.get(id) for id in beside)
        return Room(
            1 + len(beside),
            tuple(self.needs(self.stays[s]) for s in lying if s is not None and s != besides),
        )

    def _beds_beside(self, bed: str) -> tuple[str, ...]:
        found = self._beside.get(bed)
        if found is None:
            above = parent_of(self.locations[bed], self.bases)
            in_room = above is not None and is_room(self.locations.get(above))
            found = self._beside[bed] = tuple(
                id
                for id in (self.children.get(above, ()) if in_room else ())
                if id != bed and is_bed(self.locations[id]) and kind_of(self.locations[id]) == "bed"
            )
        return found

    def needs(self, stay: Stay) -> Needs:
        """What the patient of a stay needs, with gender and age as far as the patient is known."""
        found = self._needs.get(stay.id)
        if found is None:
            person = self.people.get(stay.patient or "")
            found = stay.needs
            if person is not None:
                found = replace(found, gender=person.gender, born=person.born)
            self._needs[stay.id] = found
        return found

    def lying(self, bed: str) -> Stay | None:
        """The stay that lies in a bed."""
        id = self._lying.get(bed)
        return None if id is None else self.stays[id]

    def reserved(self, bed: str, now: int) -> list[tuple[Stay, Place]]:
        """The stays that have reserved a bed for now or later, the next first."""
        found = [(s, p) for s, p in self._at(bed) if p.state == "reserved" and p.holds(now)]
        return sorted(found, key=lambda pair: pair[1].interval)

    def _at(self, bed: str) -> Iterator[tuple[Stay, Place]]:
        for id in self._at_bed.get(bed, ()):
            for place in self.stays[id].places:
                if place.location == bed:
                    yield self.stays[id], place

    def state(self, bed: str, now: int) -> str:
        """One of STATES: that of the Location, R when it is free and reserved from now on."""
        found = self._states.get(bed)
        if found is None:
            found = status_of(self.locations[bed]) or "U"
            if found == "U" and any(p.interval[0] <= now for _, p in self.reserved(bed, now)):
                found = "R"
            self._states[bed] = found
        return found

    def text(self, bed: str, now: int) -> bytes:
        """What the board shows of a bed, as JSON."""
        found = self._texts.get(bed)
        if found is None:
            found = self._texts[bed] = encode(self.shown(bed, now))
        return found

    def shown(self, bed: str, now: int, may: Sight | None = None) -> Resource:
        """What the board shows of a bed: its Location in short, with an extension that tells the rest that may be seen."""
        location = self.locations[bed]
        parts: list[Resource] = [{"url": "state", "valueCode": self.state(bed, now)}]
        lying = self.lying(bed)
        if lying is not None and (may is None or lying.id in may.stays):
            parts.append({"url": "lies", "extension": self._parts(lying, bed, may)})
        for stay, _ in self.reserved(bed, now):
            if may is None or stay.id in may.stays:
                parts.append({"url": "comes", "extension": self._parts(stay, bed, may)})
        for task in self.tasks(bed):
            if may is not None and task not in may.tasks:
                continue
            parts.append({"url": "task", "valueReference": {"reference": f"Task/{task}"}})
        shown: Resource = {"resourceType": "Location", "id": bed, "meta": SUBSETTED}
        shown["extension"] = [{"url": OCCUPANCY, "extension": parts}]
        for name in ("status", "operationalStatus", "name", "physicalType", "partOf"):
            if name in location:
                shown[name] = location[name]
        return shown

    def tasks(self, bed: str) -> Iterable[str]:
        """The ids of the open Tasks at a bed."""
        return self._tasks_at.get(bed, ())

    def _parts(self, stay: Stay, bed: str, may: Sight | None) -> list[Resource]:
        parts: list[Resource] = [{"url": "stay", "valueReference": {"reference": f"Encounter/{stay.id}"}}]
        known = stay.patient is not None and (may is None or stay.patient in may.patients)
        person = self.people.get(stay.patient or "") if known else None
        if known:
            reference = {"reference": f"Patient/{stay.patient}"}
            if person is not None and person.name:
                reference["display"] = person.name
            parts.append({"url": "patient", "valueReference": reference})
        if person is not None and person.gender is not None:
            parts.append({"url": "gender", "valueCode": person.gender})
        parts.append({"url": "status", "valueCode": stay.status})
        place = next(p for p in stay.places if p.location == bed)
        for url, time in (("since", place.start), ("until", place.end or stay.leaves)):
            if time is not None:
                parts.append({"url": url, "valueInstant": format_instant(time)})
        parts += [{"url": "isolation", "valueCode": code} for code in sorted(stay.needs.isolation)]
        return parts

    def page(self, root: str | None, now: int) -> bytes:
        """The board of a place as a Bundle, in JSON; beds in the order of their names."""
        self.pass_time(now)
        found = self._pages.get(root)
        if found is None:
            texts = [self.text(bed, now) for bed in self.beds(root)]
            found = self._pages[root] = _bundle(self.counts(self.beds(root), now), texts)
        return found

    def page_for(self, root: str | None, now: int, may: Sight) -> bytes:
        """The board of a place for one who may not see all of it."""
        self.pass_time(now)
        beds = [bed for bed in self.beds(root) if bed in may.locations]
        return _bundle(self.counts(beds, now), [encode(self.shown(bed, now, may)) for bed in beds])

    def counts(self, beds: Iterable[str], now: int) -> list[Resource]:
        """How many of the beds are in which state; bassinets and chairs are not counted."""
        tally = dict.fromkeys(STATES, 0)
        for bed in beds:
            if kind_of(self.locations[bed]) == "bed":
                tally[self.state(bed, now)] += 1
        parts = [{"url": state, "valueUnsignedInt": count} for state, count in tally.items()]
        return [{"url": OSLER + "bed-counts", "extension": parts}]

    def changed_since(self, sequence: int, root: str | None = None) -> list[tuple[int, str]]:
        """The beds at or below a place that have changed since, the first change first."""
        beds: Iterable[str] = self.beds(root)
        return sorted((self.changed[b], b) for b in beds if self.changed.get(b, 0) > sequence)


def _bundle(counts: list[Resource], texts: Sequence[bytes]) -> bytes:
    entries = b'},{"resource":'.join(texts)
    body = b',"entry":[{"resource":' + entries + b"}]" if texts else b""
    head = b'{"resourceType":"Bundle","meta":{"extension":' + encode(counts)
    return head + b'},"type":"collection"' + body + b"}"


def _frame(location: Resource | None) -> Any:
    """What of a Location shapes the tree, its order and its rules."""
    if location is None:
        return None
    return (
        location.get("partOf"),
        location.get("physicalType"),
        location.get("name"),
        rules_of(location),
    )


def _name(patient: Resource) -> str:
    for name in patient.get("name", ()):
        if name.get("text"):
            return str(name["text"])
        parts = [*name.get("given", ()), *([name["family"]] if "family" in name else [])]
        return " ".join(p for p in parts if isinstance(p, str))
    return ""
