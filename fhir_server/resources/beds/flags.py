"""Flags that tell a ward what to mind about a patient: isolation, and rules that were overridden.

https://hl7.org/fhir/R4/flag.html. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.beds.places import parts_of
from fhir_server.resources.beds.stays import OVERRIDE, Place
from fhir_server.resources.beds.wards import RULE_SYSTEM, Violation

CATEGORY = "http://terminology.hl7.org/CodeSystem/flag-category"
ISOLATION_SYSTEM = "https://osler.health/fhir/CodeSystem/isolation"


def override_flag(
    id: str, stay: Resource, place: Place, entry: Resource, broken: Sequence[Violation], now: int
) -> Resource:
    """The Flag that an override leaves: which rules, and the reason that was given."""
    reasons = [p["valueCodeableConcept"] for p in parts_of(entry, OVERRIDE) if p["url"] == "reason"]
    reason = reasons[0].get("text") or next((c.get("display") for c in reasons[0].get("coding", ())), None)
    told = "; ".join(v.text for v in broken)
    codes = [{"system": RULE_SYSTEM, "code": v.rule} for v in broken]
    text = f"Location/{place.location}: {told}" + (f" Overridden: {reason}" if reason else "")
    return _flag(id, stay, "admin", {"coding": codes, "text": text}, now)


def isolation_flag(id: str, stay: Resource, kinds: Sequence[str], now: int) -> Resource:
    """The Flag of a patient who is isolated."""
    codes = [{"system": ISOLATION_SYSTEM, "code": kind} for kind in kinds]
    return _flag(id, stay, "safety", {"coding": codes, "text": "Isolation: " + ", ".join(kinds)}, now)


def closed(flag: Resource, now: int) -> Resource:
    """The Flag at the end of its stay."""
    period = {**flag.get("period", {}), "end": format_instant(now)}
    return {**flag, "status": "inactive", "period": period}


def is_of_stay(flag: Resource) -> bool:
    """Whether it is one of those that this server leaves for the length of a stay."""
    systems = {c.get("system") for c in flag.get("code", {}).get("coding", ())}
    return flag.get("status") == "active" and bool(systems & {RULE_SYSTEM, ISOLATION_SYSTEM})


def _flag(id: str, stay: Resource, category: str, code: Resource, now: int) -> Resource:
    flag: Resource = {
        "resourceType": "Flag",
        "id": id,
        "status": "active",
        "category": [{"coding": [{"system": CATEGORY, "code": category}]}],
        "code": code,
        "subject": stay.get("subject", {"display": "unknown"}),
        "period": {"start": format_instant(now)},
        "encounter": {"reference": f"Encounter/{stay['id']}"},
    }
    return flag
