"""Valid resources for the validator's tests: written by hand, and made from the definitions for every type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fhir_r4 import definitions
from fhir_r4.definitions import Element, Property, Shape

DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>A <b>patient</b> &amp; more</p></div>'

PRIMITIVES: dict[str, Any] = {
    "base64Binary": "QUJD",
    "boolean": True,
    "canonical": "http://example.org/fhir/Questionnaire/1|2",
    "code": "a-code",
    "date": "2024-02-29",
    "dateTime": "2024-02-29T12:00:00+01:00",
    "decimal": Decimal("1.10"),
    "id": "an-id",
    "instant": "2024-02-29T12:00:00.123Z",
    "integer": -1,
    "markdown": "*text*\n",
    "oid": "urn:oid:1.2.3",
    "positiveInt": 1,
    "string": "Text",
    "time": "12:00:00",
    "unsignedInt": 0,
    "uri": "http://example.org/a",
    "url": "http://example.org/b",
    "uuid": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
    "xhtml": DIV,
}


def patient(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **members}


def observation(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "Weight"}, **members}


RICH_PATIENT = patient(
    id="example",
    meta={"profile": ["http://hl7.org/fhir/StructureDefinition/Patient"], "tag": [{"code": "test"}]},
    text={"status": "generated", "div": DIV},
    contained=[{"resourceType": "Organization", "id": "org", "name": "Ward"}],
    extension=[
        {
            "url": "http://example.org/nested",
            "extension": [{"url": "a", "valueQuantity": {"value": Decimal("1.0")}}],
        }
    ],
    identifier=[{"use": "official", "system": "urn:oid:1.2.3", "value": "1", "period": {"start": "2001"}}],
    active=True,
    name=[{"family": "Chalmers", "given": ["Peter", None], "_given": [None, {"id": "second"}]}],
    _gender={"extension": [{"url": "http://example.org/why", "valueCode": "unknown"}]},
    birthDate="1974-12-25",
    deceasedBoolean=False,
    multipleBirthInteger=2,
    contact=[{"name": {"text": "Ann"}, "gender": "female"}],
    managingOrganization={"reference": "#org"},
    link=[{"other": {"reference": "Patient/2", "type": "Patient"}, "type": "seealso"}],
)


def minimal(shape: Shape, element: Element | None = None) -> dict[str, Any]:
    """The smallest valid object of `shape`."""
    if shape.path == "Extension":
        return {"url": "http://example.org/e", "valueString": "x"}
    if shape.path == "Resource":
        return {"resourceType": "Basic", "code": {"text": "x"}}
    if shape.path == "CodeableConcept" and element is not None and element.binding is not None:
        return _bound_concept(element)
    made: dict[str, Any] = {"resourceType": shape.path} if shape.kind == "resource" else {}
    for required in (e for e in shape.elements if e.min):
        add(made, shape, next(p for p in shape.properties.values() if p.element is required))
    if not made:
        first = next(
            p
            for p in shape.properties.values()
            if p.element.name not in ("id", "extension", "modifierExtension")
        )
        add(made, shape, first)
    return made


def add(made: dict[str, Any], shape: Shape, known: Property) -> None:
    """Give `made` a valid value for one property."""
    value = (
        _primitive(shape, known)
        if known.shape is None
        else minimal(definitions.shape(known.shape), known.element)
    )
    if known.type == "Reference" and known.element.targets:
        value = {"reference": f"{_target(known.element)}/1"}
    made[known.name] = [value] if known.element.list else value


def _target(element: Element) -> str:
    return next((t for t in element.targets if definitions.is_resource_type(t)), "Patient")


def _primitive(shape: Shape, known: Property) -> Any:
    binding = known.element.binding
    if binding is not None and binding.strength == "required":
        codes = definitions.enumerated_codes(binding.value_set)
        if codes:
            return min(codes)
    if shape.path == "Reference" and known.name == "reference":
        return "Patient/1"
    if shape.path == "Reference" and known.name == "type":
        return "Patient"
    return PRIMITIVES[known.type]


def _bound_concept(element: Element) -> dict[str, Any]:
    assert element.binding is not None
    for system in definitions.code_system_urls():
        for coding in _codings(system, element.binding.value_set):
            return {"coding": [coding]}
    return {"text": "x"}


def _codings(system: str, value_set: str) -> list[dict[str, Any]]:
    includes = (definitions.value_set(value_set) or {}).get("compose", {}).get("include", [])
    codes = definitions.enumerated_codes(value_set)
    if codes and any(i.get("system") == system for i in includes):
        known = definitions.code_system(system)
        listed = {c.code for c in known.concepts} if known else set()
        return [{"system": system, "code": c} for c in sorted(codes & listed)][:1]
    return []


def full(shape: Shape) -> dict[str, Any]:
    """A valid object of `shape` with a value for every element (the last type of each choice)."""
    made: dict[str, Any] = {"resourceType": shape.path} if shape.kind == "resource" else {}
    for element in shape.elements:
        if shape.path == "Extension" and element.name == "extension":
            continue
        add(made, shape, [p for p in shape.properties.values() if p.element is element][-1])
    return made
