"""Amounts: rounding, scales of currencies, and spreading without a cent too many."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.errors import BusinessRule
from fhir_r4.jsonio import decode_object
from fhir_server.resources.billing.money import (
    Rounding,
    amount_of,
    digits_of,
    instalments,
    money,
    number_of,
    of_units,
    rounded,
    spread,
    sum_of,
)

D = Decimal


def test_tax_is_spread_to_the_cent() -> None:
    lines = [D("68.33"), D("68.33"), D("57.50"), D("85.00")]
    tax = rounded(Fraction(sum(lines)) * Fraction(1, 5), 2)
    assert tax == D("55.83")
    parts = spread(tax, lines, 2)
    assert [a + b for a, b in zip(lines, parts, strict=True)] == [
        D("82.00"),
        D("81.99"),
        D("69.00"),
        D("102.00"),
    ]


def test_a_third_of_100_goes_to_the_first() -> None:
    assert instalments(D("100.00"), 3, 2) == (D("33.34"), D("33.33"), D("33.33"))
    assert instalments(D("-100.00"), 3, 2) == (D("-33.34"), D("-33.33"), D("-33.33"))


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("2.675", "half-up", "2.68"),
        ("2.675", "half-even", "2.68"),
        ("2.665", "half-even", "2.66"),
        ("2.665", "half-down", "2.66"),
        ("2.6651", "half-down", "2.67"),
        ("-2.675", "half-up", "-2.68"),
        ("2.671", "up", "2.68"),
        ("2.679", "down", "2.67"),
        ("-2.679", "down", "-2.67"),
    ],
)
def test_rounding_modes(text: str, mode: str, expected: str) -> None:
    assert str(rounded(D(text), 2, Rounding(mode))) == expected


def test_currencies_have_their_scales() -> None:
    assert [digits_of(c) for c in ("JPY", "EUR", "KWD", "CLF")] == [0, 2, 3, 4]
    assert str(money(D("1.5"), "KWD")["value"]) == "1.500"
    assert str(money(D("100"), "JPY")["value"]) == "100"
    with pytest.raises(BusinessRule, match="no currency"):
        digits_of("XYZ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"value": 1.005, "currency": "EUR"}', "finer"),
        ('{"value": 0.001, "currency": "EUR"}', "finer"),
        ('{"value": 1.00}', "needs a currency"),
        ('{"currency": "EUR"}', "value"),
        ('{"value": 1e40, "currency": "EUR"}', "digits"),
        ('{"value": 1.00, "currency": "USD"}', "the rest is in EUR"),
    ],
)
def test_amounts_that_are_none_are_refused(text: str, problem: str) -> None:
    with pytest.raises(BusinessRule, match=problem):
        amount_of(decode_object(text.encode()), "here", "EUR")


def test_an_amount_is_read_in_whatever_way_it_was_written() -> None:
    found = amount_of(decode_object(b'{"value": 1.0e1, "currency": "EUR"}'), "here")
    assert (found, type(found)) == (D("10.00"), Decimal)


def test_floats_are_no_amounts() -> None:
    with pytest.raises(BusinessRule):
        number_of(0.1, "here")


amounts = st.integers(-(10**12), 10**12)
weights = st.lists(st.decimals(0, 10**6, places=4), min_size=1, max_size=12)


@settings(max_examples=200)
@given(units=amounts, by=weights, digits=st.integers(0, 4))
def test_every_spread_sums_exactly(units: int, by: list[Decimal], digits: int) -> None:
    total = of_units(units, digits)
    parts = spread(total, by, digits)
    assert sum_of(parts) == total
    assert all(part.as_tuple().exponent == -digits for part in parts)
    whole = sum_of(by)
    for part, weight in zip(parts, by, strict=True):
        exact = Fraction(total) * (Fraction(weight) / Fraction(whole) if whole else Fraction(1, len(by)))
        assert abs(Fraction(part) - exact) < Fraction(1, 10**digits)
    assert spread(-total, by, digits) == tuple(-p for p in parts)


@settings(max_examples=100)
@given(units=amounts, by=st.lists(st.integers(-1000, 1000), min_size=1, max_size=8))
def test_parts_of_both_signs_sum_exactly(units: int, by: list[int]) -> None:
    assert sum_of(spread(of_units(units, 2), by, 2)) == of_units(units, 2)


@settings(max_examples=100)
@given(value=st.fractions(-(10**9), 10**9), digits=st.integers(0, 4), mode=st.sampled_from(list(Rounding)))
def test_rounding_is_off_by_less_than_a_unit(value: Fraction, digits: int, mode: Rounding) -> None:
    found = Fraction(rounded(value, digits, mode))
    assert abs(found - value) < Fraction(1, 10**digits)
    assert rounded(-value, digits, mode) == -rounded(value, digits, mode)
