"""A resource to its index entries, by Python that is generated for each resource type from its search parameters.

Source: https://hl7.org/fhir/R4/search.html. The paths of all parameters of a type are merged into one tree, so that every
member of the JSON is looked at once, and the tree is written out as one function: nested `dict.get` and `for`. What the
values leave behind is in `rules`. The resource must be structurally valid. An invariant to keep: the entries are those that
`paths.follow` and the rules give parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fhir_server.search.entries import Entries
from fhir_server.search.parameters import Parameters
from fhir_server.search.paths import (
    Condition,
    Equals,
    ExtensionAt,
    Holds,
    IsType,
    Item,
    Member,
    RefersToType,
    Step,
    is_reference_to,
)
from fhir_server.search.rules import RULES, Rule, Rules

Indexer = Callable[[dict[str, Any], Entries], None]


class Extractor:
    """Makes index entries. `zone` is that of times without one; `local_bases` are addresses of this server."""

    def __init__(self, parameters: Parameters, zone: str = "UTC", local_bases: Sequence[str] = ()) -> None:
        self._parameters = parameters
        self._rules = Rules(zone, local_bases)
        self._indexers: dict[str, Indexer] = {}

    def extract(self, resource: dict[str, Any]) -> Entries:
        """The index entries of a structurally valid resource. Raises KeyError for a type that R4 does not have."""
        type = resource["resourceType"]
        indexer = self._indexers.get(type)
        if indexer is None:
            indexer = self._indexers[type] = _indexer(self._parameters, self._rules, type)
        entries = Entries()
        indexer(resource, entries)
        if len(entries.tokens) > 1:
            entries.tokens = list(dict.fromkeys(entries.tokens))
        if len(entries.strings) > 1:
            entries.strings = list(dict.fromkeys(entries.strings))
        if len(entries.dates) > 1:
            entries.dates = list(dict.fromkeys(entries.dates))
        if len(entries.numbers) > 1:
            entries.numbers = list(dict.fromkeys(entries.numbers))
        if len(entries.quantities) > 1:
            entries.quantities = list(dict.fromkeys(entries.quantities))
        if len(entries.references) > 1:
            entries.references = list(dict.fromkeys(entries.references))
        if len(entries.uris) > 1:
            entries.uris = list(dict.fromkeys(entries.uris))
        return entries

    def source(self, type: str) -> str:
        """The generated Python for a type, to be read when a parameter does not find what it should."""
        return _Writer(self._rules).write(_tree(self._parameters, type))


@dataclass(slots=True)
class _Node:
    """A place in the JSON: what comes after it, and what is indexed there: (parameter, rule, condition or None)."""

    after: dict[Step, _Node] = field(default_factory=dict)
    leaves: list[tuple[str, Rule, Condition | None]] = field(default_factory=list)


def _tree(parameters: Parameters, type: str) -> _Node:
    root = _Node()
    for compiled in parameters.compiled(type):
        rules = RULES[compiled.definition.type]
        for path in compiled.paths:
            node = root
            for step in path.steps:
                node = node.after.setdefault(step, _Node())
            node.leaves.append((compiled.definition.code, rules[path.type], path.truth))
    return root


def _indexer(parameters: Parameters, rules: Rules, type: str) -> Indexer:
    writer = _Writer(rules)
    source = writer.write(_tree(parameters, type))
    names = writer.names
    exec(compile(source, f"<search parameters of {type}>", "exec"), names)  # noqa: S102 - made from definitions alone
    indexer: Indexer = names["index"]
    return indexer


class _Writer:
    """Writes a tree of places as the source of a function; `names` are the objects that the source speaks of."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._lines: list[str] = []
        self._count = 0
        self.names: dict[str, Any] = {"is_reference_to": is_reference_to}
        self._named: dict[Any, str] = {}

    def write(self, root: _Node) -> str:
        self._lines = ["def index(resource, entries):"]
        self._node(root, "resource", 1)
        self._line(1, "return None")
        return "\n".join(self._lines) + "\n"

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("    " * depth + text)

    def _fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def _object(self, value: Any, prefix: str) -> str:
        name = self._named.get(value)
        if name is None:
            name = self._named[value] = f"{prefix}{len(self._named)}"
            self.names[name] = value
        return name

    def _rule(self, rule: Rule) -> str:
        name = self._object(rule, "rule")
        self.names[name] = rule.__get__(self._rules)
        return name

    def _node(self, node: _Node, value: str, depth: int) -> None:
        for code, rule, truth in node.leaves:
            found = value if truth is None else f"{self._object(truth, 'truth')}({value})"
            self._line(depth, f"{self._rule(rule)}(entries, {code!r}, {found})")
        for step, after in node.after.items():
            self._step(step, after, value, depth)

    def _step(self, step: Step, after: _Node, value: str, depth: int) -> None:
        match step:
            case Member(name, repeats):
                self._member(name, repeats, after, value, depth)
            case ExtensionAt(url):
                item = self._fresh()
                self._line(depth, f"for {item} in {value}.get('extension') or ():")
                self._line(depth + 1, f"if {item}.get('url') == {url!r}:")
                self._node(after, item, depth + 2)
            case _:
                self._line(depth, f"if {self._test(step, value)}:")
                self._node(after, value, depth + 1)

    def _member(self, name: str, repeats: bool, after: _Node, value: str, depth: int) -> None:
        found = self._fresh()
        self._line(depth, f"{found} = {value}.get({name!r})")
        self._line(depth, f"if {found} is not None:")
        if not repeats:
            self._node(after, found, depth + 1)
            return
        for step, node in after.after.items():
            if isinstance(step, Item):
                self._line(depth + 1, f"if len({found}) > {step.position}:")
                item = self._fresh()
                self._line(depth + 2, f"{item} = {found}[{step.position}]")
                self._line(depth + 2, f"if {item} is not None:")
                self._node(node, item, depth + 3)
        rest = _Node({s: n for s, n in after.after.items() if not isinstance(s, Item)}, after.leaves)
        if rest.after or rest.leaves:
            item = self._fresh()
            self._line(depth + 1, f"for {item} in {found}:")
            self._line(depth + 2, f"if {item} is not None:")
            self._node(rest, item, depth + 3)

    def _test(self, step: Step, value: str) -> str:
        match step:
            case Equals(name, wanted):
                return f"{value}.get({name!r}) == {wanted!r}"
            case RefersToType(type):
                return f"is_reference_to({value}, {type!r})"
            case IsType(type):
                return f"{value}.get('resourceType') == {type!r}"
            case Holds(condition=condition):
                return f"{self._object(condition, 'holds')}({value})"
            case _:
                raise AssertionError(step)
