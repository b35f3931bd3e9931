"""The interval that a number's written precision leaves open."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.quantities import LARGEST, around, as_float, parse_decimal, precision_interval


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("100", 99.5, 100.5),
        ("100.00", 99.995, 100.005),
        ("1e2", 95.0, 105.0),
        ("5.4", 5.35, 5.45),
        ("5.40e-3", 0.005395, 0.005405),
        ("-7", -7.5, -6.5),
        ("0", -0.5, 0.5),
        (".5", 0.45, 0.55),
    ],
)
def test_a_number_means_what_would_be_rounded_to_it(text, low, high):
    assert precision_interval(parse_decimal(text)) == (low, high)


@pytest.mark.parametrize("text", ["", "x", "1,5", "NaN", "Infinity", "1e", "--1", "1_000", "0x10", "٣", "1 "])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        parse_decimal(text)


def test_numbers_beyond_all_floats_stay_finite():
    assert as_float(Decimal("1e400")) == LARGEST
    assert as_float(Decimal("-1e400")) == -LARGEST
    assert as_float(10**400) == LARGEST
    low, high = precision_interval(Decimal("1e999999999"))
    assert low == LARGEST < high


def test_about_a_number_is_a_tenth_to_each_side():
    assert around(Decimal("100")) == (90.0, 110.0)
    assert around(Decimal("-100")) == (-110.0, -90.0)
    assert around(Decimal("2")) == (1.5, 2.5), "never narrower than what is written"


def test_a_number_in_another_unit_means_the_same_interval_there():
    def celsius(value):
        return value + Decimal("273.15")

    assert precision_interval(Decimal("37.0"), celsius) == (310.1, 310.2)
    assert around(Decimal("37"), celsius) == (306.45, 313.85), "a tenth of 37, not of 310.15"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_lies_in_its_own_interval(value):
    low, high = precision_interval(value)
    assert low <= as_float(value) < high
    wide_low, wide_high = around(value)
    assert wide_low <= low
    assert wide_high >= high
    assert not math.isnan(wide_low)
