"""Rules on an object as a whole, which no member can be held to alone.

Each applies when the object has certain members. Sources are named at each rule. A rule must stand any JSON: members may be
of a wrong kind, which the structure reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Protocol

from fhir_r4 import definitions
from fhir_r4.definitions import Property, Shape, is_resource_type
from fhir_r4.errors import Issue
from profiles.bindings import concept_is_in, enumerated_systems
from profiles.nodes import error, suggestion
from profiles.references import type_in_reference, wrong_target


class Rule(Protocol):
    """A rule of one shape: `applies` looks at the names of the members only."""

    def applies(self, names: Set[str]) -> bool: ...

    def problems(self, value: dict[str, Any], path: str) -> Iterator[Issue]: ...


class AlignedExtensions:
    """`name` and `_name` of a repeating primitive have an item for each other, null where there is none, never both null.

    https://hl7.org/fhir/R4/json.html#primitive
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def applies(self, names: Set[str]) -> bool:
        return f"_{self._name}" in names

    def problems(self, value: dict[str, Any], path: str) -> Iterator[Issue]:
        extras = value.get(f"_{self._name}")
        if type(extras) is not list:
            return
        values = value.get(self._name, [None] * len(extras))
        if type(values) is not list:
            return
        place = f"{path}.{self._name}"
        if len(values) != len(extras):
            found = f"{self._name} has {len(values)}, _{self._name} {len(extras)}"
            yield error("structure", f"The two arrays must have the same number of items: {found}.", place)
            return
        for index, (one, other) in enumerate(zip(values, extras, strict=True)):
            if one is None and other is None:
                yield error("structure", "An item must have a value or an extension.", f"{place}[{index}]")


class ReferencedType:
    """Reference.type names a type that the element allows and the reference agrees with.

    https://hl7.org/fhir/R4/references.html#Reference
    """

    __slots__ = ("_targets",)

    def __init__(self, targets: frozenset[str]) -> None:
        self._targets = targets

    def applies(self, names: Set[str]) -> bool:
        return "type" in names

    def problems(self, value: dict[str, Any], path: str) -> Iterator[Issue]:
        name = value.get("type")
        if not isinstance(name, str):
            return
        name = name.removeprefix("http://hl7.org/fhir/StructureDefinition/")
        if not is_resource_type(name):
            yield error("value", f"'{name}' is not a resource type of R4.", f"{path}.type")
            return
        if self._targets and name not in self._targets:
            yield wrong_target(name, self._targets, f"{path}.type")
        text = value.get("reference")
        said = type_in_reference(text) if isinstance(text, str) else None
        if said is not None and said != name:
            yield error("value", f"The reference is to a {said}, but its type says {name}.", f"{path}.type")


class RequiredConcept:
    """A CodeableConcept with a required binding has a coding of the value set.

    https://hl7.org/fhir/R4/terminologies.html#required
    """

    __slots__ = ("_value_set",)

    def __init__(self, value_set: str) -> None:
        self._value_set = value_set

    def applies(self, names: Set[str]) -> bool:
        return True

    def problems(self, value: dict[str, Any], path: str) -> Iterator[Issue]:
        if not concept_is_in(value, self._value_set):
            systems = ", ".join(sorted(enumerated_systems(self._value_set)))
            yield error(
                "code-invalid",
                f"None of the codings is of the value set {self._value_set} ({systems}).",
                path,
            )


class ContainedResources:
    """Contained resources have unique ids, and each `#id` in the resource is the id of one.

    https://hl7.org/fhir/R4/references.html#contained and ref-1.
    """

    __slots__ = ()

    def applies(self, names: Set[str]) -> bool:
        return "contained" in names

    def problems(self, value: dict[str, Any], path: str) -> Iterator[Issue]:
        contained = value.get("contained")
        if type(contained) is not list:
            return
        ids: set[str] = set()
        for index, resource in enumerate(contained):
            own = resource.get("id") if type(resource) is dict else None
            if not isinstance(own, str):
                continue
            if own in ids:
                place = f"{path}.contained[{index}].id"
                yield error("duplicate", f"The id '{own}' is taken by another contained resource.", place)
            ids.add(own)
        if all(text == "#" or text[1:] in ids for text in local_references(value)):
            return
        for text, place in _placed_references(value, path, _shape_of(value)):
            if text != "#" and text[1:] not in ids:
                near = suggestion(text, [f"#{i}" for i in ids])
                yield error("not-found", f"No contained resource has the id '{text[1:]}'.{near}", place)


def local_references(value: Any) -> Iterator[str]:
    """The text of every reference in `value` that begins with `#`."""
    waiting: list[Any] = [value]
    while waiting:
        node = waiting.pop()
        if type(node) is dict:
            text = node.get("reference")
            if type(text) is str and text.startswith("#"):
                yield text
            waiting.extend(v for v in node.values() if type(v) is dict or type(v) is list)
        elif type(node) is list:
            waiting.extend(node)


def _placed_references(value: Any, path: str, shape: Shape | None) -> Iterator[tuple[str, str]]:
    """Like `local_references`, each with its place; `shape` tells the element names of choices."""
    if type(value) is list:
        for index, item in enumerate(value):
            yield from _placed_references(item, f"{path}[{index}]", shape or _shape_of(item))
    elif type(value) is dict:
        text = value.get("reference")
        if type(text) is str and text.startswith("#"):
            yield text, f"{path}.reference"
        for name, member in value.items():
            if type(member) is dict or type(member) is list:
                known = shape.properties.get(name.removeprefix("_")) if shape else None
                below = f"{path}.{known.element.name if known else name}"
                yield from _placed_references(member, below, _shape_below(known, member))


def _shape_below(known: Property | None, member: Any) -> Shape | None:
    if known is None:
        return None
    if known.shape == "Resource":
        return _shape_of(member)
    return definitions.shape(known.shape or "Element")


def _shape_of(resource: Any) -> Shape | None:
    name = resource.get("resourceType") if type(resource) is dict else None
    return definitions.shape(name) if isinstance(name, str) and is_resource_type(name) else None


class InsideContained:
    """What a contained resource may not have: contained resources, version, time or security labels (dom-2, 4, 5)."""

    __slots__ = ()

    def applies(self, names: Set[str]) -> bool:
        return "contained" in names or "meta" in names

    def problems(self, value: dict[str, Any], path: str) -> Iterator[Issue]:
        if "contained" in value:
            yield error(
                "invariant", "A contained resource may not contain resources (dom-2).", f"{path}.contained"
            )
        meta = value.get("meta")
        if type(meta) is not dict:
            return
        for name, key in (("versionId", "dom-4"), ("lastUpdated", "dom-4"), ("security", "dom-5")):
            if name in meta:
                yield error(
                    "invariant",
                    f"A contained resource may not have a meta.{name} ({key}).",
                    f"{path}.meta.{name}",
                )
