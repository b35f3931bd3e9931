"""PD1: who cares for a patient besides this hospital. https://hl7.org/fhir/uv/v2mappings/ (PD1 to Patient)."""

from __future__ import annotations

from typing import Any

from hl7_bridge.mapping.changes import Changes
from hl7_bridge.mapping.datatypes.people import organization, person
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import NULL, Segment

SKIPS = {
    "PD1-1, PD1-2": "Dependency and living arrangement have no element in Patient.",
    "PD1-5..13": "Student, handicap, living will, donor, publicity and protection are kept in the raw message.",
    "PD1-14..23": "Congregation, directives, immunisation registry and military service are kept in the raw message.",
}


@maps("PD1-3", "PD1-4")
def general_practitioners(pd1: Segment, context: Context) -> Changes:
    """What is told of the Patient."""
    if NULL in (pd1.raw(3), pd1.raw(4)):
        return {"generalPractitioner": None}
    found: list[dict[str, Any] | None] = [organization(value, context) for value in pd1.values(3)]
    found += [person(value, context) for value in pd1.values(4)]
    told = [one for one in found if one is not None]
    return {"generalPractitioner": told} if told else {}
