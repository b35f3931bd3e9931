"""The structure of R4's types, compiled at first use: https://hl7.org/fhir/R4/json.html and /datatypes.html.

`Structure` turns shapes (`fhir_r4.definitions.shape`) into nodes, type by type and member by member, when a resource
first needs them. An invariant to keep: nodes change nothing but their own memories, so that threads may share them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fhir_r4 import definitions
from fhir_r4.definitions import Property, Shape
from fhir_r4.errors import Issue
from fhir_r4.primitives import PRIMITIVE
from profiles.nodes import (
    Accepts,
    CodeNode,
    NarrativeNode,
    Node,
    PrimitiveNode,
    error,
    quoted,
    suggestion,
    wrong_kind,
)
from profiles.objects import ObjectNode
from profiles.references import ABSOLUTE_EXTENSION_URL, LiteralReferenceNode
from profiles.rules import ContainedResources, InsideContained, ReferencedType, RequiredConcept
from profiles.tolerated import EXTRA_TARGETS


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a resource stands, as far as its structure depends on it.

    `contained`: it has contained resources or is one, so `#id` may be a reference; `inside`: it is one; `transaction`:
    it is in a transaction Bundle, so references may be conditional.
    """

    contained: bool = False
    inside: bool = False
    transaction: bool = False


class Structure:
    """The nodes of one scope. `scoped` gives the structure of another one; all share one family."""

    def __init__(self, scope: Scope = Scope(), family: dict[Scope, Structure] | None = None) -> None:
        self.scope = scope
        self.resource: Node = ResourceNode(self)
        self._family = family if family is not None else {}
        self._family[scope] = self
        self._types: dict[str, ObjectNode] = {}
        self._objects: dict[tuple[str, str | frozenset[str]], ObjectNode] = {}

    def scoped(self, scope: Scope) -> Structure:
        return self._family.get(scope) or Structure(scope, self._family)

    def of_type(self, name: str) -> ObjectNode | None:
        """The node of a resource type, or None when R4 has no such type."""
        node = self._types.get(name)
        if node is None and definitions.is_resource_type(name):
            rules = (InsideContained() if self.scope.inside else ContainedResources(),)
            node = self._types[name] = ObjectNode(self, definitions.shape(name), rules)
        return node

    def item(self, shape: Shape, known: Property) -> Node:
        """The node of one value of a member of `shape` (an item, where the member is a list)."""
        match known.shape:
            case None:
                return self._primitive(shape, known)
            case "Resource":
                inside = known.name == "contained"
                return self.scoped(Scope(inside, inside, self.scope.transaction)).resource
            case "Reference":
                return self._reference(known)
            case "Extension" if shape.path != "Extension":
                return self._outermost_extension()
            case "CodeableConcept":
                value_set = _enumerated_binding(known)
                return self.object("CodeableConcept", value_set or "")
        return self.object(known.shape)

    def object(self, path: str, value_set: str = "") -> ObjectNode:
        """The node of a data type or backbone element; a CodeableConcept may be bound to `value_set`."""
        node = self._objects.get((path, value_set))
        if node is None:
            rules = (RequiredConcept(value_set),) if value_set else ()
            node = self._objects[path, value_set] = ObjectNode(self, definitions.shape(path), rules)
        return node

    def _reference(self, known: Property) -> ObjectNode:
        targets = frozenset(known.element.targets)
        if not all(map(definitions.is_resource_type, targets)):
            targets = frozenset()
        elif targets:
            targets |= EXTRA_TARGETS.get(known.element.path, frozenset())
        node = self._objects.get(("Reference", targets))
        if node is None:
            node = ObjectNode(self, definitions.shape("Reference"), (ReferencedType(targets),))
            node.replace_member(
                "reference",
                LiteralReferenceNode(
                    targets, fragments=self.scope.contained, conditional=self.scope.transaction
                ),
            )
            self._objects["Reference", targets] = node
        return node

    def _outermost_extension(self) -> ObjectNode:
        node = self._objects.get(("Extension", "outermost"))
        if node is None:
            node = ObjectNode(self, definitions.shape("Extension"))
            node.replace_member("url", PrimitiveNode(ABSOLUTE_EXTENSION_URL))
            self._objects["Extension", "outermost"] = node
        return node

    def _primitive(self, shape: Shape, known: Property) -> Node:
        if known.type == "xhtml":
            return NarrativeNode()
        value_set = _enumerated_binding(known)
        if value_set is not None:
            return CodeNode(definitions.enumerated_codes(value_set) or frozenset(), value_set)
        is_logical_id = known.name == "id" and shape.kind == "resource"
        return PrimitiveNode(PRIMITIVE["id" if is_logical_id else known.type])


def _enumerated_binding(known: Property) -> str | None:
    """The value set that a member is held to, when the binding is required and R4 enumerates the set."""
    binding = known.element.binding
    if binding is None or binding.strength != "required":
        return None
    return binding.value_set if definitions.enumerated_codes(binding.value_set) is not None else None


class ResourceNode:
    """A resource of any type; its own type decides what holds."""

    __slots__ = ("_structure", "accepts")

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self.accepts: Accepts = self._accepts

    def _accepts(self, value: Any) -> bool:
        node = self._structure_for(value).of_type(value["resourceType"])
        return node is not None and bool(node.accepts(value))

    def _structure_for(self, value: dict[str, Any]) -> Structure:
        structure = self._structure
        if "contained" in value and not structure.scope.contained:
            structure = structure.scoped(replace(structure.scope, contained=True))
        if value["resourceType"] == "Bundle" and value.get("type") == "transaction":
            structure = structure.scoped(replace(structure.scope, transaction=True))
        return structure

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        """`path` may be empty for a resource at the root, whose type is its path."""
        wrong = wrong_kind(value, "an object", path or "Resource")
        if wrong is not None:
            yield wrong
            return
        name = value.get("resourceType")
        if name is None:
            yield error(
                "required", "A resource needs its resourceType.", f"{path or 'Resource'}.resourceType"
            )
            return
        node = self._structure_for(value).of_type(name) if isinstance(name, str) else None
        if node is None:
            near = suggestion(str(name), list(definitions.resource_types()))
            message = f"{quoted(name)} is not a resource type of R4.{near}"
            yield error("structure", message, f"{path or 'Resource'}.resourceType")
            return
        yield from node.problems(value, path or str(name))
