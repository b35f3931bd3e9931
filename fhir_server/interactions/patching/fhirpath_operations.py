"""The operations of a FHIRPath Patch, read from its Parameters resource.

Source: https://hl7.org/fhir/R4/fhirpatch.html. Nothing is passed over: a parameter or part that the patch format does not
have is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fhir_r4.errors import InvalidRequest

_PARTS: Mapping[str, tuple[str, ...]] = {
    "add": ("path", "name", "value"),
    "insert": ("path", "index", "value"),
    "delete": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "source", "destination"),
}
_NUMBERS = frozenset(["index", "source", "destination"])


@dataclass(frozen=True, slots=True)
class Value:
    """A value to be placed: of the data type `type` with its `_value` sibling, or a resource, or made of named parts."""

    type: str | None
    value: Any = None
    extra: Mapping[str, Any] | None = None
    parts: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; which of the fields are given depends on `type`."""

    type: str
    path: str
    name: str | None = None
    value: Value | None = None
    index: int | None = None
    source: int | None = None
    destination: int | None = None


def parse_operations(parameters: Mapping[str, Any]) -> list[Operation]:
    """The operations in their order. Raises InvalidRequest for what is no FHIRPath Patch."""
    if parameters.get("resourceType") != "Parameters":
        raise InvalidRequest("A FHIRPath Patch is a Parameters resource.")
    given = parameters.get("parameter", [])
    if not isinstance(given, list):
        raise InvalidRequest("Parameters.parameter is no array.", "Parameters.parameter")
    return [_operation(item, f"Parameters.parameter[{number}]") for number, item in enumerate(given)]


def _operation(item: Any, place: str) -> Operation:
    if not isinstance(item, dict) or item.get("name") != "operation":
        raise InvalidRequest(f"{place} is no parameter with the name 'operation'.", place)
    parts = _parts(item.get("part"), place)
    kind = _text(parts, "type", place)
    expected = _PARTS.get(kind)
    if expected is None:
        raise InvalidRequest(f"{place} has the type {kind!r}; {', '.join(_PARTS)} was expected.", place)
    for name in parts:
        if name != "type" and name not in expected:
            raise InvalidRequest(
                f"{place} ({kind}) has the part {name!r}, which that operation does not take.", place
            )
    numbers = {name: _number(parts, name, place) for name in expected if name in _NUMBERS}
    return Operation(
        type=kind,
        path=_text(parts, "path", place),
        name=_text(parts, "name", place) if "name" in expected else None,
        value=_value(_required(parts, "value", place), place) if "value" in expected else None,
        **numbers,
    )


def _parts(items: Any, place: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(items, list) or not items:
        raise InvalidRequest(f"{place} has no parts.", place)
    parts: dict[str, Mapping[str, Any]] = {}
    for part in items:
        name = part.get("name") if isinstance(part, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest(f"{place} has a part without a name.", place)
        if name in parts:
            raise InvalidRequest(f"{place} has the part {name!r} twice.", place)
        parts[name] = part
    return parts


def _required(parts: Mapping[str, Mapping[str, Any]], name: str, place: str) -> Mapping[str, Any]:
    if name not in parts:
        raise InvalidRequest(f"{place} has no part {name!r}.", place)
    return parts[name]


def _text(parts: Mapping[str, Mapping[str, Any]], name: str, place: str) -> str:
    value = _value(_required(parts, name, place), place).value
    if not isinstance(value, str):
        raise InvalidRequest(f"{place}: the part {name!r} holds no text.", place)
    return value


def _number(parts: Mapping[str, Mapping[str, Any]], name: str, place: str) -> int:
    value = _value(_required(parts, name, place), place).value
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{place}: the part {name!r} holds no whole number.", place)
    return value


def _value(part: Mapping[str, Any], place: str) -> Value:
    """What a part holds: `value[x]` with its sibling, a resource, or parts."""
    names = {key.removeprefix("_") for key in part if key.startswith(("value", "_value"))}
    if len(names) + ("resource" in part) + ("part" in part) != 1:
        raise InvalidRequest(
            f"{place}: the part {part.get('name')!r} must hold one value, resource or list of parts.", place
        )
    if "resource" in part:
        return Value("Resource", part["resource"])
    if "part" in part:
        return Value(None, parts=tuple(_named(inner, place) for inner in part["part"] or ()))
    (name,) = names
    kind = name.removeprefix("value")
    return Value(kind, part.get(name), part.get("_" + name))


def _named(part: Any, place: str) -> tuple[str, Value]:
    if not isinstance(part, dict) or not isinstance(part.get("name"), str):
        raise InvalidRequest(f"{place} has a part without a name.", place)
    return part["name"], _value(part, place)
