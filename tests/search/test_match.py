"""The meaning of expressions over entries, and the order of resources."""

import math
from dataclasses import replace
from functools import cmp_to_key

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fhir_server.search.entries import Entries
from fhir_server.search.match import (
    EARTH_RADIUS,
    Candidate,
    NoLookup,
    compare_date,
    compare_number,
    distance,
    matches,
)
from fhir_server.search.order import position, position_order, sort_value
from fhir_server.search.text import normalise
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    DateIs,
    Everything,
    FullText,
    Has,
    IdIs,
    Near,
    Not,
    Nothing,
    NumberIs,
    Or,
    Present,
    QuantityIs,
    RefersTo,
    SortKey,
    TextIs,
    TokenIn,
    TokenIs,
    TypeIs,
    Updated,
    UriIs,
    all_of,
    any_of,
    negation,
)


def candidate(id="1", type="Patient", created=1, updated=5_000, **entries):
    return Candidate(type, id, updated, created, Entries(**entries))


class Lookup(NoLookup):
    def __init__(self, *candidates):
        self.candidates = {(c.type, c.id): c for c in candidates}

    def find(self, type, id):
        return self.candidates.get((type, id))

    def referring(self, source, param, type, id):
        wanted = (param, type, id, "")
        return [
            c
            for c in self.candidates.values()
            if c.type == source and any(e[:4] == wanted for e in c.entries.references)
        ]


def holds(expression, one, *others):
    return matches(expression, one, Lookup(one, *others))


def test_a_leaf_is_false_without_entries_and_its_negation_true():
    leaves = [
        Present("x"), TokenIs("x", None, None), DateIs("x", "ne", 0, 1), NumberIs("x", "ne", 0.0, -0.5, 0.5),
        QuantityIs("x", "ge", 0.0, 0.0, 0.0, None, None), RefersTo("x", None, None, None), UriIs("x", "u", "above"),
    ]  # fmt: skip
    for leaf in leaves:
        assert not holds(leaf, candidate(tokens=[("y", "", "a")], dates=[("y", 0, 1)]))
        assert holds(Not(leaf), candidate())


def test_one_entry_that_satisfies_a_leaf_is_enough():
    one = candidate(dates=[("x", 0, 10), ("x", 20, 30)])
    assert holds(DateIs("x", "eq", 20, 30), one)
    assert holds(DateIs("x", "ne", 20, 30), one)
    assert not holds(DateIs("x", "eq", 0, 9), one)


def test_nothing_but_the_right_unit_matches():
    one = candidate(quantities=[("x", 5.0, 5.0, "sys", "c", "unit")])

    def asked(system, code):
        return holds(QuantityIs("x", "eq", 5.0, 4.5, 5.5, system, code), one)

    assert asked(None, None)
    assert asked(None, "c")
    assert asked(None, "unit")
    assert asked("sys", "c")
    assert not asked("sys", "unit")
    assert not asked("", "c")
    assert not asked(None, "d")


def test_a_chain_holds_for_a_local_resource_that_exists():
    ward = candidate("w", "Organization", tokens=[("name", "", "ward")])
    chain = Chain("organization", "Organization", TokenIs("name", None, "ward"))
    assert holds(chain, candidate(references=[("organization", "Organization", "w", "", "3")]), ward)
    assert not holds(chain, candidate(references=[("organization", "Organization", "w", "", "")]))
    assert not holds(
        chain, candidate(references=[("organization", "Organization", "w", "http://b", "")]), ward
    )
    assert not holds(chain, candidate(references=[("other", "Organization", "w", "", "")]), ward)


def test_has_holds_when_another_refers_back():
    seen = candidate(
        "o", "Observation", references=[("patient", "Patient", "1", "", "")], tokens=[("code", "", "c")]
    )
    assert holds(Has("Observation", "patient", TokenIs("code", None, "c")), candidate(), seen)
    assert not holds(Has("Observation", "patient", TokenIs("code", None, "d")), candidate(), seen)
    assert not holds(Has("Observation", "subject", TokenIs("code", None, "c")), candidate(), seen)
    assert not holds(Has("Observation", "patient", Everything()), candidate("2"), seen)


def test_nothing_is_known_of_others_without_a_lookup():
    one = candidate(references=[("organization", "Organization", "w", "", "")])
    assert not matches(Chain("organization", "Organization", Everything()), one, NoLookup())
    assert not matches(Has("Observation", "patient", Everything()), one, NoLookup())


def test_last_updated_is_a_millisecond_long():
    one = candidate(updated=5_000)
    assert holds(Updated("eq", 5_000, 6_000), one)
    assert holds(Updated("gt", 4_000, 5_000), one)
    assert not holds(Updated("gt", 5_000, 6_000), one)
    assert holds(Updated("le", 5_000, 6_000), one)
    assert not holds(Updated("lt", 5_000, 6_000), one)


def test_connectives_mean_what_they_say():
    one = candidate()
    assert holds(And(()), one)
    assert not holds(Or(()), one)
    assert holds(Or((Nothing(), IdIs(("1", "2")))), one)
    assert not holds(And((Everything(), IdIs(("2",)))), one)


intervals = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda t: (t[0], t[0] + t[1]))


@given(intervals, intervals)
def test_the_prefixes_of_dates_fit_together(entry, value):
    held = {
        p: compare_date(p, *entry, *value) for p in ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
    }
    assert held["ne"] is not held["eq"]
    assert held["ge"] == (held["gt"] or held["eq"])
    assert held["le"] == (held["lt"] or held["eq"])
    assert held["ap"] is not (held["sa"] or held["eb"])
    assert not (held["sa"] and held["eb"])
    assert held["gt"] or not held["sa"]
    assert held["lt"] or not held["eb"]
    assert held["eq"] or held["gt"] or held["lt"]


@given(st.integers(-5, 5), st.integers(0, 3), st.integers(-5, 5))
def test_the_prefixes_of_numbers_fit_together(low, length, value):
    def held(prefix):
        leaf = NumberIs("x", prefix, float(value), value - 0.5, value + 0.5)
        return compare_number(leaf, float(low), float(low + length))

    assert held("ne") is not held("eq")
    assert held("ge") is not held("eb")
    assert held("le") is not held("sa")
    assert held("ap") or not held("eq")
    assert held("gt") or not held("sa")
    assert held("lt") or not held("eb")


SYSTOLIC = (("token", "s", "a"), ("quantity", 120.0, 120.0, "u", "mm", "mm"), ("date", 0, 10))


def test_the_components_of_one_entry_satisfy_all_parts_of_a_composite():
    other = (("token", "s", "b"), ("quantity", 80.0, 80.0, "u", "mm", "mm"), ("date", 20, 30))
    one = candidate(composites=[("x", SYSTOLIC), ("x", other), ("y", SYSTOLIC)])

    def asked(code, low, param="x", date="ap"):
        value = QuantityIs(param, "gt", low, low, low, None, None)
        return holds(Composite(param, (TokenIs(param, None, code), value, DateIs(param, date, 5, 25))), one)

    assert asked("a", 100.0)
    assert asked("b", 70.0)
    assert not asked("b", 100.0), "80 is not above 100, though the other entry's value is"
    assert not asked("c", 70.0)
    assert not asked("a", 100.0, "z")
    assert not asked("a", 100.0, date="eb")
    either = Or((TokenIs("x", "s", "a"), TokenIn("x", frozenset({("s", "b")}))))
    assert holds(
        Composite("x", (either, QuantityIs("x", "lt", 90.0, 0.0, 0.0, None, None), DateIs("x", "gt", 0, 1))),
        one,
    )
    assert holds(Present("x"), one)


def test_a_part_of_another_kind_or_number_is_not_satisfied():
    one = candidate(composites=[("x", (("token", "", "1"), ("string", "1", "1")))])
    text = TextIs("x", "1", "equals")
    assert holds(Composite("x", (TokenIs("x", None, "1"), text)), one)
    assert not holds(Composite("x", (text, TokenIs("x", None, "1"))), one)
    assert not holds(Composite("x", (TokenIs("x", None, "1"),)), one)


@pytest.mark.parametrize(
    ("point", "other", "metres"),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0),
        ((0.0, 0.0), (0.0, 1.0), 111_195.08),
        ((0.0, 179.5), (0.0, -179.5), 111_195.08),
        ((90.0, 0.0), (90.0, 123.0), 0.0),
        ((90.0, 0.0), (-90.0, 0.0), 20_015_114.4),
        ((59.9139, 10.7522), (60.3913, 5.3221), 305_300.0),
    ],
)
def test_distances_are_those_on_a_sphere(point, other, metres):
    found = distance(*point, *other)
    assert found == pytest.approx(metres, rel=1e-3, abs=1e-6)
    assert found == distance(*other, *point)
    one = candidate(positions=[("x", *other)])
    assert holds(Near("x", *point, found), one)
    assert not holds(Near("x", *point, found - 1), one)
    assert not holds(Near("y", *point, found), one)


@given(
    st.floats(-400, 400, allow_nan=False),
    st.floats(-400, 400, allow_nan=False),
    st.floats(-400, 400, allow_nan=False),
    st.floats(-400, 400, allow_nan=False),
)
@example(129.0, 0.0, 51.0, 180.0)
@settings(max_examples=200)
def test_a_distance_is_from_nothing_to_half_around_wherever_the_points_are_stated(a, b, c, d):
    assert 0.0 <= distance(a, b, c, d) <= math.pi * EARTH_RADIUS


@pytest.mark.parametrize(
    ("mode", "text", "held"),
    [
        ("exact", "Ann", True), ("exact", "ann", False), ("equals", "ann", True), ("equals", "an", False),
        ("starts", "a", True), ("ends", "nn", True), ("ends", "a", False), ("contains", "n", True),
        ("gt", "anm", True), ("gt", "ann", False), ("ge", "ann", True), ("ge", "ano", False),
        ("lt", "ano", True), ("lt", "ann", False), ("le", "ann", True), ("le", "anm", False),
    ],
)  # fmt: skip
def test_texts_are_compared_as_their_mode_says(mode, text, held):
    assert holds(TextIs("x", text, mode), candidate(strings=[("x", "ann", "Ann")])) is held


def test_a_token_is_one_of_a_set():
    one = candidate(tokens=[("x", "s", "a")])
    assert holds(TokenIn("x", frozenset({("s", "a"), ("s", "b")})), one)
    assert not holds(TokenIn("x", frozenset({("", "a"), ("s", "b")})), one)
    assert not holds(TokenIn("x", frozenset()), one)


def test_whole_words_and_phrases_are_found_in_the_texts():
    one = replace(candidate(), texts=lambda: ("bone and liver", "bone and liver 7 days"))

    def asked(field, *query):
        return holds(FullText(field, query), one)

    assert asked("text", (("bone",), ("liver",)))
    assert asked("text", (("and", "liver"),))
    assert not asked("text", (("bone", "liver"),))
    assert not asked("text", (("bon",),))
    assert not asked("text", (("days",),))
    assert asked("content", (("days",),))
    assert asked("text", (("days",),), (("bone",),))
    assert not asked("text")
    assert not holds(FullText("content", ((("a",),),)), candidate())


def test_a_type_is_one_of_several():
    assert holds(TypeIs(("Group", "Patient")), candidate())
    assert not holds(TypeIs(("Group",)), candidate())


def test_a_period_contains_a_moment():
    one = candidate(dates=[("x", 0, 10), ("x", 20, 30)])
    assert holds(DateIs("x", "co", 2, 3), one)
    assert holds(DateIs("x", "co", 20, 30), one)
    assert not holds(DateIs("x", "co", 5, 25), one)


leaves = st.sampled_from(
    [Everything(), Nothing(), IdIs(("1",)), IdIs(("2",)), TokenIs("x", None, "a"), Present("x")]
)
expressions = st.recursive(
    leaves,
    lambda parts: st.one_of(
        parts.map(Not),
        st.lists(parts, max_size=3).map(tuple).map(And),
        st.lists(parts, max_size=3).map(tuple).map(Or),
    ),
    max_leaves=8,
)


def simplified(expression):
    match expression:
        case And(parts):
            return all_of(map(simplified, parts))
        case Or(parts):
            return any_of(map(simplified, parts))
        case Not(part):
            return negation(simplified(part))
        case _:
            return expression


@given(
    expressions,
    st.sampled_from(
        [candidate(), candidate("2", tokens=[("x", "", "a")]), candidate("3", tokens=[("x", "", "b")])]
    ),
)
def test_the_simplest_form_means_the_same(expression, one):
    assert holds(simplified(expression), one) == holds(expression, one)


# Order


@pytest.mark.parametrize(
    ("kind", "entries", "smallest", "largest"),
    [
        ("token", {"tokens": [("x", "s", "b"), ("x", "t", "a"), ("y", "", "0")]}, "a", "b"),
        ("string", {"strings": [("x", "b", "B"), ("x", "a", "A")]}, "a", "b"),
        ("date", {"dates": [("x", 5, 6), ("x", 1, 9)]}, 1, 9),
        ("number", {"numbers": [("x", 1.0, 2.0), ("x", 0.5, math.inf)]}, 0.5, math.inf),
        ("quantity", {"quantities": [("x", 1.0, 2.0, "", "", "")]}, 1.0, 2.0),
        ("reference", {"references": [("x", "Patient", "2", "", ""), ("x", "Group", "1", "", "")]}, "1", "2"),
        ("uri", {"uris": [("x", "u:b"), ("x", "u:a")]}, "u:a", "u:b"),
    ],
)
def test_order_takes_the_smallest_value_or_descending_the_largest(kind, entries, smallest, largest):
    one = candidate(**entries)
    assert sort_value(one, SortKey("x", kind)) == smallest
    assert sort_value(one, SortKey("x", kind, descending=True)) == largest
    assert sort_value(candidate(), SortKey("x", kind)) is None


def in_order(candidates, *sort):
    order = cmp_to_key(position_order(sort))
    return "".join(c.id for c in sorted(candidates, key=lambda c: order(position(c, sort))))


def test_what_one_resource_contains_is_in_the_order_in_which_it_was_met():
    first, second = candidate("a", created=3 + 2**-20), candidate("b", created=3 + 2**-19)
    assert in_order([second, first]) == in_order([first, second]) == "ab"


def test_missing_values_are_last_either_way_and_ties_in_the_order_of_creation():
    b, none, a, also_b = (
        candidate("b", created=1, tokens=[("x", "", "b")]),
        candidate("n", created=2),
        candidate("a", created=3, tokens=[("x", "", "a")]),
        candidate("c", created=4, tokens=[("x", "", "b")]),
    )
    everyone = [also_b, a, none, b]
    assert in_order(everyone) == "bnac"
    assert in_order(everyone, SortKey("x", "token")) == "abcn"
    assert in_order(everyone, SortKey("x", "token", descending=True)) == "bcan"
    assert in_order(everyone, SortKey("x", "token"), SortKey("_id", "token", descending=True)) == "acbn"


@given(st.text())
def test_normal_text_stays_as_it_is(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.text())
def test_case_is_no_difference(text):
    assert normalise(text.casefold()) == normalise(text)
    assert normalise(f"  {text}\n") == normalise(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("Ångström", "angstrom"), ("STRASSE", "strasse"), ("Straße", "strasse"), ("  a \t b ", "a b"), ("ﬁn", "fin"),
     ("İstanbul", "istanbul"), ("Σίσυφος", "σισυφοσ"), ("e\u0301", "e"), ("東京", "東京")],
)  # fmt: skip
def test_texts_are_compared_without_case_accents_and_blanks(text, normal):
    assert normalise(text) == normal
