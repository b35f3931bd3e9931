"""How precise a value is, and the least and greatest values that it may stand for.

Source: https://build.fhir.org/ig/HL7/FHIRPath/#boundary-functions (lowBoundary, highBoundary, precision). Precision counts
decimal places of numbers and digits of dates and times: 8 is a day, 17 a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

from fhir_r4.fhirpath.focus import Function, Invocation
from fhir_r4.fhirpath.located import Quantity, System, singleton, system
from fhir_r4.fhirpath.moments import Moment, month_days
from fhir_r4.fhirpath.operators import is_number
from fhir_r4.fhirpath.syntax import FhirPathError

_DEFAULTS = {"Date": 8, "DateTime": 17, "Time": 9}
_MAX_PLACES = 31


def _boundary(call: Invocation) -> System | None:
    item = singleton(call.items, f"{call.name}()")
    if item is None or item.value is None:
        return None
    value, wanted = system(item), _wanted(call)
    low = call.name == "lowBoundary"
    if isinstance(value, Moment):
        return _moment(value, _DEFAULTS[value.kind] if wanted is None else wanted, low)
    if isinstance(value, Quantity):
        number = _number(value.value, 8 if wanted is None else wanted, low)
        return None if number is None else Quantity(number, value.unit)
    if is_number(value):
        return _number(Decimal(value), 8 if wanted is None else wanted, low)
    raise FhirPathError(f"{call.name}() takes a number, quantity, date or time, not {item.type}")


def _wanted(call: Invocation) -> int | None:
    item = singleton(call.argument(0), f"{call.name}()") if call.args else None
    if item is None:
        return None
    if not isinstance(item.value, int) or isinstance(item.value, bool):
        raise FhirPathError(f"{call.name}() takes a whole number")
    return item.value


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _number(value: Decimal, places: int, low: bool) -> Decimal | None:
    if not 0 <= places <= _MAX_PLACES:
        return None
    with localcontext() as context:
        context.prec = 100
        half = Decimal((0, (5,), -_places(value) - 1))
        edge = value - half if low else value + half
        return edge.quantize(Decimal((0, (1,), -places)), ROUND_FLOOR if low else ROUND_CEILING)


def _moment(moment: Moment, digits: int, low: bool) -> Moment | None:
    time = moment.kind == "Time"
    given = list(moment.parts)
    hours = len(given) if time else len(given) - 3
    if hours == 1:
        given.append(0)
    whole = _filled([2000, 1, 1, *given] if time else given, low)
    text = _text(whole[3:] if time else whole, moment.kind)
    # the digits that are asked for, with the marks between them
    cut, left = "", digits
    for char in text:
        if left == 0:
            break
        left -= char.isdigit()
        cut += char
    if left:
        return None
    zoned = moment.kind == "DateTime" and digits > 8
    if zoned:
        cut += _zone(moment) if moment.offset is not None else "+14:00" if low else "-12:00"
    return Moment.parse(cut, "Date" if moment.kind == "DateTime" and digits <= 8 else moment.kind)


def _filled(parts: list[Any], low: bool) -> list[Any]:
    """Year to second, the missing ones at their least or greatest."""
    filled = list(parts)
    if len(filled) < 2:
        filled.append(1 if low else 12)
    if len(filled) < 3:
        filled.append(1 if low else month_days(int(filled[0]), int(filled[1])))
    limits = [23, 59]
    while len(filled) < 5:
        filled.append(0 if low else limits[len(filled) - 3])
    if len(filled) < 6:
        filled.append(Decimal("0.000") if low else Decimal("59.999"))
    return filled


def _text(parts: list[Any], kind: str) -> str:
    clock = f"{parts[-3]:02d}:{parts[-2]:02d}:{Decimal(parts[-1]):06.3f}"
    if kind == "Time":
        return clock
    date = f"{parts[0]:04d}-{parts[1]:02d}-{parts[2]:02d}"
    return date if kind == "Date" else f"{date}T{clock}"


def _zone(moment: Moment) -> str:
    return "Z" if moment.text.endswith("Z") else moment.text[-6:]


def _precision(call: Invocation) -> int | None:
    item = singleton(call.items, "precision()")
    if item is None or item.value is None:
        return None
    value = system(item)
    if isinstance(value, Moment):
        text = value.text if value.offset is None else value.text.removesuffix(_zone(value))
        return sum(char.isdigit() for char in text)
    if is_number(value):
        return _places(Decimal(value))
    raise FhirPathError(f"precision() takes a number, date or time, not {item.type}")


FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    "lowBoundary": (_boundary, 0, 1),
    "highBoundary": (_boundary, 0, 1),
    "precision": (_precision, 0, 0),
}
