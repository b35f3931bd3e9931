"""Cursors are opaque, signed and bound to their search."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.errors import InvalidParameter
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import SearchQuery, SortKey

CURSORS = Cursors(b"key")
values = st.lists(
    st.one_of(st.none(), st.text(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False)), max_size=4
)


@given(values, st.text())
def test_a_cursor_gives_back_what_was_written(held, scope):
    assert CURSORS.read(scope, CURSORS.write(scope, held)) == held


def test_a_cursor_is_fit_for_an_address():
    text = CURSORS.write("s", [None, math.inf, "å&=", 2**62])
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=40))
def test_what_was_not_signed_here_is_refused(text):
    with pytest.raises(InvalidParameter):
        CURSORS.read("s", text)


def test_a_cursor_of_another_search_key_or_with_a_bit_changed_is_refused():
    text = CURSORS.write("s", ["a", 1])
    for cursors, scope, cursor in [
        (CURSORS, "t", text),
        (Cursors(b"other"), "s", text),
        (CURSORS, "s", text[:-1] + ("A" if text[-1] != "A" else "B")),
        (CURSORS, "s", text[1:]),
    ]:
        with pytest.raises(InvalidParameter):
            cursors.read(scope, cursor)


def test_the_scope_is_types_and_order():
    assert search_scope(SearchQuery(("Patient",))) != search_scope(SearchQuery(("Person",)))
    sorted_query = SearchQuery(("Patient",), sort=(SortKey("name", "string"),))
    assert search_scope(SearchQuery(("Patient",))) != search_scope(sorted_query)
    assert search_scope(SearchQuery(("Patient",), count=5)) == search_scope(
        SearchQuery(("Patient",), count=6)
    )
