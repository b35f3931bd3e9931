"""Evaluates FHIRPath on resources in their JSON form; every item knows where in the resource it stands.

Source: http://hl7.org/fhirpath/N1/ and https://hl7.org/fhir/R4/fhirpath.html. Nothing is changed, fetched or read from a
clock: what an expression needs beyond the resource is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from fhir_r4.definitions import PRIMITIVES
from fhir_r4.fhirpath import operators
from fhir_r4.fhirpath.focus import Focus, Invocation, Resolver, Scope
from fhir_r4.fhirpath.functions import FUNCTIONS
from fhir_r4.fhirpath.located import Collection, Located, Quantity, collection, made, singleton, truth
from fhir_r4.fhirpath.moments import Moment
from fhir_r4.fhirpath.navigation import ancestry, child, has_element, is_fhir_type, is_type, root
from fhir_r4.fhirpath.parser import parse
from fhir_r4.fhirpath.syntax import (
    Binary,
    Call,
    FhirPathError,
    Index,
    Literal,
    Name,
    Node,
    This,
    TypeOp,
    Unary,
    Variable,
)

_TERMINOLOGY: Mapping[str, str] = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}
_MOMENTS = {"date": "Date", "dateTime": "DateTime", "time": "Time"}


def evaluate(
    expression: Node | str,
    resource: Mapping[str, Any],
    *,
    type: str | None = None,
    context: Located | None = None,
    variables: Mapping[str, Collection] | None = None,
    strict: bool = False,
    now: datetime | None = None,
    resolve: Resolver | None = None,
) -> Collection:
    """The items that the expression selects or makes, in order.

    `type` says what `resource` is when it is no resource but a data type or backbone element; `context` is the item that
    the expression starts from, `resource` then what it stands in; `strict` makes elements that R4 does not define an error.
    Raises FhirPathError, also for a text that is no FHIRPath.
    """
    node = parse(expression) if isinstance(expression, str) else expression
    top = root(resource, type)
    scope = Scope(top, top, variables or {}, strict, now, resolve)
    focus = Focus([top if context is None else context], scope)
    try:
        return _evaluate(node, focus)
    except RecursionError as error:
        raise FhirPathError("The expression is nested too deep") from error


def _evaluate(node: Node, focus: Focus) -> Collection:
    return _EVALUATORS[type(node)](node, focus)


def _literal(node: Literal, _: Focus) -> Collection:
    value = node.value
    if node.kind in _MOMENTS:
        moment = Moment.parse(str(value), _MOMENTS[node.kind])
        if moment is None:
            raise FhirPathError(f"{value} is no {node.kind}")
        return [made(moment)]
    if isinstance(value, tuple):
        return [made(Quantity(*value))]
    return collection(value)


def _name(node: Name, focus: Focus) -> Collection:
    if node.target is None and node.name[0:1].isupper() and is_fhir_type(node.name):
        matching = [item for item in focus.this if node.name in ancestry(item.type)]
        if focus.scope.strict and focus.this and not matching:
            raise FhirPathError(f"The item is {focus.this[0].type}, not {node.name}")
        return matching
    items = focus.this if node.target is None else _evaluate(node.target, focus)
    found = [inner for item in items for inner in child(item, node.name)]
    if not found and focus.scope.strict and items and not any(has_element(item, node.name) for item in items):
        raise FhirPathError(f"{items[0].type} has no element {node.name!r}")
    focus.scope.budget.spend(len(items) + len(found))
    return found


def _call(node: Call, focus: Focus) -> Collection:
    function = FUNCTIONS.get(node.name)
    if function is None:
        raise FhirPathError(f"The function {node.name}() is not known")
    run, least, most = function
    if not least <= len(node.args) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise FhirPathError(f"{node.name}() takes {expected} arguments, not {len(node.args)}")
    items = focus.this if node.target is None else _evaluate(node.target, focus)
    focus.scope.budget.spend(len(items) + 1)
    result = run(Invocation(node.name, items, node.args, focus, _evaluate))
    if isinstance(result, list):
        focus.scope.budget.spend(len(result))
        return result
    return collection(result)


def _index(node: Index, focus: Focus) -> Collection:
    items = _evaluate(node.target, focus)
    index = singleton(_evaluate(node.index, focus), "[]")
    if index is None:
        return []
    if not isinstance(index.value, int) or isinstance(index.value, bool):
        raise FhirPathError("An index is a whole number")
    return items[index.value : index.value + 1] if index.value >= 0 else []


def _binary(node: Binary, focus: Focus) -> Collection:
    left = _evaluate(node.left, focus)
    if node.op not in ("and", "or", "xor", "implies"):
        right = _evaluate(node.right, focus)
        focus.scope.budget.spend(len(left) + len(right))
        if node.op in ("|", "in", "contains"):
            focus.scope.budget.spend(len(left) * len(right))
        return operators.apply(node.op, left, right)
    a = truth(left, node.op)
    if (node.op == "or" and a is True) or (node.op in ("and", "implies") and a is False):
        return collection(node.op != "and")
    return collection(operators.logical(node.op, a, truth(_evaluate(node.right, focus), node.op)))


def _unary(node: Unary, focus: Focus) -> Collection:
    return operators.negated(_evaluate(node.operand, focus), node.op)


def _type_op(node: TypeOp, focus: Focus) -> Collection:
    items = focus.this if node.target is None else _evaluate(node.target, focus)
    if node.op == "is":
        item = singleton(items, "is")
        return [] if item is None else collection(is_type(item, node.type))
    if node.op == "as" and focus.scope.strict:
        singleton(items, "as")
    return [item for item in items if is_type(item, node.type) and _is_exact(item, node.type)]


def _is_exact(item: Located, type_name: str) -> bool:
    """A primitive is cast to its own type only: a code is a string, but not there when strings are asked for."""
    return item.type not in PRIMITIVES or type_name.rpartition(".")[2].strip("`") == item.type


def _variable(node: Variable, focus: Focus) -> Collection:
    name = node.name
    given = focus.scope.variables.get(name)
    if given is not None:
        return given
    if name == "resource":
        return [focus.scope.resource]
    if name in ("rootResource", "context"):
        return [focus.scope.root]
    if name in _TERMINOLOGY:
        return collection(_TERMINOLOGY[name])
    if name.startswith("vs-"):
        return collection(f"http://hl7.org/fhir/ValueSet/{name[3:]}")
    if name.startswith("ext-"):
        return collection(f"http://hl7.org/fhir/StructureDefinition/{name[4:]}")
    raise FhirPathError(f"The variable %{name} is not known")


def _this(node: This, focus: Focus) -> Collection:
    if node.name == "$this":
        return focus.this
    if node.name == "$index":
        return collection(focus.index)
    return focus.total or []


_EVALUATORS: Mapping[type, Callable[[Any, Focus], Collection]] = {
    Literal: _literal,
    Name: _name,
    Call: _call,
    Index: _index,
    Binary: _binary,
    Unary: _unary,
    TypeOp: _type_op,
    Variable: _variable,
    This: _this,
}
