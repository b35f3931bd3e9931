"""The lexical rules of the primitive types."""

import calendar
import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.definitions import PRIMITIVES
from fhir_r4.jsonio import ExactDecimal
from fhir_r4.primitives import MAX_STRING, PRIMITIVE

VALUES = {
    "boolean": ([True, False], [0, 1, "true", None, Decimal(1)]),
    "integer": ([0, -1, 2**31 - 1, -(2**31)], [2**31, -(2**31) - 1, True, "1", Decimal("1.0"), None]),
    "unsignedInt": ([0, 2**31 - 1], [-1, 2**31, False]),
    "positiveInt": ([1, 2**31 - 1], [0, -1, 2**31, True]),
    "decimal": ([0, -1, Decimal("1.10"), ExactDecimal("1e3")], ["1.0", True, None, 1.5]),
    "string": (["a", " a\r\n\t", "é", "a" * MAX_STRING], ["", " ", "\n\t", "\x00", "a\x1f", "a" * (MAX_STRING + 1), 1, None]),
    "markdown": (["# a\n\nb"], ["", " \n"]),
    "code": (["a", "a b", "é"], ["", " a", "a ", "a  b", "a\tb", "a\u00a0", 1]),
    "id": (["a", "A-1.b", "a" * 64], ["", "a" * 65, "a_b", "a b", "é", "a\n"]),
    "uri": (["http://a/b", "urn:x", "a", "#a"], ["", "a b", "a\n", " a", 1]),
    "url": (["https://a/b?c=d"], ["", "a b"]),
    "canonical": (["http://a/b|1.0", "#a", "http://a#x"], ["", "a b", "|1", "a|", "a|b|c"]),
    "oid": (["urn:oid:1.2.3", "urn:oid:2.0"], ["1.2.3", "urn:oid:", "urn:oid:3.1", "urn:oid:1.02", "urn:oid:1"]),
    "uuid": (
        ["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
        ["c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:c757873dec9a4326a141556f43239520"],
    ),
    "base64Binary": (["QUJD", "QQ==", "QU JD\n", "QU..JD"], ["", " ", "Q", "QUI", "Q===", "%%%%", "QQ==QQ==", 1]),
    "date": (
        ["0001", "2020", "2020-02", "2020-02-29", "2000-02-29", "9999-12-31"],
        ["0000", "20", "2020-13", "2020-00", "2020-2-1", "2021-02-29", "1900-02-29", "0000-02-29", "2020-04-31", "2020-01-32",
         "2020-01-00", "2020-01-01T00:00:00Z", "2020\n", " 2020", 2020],
    ),
    "dateTime": (
        ["2020", "2020-02", "2020-02-29", "2020-02-29T00:00:00Z", "2020-02-29T23:59:60.5+14:00", "2020-01-01T00:00:00-13:59"],
        ["2020-02-29T00:00:00", "2020-02-29T00:00Z", "2020-02-29T24:00:00Z", "2020-02-30T00:00:00Z", "2020-01-01T00:00:00+14:01",
         "2020-01-01T00:00:00.Z", "2020-01-01 00:00:00Z", "2020-02T00:00:00Z"],
    ),
    "instant": (
        ["2020-02-29T00:00:00Z", "2020-02-29T00:00:00.123456789+01:00"],
        ["2020-02-29", "2020-02-29T00:00:00", "2020-02-29T00:00+01:00", "2021-02-29T00:00:00Z"],
    ),
    "time": (["00:00:00", "23:59:60", "12:00:00.5"], ["24:00:00", "12:00", "12:00:00Z", "1:00:00"]),
}  # fmt: skip


def test_every_primitive_type_but_xhtml_has_a_row():
    assert PRIMITIVE.keys() | {"xhtml"} == PRIMITIVES
    assert VALUES.keys() == PRIMITIVE.keys()


@pytest.mark.parametrize("name", VALUES)
def test_values_of_the_type_are_told_from_others(name):
    good, bad = VALUES[name]
    primitive = PRIMITIVE[name]
    assert [v for v in good if not primitive.is_valid(v)] == []
    assert [v for v in bad if primitive.is_valid(v)] == []
    assert [v for v in bad if primitive.is_valid(v)] == [], "a second look gives the same answer"
    assert not any(primitive.is_valid(v) for v in ([], {}, [good[0]], None))


@given(st.dates())
def test_every_day_of_the_calendar_is_a_date(day):
    assert PRIMITIVE["date"].is_valid(day.isoformat())
    assert PRIMITIVE["dateTime"].is_valid(f"{day.isoformat()}T00:00:00Z")


@given(st.integers(1, 9999), st.integers(1, 12))
def test_the_day_after_the_last_of_a_month_is_no_date(year, month):
    last = calendar.monthrange(year, month)[1]
    assert PRIMITIVE["date"].is_valid(f"{year:04}-{month:02}-{last}")
    assert not PRIMITIVE["date"].is_valid(f"{year:04}-{month:02}-{last + 1}")


@given(st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=-30))])))
def test_every_moment_is_an_instant(moment):
    assert PRIMITIVE["instant"].is_valid(moment.isoformat())
    assert not PRIMITIVE["instant"].is_valid(moment.replace(tzinfo=None).isoformat())


@given(st.text(max_size=20))
def test_strings_are_text_with_something_to_see(text):
    allowed = all(c >= " " or c in "\t\r\n" for c in text)
    assert PRIMITIVE["string"].is_valid(text) == (allowed and text.strip(" \t\r\n") != "")
