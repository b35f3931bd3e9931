"""The conversion of any UCUM unit, worked out from the definitions of UCUM.

Source: https://ucum.org/ucum; grammar and definitions are those of the library `ucumvert`. Arithmetic is in fractions, so that
nothing is rounded. Units on scales with another zero are converted only where they stand alone (`Cel`, not `Cel/min`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from functools import cache
from typing import Any

from lark.exceptions import LarkError
from ucumvert.parser import get_ucum_parser  # type: ignore[import-untyped]
from ucumvert.xml_util import (  # type: ignore[import-untyped]
    get_base_units,
    get_units_with_full_definition,
    root,
)

from fhir_r4.ucum.conversion import Conversion

# scale with another zero -> (size of its degree in K, what its zero is above absolute zero, in its own degrees)
_SCALES = {
    "Cel": (Fraction(1), Decimal("273.15")),
    "[degF]": (Fraction(5, 9), Decimal("459.67")),
    "[degRe]": (Fraction(5, 4), Decimal("218.52")),
}
# An amount of substance is a number to UCUM; who looks for moles does not look for cells.
_OWN_DIMENSION = frozenset({"mol"})
_MOST_DIGITS = 60
_HIGHEST_POWER = 30


class NotConvertible(ValueError):
    """No UCUM, or a unit that no factor converts."""


@dataclass(frozen=True)
class _Size:
    """A unit as a multiple of a product of powers of base units."""

    factor: Fraction = Fraction(1)
    powers: Counter[str] = field(default_factory=Counter)

    def times(self, other: _Size, sign: int = 1) -> _Size:
        powers = Counter(self.powers)
        for base, power in other.powers.items():
            powers[base] += sign * power
        return _Size(self.factor * other.factor**sign, powers)

    def to_the(self, power: int) -> _Size:
        if abs(power) > _HIGHEST_POWER and self.factor != 10:
            raise NotConvertible(f"a power of {power}")
        return _Size(self.factor**power, Counter({base: power * p for base, p in self.powers.items()}))

    @property
    def canonical(self) -> str:
        powers = sorted((base, power) for base, power in self.powers.items() if power != 0)
        return ".".join(base if power == 1 else f"{base}{power}" for base, power in powers) or "1"


def derive(unit: str) -> Conversion | None:
    """The conversion of a unit, or None."""
    if unit in _SCALES:
        size, zero = _SCALES[unit]
        return Conversion("K", *_decimals(size), zero)
    try:
        found = _size(unit)
        return Conversion(found.canonical, *_decimals(found.factor))
    except (LarkError, NotConvertible):
        return None


def _decimals(factor: Fraction) -> tuple[Decimal, Decimal | None]:
    """A factor, and what to divide by besides (None where the factor itself can be written)."""
    over, under = Decimal(factor.numerator), Decimal(factor.denominator)
    exact = Context(prec=_MOST_DIGITS, traps=[])
    quotient = exact.divide(over, under)
    return (over, under) if exact.flags[Inexact] else (quotient.normalize(exact), None)


@cache
def _parser() -> Any:
    return get_ucum_parser()


def _size(unit: str) -> _Size:
    return _evaluate(_parser().parse(unit))


def _evaluate(tree: Any) -> _Size:
    """The size of a node of the grammar: a token, or a rule with its parts."""
    if not hasattr(tree, "data"):
        if tree.type == "ANNOTATION":
            return _Size()
        raise NotConvertible(str(tree))
    parts = tree.children
    match str(tree.data), len(parts):
        case "main_term", 2:
            return _Size().times(_evaluate(parts[1]), -1)
        case "main_term", 1:
            return _evaluate(parts[0])
        case "term", 3:
            return _evaluate(parts[0]).times(_evaluate(parts[2]), 1 if parts[1] == "." else -1)
        case "component" | "term", _:
            return _Size() if not parts else _product(parts)
        case "annotatable", 2:
            return _evaluate(parts[0]).to_the(_power(parts[1]))
        case "simple_unit", 1:
            return _Size(Fraction(parts[0])) if parts[0].type == "FACTOR" else _atom(str(parts[0]))
        case "simple_unit", 2:
            return _Size(_prefixes()[str(parts[0])]).times(_atom(str(parts[1])))
        case _:
            raise NotConvertible(str(tree.data))


def _product(parts: list[Any]) -> _Size:
    found = _Size()
    for part in parts:
        found = found.times(_evaluate(part))
    return found


def _power(text: str) -> int:
    if len(text) > 3:
        raise NotConvertible(f"a power of {text}")
    return int(text)


@cache
def _prefixes() -> dict[str, Fraction]:
    found = {}
    for prefix in root.findall(".//{*}prefix"):
        value = prefix.find("{*}value")
        if value is not None:
            found[prefix.attrib["Code"]] = Fraction(value.attrib["value"])
    return found


@cache
def _definitions() -> dict[str, Any]:
    return {definition.code_cs: definition for definition in get_units_with_full_definition()}


@cache
def _bases() -> frozenset[str]:
    return frozenset(get_base_units()) | _OWN_DIMENSION


@cache
def _atom(code: str) -> _Size:
    if code in _bases():
        return _Size(powers=Counter({code: 1}))
    definition = _definitions().get(code)
    if definition is None or definition.is_special:
        raise NotConvertible(code)
    if definition.is_arbitrary and definition.defining_unit == "1":
        return _Size(powers=Counter({code: 1}))
    return _Size(Fraction(definition.conversion_factor)).times(_size(definition.defining_unit))
