"""Conversions between the System types: http://hl7.org/fhirpath/N1/#conversion. What cannot be converted is empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fhir_r4.fhirpath.focus import Function, Invocation
from fhir_r4.fhirpath.located import Quantity, System, singleton, system
from fhir_r4.fhirpath.moments import Moment
from fhir_r4.fhirpath.units import same_unit

_INTEGER = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:'([^']+)'|([A-Za-z]+))?", re.ASCII)
_TRUE = frozenset(["true", "t", "yes", "y", "1", "1.0"])
_FALSE = frozenset(["false", "f", "no", "n", "0", "0.0"])
_CALENDAR = frozenset(["year", "month", "week", "day", "hour", "minute", "second", "millisecond"])


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return True if value == 1 else False if value == 0 else None
    if isinstance(value, str):
        return True if value.lower() in _TRUE else False if value.lower() in _FALSE else None
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, int):
        return int(value)
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, int | Decimal):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else None


def _string(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Quantity):
        word = value.unit.removesuffix("s")
        return f"{value.value} {value.unit}" if word in _CALENDAR else f"{value.value} '{value.unit}'"
    if isinstance(value, Moment):
        return value.text
    return str(value) if isinstance(value, str | int | Decimal) else None


def _quantity(value: Any) -> Quantity | None:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, int | Decimal):
        return Quantity(Decimal(value), "1")
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[3] and match[3].removesuffix("s") not in _CALENDAR):
        return None
    return Quantity(Decimal(match[1]), match[2] or match[3] or "1")


def _moment(kind: str) -> Callable[[Any], Moment | None]:
    def convert(value: Any) -> Moment | None:
        if isinstance(value, Moment):
            if value.kind == kind:
                return value
            if kind == "Time" or value.kind == "Time":
                return None
            return Moment.parse(value.text.partition("T")[0] if kind == "Date" else value.text, kind)
        if not isinstance(value, str):
            return None
        moment = Moment.parse(value, kind)
        if moment is None and kind == "Date":
            longer = Moment.parse(value, "DateTime")
            return longer and Moment.parse(value.partition("T")[0], "Date")
        return moment

    return convert


_CONVERSIONS: Mapping[str, Callable[[Any], System | None]] = {
    "Boolean": _boolean,
    "Integer": _integer,
    "Decimal": _decimal,
    "String": _string,
    "Date": _moment("Date"),
    "DateTime": _moment("DateTime"),
    "Time": _moment("Time"),
}


def _to(convert: Callable[[Any], System | None]) -> Function:
    def function(call: Invocation) -> System | None:
        item = singleton(call.items, f"{call.name}()")
        return None if item is None or item.value is None else convert(system(item))

    return function


def _converts(convert: Callable[[Any], System | None]) -> Function:
    def function(call: Invocation) -> bool | None:
        item = singleton(call.items, f"{call.name}()")
        return None if item is None or item.value is None else convert(system(item)) is not None

    return function


def _to_quantity(call: Invocation) -> Quantity | None:
    item = singleton(call.items, f"{call.name}()")
    quantity = None if item is None else _quantity(system(item))
    unit = singleton(call.argument(0), f"{call.name}()") if call.args else None
    if quantity is None or unit is None:
        return quantity
    pair = same_unit(quantity, Quantity(Decimal(1), str(unit.value)))
    return None if pair is None else Quantity(pair[0] / pair[1], str(unit.value))


def _converts_to_quantity(call: Invocation) -> bool | None:
    return _to_quantity(call) is not None if call.items else None


FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    **{f"to{name}": (_to(convert), 0, 0) for name, convert in _CONVERSIONS.items()},
    **{f"convertsTo{name}": (_converts(convert), 0, 0) for name, convert in _CONVERSIONS.items()},
    "toQuantity": (_to_quantity, 0, 1),
    "convertsToQuantity": (_converts_to_quantity, 0, 1),
}
