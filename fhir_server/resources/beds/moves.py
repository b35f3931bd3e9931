"""How a stay changes when its patient comes, moves and goes. Pure: each function gives the Encounter as it is to be.

An invariant to keep: no entry of Encounter.location is taken away but reservations; where somebody has lain stays told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fhir_server.context import Resource
from fhir_server.resources.beds.places import BED
from fhir_server.resources.beds.stays import HOLD_EXPIRES, REVERSAL, Place, places_of, start_of


def bed_entry(
    bed: str,
    status: str,
    period: Resource | None = None,
    override: Resource | None = None,
    expires: str | None = None,
) -> Resource:
    """An entry of Encounter.location for a bed."""
    entry: Resource = {}
    extensions = [] if override is None else [override]
    if expires is not None:
        extensions.append({"url": HOLD_EXPIRES, "valueInstant": expires})
    if extensions:
        entry["extension"] = extensions
    entry |= {"location": {"reference": f"Location/{bed}"}, "status": status, "physicalType": BED}
    if period:
        entry["period"] = period
    return entry


def beds_of(encounter: Resource, state: str, bases: Sequence[str] = ()) -> tuple[Place, ...]:
    """The beds of a stay that are `active` or `reserved`."""
    return tuple(p for p in places_of(encounter, bases) if p.says_bed and p.state == state)


def came(
    encounter: Resource, bed: str, at: str, override: Resource | None = None, bases: Sequence[str] = ()
) -> Resource:
    """The patient lies in `bed` from `at` on; reservations are used up, and a bed where they lay before is left."""
    stay = without_reservations(left(encounter, at, bases), bases)
    entry = bed_entry(bed, "active", {"start": at}, override)
    return {**stay, "location": [*stay.get("location", ()), entry]}


def left(encounter: Resource, at: str, bases: Sequence[str] = ()) -> Resource:
    """The patient lies in no bed from `at` on."""
    lying = {p.index for p in beds_of(encounter, "active", bases)}
    return _changed(encounter, lying, lambda entry: _completed(entry, at))


def without_reservations(encounter: Resource, bases: Sequence[str] = (), bed: str | None = None) -> Resource:
    """No bed is reserved any more, or only `bed` is not."""
    places = beds_of(encounter, "reserved", bases)
    return _changed(encounter, {p.index for p in places if bed in (None, p.location)}, lambda _: None)


def reopened(encounter: Resource, index: int) -> Resource:
    """The patient has never left the place at `index`."""

    def again(entry: Resource) -> Resource:
        period = {k: v for k, v in entry.get("period", {}).items() if k != "end"}
        return {**entry, "status": "active", "period": period}

    return _changed(encounter, {index}, again)


def entered(encounter: Resource, status: str, at: str) -> Resource:
    """The stay in another status from `at` on, with the one before in its history."""
    if encounter.get("status") == status:
        return encounter
    told = encounter.get("statusHistory", [])
    since = told[-1].get("period", {}).get("end") if told else encounter.get("period", {}).get("start")
    began, ended = start_of(since), start_of(at)
    period = {"start": since} if began is not None and ended is not None and began <= ended else {}
    history = {"status": encounter["status"], "period": {**period, "end": at}}
    return {**encounter, "status": status, "statusHistory": [*told, history]}


def taken_back(encounter: Resource, what: str, reason: Resource, at: str) -> Resource:
    """The stay with a note that something was taken back."""
    parts = [
        {"url": "what", "valueCode": what},
        {"url": "at", "valueDateTime": at},
        {"url": "reason", "valueCodeableConcept": reason},
    ]
    return {
        **encounter,
        "extension": [*encounter.get("extension", ()), {"url": REVERSAL, "extension": parts}],
    }


def with_extension(encounter: Resource, extension: Resource) -> Resource:
    """The resource with an extension in the place of those with the same url."""
    kept = [e for e in encounter.get("extension", ()) if e.get("url") != extension["url"]]
    return {**encounter, "extension": [*kept, extension]}


def _completed(entry: Resource, at: str) -> Resource:
    period = entry.get("period", {})
    return {**entry, "status": "completed", "period": {**period, "end": period.get("end", at)}}


def _changed(
    encounter: Resource, indices: set[int], change: Callable[[Resource], Resource | None]
) -> Resource:
    if not indices:
        return encounter
    entries = encounter["location"]
    changed = [change(e) if n in indices else e for n, e in enumerate(entries)]
    kept = [e for e in changed if e is not None]
    rest = {k: v for k, v in encounter.items() if k != "location"}
    return {**rest, "location": kept} if kept else rest
