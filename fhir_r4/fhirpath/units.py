"""Units of quantities as far as FHIRPath's own rules go: calendar words and the common UCUM codes of time, mass and length.

Source: http://hl7.org/fhirpath/N1/#quantity. Two quantities of other units are comparable when the units are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fhir_r4.fhirpath.located import Quantity

_FACTORS: Mapping[str, tuple[str, Decimal]] = {
    "ms": ("s", Decimal("0.001")),
    "s": ("s", Decimal(1)),
    "min": ("s", Decimal(60)),
    "h": ("s", Decimal(3600)),
    "d": ("s", Decimal(86400)),
    "wk": ("s", Decimal(604800)),
    "ug": ("g", Decimal("0.000001")),
    "mg": ("g", Decimal("0.001")),
    "g": ("g", Decimal(1)),
    "kg": ("g", Decimal(1000)),
    "[lb_av]": ("g", Decimal("453.59237")),
    "mm": ("m", Decimal("0.001")),
    "cm": ("m", Decimal("0.01")),
    "m": ("m", Decimal(1)),
    "km": ("m", Decimal(1000)),
    "[in_i]": ("m", Decimal("0.0254")),
    "uL": ("L", Decimal("0.000001")),
    "mL": ("L", Decimal("0.001")),
    "dL": ("L", Decimal("0.1")),
    "L": ("L", Decimal(1)),
}
_WORDS: Mapping[str, str] = {
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
    "day": "d",
    "week": "wk",
    "month": "month",
    "year": "year",
}


def same_unit(left: Quantity, right: Quantity) -> tuple[Decimal, Decimal] | None:
    """Both values in one unit, None when the units have nothing in common that is known here."""
    a, b = _unit(left.unit), _unit(right.unit)
    if a == b:
        return left.value, right.value
    first, second = _FACTORS.get(a), _FACTORS.get(b)
    if first is None or second is None or first[0] != second[0]:
        return None
    return left.value * first[1], right.value * second[1]


def _unit(unit: str) -> str:
    return _WORDS.get(unit.removesuffix("s") if len(unit) > 2 else unit, unit)
