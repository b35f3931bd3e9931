"""JSON Patch on a resource in its JSON form.

Source: https://www.rfc-editor.org/rfc/rfc6902 and, for pointers, https://www.rfc-editor.org/rfc/rfc6901. All operations
apply or none does; numbers keep their digits, and `test` compares them as numbers. What a patch leaves behind (an empty
array, say) is for the validator to judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from fhir_r4.errors import InvalidPatch, InvalidRequest
from fhir_server.interactions.patching.copying import copied

MAX_COPIED = 100_000

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_BAD_ESCAPE = re.compile(r"~(?![01])")
_WITH_VALUE = frozenset(["add", "replace", "test"])
_WITH_FROM = frozenset(["move", "copy"])


class _Failure(Exception):
    """Why an operation cannot be applied."""


class Operation(NamedTuple):
    """An operation of a patch; `path` and `source` (its `from`) are the unescaped steps of pointers."""

    op: str
    path: tuple[str, ...]
    source: tuple[str, ...]
    value: Any
    shown: str


def apply_json_patch(resource: Mapping[str, Any], patch: Any) -> dict[str, Any]:
    """The resource after the operations of `patch`, a decoded JSON Patch document.

    Raises InvalidRequest when the document is no JSON Patch; InvalidPatch, naming the operation by its number from 0,
    when an operation does not fit the resource or a `test` fails.
    """
    operations = _parse(patch)
    editor = _Editor(copied(resource))
    for number, operation in enumerate(operations):
        try:
            editor.apply(operation)
        except _Failure as failure:
            raise InvalidPatch(
                f"Operation {number} ({operation.shown}) cannot be applied: {failure}."
            ) from failure
    if not isinstance(editor.document, dict):
        raise InvalidPatch("The patch leaves something that is no JSON object.")
    return editor.document


def _parse(patch: Any) -> list[Operation]:
    if not isinstance(patch, list):
        raise InvalidRequest("A JSON Patch is an array of operations.")
    return [_operation(number, item) for number, item in enumerate(patch)]


def _operation(number: int, item: Any) -> Operation:
    if not isinstance(item, dict):
        raise InvalidRequest(f"Operation {number} of the JSON Patch is no object.")
    op = item.get("op")
    if op not in ("add", "remove", "replace", "move", "copy", "test"):
        raise InvalidRequest(
            f"Operation {number} has the op {op!r}; add, remove, replace, move, copy or test was expected."
        )
    if op in _WITH_VALUE and "value" not in item:
        raise InvalidRequest(f"Operation {number} ({op}) has no value.")
    path = _pointer(item.get("path"), f"Operation {number} ({op}), path")
    source = _pointer(item.get("from"), f"Operation {number} ({op}), from") if op in _WITH_FROM else ()
    return Operation(op, path, source, item.get("value"), f"{op} {item['path']!r}")


def _pointer(text: Any, where: str) -> tuple[str, ...]:
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}: a JSON Pointer was expected.")
    if text and not text.startswith("/"):
        raise InvalidRequest(f"{where}: the JSON Pointer {text!r} does not begin with '/'.")
    if _BAD_ESCAPE.search(text):
        raise InvalidRequest(f"{where}: in the JSON Pointer {text!r} a '~' is not followed by 0 or 1.")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


class _Editor:
    def __init__(self, document: Any) -> None:
        self.document = document
        self.copied = 0

    def apply(self, operation: Operation) -> None:
        op, path, source, value, _ = operation
        if op == "add":
            self.add(path, copied(value))
        elif op == "remove":
            self.remove(path)
        elif op == "replace":
            self.replace(path, copied(value))
        elif op == "move":
            if path[: len(source)] == source and path != source:
                raise _Failure("a value cannot be moved into itself")
            self.add(path, self.remove(source)) if path != source else self.at(source)
        elif op == "copy":
            self.add(path, self.copy(source))
        elif not same_json(self.at(path), value):
            raise _Failure("the value there is not the one that is tested for")

    def copy(self, source: tuple[str, ...]) -> Any:
        """A copy of the value, within a bound: repeated copies of the whole document double it each time."""
        value = self.at(source)
        self.copied += _size(value)
        if self.copied > MAX_COPIED:
            raise _Failure(f"the patch copies more than {MAX_COPIED} values")
        return copied(value)

    def at(self, path: tuple[str, ...]) -> Any:
        node = self.document
        for step in path:
            node = _child(node, step)
        return node

    def add(self, path: tuple[str, ...], value: Any) -> None:
        if not path:
            self.document = value
            return
        parent = self.at(path[:-1])
        step = path[-1]
        if isinstance(parent, list):
            parent.insert(len(parent) if step == "-" else _index(step, len(parent)), value)
        elif isinstance(parent, dict):
            parent[step] = value
        else:
            raise _Failure(f"{step!r} would be a member of something that is neither object nor array")

    def remove(self, path: tuple[str, ...]) -> Any:
        if not path:
            raise _Failure("the whole resource cannot be removed")
        parent = self.at(path[:-1])
        value = _child(parent, path[-1])
        if isinstance(parent, list):
            del parent[int(path[-1])]
        else:
            del parent[path[-1]]
        return value

    def replace(self, path: tuple[str, ...], value: Any) -> None:
        if not path:
            self.document = value
            return
        parent = self.at(path[:-1])
        _child(parent, path[-1])
        if isinstance(parent, list):
            parent[int(path[-1])] = value
        else:
            parent[path[-1]] = value


def _child(node: Any, step: str) -> Any:
    if isinstance(node, dict):
        if step not in node:
            raise _Failure(f"there is no member {step!r}")
        return node[step]
    if isinstance(node, list):
        return node[_index(step, len(node) - 1)]
    raise _Failure(f"{step!r} is looked for in something that is neither object nor array")


def _index(step: str, last: int) -> int:
    if _INDEX.fullmatch(step) is None:
        raise _Failure(f"{step!r} is no index of an item that the array has")
    if int(step) > last:
        raise _Failure(f"the index {step} is beyond the end of the array")
    return int(step)


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def same_json(left: Any, right: Any) -> bool:
    """Equality as RFC 6902 section 4.6 has it: numbers by value, and no boolean equals a number."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)
