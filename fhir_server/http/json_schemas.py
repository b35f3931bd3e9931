"""JSON Schemas of R4 types, for the OpenAPI document: https://spec.openapis.org/oas/v3.1.0#schema-object

Made of the shapes of `fhir_r4.definitions`. They describe, they do not judge: what only one choice of `value[x]`, an
invariant or a reference target decides is left to the validator, so no valid resource is ever refused by a schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fhir_r4.definitions import Element, Property, enumerated_codes, is_resource_type, shape

Schema = dict[str, Any]

MOST_CODES = 60
COMPONENTS = "#/components/schemas/"

_STRING = {"type": "string"}
PRIMITIVE_SCHEMAS: dict[str, Schema] = {
    "base64Binary": {"type": "string", "contentEncoding": "base64"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "examples": ["2026-01-31"]},
    "dateTime": {"type": "string", "examples": ["2026-01-31T09:30:00+01:00"]},
    "decimal": {"type": "number"},
    "id": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"},
    "instant": {"type": "string", "format": "date-time"},
    "integer": {"type": "integer"},
    "positiveInt": {"type": "integer", "minimum": 1},
    "time": {"type": "string", "examples": ["09:30:00"]},
    "unsignedInt": {"type": "integer", "minimum": 0},
}


def schemas_of(types: Iterable[str]) -> dict[str, Schema]:
    """Schemas by name of the resource types and of everything that they are made of."""
    found: dict[str, Schema] = {"Resource": ANY_RESOURCE, "Element": _object("Element")}
    todo = sorted(set(types))
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = _object(name)
            todo += sorted(
                {p.shape for p in shape(name).properties.values() if p.shape is not None} - found.keys()
            )
    return dict(sorted(found.items()))


ANY_RESOURCE: Schema = {
    "type": "object",
    "description": "A FHIR resource of any type.",
    "required": ["resourceType"],
    "properties": {"resourceType": _STRING, "id": PRIMITIVE_SCHEMAS["id"]},
}


def reference_to(name: str) -> Schema:
    """A reference to the schema `name`."""
    return {"$ref": COMPONENTS + name}


def _object(name: str) -> Schema:
    of = shape(name)
    properties: Schema = {}
    required: list[str] = []
    if is_resource_type(name):
        properties["resourceType"] = {"const": name}
        required.append("resourceType")
    for property in of.properties.values():
        properties[property.name] = _member(property)
        element = property.element
        # a mandatory primitive may have its extension alone (`_status`), a mandatory choice any of its names
        if element.min and not property.primitive and not element.choice:
            required.append(property.name)
    schema: Schema = {"type": "object", "description": of.short, "properties": properties}
    if required:
        schema["required"] = required
    if any(p.primitive for p in of.properties.values()):
        schema["patternProperties"] = {
            "^_": {"description": "Id and extensions of the primitive with that name."}
        }
    schema["additionalProperties"] = False
    return schema


def _member(property: Property) -> Schema:
    element = property.element
    value = reference_to(property.shape) if property.shape is not None else _primitive(property)
    if element.list:
        value = {"type": "array", "minItems": 1, "items": value}
    return {**value, "description": _description(element)}


def _primitive(property: Property) -> Schema:
    schema = dict(PRIMITIVE_SCHEMAS.get(property.type, _STRING))
    codes = _codes(property)
    if codes is not None:
        schema["enum"] = codes
    # an array of primitives has null where a place has nothing but an extension
    if property.element.list:
        schema["type"] = [schema["type"], "null"]
        if codes is not None:
            schema["enum"] = [*codes, None]
    return schema


def _codes(property: Property) -> list[str] | None:
    binding = property.element.binding
    if property.type != "code" or binding is None or binding.strength != "required":
        return None
    codes = enumerated_codes(binding.value_set)
    return sorted(codes) if codes is not None and len(codes) <= MOST_CODES else None


def _description(element: Element) -> str:
    most = "*" if element.max is None else str(element.max)
    targets = f" ({', '.join(element.targets)})" if element.targets and "Reference" in element.types else ""
    choice = f" One of the {element.name}[x]." if element.choice else ""
    return f"{element.min}..{most} {element.short}{targets}{choice}"
