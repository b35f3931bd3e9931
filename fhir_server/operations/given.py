"""The parameters that an operation was given, checked against its OperationDefinition.

Source: https://hl7.org/fhir/R4/operations.html. What the definition does not name is refused, and so are values of another
type; how often a parameter may stand is checked too. Values in a query are read by the type that the definition names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fhir_r4.definitions import is_resource_type, operation_definitions
from fhir_r4.errors import InvalidRequest
from fhir_r4.primitives import PRIMITIVE
from fhir_r4.quantities import parse_decimal
from fhir_r4.temporal import format_instant, parse_interval
from fhir_server.context import OperationCall, Resource
from profiles.ig.conformance import own_operation_definitions

_NUMBERS = frozenset({"integer", "unsignedInt", "positiveInt"})


@dataclass(frozen=True, slots=True)
class Given:
    """Values by the name of their parameter; parts are lists of such."""

    values: Mapping[str, tuple[Any, ...]]

    def one(self, name: str) -> Any:
        """The value of a parameter that stands once at the most; None without."""
        found = self.values.get(name)
        return found[0] if found else None

    def all(self, name: str) -> tuple[Any, ...]:
        return self.values.get(name, ())

    def __contains__(self, name: str) -> bool:
        return name in self.values


@cache
def _definitions() -> Mapping[str, Mapping[str, Any]]:
    return {d["url"]: d for d in (*operation_definitions(), *own_operation_definitions())}


def given(call: OperationCall, definition: str) -> Given:
    """The parameters of a call by the OperationDefinition at the canonical address.

    Raises InvalidRequest with the parameter that is at fault.
    """
    taken = [p for p in _definitions()[definition].get("parameter", ()) if p["use"] == "in"]
    return _given(call.parameters.get("parameter", ()), taken, "")


def _given(parameters: Sequence[Resource], taken: Sequence[Mapping[str, Any]], place: str) -> Given:
    by_name = {p["name"]: p for p in taken}
    found: dict[str, list[Any]] = {}
    for parameter in parameters:
        name = str(parameter.get("name"))
        if name not in by_name:
            known = ", ".join(by_name) or "none"
            raise InvalidRequest(f"The parameter {place}{name[:64]!r} is not known; known are {known}.", name)
        found.setdefault(name, []).append(_value(parameter, by_name[name], place))
    for name, definition in by_name.items():
        _require_count(f"{place}{name}", len(found.get(name, ())), definition)
    return Given({name: tuple(values) for name, values in found.items()})


def _require_count(name: str, count: int, definition: Mapping[str, Any]) -> None:
    least, most = definition["min"], definition["max"]
    if count < least:
        raise InvalidRequest(f"The parameter {name} is needed.", name)
    if most != "*" and count > int(most):
        raise InvalidRequest(
            f"The parameter {name} is taken {most} times at the most; it was given {count} times.", name
        )


def _value(parameter: Resource, definition: Mapping[str, Any], place: str) -> Any:
    name, type = f"{place}{parameter['name']}", definition.get("type")
    if type is None:
        return _given(parameter.get("part", ()), definition.get("part", ()), f"{name}.")
    if is_resource_type(type) or type in ("Resource", "Any"):
        resource = parameter.get("resource")
        if resource is None or (is_resource_type(type) and resource.get("resourceType") != type):
            raise InvalidRequest(f"The parameter {name} is a {type}.", name)
        return resource
    value = next((v for k, v in parameter.items() if k.startswith("value")), None)
    if type in PRIMITIVE:
        return _primitive(name, type, value)
    if not isinstance(value, dict):
        if type == "Reference" and isinstance(value, str):
            return {"reference": value}
        if type == "Period" and isinstance(value, str):
            return _period(name, value)
        raise InvalidRequest(f"The parameter {name} is a {type}.", name)
    return value


def _period(name: str, text: str) -> Resource:
    """A Period in a query: `2026-03-01/2026-03-15`, or one date for all of that day, month or year (ISO 8601)."""
    start, slash, end = text.partition("/")
    bounds = [_primitive(name, "dateTime", bound) for bound in (start, end if slash else start)]
    low, high = parse_interval(bounds[0])[0], parse_interval(bounds[1])[1] - 1
    days = (format_instant(low)[:10], format_instant(high)[:10])
    # a month or a year is meant as a whole; what is more exact stays as it is
    return dict(
        zip(
            ("start", "end"), (b if len(b) > 7 else d for b, d in zip(bounds, days, strict=True)), strict=True
        )
    )


def _primitive(name: str, type: str, value: Any) -> Any:
    read = value
    if isinstance(value, str) and type == "boolean":
        read = {"true": True, "false": False}.get(value, value)
    elif isinstance(value, str) and (type in _NUMBERS or type == "decimal"):
        try:
            read = int(value) if type in _NUMBERS else parse_decimal(value)
        except ValueError:
            read = value
    primitive = PRIMITIVE[type]
    try:
        accepted = primitive.accepts(read)
    except TypeError:
        accepted = False
    if not accepted:
        raise InvalidRequest(
            f"The parameter {name} is {primitive.expected}; found {str(value)[:60]!r}.", name
        )
    return read
