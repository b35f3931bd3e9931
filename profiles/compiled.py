"""The structure of R4's types, compiled at first use: https://hl7.org/fhir/R4/json.html and /datatypes.html.

`Structure` turns shapes (`fhir_r4.definitions.shape`) into nodes, type by type and member by member, when a resource
first needs them. What an object's member names alone decide is judged once for each sequence of names that occurs, and
remembered as a plan: the tests of the values, in the order of the names. An invariant to keep: nodes change nothing but
these memories, so that threads may share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

from fhir_r4 import definitions
from fhir_r4.definitions import Property, Shape
from fhir_r4.errors import Issue
from fhir_r4.primitives import PRIMITIVE
from profiles.members import member_problems, property_of
from profiles.nodes import (
    Accepts,
    CodeNode,
    ListNode,
    NarrativeNode,
    Node,
    PrimitiveNode,
    error,
    quoted,
    suggestion,
    wrong_kind,
)
from profiles.references import ABSOLUTE_EXTENSION_URL, plain_reference, reference_fault, type_in_reference
from profiles.rules import (
    AlignedExtensions,
    ContainedResources,
    InsideContained,
    ReferencedType,
    RequiredConcept,
    Rule,
    wrong_target,
)
from profiles.tolerated import EXTRA_TARGETS

MAX_PLANS = 512

Plan = tuple[tuple[Accepts, ...], tuple[Rule, ...]]


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
            node.replace_member("reference", LiteralReferenceNode(targets, self.scope))
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


class ResourceTypeNode:
    """The member `resourceType`, by which the node was found."""

    __slots__ = ()

    @property
    def accepts(self) -> Accepts:
        return _is_anything

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        return iter(())


def _is_anything(_: Any) -> bool:
    return True


class ObjectNode:
    """A JSON object of one shape.

    There are two ways to accept one. `planned` remembers, for each sequence of member names that occurs, that the names are
    in order, with the tests of the values and the rules that apply. `direct` looks each member's test up and
    leaves every object to `planned` that has a member whose name matters to others; it is twice as fast.
    """

    __slots__ = ("_members", "_plans", "_rules", "_shape", "_structure", "_tests", "accepts")

    def __init__(self, structure: Structure, shape: Shape, rules: tuple[Rule, ...] = ()) -> None:
        self._structure = structure
        self._shape = shape
        self._rules = rules
        self._members: dict[tuple[str, bool], Node] = {}
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._tests: dict[str, Accepts] = {}
        planned = self._compile_planned()
        has_choice = any(e.choice for e in shape.elements)
        self.accepts: Accepts = planned if has_choice else self._compile_direct(planned)

    def replace_member(self, name: str, node: Node) -> None:
        """Let `node` stand for the member `name`, instead of what the definitions say of it."""
        for nullable in (False, True):
            self._members[name, nullable] = node

    def _compile_planned(self) -> Accepts:
        plans = self._plans

        def accepts_planned(value: Any) -> bool:
            plan = plans.get(tuple(value))
            if plan is None:
                plan = self._plan(value.keys())
                if plan is None:
                    return False
            tests, rules = plan
            for test, member in zip(tests, value.values()):  # noqa: B905 (as many tests as members)
                if not test(member):
                    return False
            for rule in rules:
                for _ in rule.problems(value, ""):
                    return False
            return True

        return accepts_planned

    def _compile_direct(self, planned: Accepts) -> Accepts:
        test_of = self._tests.get
        required = tuple(e.name for e in self._shape.elements if e.min)

        def accepts_direct(value: Any) -> object:
            for name, member in value.items():
                test = test_of(name)
                if test is None:
                    return planned(value)
                if not test(member):
                    return False
            for name in required:
                if name not in value:
                    return planned(value)
            return True if value else planned(value)

        return accepts_direct

    def _plan(self, names: Set[str]) -> Plan | None:
        for _ in member_problems(self._shape, names, ""):
            return None
        tests = tuple(self._member(n, names).accepts for n in names)
        rules = tuple(self._rules_for(names))
        if not rules:
            is_data_type = self._shape.kind != "resource"
            self._tests.update(
                t for t in zip(names, tests, strict=True) if not (is_data_type and t[0] == "id")
            )
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[tuple(names)] = tests, rules
        return tests, rules

    def _rules_for(self, names: Set[str]) -> Iterator[Rule]:
        yield from (r for r in self._rules if r.applies(names))
        for name in names:
            if name.startswith("_"):
                known = property_of(self._shape, name)
                if known is not None and known.element.list:
                    yield AlignedExtensions(known.name)

    def _member(self, name: str, names: Set[str]) -> Node:
        """The node of the member `name`, which the shape has, of an object with the members `names`."""
        nullable = f"_{name}" in names
        node = self._members.get((name, nullable))
        if node is None:
            node = self._members[name, nullable] = self._make_member(name, nullable=nullable)
        return node

    def _make_member(self, name: str, *, nullable: bool) -> Node:
        known = property_of(self._shape, name)
        if known is None:
            return ResourceTypeNode()
        beside = known.name != name
        item = self._structure.object("Element") if beside else self._structure.item(self._shape, known)
        return ListNode(item, nullable=nullable or beside) if known.element.list else item

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        wrong = wrong_kind(value, "an object", path)
        if wrong is not None:
            yield wrong
            return
        names = value.keys()
        yield from member_problems(self._shape, names, path)
        for name, member in value.items():
            known = property_of(self._shape, name)
            if known is not None:
                yield from self._member(name, names).problems(member, f"{path}.{known.element.name}")
        for rule in self._rules_for(names):
            yield from rule.problems(value, path)


class LiteralReferenceNode:
    """Reference.reference of an element that allows some types."""

    __slots__ = ("_scope", "_targets", "accepts")

    def __init__(self, targets: frozenset[str], scope: Scope) -> None:
        self._targets = targets
        self._scope = scope
        self.accepts: Accepts = self._compile()

    def _compile(self) -> Accepts:
        is_plain = plain_reference(self._targets or frozenset(definitions.resource_types())).fullmatch

        def accepts(value: Any) -> bool:
            return is_plain(value) is not None or next(self.problems(value, ""), None) is None

        return accepts

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        if not PRIMITIVE["string"].is_valid(value):
            yield from PrimitiveNode(PRIMITIVE["string"]).problems(value, path)
            return
        fault = reference_fault(value, conditional=self._scope.transaction)
        if fault is not None:
            yield error("value", f"Not a reference: {fault}.", path)
        elif value.startswith("#") and not self._scope.contained:
            yield error(
                "not-found", f"The reference {value} needs a contained resource, and there is none.", path
            )
        elif self._targets:
            name = type_in_reference(value)
            if name is not None and name not in self._targets:
                yield wrong_target(name, self._targets, path)


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
