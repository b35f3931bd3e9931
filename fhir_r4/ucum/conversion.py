"""Quantities in UCUM units as exact numbers in the canonical unit of their dimension.

Source: https://ucum.org/ucum. `table.json` holds the conversions of the units that FHIR lists (value set ucum-common), made by
`python -m fhir_r4.ucum.build`; any other unit is worked out by `derivation` when it is first met, and remembered. A unit that
cannot be converted by a factor and an offset (logarithms, pH) or is no UCUM has no conversion. An invariant to keep: two
units have the same canonical unit exactly when UCUM calls them commensurable, but that moles are no mere number here and
units of arbitrary assays ([IU], [arb'U]) are comparable with themselves alone.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path

UCUM = "http://unitsofmeasure.org"
TABLE = Path(__file__).with_name("table.json")
# longer texts are no units, and parsing them would cost
LONGEST = 60

_EXACT = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
_add, _multiply, _divide = _EXACT.add, _EXACT.multiply, _EXACT.divide


@dataclass(frozen=True, slots=True)
class Conversion:
    """A unit in terms of a canonical unit: canonical value = (value + offset) * factor / divisor, all exact.

    `offset` None is 0, `divisor` None is 1: most units have a factor alone.
    """

    canonical: str
    factor: Decimal
    divisor: Decimal | None = None
    offset: Decimal | None = None

    def __call__(self, value: Decimal | int | float) -> Decimal:
        """The number in the canonical unit, to 60 digits; a float means the shortest decimal that gives it."""
        if isinstance(value, float):
            value = Decimal(repr(value))
        shifted = value if self.offset is None else _add(value, self.offset)
        scaled = _multiply(shifted, self.factor)
        return scaled if self.divisor is None else _divide(scaled, self.divisor)


@lru_cache(8192)
def conversion(unit: str) -> Conversion | None:
    """How a UCUM unit (case sensitive) is converted, None when it is no UCUM or cannot be."""
    found = _table().get(unit)
    if found is not None or not 0 < len(unit) <= LONGEST:
        return found
    # the library takes a quarter of a second and 30 MB to load, which units out of the table alone are worth
    from fhir_r4.ucum.derivation import derive

    return derive(unit)


@cache
def _table() -> Mapping[str, Conversion]:
    rows = json.loads(TABLE.read_text())
    return {
        unit: parse_row(canonical, row) for canonical, units in rows.items() for unit, row in units.items()
    }


def parse_row(canonical: str, row: list[str | None]) -> Conversion:
    """A row of the table: factor, then divisor and offset as far as there are any."""
    return Conversion(canonical, *(None if text is None else Decimal(text) for text in row))  # type: ignore[arg-type]


def write_row(one: Conversion) -> list[str | None]:
    """What `parse_row` reads."""
    row = [None if number is None else str(number) for number in (one.factor, one.divisor, one.offset)]
    while row[-1] is None:
        row.pop()
    return row
