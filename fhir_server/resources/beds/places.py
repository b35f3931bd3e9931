"""Locations as places of the house: which are beds, in what state they are, and in what they lie.

https://hl7.org/fhir/R4/location.html, bed states of http://terminology.hl7.org/CodeSystem/v2-0116. Pure. An invariant to
keep: a bed that says nothing of its state is unoccupied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_r4.references import local_id
from fhir_server.context import Resource

OSLER = "https://osler.health/fhir/StructureDefinition/"
BED_STATUS_REASON = OSLER + "bed-status-reason"
BED_KIND = OSLER + "bed-kind"
STATUS_SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-0116"
PHYSICAL_TYPE = "http://terminology.hl7.org/CodeSystem/location-physical-type"

STATUS_NAMES: Mapping[str, str] = {
    "C": "Closed",
    "H": "Housekeeping",
    "I": "Isolated",
    "K": "Contaminated",
    "O": "Occupied",
    "U": "Unoccupied",
}
# what may be set by hand where nobody lies; O follows from Encounters alone
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "U": frozenset("CHIK"),
    "H": frozenset("UCK"),
    "K": frozenset("HC"),
    "I": frozenset("UCHK"),
    "C": frozenset("UHK"),
    "O": frozenset("CHK"),
}
BED = {"coding": [{"system": PHYSICAL_TYPE, "code": "bd", "display": "Bed"}]}


def says_bed(concept: Any) -> bool:
    """Whether a physicalType is that of a bed."""
    if not isinstance(concept, dict):
        return False
    return any(
        c.get("code") == "bd" and c.get("system", PHYSICAL_TYPE) == PHYSICAL_TYPE
        for c in concept.get("coding", ())
    )


def is_bed(location: Resource | None) -> bool:
    return location is not None and says_bed(location.get("physicalType"))


def is_room(location: Resource | None) -> bool:
    """Whether it is a room: its beds lie side by side."""
    codings = () if location is None else location.get("physicalType", {}).get("coding", ())
    return any(c.get("code") == "ro" for c in codings)


def status_of(location: Resource) -> str | None:
    """The code of operationalStatus, None when it is not said."""
    code = location.get("operationalStatus", {}).get("code")
    return code if isinstance(code, str) else None


def with_status(
    location: Resource,
    code: str,
    reason: Resource | None = None,
    until: str | None = None,
    blocker: str | None = None,
    left: str | None = None,
) -> Resource:
    """The bed in another state, and why: a CodeableConcept, a dateTime, the stay that blocks it or has left it."""
    parts: list[Resource] = []
    if reason is not None:
        parts.append({"url": "reason", "valueCodeableConcept": reason})
    if until is not None:
        parts.append({"url": "until", "valueDateTime": until})
    if blocker is not None:
        parts.append({"url": "blocked-by", "valueReference": {"reference": blocker}})
    if left is not None:
        parts.append({"url": "left-by", "valueReference": {"reference": left}})
    kept = [e for e in location.get("extension", ()) if e.get("url") != BED_STATUS_REASON]
    if parts:
        kept.append({"url": BED_STATUS_REASON, "extension": parts})
    changed = {k: v for k, v in location.items() if k != "extension"}
    changed["operationalStatus"] = {"system": STATUS_SYSTEM, "code": code, "display": STATUS_NAMES[code]}
    if kept:
        changed["extension"] = kept
    return changed


def blocked_by(location: Resource) -> str | None:
    """The reference of the stay for whose isolation a bed is kept empty."""
    return _stay(location, "blocked-by")


def left_by(location: Resource) -> str | None:
    """The reference of the stay that has left a bed which is not ready again."""
    return _stay(location, "left-by")


def _stay(location: Resource, url: str) -> str | None:
    parts = parts_of(location, BED_STATUS_REASON)
    return next((p["valueReference"].get("reference") for p in parts if p["url"] == url), None)


def kind_of(location: Resource) -> str:
    """`bed`, `bassinet` (counts in no census) or `chair` (day cases)."""
    for extension in location.get("extension", ()):
        if extension.get("url") == BED_KIND:
            return str(extension.get("valueCode", "bed"))
    return "bed"


def in_use(location: Resource) -> bool:
    """Whether the place is run at all: neither suspended nor inactive."""
    return bool(location.get("status", "active") == "active")


def parent_of(location: Resource, bases: Sequence[str] = ()) -> str | None:
    """The id of the Location that this one is part of."""
    return local_id(location.get("partOf"), "Location", bases)


def parts_of(element: Resource, url: str) -> list[Resource]:
    """The extensions inside the first extension with `url`."""
    for extension in element.get("extension", ()):
        if extension.get("url") == url:
            return [p for p in extension.get("extension", ()) if "url" in p]
    return []
