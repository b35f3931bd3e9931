"""Concept properties in an expansion, which R4 has no elements for: extensions stand for those of R5.

Source: https://hl7.org/fhir/versions.html#extensions (cross-version extensions) and the `property` parameter of R5's
$expand. Known besides the properties of the code system: `definition`, `parent`, `child` and `inactive`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from terminology.concepts import CONCEPT_PROPERTIES, CodeSystem, Resource, property_value
from terminology.value_sets import Member, ValueSet

EXPANSION = "http://hl7.org/fhir/5.0/StructureDefinition/extension-ValueSet.expansion."
STANDARD = ("definition", "parent", "child", "inactive", "status", "notSelectable")


def property_declarations(value_set: ValueSet, wanted: Sequence[str]) -> list[Resource]:
    """The extensions of an expansion that say which properties its rows have, and what those mean."""
    systems = [s.codes for s in value_set.selections() if s.codes is not None]
    declared: list[Resource] = []
    for code in dict.fromkeys(wanted):
        known = next((s.properties[code] for s in systems if code in s.properties), {})
        uri = known.get("uri") or (CONCEPT_PROPERTIES + code if code in STANDARD else None)
        about = [{"url": "code", "valueCode": code}]
        if uri is not None:
            about.append({"url": "uri", "valueUri": uri})
        declared.append({"url": EXPANSION + "property", "extension": about})
    return declared


def properties_of(system: CodeSystem | None, member: Member, wanted: Sequence[str]) -> Iterator[Resource]:
    """The extensions of one row for the properties that are wanted and that the concept has."""
    for code in dict.fromkeys(wanted):
        for name, value in _values(system, member, code):
            about = [{"url": "code", "valueCode": code}, {"url": "value", name: value}]
            yield {"url": EXPANSION + "contains.property", "extension": about}


def _values(system: CodeSystem | None, member: Member, code: str) -> Iterator[tuple[str, Any]]:
    concept = member.concept
    if concept is None or system is None:
        return
    if code == "definition":
        if concept.definition is not None:
            yield "valueString", concept.definition
    elif code in ("parent", "child"):
        related = system.parents if code == "parent" else system.children
        yield from (("valueCode", other) for other in related.get(concept.code, ()))
    else:
        found = [property_value(p) for p in concept.properties if p.get("code") == code]
        yield from found or ([("valueBoolean", concept.inactive)] if code == "inactive" else [])
