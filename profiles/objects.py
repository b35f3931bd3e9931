"""The node of a JSON object of one shape.

What an object's member names alone decide is judged once for each sequence of names that occurs, and remembered as a plan:
the tests of the values, in the order of the names, and the rules that apply. An invariant to keep: a memory never holds
what depends on more than the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Protocol

from fhir_r4.definitions import Property, Shape
from fhir_r4.errors import Issue
from profiles.members import member_problems, property_of
from profiles.nodes import Accepts, ListNode, Node, wrong_kind
from profiles.rules import AlignedExtensions, Rule

MAX_PLANS = 512

Plan = tuple[tuple[Accepts, ...], tuple[Rule, ...]]


class Makes(Protocol):
    """Who makes the nodes of an object's members."""

    def item(self, shape: Shape, known: Property) -> Node: ...

    def object(self, path: str) -> Node: ...


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

    __slots__ = ("_makes", "_members", "_plans", "_rules", "_shape", "_tests", "accepts")

    def __init__(self, makes: Makes, shape: Shape, rules: tuple[Rule, ...] = ()) -> None:
        self._makes = makes
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
        item = self._makes.object("Element") if beside else self._makes.item(self._shape, known)
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
