"""Numbers as FHIR means them in a search: a decimal stands for the interval that its written precision leaves open.

Source: https://hl7.org/fhir/R4/search.html#number: `100` is [99.5, 100.5), `100.00` is [99.995, 100.005), `1e2` is [95, 105)
(the specification's own figures: a power of ten leaves less open than its one digit says). Results are floats, because indexes keep floats; what a float cannot hold is its largest value.
"""

from __future__ import annotations

import decimal
import math
import re
import sys
from decimal import Decimal

LARGEST = sys.float_info.max

_EXACT = decimal.Context(prec=2000)
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


def precision_interval(value: Decimal) -> tuple[float, float]:
    """The floats [low, high) that are written as `value` when they are rounded to its precision; low <= value < high."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not a finite number")
    near = as_float(value)
    # digits beyond any float are not worth their arithmetic
    if not -400 < value.adjusted() < 400 or exponent < -400:
        return near, math.nextafter(near, math.inf)
    half = Decimal((0, (5,), exponent - 1 if exponent <= 0 else exponent - 2))
    low, high = _EXACT.subtract(value, half), _EXACT.add(value, half)
    return min(as_float(low), near), max(as_float(high), math.nextafter(near, math.inf))


def around(value: Decimal) -> tuple[float, float]:
    """The floats [low, high) within a tenth of the value, and never less than its precision leaves open (prefix `ap`)."""
    low, high = precision_interval(value)
    centre = as_float(value)
    width = abs(centre) / 10
    return min(low, centre - width), max(high, centre + width)
