"""Mathematical functions: http://hl7.org/fhirpath/N1/#math. What has no result (the root of -1) is empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from typing import Any

from fhir_r4.fhirpath.focus import Function, Invocation
from fhir_r4.fhirpath.located import Collection, Quantity, System, singleton, system
from fhir_r4.fhirpath.operators import is_number
from fhir_r4.fhirpath.syntax import FhirPathError


def _value(items: Collection, name: str) -> Any:
    item = singleton(items, f"{name}()")
    if item is None:
        return None
    value = system(item)
    if not is_number(value) and not isinstance(value, Quantity):
        raise FhirPathError(f"{name}() takes a number, not {item.type}")
    return value


def _calculated(run: Callable[..., System | None], *numbers: Any) -> System | None:
    if any(number is None for number in numbers):
        return None
    try:
        return run(*numbers)
    except (ValueError, OverflowError, ZeroDivisionError, DecimalException):
        return None


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Quantity):
        raise FhirPathError(f"{name}() takes a number, not a quantity")
    return value


def _unary(run: Callable[[Any], System | None]) -> Function:
    def function(call: Invocation) -> System | None:
        return _calculated(run, _plain(call.name, _value(call.items, call.name)))

    return function


def _binary(run: Callable[[Any, Any], System | None]) -> Function:
    def function(call: Invocation) -> System | None:
        first, second = _value(call.items, call.name), _value(call.argument(0), call.name)
        return _calculated(run, _plain(call.name, first), _plain(call.name, second))

    return function


def _abs(call: Invocation) -> System | None:
    value = _value(call.items, call.name)
    if isinstance(value, Quantity):
        return Quantity(abs(value.value), value.unit)
    return _calculated(abs, value)


def _round(call: Invocation) -> System | None:
    value = _plain(call.name, _value(call.items, call.name))
    places = _plain(call.name, _value(call.argument(0), call.name)) if call.args else 0
    if value is None or places is None:
        return None
    if not isinstance(places, int) or not 0 <= places <= 28:
        raise FhirPathError("round() takes a precision from 0 to 28")
    return _calculated(
        lambda number: Decimal(number).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP), value
    )


def _power(base: Any, exponent: Any) -> System | None:
    if isinstance(base, int) and isinstance(exponent, int) and 0 <= exponent < 1000:
        return int(base**exponent)
    if base < 0 and exponent != int(exponent):
        return None
    return Decimal(base) ** Decimal(exponent)


def _sqrt(value: Any) -> Decimal | None:
    return None if value < 0 else Decimal(value).sqrt()


FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    "abs": (_abs, 0, 0),
    "ceiling": (_unary(math.ceil), 0, 0),
    "floor": (_unary(math.floor), 0, 0),
    "truncate": (_unary(math.trunc), 0, 0),
    "round": (_round, 0, 1),
    "exp": (_unary(lambda value: Decimal(value).exp()), 0, 0),
    "ln": (_unary(lambda value: Decimal(value).ln()), 0, 0),
    "log": (_binary(lambda value, base: Decimal(value).ln() / Decimal(base).ln()), 1, 1),
    "power": (_binary(_power), 1, 1),
    "sqrt": (_unary(_sqrt), 0, 0),
}
