"""The language of `_filter`, apart from what its names mean."""

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.filter import Comparison, FilterError, Logical, Negated, Step, parse_filter

filters = st.lists(
    st.sampled_from(
        ["name", "eq", "co", "and", "or", "not", "(", ")", "[", "]", ".", '"a b"', '"', "a|b", "x", " "]
    ),
    max_size=12,
).map(" ".join)


@given(st.one_of(st.text(max_size=20), filters, filters.map(lambda text: text.replace(" ", ""))))
def test_any_text_is_a_filter_or_is_refused_as_one(text):
    try:
        found = parse_filter(text)
    except FilterError:
        return
    assert isinstance(found, Comparison | Logical | Negated)


def test_and_and_or_are_read_from_left_to_right():
    a, b, c = (Comparison((Step(name),), "eq", "1") for name in "abc")
    assert parse_filter("a eq 1 or b eq 1 and c eq 1") == Logical("and", (Logical("or", (a, b)), c))
    assert parse_filter("a eq 1 or (b eq 1 and c eq 1)") == Logical("or", (a, Logical("and", (b, c))))
    assert parse_filter("a eq 1 and b eq 1 and c eq 1") == Logical("and", (a, b, c))
    assert parse_filter("not (a eq 1) or b eq 1") == Logical("or", (Negated(a), b))


def test_values_of_a_filter_are_json_strings_or_words():
    assert parse_filter(r'a eq "x \"y\" \u00e9 )"').value == 'x "y" é )'
    assert parse_filter("a[b eq http://x|y].c eq 2026-01-01T00:00:00+01:00") == Comparison(
        (Step("a", Comparison((Step("b"),), "eq", "http://x|y")), Step("c")),
        "eq",
        "2026-01-01T00:00:00+01:00",
    )
