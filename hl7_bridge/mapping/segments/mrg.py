"""MRG: the numbers that a patient, an account or a visit had before. https://hl7.org/fhir/uv/v2mappings/ (MRG)."""

from __future__ import annotations

from typing import Any

from hl7_bridge.mapping.datatypes.identifiers import identifier
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import Segment

SKIPS = {
    "MRG-2": "Alternate prior numbers are withdrawn from HL7; MRG-1 has them.",
    "MRG-3": "Prior account numbers are those of accounts, which keep their numbers.",
    "MRG-7": "The prior name stands in the versions of the Patient.",
}


@maps("MRG-1", "MRG-4")
def prior_identifiers(mrg: Segment, context: Context) -> list[dict[str, Any]]:
    """The numbers of the patient that are given up."""
    found = [identifier(value, context) for field in (1, 4) for value in mrg.values(field)]
    return [one for one in found if one is not None]


@maps("MRG-5", "MRG-6")
def prior_visits(mrg: Segment, context: Context) -> list[dict[str, Any]]:
    """The numbers of the visit that are given up."""
    found = [identifier(value, context) for field in (5, 6) for value in mrg.values(field)]
    return [one for one in found if one is not None]
