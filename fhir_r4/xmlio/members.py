"""The element tables as XML sees them: which children and attributes an element has, and how JSON names them.

Source: https://hl7.org/fhir/R4/xml.html. A property of JSON is an XML element of the same name, but for the `id` of what is
no resource and the `url` of an extension, which are attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from fhir_r4 import definitions

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
INTEGERS = frozenset(["integer", "positiveInt", "unsignedInt"])


class Kind(IntEnum):
    """What a member holds: a primitive value, an object, a resource inside the element, or a narrative's div."""

    PRIMITIVE = 0
    OBJECT = 1
    RESOURCE = 2
    XHTML = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A property of a shape; `path_name` is its name in FHIRPath, `position` its place in the order of the definitions."""

    name: str
    path_name: str
    kind: Kind
    type: str
    shape: str | None
    many: bool
    attribute: bool
    position: int


def _kind(prop: definitions.Property) -> Kind:
    if prop.type == "xhtml":
        return Kind.XHTML
    if prop.shape is None:
        return Kind.PRIMITIVE
    return Kind.RESOURCE if prop.shape == "Resource" else Kind.OBJECT


@cache
def members(path: str) -> Mapping[str, Member]:
    """The members of a shape by their JSON name."""
    shape = definitions.shape(path)
    return {
        prop.name: Member(
            name=prop.name,
            path_name=prop.element.name,
            kind=_kind(prop),
            type=prop.type,
            shape=prop.shape,
            many=prop.element.list,
            attribute=_is_attribute(shape, prop.name),
            position=position,
        )
        for position, prop in enumerate(shape.properties.values())
    }


def _is_attribute(shape: definitions.Shape, name: str) -> bool:
    return (name == "id" and shape.kind != "resource") or (name == "url" and shape.path == "Extension")


@cache
def elements(path: str) -> Mapping[str, Member]:
    """The child elements of a shape by their XML name as expat gives it: namespace, a blank, local name."""
    return {
        f"{XHTML if member.kind is Kind.XHTML else FHIR} {name}": member
        for name, member in members(path).items()
        if not member.attribute
    }


@cache
def resources() -> Mapping[str, Member]:
    """A member for each resource type by its XML name: what may stand in `contained` or `resource`."""
    return {
        f"{FHIR} {name}": Member(name, name, Kind.OBJECT, name, name, False, False, 0)
        for name in definitions.resource_types()
    }
