"""Numbers as FHIR means them in a search: a decimal stands for the interval that its written precision leaves open.

Source: https://hl7.org/fhir/R4/search.html#number: `100` is [99.5, 100.5), `100.00` is [99.995, 100.005), `1e2` is [95, 105)
(the specification's own figures: a power of ten leaves less open than its one digit says). Results are floats, because indexes keep floats; what a float cannot hold is its largest value.
"""

from __future__ import annotations

import decimal
import math
import re
import sys
from collections.abc import Callable
from decimal import Decimal

LARGEST = sys.float_info.max

_EXACT = decimal.Context(prec=2000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)


def parse_decimal(text: str) -> Decimal:
    """The decimal that `text` writes, with its precision. Raises ValueError when it writes none."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a number")
    return Decimal(text)


def as_float(value: Decimal | int | float) -> float:
    """The nearest float, never infinite."""
    try:
        number = float(value)
    except OverflowError:
        number = float("inf") if value > 0 else float("-inf")
    return min(max(number, -LARGEST), LARGEST)


Convert = Callable[[Decimal], Decimal]


def as_written(value: Decimal) -> Decimal:
    """No change of unit."""
    return value


def precision_limits(value: Decimal) -> tuple[Decimal, Decimal]:
    """The decimals [low, high) that are written as `value` when they are rounded to its precision."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not a finite number")
    # digits beyond any float are not worth their arithmetic
    if not -400 < value.adjusted() < 400 or exponent < -400:
        return value, value
    half = Decimal((0, (5,), exponent - 1 if exponent <= 0 else exponent - 2))
    return _EXACT.subtract(value, half), _EXACT.add(value, half)


def precision_interval(value: Decimal, convert: Convert = as_written) -> tuple[float, float]:
    """The floats [low, high) of what is written as `value`, in the unit that `convert` leads to; low <= value < high.

    `convert` must be increasing, as a change of unit is.
    """
    low, high = precision_limits(value)
    return _floats(convert(low), convert(value), convert(high))


def around(value: Decimal, convert: Convert = as_written) -> tuple[float, float]:
    """The floats [low, high) within a tenth of the value, and never less than its precision leaves open (prefix `ap`).

    A tenth of the value as it is written: the tenth of 37 degrees does not depend on where another scale begins.
    """
    low, high = precision_limits(value)
    width = _EXACT.divide(_EXACT.abs(value), Decimal(10))
    lowest, highest = _EXACT.subtract(value, width), _EXACT.add(value, width)
    return _floats(convert(min(low, lowest)), convert(value), convert(max(high, highest)))


def _floats(low: Decimal, value: Decimal, high: Decimal) -> tuple[float, float]:
    near = as_float(value)
    return min(as_float(low), near), max(as_float(high), math.nextafter(near, math.inf))
