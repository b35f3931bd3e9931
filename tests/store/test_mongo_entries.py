"""Entries as texts in documents: in the order of what they stand for, and none that is taken for another."""

import math

from bson.decimal128 import Decimal128
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.entries import Entries
from fhir_server.search.text import successor
from fhir_server.store.mongo.documents import native_form
from fhir_server.store.mongo.entries import (
    escaped,
    indexed,
    member,
    of_integer,
    of_number,
    point,
    reference_of,
    reference_text,
    string_text,
    token_text,
    unescaped,
)

integers = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=("Cs",))) | st.text("\0\1\2a|")


@given(integers, integers)
def test_texts_of_integers_are_in_their_order(one, other):
    assert (of_integer(one) < of_integer(other)) == (one < other)


@given(numbers, numbers)
def test_texts_of_numbers_are_in_their_order(one, other):
    assert (of_number(one) < of_number(other)) == (one < other)
    assert len(of_number(one)) == 16


def test_integers_beyond_64_bits_are_the_nearest():
    assert of_integer(2**70) == of_integer(2**63 - 1)
    assert of_integer(-(2**70)) == of_integer(-(2**63))
    assert of_number(-math.inf) < of_number(-1.0) < of_number(-0.0) == of_number(0.0) < of_number(math.inf)


@given(texts, texts)
def test_escaped_texts_are_in_the_same_order_and_have_no_separator(one, other):
    assert "\0" not in escaped(one)
    assert unescaped(escaped(one)) == one
    # MongoDB compares the bytes
    assert (escaped(one).encode() < escaped(other).encode()) == (one.encode() < other.encode())


@given(texts.filter(bool), texts)
def test_every_text_that_begins_with_another_is_before_its_successor(text, more):
    after = successor(text)
    assert after is None or text <= text + more < after
    assert after is None or not after.startswith(text)


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
def test_different_entries_have_different_texts(one, other):
    assert (token_text("p", *one[:2]) == token_text("p", *other[:2])) == (one[:2] == other[:2])
    assert (reference_text("p", *one) == reference_text("p", *other)) == (one == other)
    assert reference_of(reference_text("p", *one)) == ("p", *one)


@given(texts, texts)
def test_a_text_is_found_by_its_beginning(text, more):
    assert string_text("p", text + more, text + more).startswith(f"p\0s{escaped(text)}")


def test_an_entry_of_each_kind_is_as_it_is_documented():
    found = indexed(
        Entries(
            tokens=[("code", "http://loinc.org", "718-7")],
            strings=[("family", "muller", "Müller"), ("given", "eve", "eve")],
            dates=[("date", 0, 1), ("period", 0, 2**50)],
            numbers=[("length", 1.0, 1.0)],
            quantities=[("value", 1.0, 2.0, "urn:u", "mg", "milligram")],
            references=[("subject", "Patient", "1", "", ""), ("focus", "Patient", "2", "http://x", "3")],
            uris=[("url", "http://x")],
            composites=[
                ("both", (("token", "urn:s", "a"), ("quantity", 1.0, 1.0, "", "", ""))),
            ],
            positions=[("near", 59.9, 10.7)],
        )
    )
    one, two = of_number(1), of_number(2)
    assert found["e"] == [
        "code\0t718-7\0http://loinc.org",
        "family\0smuller\0Müller",
        "given\0seve\0",
        "url\0uhttp://x",
        "subject\0r1\0Patient\0",
        "\0r1\0Patient\0",
        "focus\0r2\0Patient\0http://x",
        "focus\0r2\0Patient\0http://x\x003",
        f"date\0d{of_integer(0)}",
        f"period\0d{of_integer(0)}",
        f"period\0D{of_integer(2**50)}",
        f"length\0n{one}",
        f"value\0v{one}",
        f"value\0qmg\0{one}",
        f"value\0qmilligram\0{one}",
        f"value\0V{two}",
        f"both\0ctq\0a\0{one}",
        "near\0g",
    ]
    assert found["g"] == [{"p": "near", "l": {"type": "Point", "coordinates": [10.7, 59.9]}}]
    assert found["k"]["period"] == {"a": 0, "z": 2**50}
    assert found["k"]["family"] == {"a": "muller"}
    assert found["ix"]["d"][0] == {"p": "date", "l": 0, "h": 1}


def test_several_values_of_an_interval_are_marked_and_sorted_by_their_ends():
    found = indexed(
        Entries(
            dates=[("date", 5, 6), ("date", 1, 9), ("other", 1, 2)], tokens=[("t", "", "b"), ("t", "", "a")]
        )
    )
    assert [text for text in found["e"] if text.endswith("m")] == ["date\0m"]
    assert found["k"] == {"date": {"a": 1, "z": 9}, "other": {"a": 1, "z": 2}, "t": {"a": "a", "z": "b"}}


def test_a_parameter_with_a_dot_or_a_dollar_is_a_name_of_a_member():
    assert member("a.b$%") == "a%2eb%24%25"
    assert indexed(Entries(uris=[("a.b", "urn:x")]))["k"] == {"a%2eb": {"a": "urn:x"}}


def direction(latitude, longitude):
    north, east = math.radians(latitude), math.radians(longitude)
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)


@given(st.floats(-200, 200), st.floats(-500, 500))
def test_degrees_beyond_the_poles_are_led_back_to_the_same_place(latitude, longitude):
    east, north = point(latitude, longitude)["coordinates"]
    assert -180 <= east <= 180
    assert -90 <= north <= 90
    assert math.dist(direction(latitude, longitude), direction(north, east)) < 1e-9


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,12})\.[0-9]{1,12}([eE][+-]?[0-9]{1,2})?", fullmatch=True))
def test_native_decimals_are_those_that_the_driver_makes_of_their_text(text):
    native = native_form(b'{"value":%b}' % text.encode())["value"]
    assert native.bid == Decimal128(text).bid
