"""A resource to its index entries, by Python that is generated for each resource type from its search parameters.

Source: https://hl7.org/fhir/R4/search.html. The paths of all parameters of a type are merged into one tree, so that every
member of the JSON is looked at once and every value is read once however many parameters it is for; the tree is written
out as one function: nested `dict.get` and `for`. What the values leave behind is in `rules`. The resource must be
structurally valid. An invariant to keep: the entries are those that `paths.follow` and the rules give parameter by parameter.

A composite parameter has its components gathered while the walk is inside of its element, and is put together when the walk
leaves it; what it needs from the rest of the resource (`%resource`) is there at the end of the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fhir_server.search.contained import CONTAINED, contained_key, with_types
from fhir_server.search.entries import Contained, Entries, ReferenceEntry
from fhir_server.search.parameters import Parameters, Part, value_type
from fhir_server.search.paths import (
    Condition,
    Equals,
    ExtensionAt,
    Holds,
    IsType,
    Item,
    Member,
    Path,
    RefersToType,
    Step,
    is_reference_to,
)
from fhir_server.search.rule_table import ENTRY_KINDS, RULES, RULES_WITHIN, Leaves
from fhir_server.search.rules import Rules

Indexer = Callable[[dict[str, Any], Entries], None]
RuleTable = Mapping[str, Mapping[str, tuple[Leaves, ...]]]
T = TypeVar("T", bound=tuple[Any, ...])


class Extractor:
    """Makes index entries. `zone` is that of times without one; `local_bases` are addresses of this server."""

    def __init__(self, parameters: Parameters, zone: str = "UTC", local_bases: Sequence[str] = ()) -> None:
        self._parameters = parameters
        self._rules = Rules(zone, local_bases)
        self._indexers: dict[str, Indexer] = {}
        self._indexers_within: dict[str, Indexer] = {}

    def extract(self, resource: dict[str, Any]) -> Entries:
        """The index entries of a structurally valid resource. Raises KeyError for a type that R4 does not have."""
        if resource.get("contained") is not None:
            return self._extract_within(resource, resource["contained"])
        return self._extract(resource, self._indexers, RULES)

    def _extract_within(self, resource: dict[str, Any], contained: Sequence[dict[str, Any]]) -> Entries:
        """The entries of a resource and of what it contains, with the references between them."""
        inner = {one["id"]: one for one in contained if one is not None and "id" in one}
        types = {id: one["resourceType"] for id, one in inner.items()}
        own = (resource["resourceType"], resource.get("id", ""))
        types[""] = own[0]

        def extracted(one: dict[str, Any]) -> Entries:
            entries = self._extract(with_types(one, types), self._indexers_within, RULES_WITHIN)
            entries.references = _resolved(entries.references, own, types)
            return entries

        made = extracted(resource)
        made.contained = tuple(Contained(types[id], id, extracted(one)) for id, one in inner.items())
        return made

    def _extract(self, resource: dict[str, Any], indexers: dict[str, Indexer], rules: RuleTable) -> Entries:
        type = resource["resourceType"]
        indexer = indexers.get(type)
        if indexer is None:
            indexer = indexers[type] = _indexer(self._parameters, self._rules, type, rules)
        entries = Entries([], [], [], [], [], [], [], [], [])
        indexer(resource, entries)
        entries.tokens = _once(entries.tokens)
        entries.strings = _once(entries.strings)
        entries.dates = _once(entries.dates)
        entries.numbers = _once(entries.numbers)
        entries.quantities = _once(entries.quantities)
        entries.references = _once(entries.references)
        entries.uris = _once(entries.uris)
        entries.composites = _once(entries.composites)
        return entries

    def source(self, type: str) -> str:
        """The generated Python for a type, to be read when a parameter does not find what it should."""
        return _Writer(self._rules, RULES).write(_Plan(self._parameters, type))


def _once(entries: list[T]) -> list[T]:
    """The entries without repeats; most often no parameter has two, so none can be repeated."""
    if len(entries) < 2 or len({entry[0] for entry in entries}) == len(entries):
        return entries
    return list(dict.fromkeys(entries))


def _resolved(
    references: list[ReferenceEntry], container: tuple[str, str], types: Mapping[str, str]
) -> list[ReferenceEntry]:
    """The references with those to `#id` led to what is contained, and those to `#` to the container."""
    found: list[ReferenceEntry] = []
    for entry in references:
        code, _, id, _, _ = entry
        if not code.endswith(CONTAINED):
            found.append(entry)
        elif id == "":
            found.append((code.removesuffix(CONTAINED), *container, "", ""))
        elif id in types:
            found.append((code, *contained_key(container, types[id], id), "", ""))
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Gathering:
    """The values of one component of the composites at one element; `name` is the variable that holds them.

    Quantities in canonical units are gathered apart, so that a composite has entries of either form.
    """

    name: str
    kind: str
    whole: bool

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_ucum") if self.kind == "quantity" else (self.name,)


@dataclass(slots=True)
class _Leaf:
    """What is indexed at a place: the values of a type for parameters of one kind, and for components."""

    codes: list[str] = field(default_factory=list)
    gatherings: list[_Gathering] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Composing:
    """Composites of the same components at one element: the variables of their components, in order."""

    gatherings: tuple[_Gathering, ...]
    codes: list[str]

    @property
    def late(self) -> bool:
        """Whether a component comes from anywhere in the resource."""
        return any(gathering.whole for gathering in self.gatherings)


@dataclass(slots=True)
class _Node:
    """A place in the JSON: what comes after it, what is indexed there, and the composites whose element it is."""

    after: dict[Step, _Node] = field(default_factory=dict)
    # (kind of parameter, type of the values, condition that is indexed in their place) -> what it is for
    leaves: dict[tuple[str, str, Condition | None], _Leaf] = field(default_factory=dict)
    gathered: dict[Part, _Gathering] = field(default_factory=dict)
    composites: dict[tuple[Part, ...], _Composing] = field(default_factory=dict)

    def at(self, steps: Sequence[Step]) -> _Node:
        node = self
        for step in steps:
            node = node.after.setdefault(step, _Node())
        return node

    def leaf(self, kind: str, path: Path) -> _Leaf:
        node = self.at(path.steps)
        return node.leaves.setdefault((kind, value_type(path), path.truth), _Leaf())


class _Plan:
    """The tree of all that is indexed of a type."""

    def __init__(self, parameters: Parameters, type: str) -> None:
        self.root = _Node()
        self._count = 0
        for compiled in parameters.compiled(type):
            if compiled.definition.type == "composite":
                for path, parts in zip(compiled.paths, compiled.parts, strict=True):
                    self._compose(compiled.definition.code, parts, self.root.at(path.steps))
            else:
                for path in compiled.paths:
                    self.root.leaf(compiled.definition.type, path).codes.append(compiled.definition.code)

    def _compose(self, code: str, parts: tuple[Part, ...], element: _Node) -> None:
        found = element.composites.get(parts)
        if found is None:
            gatherings = tuple(self._gathering(self.root if part.whole else element, part) for part in parts)
            found = element.composites[parts] = _Composing(gatherings, [])
        found.codes.append(code)

    def _gathering(self, element: _Node, part: Part) -> _Gathering:
        found = element.gathered.get(part)
        if found is None:
            self._count += 1
            found = element.gathered[part] = _Gathering(f"part{self._count}", part.kind, part.whole)
            for path in part.paths:
                element.leaf(part.kind, path).gatherings.append(found)
        return found


def _indexer(parameters: Parameters, rules: Rules, type: str, table: RuleTable) -> Indexer:
    writer = _Writer(rules, table)
    source = writer.write(_Plan(parameters, type))
    names = writer.names
    exec(compile(source, f"<search parameters of {type}>", "exec"), names)  # noqa: S102 - made from definitions alone
    indexer: Indexer = names["index"]
    return indexer


class _Writer:
    """Writes a plan as the source of a function; `names` are the objects that the source speaks of."""

    def __init__(self, rules: Rules, table: RuleTable) -> None:
        self._rules = rules
        self._table = table
        self._lines: list[str] = []
        self._count = 0
        self.names: dict[str, Any] = {"is_reference_to": is_reference_to}
        self._named: dict[Any, str] = {}
        self._kinds: set[str] = set()
        self._at_begin: list[str] = []
        self._at_end: list[str] = []

    def write(self, plan: _Plan) -> str:
        self._lines = []
        self._node(plan.root, "resource", 1)
        adders = [f"    add_{kind} = entries.{ENTRY_KINDS[kind][0]}.append" for kind in sorted(self._kinds)]
        begin = ["def index(resource, entries):", *adders, *self._at_begin]
        return "\n".join([*begin, *self._lines, *self._at_end, "    return None", ""])

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

    def _rule(self, leaves: Leaves) -> str:
        name = self._object(leaves.rule, "rule")
        self.names[name] = leaves.rule.__get__(self._rules)
        return name

    def _node(self, node: _Node, value: str, depth: int) -> None:
        self._begin_composites(node, depth)
        for (kind, type, truth), leaf in node.leaves.items():
            found = value if truth is None else f"{self._object(truth, 'truth')}({value})"
            for leaves in self._table[kind][type]:
                self._leave(leaves, leaf, found, depth)
        for step, after in node.after.items():
            self._step(step, after, value, depth)
        self._end_composites(node, depth)

    def _leave(self, leaves: Leaves, leaf: _Leaf, value: str, depth: int) -> None:
        """Add what a value leaves to the entries and to the components that are being gathered."""
        members = ", ".join("abcde"[: ENTRY_KINDS[leaves.kind][1]])
        lines = [f"add_{leaves.kind}(({code + leaves.suffix!r}, {members}))" for code in leaf.codes]
        if leaf.codes:
            self._kinds.add(leaves.kind)
        if leaves.suffix in ("", ":ucum"):
            name = leaves.suffix.replace(":", "_")
            lines += [f"{g.name}{name}.append(({leaves.kind!r}, {members}))" for g in leaf.gatherings]
        if not lines:
            return
        if leaves.needs:
            self._line(depth, f"if {value}.get({leaves.needs!r}) is not None:")
            depth += 1
        self._line(
            depth, f"for {members}{',' if len(members) == 1 else ''} in {self._rule(leaves)}({value}):"
        )
        for line in lines:
            self._line(depth + 1, line)

    def _begin_composites(self, node: _Node, depth: int) -> None:
        for gathering in node.gathered.values():
            for name in gathering.names:
                self._line(depth, f"{name} = []")
        for composing in node.composites.values():
            if composing.late:
                self._at_begin.append(f"    {_late(composing)} = []")

    def _end_composites(self, node: _Node, depth: int) -> None:
        for composing in node.composites.values():
            self._kinds.add("composite")
            if composing.late:
                own = [name for g in composing.gatherings if not g.whole for name in g.names]
                self._line(depth, f"{_late(composing)}.append(({', '.join(own)},))")
                self._at_end.append(f"    for {', '.join(own)}, in {_late(composing)}:")
                self._at_end += [f"    {line}" for line in _combining(composing, depth=1)]
            else:
                self._lines += _combining(composing, depth)

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
        others: dict[Step, _Node] = {s: n for s, n in after.after.items() if not isinstance(s, Item)}
        rest = replace(after, after=others)
        if rest.after or rest.leaves or rest.composites:
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


def _late(composing: _Composing) -> str:
    """The variable that keeps what an element gives until the whole resource has been walked through."""
    return "late_" + "_".join(gathering.name for gathering in composing.gatherings)


def _combining(composing: _Composing, depth: int) -> list[str]:
    """The source that adds each combination of the values of the components, also of those in canonical units."""
    written = [gathering.name for gathering in composing.gatherings]
    lines = _loops(written, composing.codes, depth)
    units = [g.names[1] for g in composing.gatherings if len(g.names) == 2]
    if units:
        canonical = [
            f"({g.names[1]} or {g.name})" if len(g.names) == 2 else g.name for g in composing.gatherings
        ]
        lines.append("    " * depth + f"if {' or '.join(units)}:")
        lines += _loops(canonical, [f"{code}:ucum" for code in composing.codes], depth + 1)
    return lines


def _loops(parts: Sequence[str], codes: Sequence[str], depth: int) -> list[str]:
    # outside goes the last component: most often it is the one that is not there
    order = list(enumerate(parts))[::-1]
    lines = ["    " * (depth + n) + f"for c{i} in {part}:" for n, (i, part) in enumerate(order)]
    inside = "    " * (depth + len(parts))
    lines.append(f"{inside}one = ({', '.join(f'c{i}' for i in range(len(parts)))},)")
    return lines + [f"{inside}add_composite(({code!r}, one))" for code in codes]
