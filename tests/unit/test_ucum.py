"""Units of UCUM and their conversion."""

import json
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.ucum.build import common_units
from fhir_r4.ucum.conversion import TABLE, conversion
from fhir_r4.ucum.derivation import derive

# two ways to write the same amount
SAME = [
    (("5.4", "mg"), ("0.0054", "g")),
    (("120", "mm[Hg]"), ("15.99864", "kPa")),
    (("37.0", "Cel"), ("98.6", "[degF]")),
    (("37.0", "Cel"), ("310.15", "K")),
    (("-40", "Cel"), ("-40", "[degF]")),
    (("1", "mmol/L"), ("1", "mol/m3")),
    (("1", "g/dL"), ("10", "g/L")),
    (("60", "/min"), ("1", "/s")),
    (("60", "{beats}/min"), ("1", "Hz")),
    (("1", "10*9/L"), ("1000", "/uL")),
    (("1", "10*3/uL"), ("1", "10^9/L")),
    (("1", "[lb_av]"), ("453.59237", "g")),
    (("1", "[in_i]"), ("2.54", "cm")),
    (("1", "a"), ("365.25", "d")),
    (("1", "wk"), ("168", "h")),
    (("50", "%"), ("0.5", "1")),
    (("3", "{score}"), ("3", "1")),
    (("1", "U/L"), ("1", "umol/min/L")),
    (("1", "m[IU]/L"), ("1", "u[IU]/mL")),
    (("1", "meq/L"), ("1", "mmol/L")),
    (("1", "kcal"), ("4.184", "kJ")),
    (("1", "mL/min/{1.73_m2}"), ("1", "mL/min")),
    (("1", "kg/m2"), ("1", "kg.m-2")),
    (("1", "(m.s)/kg"), ("1", "m.s/kg")),
    (("2", "10.uN.s/(cm5.m2)"), ("20", "uN.s.cm-5.m-2")),
    (("180", "deg"), ("1", "[pi].rad")),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_amount_is_the_same_number_in_the_canonical_unit(one, other):
    (value, unit), (other_value, other_unit) = one, other
    convert, other_convert = conversion(unit), conversion(other_unit)
    assert convert.canonical == other_convert.canonical
    found, wanted = convert(Decimal(value)), other_convert(Decimal(other_value))
    assert abs(found - wanted) <= abs(wanted) * Decimal("1e-50")
    assert float(found) == float(wanted)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mg", "mL"),
        ("mmol/L", "/L"),
        ("[IU]/L", "/L"),
        ("[IU]/L", "[arb'U]/L"),
        ("Hz", "s"),
        ("mg/dL", "mmol/L"),
    ],
)
def test_what_is_not_the_same_dimension_has_another_canonical_unit(one, other):
    assert conversion(one).canonical != conversion(other).canonical


@pytest.mark.parametrize(
    "unit",
    ["", "furlong", "GRAM", "[pH]", "dB", "Np", "Cel/min", "mCel", "%[slope]", "mg{", "((", "m9999", "mg/", "1 mg", "mmHg",
     "m" * 61, "10*123456", "é", "m" * 30],
)  # fmt: skip
def test_what_no_factor_converts_has_no_conversion(unit):
    assert conversion(unit) is None


@given(st.text(alphabet="mgLk/.[]{}()*-+10Hsd%'_aé ", max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_text_has_a_conversion_or_none(text):
    found = conversion(text)
    assert found is None or found(Decimal(1)).is_finite()


def test_the_table_is_what_the_definitions_give():
    held = {unit for units in json.loads(TABLE.read_text()).values() for unit in units}
    listed = common_units()
    assert held == {unit for unit in listed if conversion(unit) is not None}
    for unit in listed[::9]:
        assert conversion(unit) == derive(unit)


def test_common_units_need_no_library():
    program = (
        "import sys; from fhir_r4.ucum.conversion import conversion; conversion('mmol/L');"
        "sys.exit('ucumvert' in sys.modules or 'pint' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_numbers_keep_their_exactness():
    assert conversion("mg")(Decimal("0.1")) == Decimal("0.0001")
    assert conversion("mg")(0.1) == Decimal("0.0001")
    assert conversion("mg")(7) == Decimal("0.007")
    assert conversion("/min")(Decimal(90)) == Decimal("1.5")
