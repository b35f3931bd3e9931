"""From an item of a resource to its children, and whether it is of a type, by the definitions.

Source: https://hl7.org/fhir/R4/fhirpath.html: a choice is one element (`value`), a primitive has `id`, `extension` and
`value`, and a resource is of the type that it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fhir_r4.definitions import PRIMITIVES, Property, is_resource_type, shape
from fhir_r4.fhirpath.located import Collection, Located, collection, system
from fhir_r4.fhirpath.syntax import FhirPathError

_SYSTEM = frozenset(
    ["Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any"]
)
_OF_PRIMITIVES = ("id", "extension", "value")
_NO_DOMAIN = frozenset(["Bundle", "Binary", "Parameters"])
_PARENTS: Mapping[str, str] = {
    **dict.fromkeys(["code", "id", "markdown"], "string"),
    **dict.fromkeys(["url", "canonical", "oid", "uuid"], "uri"),
    **dict.fromkeys(["positiveInt", "unsignedInt"], "integer"),
    **dict.fromkeys(["Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"], "Quantity"),
    **dict.fromkeys(["BackboneElement", "Quantity"], "Element"),
    **dict.fromkeys(["Timing", "Dosage", "ElementDefinition"], "BackboneElement"),
    "DomainResource": "Resource",
}


def root(resource: Mapping[str, Any], type: str | None = None) -> Located:
    """The item that a resource (or, with `type`, a value of that data type or backbone shape) is."""
    name = type or str(resource.get("resourceType"))
    try:
        shape(name)
    except KeyError:
        return Located(resource, name, None)
    return Located(resource, "BackboneElement" if "." in name else name, name)


@cache
def _properties(path: str) -> Mapping[str, tuple[Property, ...]]:
    """The JSON members of each element by its FHIRPath name: several for a choice."""
    found: dict[str, list[Property]] = {}
    for prop in shape(path).properties.values():
        found.setdefault(prop.element.name, []).append(prop)
    return {name: tuple(members) for name, members in found.items()}


def has_element(item: Located, name: str) -> bool:
    """Whether the type of the item defines the element."""
    if item.shape is None:
        return name in (("namespace", "name") if item.type == "System.ClassInfo" else _OF_PRIMITIVES)
    return name in _properties(item.shape) or name == "resourceType"


def child(item: Located, name: str) -> Iterator[Located]:
    """The items of the element `name`, in order."""
    value = item.value
    if item.shape is None:
        yield from _of_primitive(item, name)
        return
    for prop in _properties(item.shape).get(name, ()):
        member = value.get(prop.name)
        extra = value.get("_" + prop.name) if prop.primitive else None
        if member is None and extra is None:
            continue
        if prop.element.list:
            yield from _listed(item, prop, member, extra)
        else:
            yield _item(prop, member, value, None, extra)


def _listed(item: Located, prop: Property, members: Any, extras: Any) -> Iterator[Located]:
    members = members if isinstance(members, list) else []
    extras = extras if isinstance(extras, list) else []
    for index in range(max(len(members), len(extras))):
        member = members[index] if index < len(members) else None
        extra = extras[index] if index < len(extras) else None
        if member is not None or extra is not None:
            yield _item(prop, member, item.value, index, extra)


def _item(prop: Property, member: Any, parent: Mapping[str, Any], index: int | None, extra: Any) -> Located:
    if prop.primitive:
        return Located(member, prop.type, None, parent, prop.name, index, extra, prop)
    if not isinstance(member, Mapping):
        return Located(member, prop.type, None, parent, prop.name, index, None, prop)
    if prop.shape == "Resource":
        inner = root(member)
        return Located(member, inner.type, inner.shape, parent, prop.name, index, None, prop)
    return Located(member, prop.type, prop.shape, parent, prop.name, index, None, prop)


def _of_primitive(item: Located, name: str) -> Iterator[Located]:
    if item.type == "System.ClassInfo":
        yield from collection(item.value.get(name))
    elif name == "value" and item.type in PRIMITIVES and item.value is not None:
        yield from collection(system(item))
    elif item.extra is not None:
        yield from child(Located(item.extra, "Element", "Element"), name)


def children(item: Located) -> Collection:
    """All child elements, in the order of the definitions."""
    if item.shape is None:
        return [c for name in ("id", "extension") for c in _of_primitive(item, name)]
    return [c for name in _properties(item.shape) for c in child(item, name)]


def is_type(item: Located, type_name: str) -> bool:
    """Whether the item is of the type or of one that is derived from it. Raises FhirPathError for an unknown type."""
    namespace, _, name = type_name.rpartition(".")
    name = name.strip("`")
    if namespace not in ("", "FHIR", "System"):
        raise FhirPathError(f"The type {type_name} is not known")
    known = is_fhir_type(name)
    if not known and (namespace == "FHIR" or name not in _SYSTEM):
        raise FhirPathError(f"The type {type_name} is not known")
    if item.type.startswith("System."):
        return namespace != "FHIR" and item.type == f"System.{name}"
    return known and namespace != "System" and name in ancestry(item.type)


@cache
def ancestry(name: str) -> tuple[str, ...]:
    """A FHIR type and those it is derived from."""
    lineage = [name]
    while True:
        parent = _PARENTS.get(lineage[-1])
        if parent is None:
            break
        lineage.append(parent)
    last = lineage[-1]
    if is_resource_type(last):
        lineage += ["Resource"] if last in _NO_DOMAIN else ["DomainResource", "Resource"]
    elif last not in ("Element", "Resource"):
        lineage.append("Element")
    return tuple(lineage)


@cache
def is_fhir_type(name: str) -> bool:
    """Whether R4 has a type of that name."""
    if name in PRIMITIVES or name in _PARENTS or name in ("Element", "Resource"):
        return True
    try:
        return shape(name).kind != "backbone"
    except KeyError:
        return False
