"""Regular expressions of filters: the same answers as Python's, in time that no pattern can stretch."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminology.errors import InvalidTerminology
from terminology.patterns import compile_pattern

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "\\w", "\\.", "[a-c0-9]"])


def repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = inner.map(lambda p: f"({p})")
    marks = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "{0}"])
    return st.one_of(
        st.tuples(group, marks).map("".join),
        st.tuples(ATOMS, marks).map("".join),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
    )


PATTERNS = st.recursive(ATOMS, repeated, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(PATTERNS, st.text(alphabet="abc1.", max_size=7))
def test_pattern_matches_what_python_matches(pattern: str, text: str):
    assert compile_pattern(pattern)(text) is (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(a+)+", "((a+)+)+", "(a|aa)*", "(.*)*b", "(a*)*(a*)*c"])
def test_pattern_that_would_backtrack_for_ever_does_not(pattern: str):
    began = time.process_time()
    matches = compile_pattern(pattern)
    assert matches("a" * 400 + "!") is False
    assert time.process_time() - began < 2


def test_anchors_at_the_ends_change_nothing():
    assert compile_pattern("^ab$")("ab") is True
    assert compile_pattern("^ab$")("aab") is False


@pytest.mark.parametrize(
    "pattern",
    [
        "(a",
        "a)",
        "*a",
        "[a",
        "a{3,1}",
        "(?=a)",
        "(?P<x>a)",
        "\\1",
        "\\",
        "a^b",
        "(a{900}){900}",
        "(" * 60 + "a" + ")" * 60,
    ],
)
def test_what_is_no_pattern_here_is_refused(pattern: str):
    with pytest.raises(InvalidTerminology):
        compile_pattern(pattern)
