"""FHIRPath Patch: operations given as a Parameters resource.

Source: https://hl7.org/fhir/R4/fhirpatch.html. All operations apply or none does; each path is evaluated on what the
operations before it have left. An object or array that a deletion leaves empty goes with it, because FHIR has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.errors import InvalidPatch, InvalidRequest
from fhir_r4.fhirpath.evaluate import evaluate
from fhir_r4.fhirpath.located import Located
from fhir_r4.fhirpath.parser import parse
from fhir_r4.fhirpath.syntax import Call, FhirPathError, Node, children
from fhir_server.interactions.patching.copying import copied, without_empty
from fhir_server.interactions.patching.fhirpath_operations import Operation, Value, parse_operations
from fhir_server.interactions.patching.placing import (
    Misfit,
    append,
    holder_of,
    insert,
    member_for,
    move,
    remove,
    replace,
)

# a regular expression of the client's could run for ever
_REFUSED = frozenset(["matches", "matchesFull", "replaceMatches"])


def apply_fhirpath_patch(resource: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The resource after the operations of `parameters`, a Parameters resource.

    Raises InvalidRequest when that is no FHIRPath Patch; InvalidPatch, naming the operation by its number from 0, when
    one does not fit the resource.
    """
    operations = parse_operations(parameters)
    result: dict[str, Any] = copied(resource)
    for number, operation in enumerate(operations):
        node = _parsed(operation, number)
        try:
            items = evaluate(node, result, strict=True)
            _APPLY[operation.type](operation, items)
        except (Misfit, FhirPathError) as error:
            text = str(error).rstrip(".")
            raise InvalidPatch(
                f"Operation {number} ({operation.type} at {operation.path}) cannot be applied: {text}.",
                operation.path,
            ) from error
        if operation.type == "delete":
            result = without_empty(result)
    return result


def _parsed(operation: Operation, number: int) -> Node:
    try:
        node = parse(operation.path)
    except FhirPathError as error:
        raise InvalidRequest(
            f"The path of operation {number} is no FHIRPath: {error}.", operation.path
        ) from error
    rest = [node]
    while rest:
        part = rest.pop()
        if isinstance(part, Call) and part.name in _REFUSED:
            raise InvalidRequest(f"The path of operation {number} uses {part.name}(), which a patch may not.")
        rest.extend(children(part))
    return node


def _one(items: list[Located]) -> Located:
    if not items:
        raise Misfit("the path finds nothing")
    if len(items) > 1:
        raise Misfit(f"the path finds {len(items)} elements, one was expected")
    return items[0]


def _in_place(item: Located) -> Located:
    if item.parent is None:
        raise Misfit("the path must find an element of the resource")
    return item


def _list(items: list[Located]) -> Located:
    """The first item of a list of which the path finds every item."""
    if not items:
        raise Misfit("the path finds no list")
    first = _in_place(items[0])
    if first.index is None:
        raise Misfit(f"{first.name} is no list")
    assert first.parent is not None
    length = max(len(first.parent.get(first.name, ())), len(first.parent.get("_" + first.name, ())))
    if len(items) != length or any(i.parent is not first.parent or i.name != first.name for i in items):
        raise Misfit("the path must find all items of one list")
    return first


def _add(operation: Operation, items: list[Located]) -> None:
    assert operation.name is not None
    assert operation.value is not None
    target = _one(items)
    holder, shape = holder_of(target)
    member = member_for(shape, operation.name, operation.value)
    append(holder, shape, member, operation.value)


def _insert(operation: Operation, items: list[Located]) -> None:
    assert operation.index is not None
    insert(_list(items), operation.index, _value(operation))


def _delete(_: Operation, items: list[Located]) -> None:
    if items:
        remove(_in_place(_one(items)))


def _replace(operation: Operation, items: list[Located]) -> None:
    replace(_in_place(_one(items)), _value(operation))


def _move(operation: Operation, items: list[Located]) -> None:
    assert operation.source is not None
    assert operation.destination is not None
    move(_list(items), operation.source, operation.destination)


def _value(operation: Operation) -> Value:
    assert operation.value is not None
    return operation.value


_APPLY = {"add": _add, "insert": _insert, "delete": _delete, "replace": _replace, "move": _move}
