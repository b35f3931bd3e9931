"""What the names of an object's members alone decide: unknown ones, missing ones, two of a choice, an empty object.

https://hl7.org/fhir/R4/json.html (names, choices, `_x`) and the cardinalities of the definitions; ext-1 and ele-1.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from fhir_r4.definitions import Element, Property, Shape
from fhir_r4.errors import Issue
from profiles.nodes import error, suggestion
from profiles.tolerated import MISSING


def member_problems(shape: Shape, names: Set[str], path: str) -> Iterator[Issue]:
    """Every problem of an object of `shape` that its member names show."""
    for name in names:
        if property_of(shape, name) is None and not (name == "resourceType" and shape.kind == "resource"):
            yield error("structure", _unknown(shape, name), f"{path}.{name}")
    for element in shape.elements:
        yield from _element_problems(shape, element, names, path)
    if shape.path == "Extension":
        yield from _extension_problems(shape, names, path)
    if shape.kind != "resource" and not (names if shape.path == "Element" else names - {"id"}):
        yield error("structure", "An object may not be empty: it needs a member besides id (ele-1).", path)


def property_of(shape: Shape, name: str) -> Property | None:
    """The property that a member name means; `_name` means that of `name` when it may have extensions."""
    known = shape.properties.get(name)
    if known is None and name.startswith("_"):
        sibling = shape.properties.get(name[1:])
        return sibling if sibling is not None and is_extensible(sibling, shape) else None
    return known


def is_extensible(known: Property, shape: Shape) -> bool:
    """Whether `_name` may stand beside `name`: for primitives, but for ids, Extension.url and XHTML."""
    if not known.primitive or known.name == "id" or known.type == "xhtml":
        return False
    return not (shape.path == "Extension" and known.name == "url")


def _unknown(shape: Shape, name: str) -> str:
    plain = name.removeprefix("_")
    if plain in shape.properties:
        return f"{name}: {plain} of {shape.path} cannot have extensions beside it."
    choices = [p.name for p in shape.properties.values() if p.element.choice and p.element.name == plain]
    if choices:
        listed = ", ".join(choices[:12]) + (", ..." if len(choices) > 12 else "")
        return f"{name}[x] of {shape.path} is written with its type: {listed}."
    return f"{shape.path} has no element {name}.{suggestion(plain, list(shape.properties))}"


def _present(shape: Shape, element: Element, names: Set[str]) -> list[str]:
    """The names (without `_`) under which `element` is present."""
    if not element.choice:
        return [element.name] if element.name in names or f"_{element.name}" in names else []
    mine = (p.name for p in shape.properties.values() if p.element is element)
    return [n for n in mine if n in names or f"_{n}" in names]


def _element_problems(shape: Shape, element: Element, names: Set[str], path: str) -> Iterator[Issue]:
    if not element.min and not element.choice:
        return
    present = _present(shape, element, names)
    place = f"{path}.{element.name}"
    if element.min and not present and element.path not in MISSING:
        name = f"{element.name}[x]" if element.choice else element.name
        yield error("required", f"{shape.path}.{name} is missing: at least {element.min} is required.", place)
    if len(present) > 1:
        found = ", ".join(present)
        yield error("structure", f"Only one type of {element.name}[x] is allowed, found {found}.", place)


def _extension_problems(shape: Shape, names: Set[str], path: str) -> Iterator[Issue]:
    nested = "extension" in names
    valued = any(n.removeprefix("_").startswith("value") for n in names)
    if nested and valued:
        yield error("extension", "An extension has either a value or extensions, not both (ext-1).", path)
    elif not nested and not valued and "url" in names:
        yield error("extension", "An extension needs a value or extensions (ext-1).", path)
