"""Amounts of money: exact decimals, rounded only where a rule says so, spread so that the parts sum to the whole.

https://hl7.org/fhir/R4/datatypes.html#Money, ISO 4217. Pure. Invariants to keep: no binary float anywhere; `spread` sums to
what it spreads, digit by digit; what is computed on the way is a Fraction and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
)
from enum import StrEnum
from fractions import Fraction
from math import floor
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource


def _codes(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# ISO 4217: the currencies by their number of decimal digits
_DIGITS: Mapping[str, int] = {
    code: digits
    for digits, codes in (
        (0, _codes("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF")),
        (
            2,
            _codes(
                "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY"
                " COP CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG"
                " HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR"
                " MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK"
                " SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST"
                " XCD YER ZAR ZMW ZWL"
            ),
        ),
        (3, _codes("BHD IQD JOD KWD LYD OMR TND")),
        (4, _codes("CLF UYW")),
    )
    for code in codes
}
# beyond these an amount, a quantity or a factor is a mistake
MOST_INTEGER_DIGITS = 15
MOST_FRACTION_DIGITS = 12
ZERO = Decimal(0)
# wider than any sum: what is added or scaled in it loses nothing, whatever the context of the thread
_WIDE = Context(prec=10_000)
_UNITS = tuple(Decimal((0, (1,), -digits)) for digits in range(MOST_FRACTION_DIGITS + 1))


class Rounding(StrEnum):
    """How an amount that lies between two units of its currency is rounded; negative amounts as their opposites."""

    HALF_UP = "half-up"
    HALF_EVEN = "half-even"
    HALF_DOWN = "half-down"
    UP = "up"
    DOWN = "down"


_MODES: Mapping[Rounding, str] = {
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.HALF_DOWN: ROUND_HALF_DOWN,
    Rounding.UP: ROUND_UP,
    Rounding.DOWN: ROUND_DOWN,
}


def digits_of(currency: str) -> int:
    """How many decimal digits the currency has. Raises BusinessRule for a code that ISO 4217 does not have."""
    if currency not in _DIGITS:
        raise BusinessRule(f"{currency[:20]!r} is no currency of ISO 4217.", "currency")
    return _DIGITS[currency]


def number_of(value: Any, place: str) -> Decimal:
    """A decimal of a resource as it was written. Raises BusinessRule for what is out of every reason."""
    number = Decimal(value) if isinstance(value, int) else value
    if not isinstance(number, Decimal) or not number.is_finite():
        raise BusinessRule(f"{place} is a number.", place)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= MOST_INTEGER_DIGITS or exponent < -MOST_FRACTION_DIGITS:
        raise BusinessRule(
            f"{place} has at the most {MOST_INTEGER_DIGITS} digits before the point and {MOST_FRACTION_DIGITS} after it.",
            place,
        )
    # a Decimal of its own kind, whatever the way it was written
    return Decimal(number)


def amount_of(money: Any, place: str, currency: str | None = None) -> Decimal:
    """The value of a Money in units that its currency has. Raises BusinessRule.

    It needs a currency: `currency` when that is given, for currencies are not mixed.
    """
    if not isinstance(money, dict) or money.get("value") is None:
        raise BusinessRule(f"{place} has a value and a currency.", place)
    found = currency_of(money, place)
    if currency is not None and found != currency:
        raise BusinessRule(f"{place} is in {found}; the rest is in {currency}.", place)
    value = number_of(money["value"], place)
    exact = rounded(value, digits_of(found), Rounding.DOWN)
    if exact != value:
        raise BusinessRule(f"{value} {found} is finer than the {digits_of(found)} digits of {found}.", place)
    return exact


def currency_of(money: Any, place: str) -> str:
    """The currency of a Money. Raises BusinessRule when it has none."""
    found = money.get("currency") if isinstance(money, dict) else None
    if not isinstance(found, str):
        raise BusinessRule(f"{place} needs a currency.", place)
    digits_of(found)
    return found


def money(value: Decimal, currency: str) -> Resource:
    """A Money, written with the digits of its currency. `value` must be in units of it."""
    exact = rounded(value, digits_of(currency), Rounding.DOWN)
    assert exact == value, f"{value} is not rounded to {currency}"
    return {"value": exact, "currency": currency}


def rounded(value: Fraction | Decimal, digits: int, mode: Rounding = Rounding.HALF_UP) -> Decimal:
    """The value with so many decimal digits."""
    if isinstance(value, Decimal):
        found = value.quantize(_UNITS[digits], _MODES[mode], _WIDE)
        return found if found else found.copy_abs()
    scaled = Fraction(value) * 10**digits
    whole, rest = divmod(abs(scaled.numerator), scaled.denominator)
    twice = 2 * rest
    up = {
        Rounding.HALF_UP: twice >= scaled.denominator,
        Rounding.HALF_DOWN: twice > scaled.denominator,
        Rounding.HALF_EVEN: twice > scaled.denominator or (twice == scaled.denominator and whole % 2 == 1),
        Rounding.UP: rest > 0,
        Rounding.DOWN: False,
    }[mode]
    return of_units(-(whole + up) if scaled < 0 else whole + up, digits)


def of_units(units: int, digits: int) -> Decimal:
    """So many smallest units as an amount: 1234 with 2 digits is 12.34."""
    return _WIDE.scaleb(Decimal(units), -digits)


def spread(total: Decimal, weights: Sequence[Decimal | Fraction | int], digits: int) -> tuple[Decimal, ...]:
    """`total` in parts by the weights, each in units of the currency: the parts sum to the total.

    What rounding down leaves over goes unit by unit to the largest remainders, ties to the earlier part. The parts of
    an opposite total are the opposites. Weights that sum to nothing count alike. Raises ValueError when there is nobody to
    take anything.
    """
    if not weights:
        if total != 0:
            raise ValueError("There is nothing to spread the amount over.")
        return ()
    units = Fraction(total) * 10**digits
    if units.denominator != 1:
        raise ValueError(f"{total} is not in units of {digits} digits.")
    sign = -1 if units < 0 else 1
    whole = sum((Fraction(w) for w in weights), Fraction(0))
    each = [Fraction(w) / whole for w in weights] if whole else [Fraction(1, len(weights))] * len(weights)
    shares = [abs(units) * share for share in each]
    parts = [floor(share) for share in shares]
    left = int(abs(units)) - sum(parts)
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - shares[i], i))
    for i in order[:left]:
        parts[i] += 1
    return tuple(of_units(sign * part, digits) for part in parts)


def instalments(total: Decimal, count: int, digits: int) -> tuple[Decimal, ...]:
    """`total` in equal parts as far as that goes: 100.00 in three are 33.34, 33.33 and 33.33."""
    return spread(total, [1] * count, digits)


def sum_of(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum, whatever the precision of the decimal context, with the digits of the longest."""
    total = ZERO
    for amount in amounts:
        total = _WIDE.add(total, amount)
    return total
