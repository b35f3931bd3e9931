"""Values and units as devices write them, and what they become. No number is made up."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from hl7_bridge.devices.value_rules import Sentinel, ValueRules
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.units import NONE, SPELLINGS, Unit, is_ucum, read_unit
from hl7_bridge.mapping.values import Reader, Reading
from hl7_bridge.message import Delimiters, Value
from tests.bridge.results_parts import context_of

PLAIN = ValueRules()
COMMA = ValueRules(decimal=",", thousands=".")
EITHER = ValueRules(decimal=".,")
THOUSANDS = ValueRules(thousands=",")
SPACES = ValueRules(decimal=",", thousands=" ")
WORDS = ValueRules(words={"non détecté": ("urn:words", "ND", "Not detected")})
SENTINELS = ValueRules(
    sentinels=(
        Sentinel(re.compile(r"-268435455(\.0+)?"), "error", "cancelled"),
        Sentinel(re.compile(r"[*.]+"), "error"),
        Sentinel(re.compile(r"(?i)NO RESULT|ERROR"), "error", "cancelled"),
    )
)
SECOND = ValueRules(types={"CE": "NM"}, component=2)
ALWAYS = ValueRules(numeric_text="always")
NEVER = ValueRules(numeric_text="never")
MG = Unit("mg/L", "mg/L")


def read(kind: str, text: str, rules: ValueRules = PLAIN, unit: Unit = NONE, **more: Any) -> Reading:
    context = context_of()
    reader = Reader(rules, lambda value: concept(value, context), lambda written: date_time(written, context))
    return reader.read(kind, tuple(Value(part, Delimiters()) for part in text.split("~")), unit, **more)


def quantity(value: str, comparator: str = "", unit: Unit = NONE) -> dict[str, Any]:
    made: dict[str, Any] = {"value": Decimal(value)}
    if comparator:
        made["comparator"] = comparator
    return {"valueQuantity": {**made, **unit.members()}}


def string(text: str) -> dict[str, Any]:
    return {"valueString": text}


def absent(code: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
    return {"dataAbsentReason": {"coding": [{"system": system, "code": code}]}}


def word(code: str, text: str) -> dict[str, Any]:
    coding = {"system": "urn:words", "code": code, "display": "Not detected"}
    return {"valueCodeableConcept": {"coding": [coding], "text": text}}


def ratio(over: str, under: str) -> dict[str, Any]:
    return {"valueRatio": {"numerator": {"value": Decimal(over)}, "denominator": {"value": Decimal(under)}}}


# what OBX-2 and OBX-5 say, the rules, what it becomes, whether a person must look
SPELLINGS_OF_VALUES: list[tuple[str, str, ValueRules, dict[str, Any], bool]] = [
    ("NM", "5.3", PLAIN, quantity("5.3"), False),
    ("NM", "5.30", PLAIN, quantity("5.30"), False),
    ("NM", " 5.3 ", PLAIN, quantity("5.3"), False),
    ("NM", "+5", PLAIN, quantity("5"), False),
    ("NM", "-1.00", PLAIN, quantity("-1.00"), False),
    ("NM", "0", PLAIN, quantity("0"), False),
    ("NM", ".5", PLAIN, quantity("0.5"), False),
    ("NM", "5.", PLAIN, quantity("5"), False),
    ("NM", "007", PLAIN, quantity("7"), False),
    ("NM", "1.5e3", PLAIN, quantity("1.5E+3"), False),
    ("NM", "0.000000001", PLAIN, quantity("0.000000001"), False),
    ("NM", "123456789012345678.123456789", PLAIN, quantity("123456789012345678.123456789"), False),
    ("NM", "<0.1", PLAIN, quantity("0.1", "<"), False),
    ("NM", "< 20", PLAIN, quantity("20", "<"), False),
    ("NM", ">1000", PLAIN, quantity("1000", ">"), False),
    ("NM", "<=5", PLAIN, quantity("5", "<="), False),
    ("NM", "=>5", PLAIN, quantity("5", ">="), False),
    ("NM", "≥5", PLAIN, quantity("5", ">="), False),
    ("NM", "≤ 0.5", PLAIN, quantity("0.5", "<="), False),
    ("NM", "=5", PLAIN, quantity("5"), False),
    ("NM", "2.35^", PLAIN, quantity("2.35"), False),
    ("NM", "^27.3", PLAIN, quantity("27.3"), False),
    ("NM", "161,152", PLAIN, string("161,152"), True),
    ("NM", "60,96", PLAIN, string("60,96"), True),
    ("NM", "1,234.5", PLAIN, string("1,234.5"), True),
    ("NM", "161,152", THOUSANDS, quantity("161152"), False),
    ("NM", "1,234.50", THOUSANDS, quantity("1234.50"), False),
    ("NM", "1,23", THOUSANDS, string("1,23"), True),
    ("NM", "1234,567", THOUSANDS, string("1234,567"), True),
    ("NM", "60,96", COMMA, quantity("60.96"), False),
    ("NM", "1.234,5", COMMA, quantity("1234.5"), False),
    ("NM", "1.5", COMMA, string("1.5"), True),
    ("NM", "60,96", EITHER, quantity("60.96"), False),
    ("NM", "60.96", EITHER, quantity("60.96"), False),
    ("NM", "1,234.5", EITHER, string("1,234.5"), True),
    ("NM", "1 234,5", SPACES, quantity("1234.5"), False),
    ("NM", "1 234", PLAIN, string("1 234"), True),
    ("NM", "1'234", PLAIN, string("1'234"), True),
    ("NM", "12-5", PLAIN, string("12-5"), True),
    ("NM", "1:40", PLAIN, string("1:40"), True),
    ("NM", "1.2.3", PLAIN, string("1.2.3"), True),
    ("NM", "5.3 H", PLAIN, string("5.3 H"), True),
    ("NM", "5.3 mg/L", PLAIN, string("5.3 mg/L"), True),
    ("NM", "NEG", PLAIN, string("NEG"), True),
    ("NM", "----", PLAIN, string("----"), True),
    ("NM", "NaN", PLAIN, string("NaN"), True),
    ("NM", "Infinity", PLAIN, string("Infinity"), True),
    ("NM", "0x1F", PLAIN, string("0x1F"), True),
    ("NM", "1_000", PLAIN, string("1_000"), True),
    ("NM", "٣", PLAIN, string("٣"), True),
    ("NM", "½", PLAIN, string("½"), True),
    ("NM", "1e999", PLAIN, string("1e999"), True),
    ("NM", "<", PLAIN, string("<"), True),
    ("NM", "9" * 60, PLAIN, string("9" * 60), True),
    ("NM", "-268435455.000000", SENTINELS, absent("error"), False),
    ("NM", "***.**", SENTINELS, absent("error"), False),
    ("NM", ".***", SENTINELS, absent("error"), False),
    ("ST", "no result", SENTINELS, absent("error"), False),
    ("NM", "", PLAIN, {}, False),
    ("NM", "^", PLAIN, {}, False),
    ("NM", '""', PLAIN, absent("unknown"), False),
    ("CE", "52000^390.1", SECOND, quantity("390.1"), False),
    ("ST", "5.3", PLAIN, string("5.3"), False),
    ("ST", "5.3", ALWAYS, quantity("5.3"), False),
    ("ST", "< 20", ALWAYS, quantity("20", "<"), False),
    ("ST", "161,152", ALWAYS, string("161,152"), True),
    ("ST", "12-5", ALWAYS, string("12-5"), False),
    ("ST", "Not Detected", PLAIN, string("Not Detected"), False),
    ("ST", "NON DÉTECTÉ", WORDS, word("ND", "NON DÉTECTÉ"), False),
    ("ST", " Non  Détecté ", WORDS, word("ND", "Non  Détecté"), False),
    ("NM", "NON DÉTECTÉ", WORDS, word("ND", "NON DÉTECTÉ"), False),
    ("TX", "a long~text", PLAIN, string("a long\ntext"), False),
    ("FT", "one\\.br\\two", PLAIN, string("one\ntwo"), False),
    ("ST", "5^6", PLAIN, string("5"), False),
    (
        "IS",
        "T",
        PLAIN,
        {
            "valueCodeableConcept": {
                "coding": [{"system": "https://osler.health/fhir/hl7v2/code/lab", "code": "T"}]
            }
        },
        False,
    ),
    ("SN", "^5", PLAIN, quantity("5"), False),
    ("SN", ">^100", PLAIN, quantity("100", ">"), False),
    ("SN", "=^23", PLAIN, quantity("23"), False),
    ("SN", "^1^:^64", PLAIN, ratio("1", "64"), False),
    ("SN", "^1^/^2", PLAIN, ratio("1", "2"), False),
    ("SN", "^2^+", PLAIN, string("2+"), False),
    ("SN", "<>^5", PLAIN, string("<>5"), True),
    ("SN", "^five", PLAIN, string("five"), True),
    ("SN", "^10^-^2", PLAIN, string("10-2"), True),
    ("DT", "20260301", PLAIN, {"valueDateTime": "2026-03-01"}, False),
    ("DT", "202603", PLAIN, {"valueDateTime": "2026-03"}, False),
    ("TS", "20260301101500", PLAIN, {"valueDateTime": "2026-03-01T10:15:00+00:00"}, False),
    ("DTM", "2026/10/05 12:00:00", PLAIN, {"valueDateTime": "2026-10-05T12:00:00+00:00"}, False),
    ("DTM", "05.10.2026", PLAIN, string("05.10.2026"), True),
    ("DT", "20261399", PLAIN, string("20261399"), True),
    ("TM", "1015", PLAIN, {"valueTime": "10:15:00"}, False),
    ("TM", "101530.5", PLAIN, {"valueTime": "10:15:30.5"}, False),
    ("TM", "noon", PLAIN, string("noon"), True),
    ("DR", "20260301^20260302", PLAIN, {"valuePeriod": {"start": "2026-03-01", "end": "2026-03-02"}}, False),
    ("SI", "3", PLAIN, {"valueInteger": 3}, False),
    ("SI", "three", PLAIN, string("three"), True),
    ("NA", "1^2^3", PLAIN, string("1 2 3"), False),
    ("NA", "1^x", PLAIN, string("1 x"), True),
    ("MA", "7", PLAIN, quantity("7"), False),
    ("CE", "^^99ROC", PLAIN, {}, False),
    ("CWE", '""', PLAIN, absent("unknown"), False),
    ("", "2.35", ALWAYS, quantity("2.35"), False),
    ("", "2.35", PLAIN, string("2.35"), False),
    ("XX", "a^b", PLAIN, string("a b"), False),
]


@pytest.mark.parametrize(("kind", "text", "rules", "expected", "problem"), SPELLINGS_OF_VALUES)
def test_spelling_of_a_value_becomes_what_the_rules_say(
    kind: str, text: str, rules: ValueRules, expected: dict[str, Any], problem: bool
) -> None:
    found = read(kind, text, rules)
    assert found.members == expected
    assert bool(found.problem) is problem
    number = expected.get("valueQuantity", {}).get("value")
    if number is not None:
        assert str(found.members["valueQuantity"]["value"]) == str(number)


def test_table_of_spellings_is_long_enough() -> None:
    assert len(SPELLINGS_OF_VALUES) >= 60


def test_text_is_a_number_only_beside_a_unit() -> None:
    assert read("ST", "5.32", unit=MG).members == quantity("5.32", unit=MG)
    assert read("ST", "5.32").members == string("5.32")
    assert read("ST", "5.32", NEVER, MG).members == string("5.32")
    doubtful = read("ST", "161,152", unit=MG)
    assert doubtful.members == string("161,152")
    assert doubtful.problem


def test_structured_range_has_units_on_both_ends() -> None:
    found = read("SN", "^10^-^20", unit=MG).members["valueRange"]
    assert found["low"] == {"value": Decimal("10"), **MG.members()}
    assert found["high"] == {"value": Decimal("20"), **MG.members()}


def test_coded_value_keeps_what_the_device_said_beside_what_it_means() -> None:
    found = read("CWE", "N1^NON DÉTECTÉ^L", WORDS).members["valueCodeableConcept"]
    assert [one["code"] for one in found["coding"]] == ["ND", "N1"]


def test_decimals_of_a_test_round_half_up_and_only_there() -> None:
    assert read("NM", "2.345", decimals=2).members == quantity("2.35")
    assert read("NM", "2", decimals=2).members == quantity("2.00")
    assert read("NM", "2.345").members == quantity("2.345")


def test_status_of_a_sentinel_goes_with_it() -> None:
    assert read("NM", "-268435455", SENTINELS).status == "cancelled"


def test_several_numbers_are_components() -> None:
    assert [one["valueQuantity"]["value"] for one in read("NM", "60~120").members["component"]] == [60, 120]


def test_embedded_data_are_attached_and_their_type_is_known() -> None:
    found = read("ED", "^Image^BMP^Base64^Qk0=")
    assert found.members == {}
    assert [(one.content_type, one.data) for one in found.attached] == [("image/bmp", "Qk0=")]
    assert read("ED", "^application^pdf^Base64^JVBERg==").attached[0].content_type == "application/pdf"
    assert read("ED", "^AP^PDF^Base64^not base64!").problem
    assert read("RP", "https://pacs.example/1^^image^jpeg").attached[0].url == "https://pacs.example/1"


UNITS = [
    ("mg/dL", "mg/dL"), ("10*9/L", "10*9/L"), ("10^9/L", "10*9/L"), ("%", "%"), ("U/L", "U/L"), ("fL", "fL"),
    ("MG/DL", "mg/dL"), ("THOU/uL", "10*3/uL"), ("K/uL", "10*3/uL"), ("mmHg", "mm[Hg]"), ("µIU/mL", "u[IU]/mL"),
    ("deg f", "[degF]"), ("[pH]", "[pH]"), ("mEq/L", "meq/L"), ("IU/mL", "[IU]/mL"), ("{score}", "{score}"),
    ("C", ""), ("F", ""), ("PH", ""), ("ft", ""), ("qbhv9", ""), ("mg per dl", ""), ("mg/dLMSH", ""), ("1,2", ""),
]  # fmt: skip


@pytest.mark.parametrize(("told", "code"), UNITS)
def test_unit_has_a_code_only_when_it_is_surely_meant(told: str, code: str) -> None:
    found = read_unit(told)
    assert (found.text, found.code) == (told, code)
    assert ("code" in found.members()) is bool(code)


def test_unit_of_the_profile_comes_first_and_what_it_calls_none_is_none() -> None:
    assert read_unit("C", known={"C": "Cel"}).code == "Cel"
    assert read_unit("Index", known={"Index": ""}).members() == {}
    assert read_unit("C", "coulomb", "UCUM").code == "C"


def test_every_known_spelling_leads_to_valid_ucum() -> None:
    assert [code for code in SPELLINGS.values() if not is_ucum(code)] == []
