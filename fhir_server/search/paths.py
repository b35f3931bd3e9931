"""FHIRPath of search parameters to plain paths through the JSON of one resource type.

Source: https://hl7.org/fhir/R4/searchparameter-definitions.html#SearchParameter.expression. The subset that R4 and the
implementation guides use: element paths, choices, `as`/`ofType`, `where`, `extension(url)`, `[n]`, `|`, and boolean
conditions of `exists()`, `=`, `!=`, `and`, `or`, `not()`, `hasExtension(url)`, `resolve() is T`. Everything is decided
from the definitions when the path is made, so that nothing is left to decide per resource. What does not fit raises
NotCompiled: an expression is never read in part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_r4.definitions import Element, Property, is_resource_type, shape
from fhir_r4.fhirpath.syntax import Binary, Call, Index, Literal, Name, Node, This, TypeOp, Variable, children

Json = dict[str, Any]
Condition = Callable[[Any], bool]

_GENERAL = frozenset({"Resource", "DomainResource"})
_STEPS = (Name, Call, TypeOp, Index)
# as R4 writes it in code-value-date
_MISSPELT = {"DateTime": "dateTime"}
_SUBTYPES = {
    "string": frozenset({"string", "code", "id", "markdown"}),
    "uri": frozenset({"uri", "url", "canonical", "oid", "uuid"}),
    "integer": frozenset({"integer", "positiveInt", "unsignedInt"}),
    "Quantity": frozenset(
        {"Quantity", "Age", "Count", "Distance", "Duration", "SimpleQuantity", "MoneyQuantity"}
    ),
}


class NotCompiled(ValueError):
    """An expression that is beyond the subset, or speaks of an element that R4 does not have; the text says which."""


@dataclass(frozen=True, slots=True)
class Member:
    """The JSON member `name`; `repeats` says that it holds an array."""

    name: str
    repeats: bool


@dataclass(frozen=True, slots=True)
class Item:
    """The item at `position` of the array that the Member before gives."""

    position: int


@dataclass(frozen=True, slots=True)
class ExtensionAt:
    """The extensions with this url."""

    url: str


@dataclass(frozen=True, slots=True)
class Equals:
    """Only items whose member `name` is `value`."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RefersToType:
    """Only references (or canonicals) to a resource of `type`, as far as their text tells (`resolve() is T`)."""

    type: str


@dataclass(frozen=True, slots=True)
class IsType:
    """Only resources of `type` (a nested resource can be any)."""

    type: str


@dataclass(frozen=True, slots=True)
class Holds:
    """Only items for which `condition` holds; `node` is what it was made from."""

    node: Node
    shape: str | None
    condition: Condition = field(compare=False)


Step = Member | Item | ExtensionAt | Equals | RefersToType | IsType | Holds


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a resource to values of one type.

    `shape` names the shape of the value (None for primitives), `element` its definition. With `truth` the value is not
    what stands at the end: it is whether there is anything (the resource itself passing the Holds steps).
    """

    steps: tuple[Step, ...]
    type: str
    shape: str | None
    element: Element | None = None
    truth: Condition | None = None


def compile_paths(node: Node, resource_type: str) -> tuple[Path, ...]:
    """The paths of an expression for one resource type: branches of a union that begin at another type are left out.

    An empty result means that the expression says nothing about this type. Raises NotCompiled.
    """
    return compile_from(node, Path((), resource_type, resource_type))


def compile_from(node: Node, start: Path) -> tuple[Path, ...]:
    """The paths of an expression for an item at `start`, from there on. Raises NotCompiled."""
    at_root = start.shape is not None and (is_resource_type(start.shape) or start.shape in _GENERAL)
    at_root = at_root and not start.steps
    branches = [b for b in _branches(node) if not at_root or _first_type(b) in (None, start.shape)]
    return tuple(dict.fromkeys(path for branch in branches for path in _walk(branch, start, at_root)))


def _branches(node: Node) -> list[Node]:
    """The branches of a union, in their order."""
    found: list[Node] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Binary) and one.op == "|":
            waiting += (one.right, one.left)
        else:
            found.append(one)
    return found


def _first_type(node: Node | None) -> str | None:
    """The resource type that a path begins with, None when it does not begin so."""
    while isinstance(node, _STEPS):
        if isinstance(node, Name) and node.target is None:
            return node.name if is_resource_type(node.name) else None
        node = node.target
    return None


def begins_at_resource(node: Node) -> bool:
    """Whether an expression for an element begins at its resource (`%resource`). Raises NotCompiled if only in part."""
    roots = set(_roots(node))
    if len(roots) > 1:
        raise NotCompiled("an expression cannot begin at the element and at %resource")
    return True in roots


def _roots(node: Node) -> Iterator[bool]:
    match node:
        case Variable("resource"):
            yield True
        case Name(None, _) | Call(None, _, _) | TypeOp(_, None, _) | This():
            yield False
        case Call(target, _, _) if target is not None:
            yield from _roots(target)
        case _:
            for child in children(node):
                yield from _roots(child)


def _walk(node: Node | None, start: Path, at_root: bool = False) -> Iterator[Path]:
    match node:
        case None | This("$this"):
            yield start
        case Variable("resource") if at_root:
            yield start
        case Binary("|", left, right):
            yield from _walk(left, start, at_root)
            yield from _walk(right, start, at_root)
        case Name(None, name) if at_root and (is_resource_type(name) or name in _GENERAL):
            if name == start.shape or name in _GENERAL:
                yield start
        case Name(target, name):
            for path in _walk(target, start, at_root):
                yield from _member(path, name)
        case TypeOp("as" | "ofType", target, type):
            for path in _walk(target, start, at_root):
                yield from _of_type(path, type.removeprefix("FHIR."))
        case Call(target, "where", (criteria,)):
            for path in _walk(target, start, at_root):
                yield _filtered(path, criteria)
        case Call(target, "extension", (Literal(str(url)),)):
            for path in _walk(target, start, at_root):
                yield Path((*_extended(path), ExtensionAt(url)), "Extension", "Extension")
        case Call(target, "first", ()) if target is not None:
            yield from _items(target, 0, start, at_root)
        case Index(target, Literal(int(position), "integer")):
            yield from _items(target, position, start, at_root)
        case Call() | Binary():
            if mentions(node, start.type):
                yield Path(start.steps, "boolean", None, None, condition(node, start))
        case _:
            raise NotCompiled(f"{type_name(node)} is not understood here")


def type_name(node: object) -> str:
    name = getattr(node, "name", None) or getattr(node, "op", "")
    return f"{type(node).__name__} {name}".strip()


def mentions(node: Node, resource_type: str) -> bool:
    """Whether a boolean expression speaks of this resource type: some name at its root is the type's."""
    match node:
        case Name(None, name) if is_resource_type(name) or name in _GENERAL:
            return name == resource_type or name in _GENERAL
        case Name(None, _):
            return True
    return any(mentions(child, resource_type) for child in children(node))


def _member(path: Path, name: str) -> Iterator[Path]:
    if path.shape is None or (path.steps and path.shape in _GENERAL):
        raise NotCompiled(f"{path.type} has no element {name}")
    members = _members(path.shape).get(name)
    if members is None:
        raise NotCompiled(f"{path.shape} has no element {name}")
    for json_name, property in members:
        yield _step(path, json_name, property)


@cache
def _members(shape_name: str) -> Mapping[str, Sequence[tuple[str, Property]]]:
    """The members of a shape by the names of their elements (several for a choice) and by their own."""
    found: dict[str, list[tuple[str, Property]]] = {}
    for json_name, property in shape(shape_name).properties.items():
        for name in {property.element.name, json_name}:
            found.setdefault(name, []).append((json_name, property))
    return found


def _step(path: Path, json_name: str, property: Property) -> Path:
    element = property.element
    return Path((*path.steps, Member(json_name, element.list)), property.type, property.shape, element)


def _extended(path: Path) -> tuple[Step, ...]:
    """The steps to what holds the extensions of an element: for a primitive that is its sibling, `_birthDate`."""
    if path.shape is not None:
        return path.steps
    match path.steps[-1:]:
        case (Member(name, repeats),):
            return (*path.steps[:-1], Member(f"_{name}", repeats))
        case _:
            raise NotCompiled("the extensions of a primitive are found by the name of its element only")


def _of_type(path: Path, name: str) -> Iterator[Path]:
    name = _MISSPELT.get(name, name)
    if path.type in _GENERAL:
        if not is_resource_type(name):
            raise NotCompiled(f"{name} is no resource type")
        yield Path((*path.steps, IsType(name)), name, name)
    elif path.type == name or path.type in _SUBTYPES.get(name, ()):
        yield path


def _items(target: Node, position: int, start: Path, at_root: bool) -> Iterator[Path]:
    for path in _walk(target, start, at_root):
        if sum(isinstance(s, Member) and s.repeats for s in path.steps[len(start.steps) :]) > 1:
            raise NotCompiled(f"[{position}] of what may be several arrays")
        match path.steps[-1:]:
            case (Member(_, True),):
                yield Path((*path.steps, Item(position)), path.type, path.shape, path.element)
            case (Member(_, False),) if position == 0:
                yield path
            case _:
                raise NotCompiled(f"[{position}] does not follow an element")


def _filtered(path: Path, criteria: Node) -> Path:
    step: Step
    match criteria:
        case TypeOp("is", Call(None, "resolve", ()), type):
            step = RefersToType(type.removeprefix("FHIR."))
        case Binary("=", Name(None, name), Literal(str(value), "string")) if _plain(path, name):
            step = Equals(name, value)
        case _:
            step = Holds(criteria, path.shape, condition(criteria, path))
    return Path((*path.steps, step), path.type, path.shape, path.element)


def _plain(path: Path, name: str) -> bool:
    if path.shape is None or path.shape in _GENERAL:
        return False
    property = shape(path.shape).properties.get(name)
    return property is not None and property.primitive and not property.element.list


# Conditions run only where a parameter has one that is no plain comparison, so closures are fast enough.


def condition(node: Node, start: Path) -> Condition:
    """Whether a boolean expression holds for an item at `start`. Raises NotCompiled."""
    match node:
        case Binary("and", left, right):
            both = condition(left, start), condition(right, start)
            return lambda item: both[0](item) and both[1](item)
        case Binary("or", left, right):
            either = condition(left, start), condition(right, start)
            return lambda item: either[0](item) or either[1](item)
        case Call(target, "not", ()) if target is not None:
            inner = condition(target, start)
            return lambda item: not inner(item)
        case Call(target, "exists", ()):
            found = collect(target, start)
            return lambda item: bool(found(item))
        case Call(target, "empty", ()):
            lacking = collect(target, start)
            return lambda item: not lacking(item)
        case Call(target, "hasExtension", (Literal(str(url)),)):
            extended = collect(Call(target, "extension", (Literal(url, "string"),)), start)
            return lambda item: bool(extended(item))
        case Binary("=", left, Literal(value)):
            return _equal(collect(left, start), value)
        case Binary("!=", left, Literal(value)):
            return _differs(collect(left, start), value)
        case TypeOp("is", Call(target, "resolve", ()), type):
            references = collect(target, start)
            return lambda item: any(is_reference_to(value, type) for value in references(item))
        case Name():
            truths = collect(node, start)
            return lambda item: True in truths(item)
        case _:
            raise NotCompiled(f"{type_name(node)} is not understood as a condition")


def _equal(values: Callable[[Any], list[Any]], value: object) -> Condition:
    return lambda item: any(_same(v, value) for v in values(item))


def _differs(values: Callable[[Any], list[Any]], value: object) -> Condition:
    return lambda item: any(not _same(v, value) for v in values(item))


def _same(value: object, literal: object) -> bool:
    return value == literal and isinstance(value, bool) == isinstance(literal, bool)


def collect(node: Node | None, start: Path) -> Callable[[Any], list[Any]]:
    """A function from an item at `start` to the values of an expression. Raises NotCompiled."""
    is_resource = start.shape is not None and is_resource_type(start.shape) and not start.steps
    paths = tuple(_walk(node, Path((), start.type, start.shape, start.element), at_root=is_resource))
    if any(isinstance(step, Item) for path in paths for step in path.steps):
        raise NotCompiled("[n] inside of a condition")
    return lambda item: [value for path in paths for value in follow(path, item)]


def follow(path: Path, item: Any) -> list[Any]:
    """The values at the end of `path` for one item: the plain reading of what the extractor compiles."""
    if path.truth is not None:
        return [path.truth(item)]
    values: list[Any] = [item]
    for step in path.steps:
        values = [found for value in values for found in _take(step, value)]
    return values


def _take(step: Step, value: Any) -> list[Any]:
    match step:
        case Member(name, repeats):
            found = value.get(name)
            if found is None:
                return []
            return [v for v in found if v is not None] if repeats else [found]
        case ExtensionAt(url):
            return [e for e in value.get("extension", ()) if e.get("url") == url]
        case Equals(name, wanted):
            return [value] if value.get(name) == wanted else []
        case RefersToType(type):
            return [value] if is_reference_to(value, type) else []
        case IsType(type):
            return [value] if value.get("resourceType") == type else []
        case Holds(condition=holds):
            return [value] if holds(value) else []
        case Item():
            raise NotCompiled("[n] inside of a condition")


def is_reference_to(value: Any, type: str) -> bool:
    """Whether a Reference or canonical points to a resource of `type`, from its text or, failing that, its `type`."""
    text = value.get("reference") if isinstance(value, dict) else value
    if text is not None and "/" in text:
        return bool(text.startswith(type + "/") or f"/{type}/" in text)
    return isinstance(value, dict) and value.get("type") == type
