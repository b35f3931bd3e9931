"""What values of composites, places, units, texts, codes, lists and hierarchies ask."""

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from fhir_r4.definitions import SearchParameter
from fhir_r4.errors import InvalidParameter
from fhir_server.search.codes import Addresses
from fhir_server.search.parameters import Parameters
from fhir_server.search.parse import parse_search, terminology_addresses
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    Everything,
    FullText,
    Has,
    IdIs,
    Near,
    Not,
    Nothing,
    Or,
    QuantityIs,
    TokenIn,
    TokenIs,
    UriIs,
)
from tests.search.conftest import BASE


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "2 values"), ("a\\$1", "2 values"), ("$1", "each side"), ("a$", "each side")],
)
def test_a_composite_has_a_value_on_each_side(ask, value, expected):
    with pytest.raises(InvalidParameter, match=expected):
        ask("Observation", f"code-value-quantity={value}")


@pytest.mark.parametrize(
    ("type", "query", "expected"),
    [
        ("Observation", "code-value-quantity=a$x", "a number"),
        ("Observation", "code-value-quantity=a$1$2", "2 values, divided by `$`: token$quantity"),
        ("Observation", "code-value-date=a$soon", "a date"),
        ("Location", "near=here", "latitude|longitude"),
        ("Patient", "_has:Observation:patient:code-value-quantity=a$x", "a number"),
    ],
)
def test_a_value_that_nothing_can_have_is_told(ask, type, query, expected):
    (told,) = ask(type, query).ignored
    assert told.severity == "warning"
    assert told.diagnostics.startswith("Nothing can match")
    assert expected in told.diagnostics


def test_what_nothing_can_match_is_nothing_beside_what_something_can(ask):
    one, both = (
        ask("Observation", "code-value-quantity=a$5"),
        ask("Observation", "code-value-quantity=a$x,a$5"),
    )
    assert both.query.where == one.query.where
    assert ask("Observation", "code-value-quantity=a$x").query.where == Nothing()


@pytest.mark.parametrize(
    "near",
    ["1|", "91|0", "0|181", "x|0", "0|0|-1", "0|0|x", "0|0|1|kg", "0|0|1|mile", "0|0|1|km|x", "|"],
)
def test_a_place_is_a_point_with_a_distance_in_a_unit_of_length(ask, near):
    with pytest.raises(InvalidParameter):
        ask("Location", f"near={near}")


def test_places_in_every_unit_of_length(ask):
    def radius(value):
        return ask("Location", f"near=59.9|-10.7{value}").query.where

    assert radius("|1.5|km") == Near("near", 59.9, -10.7, 1500.0)
    assert radius("|1.5") == radius("|1.5|") == radius("|1500|m") == radius("|1.5|km")
    assert radius("|1|[mi_i]") == Near("near", 59.9, -10.7, 1609.344)
    assert radius("") == radius("||") == Near("near", 59.9, -10.7, 50_000.0)


def test_the_components_of_a_composite_are_leaves_of_its_own_name(ask):
    where = ask("Observation", "code-value-quantity=s|a$gt5").query.where
    assert where == Composite(
        "code-value-quantity",
        (
            TokenIs("code-value-quantity", "s", "a"),
            QuantityIs("code-value-quantity", "gt", 5.0, 4.5, 5.5, None, None),
        ),
    )


def test_a_quantity_in_ucum_is_looked_for_in_its_canonical_unit(ask):
    name = "code-value-quantity:ucum"
    (_, quantity) = ask(
        "Observation", "code-value-quantity=a$5.4|http://unitsofmeasure.org|mg"
    ).query.where.parts
    assert quantity == QuantityIs(name, "eq", 0.0054, 0.00535, 0.00545, "urn:osler:ucum", "g")
    where = ask("Observation", "value-quantity=5.4|http://unitsofmeasure.org|mg").query.where
    assert where == replace(quantity, param="value-quantity:ucum")
    literal = ask("Observation", "value-quantity=5.4|http://unitsofmeasure.org|[pH]").query.where
    assert (literal.param, literal.system, literal.code) == (
        "value-quantity", "http://unitsofmeasure.org", "[pH]",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("bone", ((("bone",),),)),
        ("Bone  LIVER", ((("bone",), ("liver",)),)),
        ("bone and liver", ((("bone",), ("liver",)),)),
        ("bone OR liver", ((("bone",),), (("liver",),))),
        ("(bone OR liver) and metastases", ((("bone",), ("metastases",)), (("liver",), ("metastases",)))),
        ("a b or c", ((("a",), ("b",)), (("c",),))),
        ('"bone liver"', ((("bone", "liver"),),)),
        ('"and"', ((("and",),),)),
        ("bone-dry", ((("bone", "dry"),),)),
        ("a a or a", ((("a",),),)),
    ],
)
def test_words_and_phrases_become_alternatives_of_conjunctions(ask, text, query):
    assert ask("Patient", f"_text={text}").query.where == FullText("text", query)
    assert ask("Patient", f"_content={text}").query.where == FullText("content", query)


def test_not_is_the_complement_of_a_full_text_question(ask):
    where = ask("Patient", "_text=a not (b or c)").query.where
    assert where == And((FullText("text", ((("a",),),)), Not(FullText("text", ((("b",),), (("c",),))))))


def test_too_many_alternatives_stay_apart(ask):
    where = ask("Patient", "_text=" + " ".join(f"(a{i} or b{i})" for i in range(9))).query.where
    assert isinstance(where, And)
    assert sum(len(part.query) for part in where.parts) < 300


def test_the_codes_of_a_value_set_also_stand_without_the_system_that_is_implied(ask):
    gender = "http://hl7.org/fhir/administrative-gender"

    class Codes(Addresses):
        def expansion_codes(self, value_set):
            return frozenset({(gender, "male"), ("urn:x", "y")})

        def descendants(self, system, code):
            return frozenset({"b", "c"})

    where = ask("Patient", "gender:in=http://x", terminology=Codes()).query.where
    assert where == TokenIn("gender", frozenset({(gender, "male"), ("", "male"), ("urn:x", "y")}))
    where = ask("Patient", "gender:not-in=http://x,http://y", terminology=Codes()).query.where
    assert isinstance(where, Not)
    below = ask("Condition", "code:below=urn:s|a", terminology=Codes()).query.where
    assert below == TokenIn("code", frozenset({("urn:s", "a"), ("urn:s", "b"), ("urn:s", "c")}))


def test_an_empty_value_set_finds_nothing(ask):
    assert ask("Patient", "gender:in=http://x", terminology=Addresses()).query.where == Nothing()
    assert ask("Patient", "gender:not-in=http://x", terminology=Addresses()).query.where == Everything()


@pytest.mark.parametrize(
    ("types", "query", "addresses"),
    [
        ("Condition", "code=a", set()),
        ("Condition", "code:in=http://a/vs|1,http://b", {"http://a/vs|1", "http://b"}),
        ("Condition", "code:below=urn:s|a&code:above=urn:t|a", {"urn:s", "urn:t"}),
        ("Condition", "code:not-in=ValueSet/1", {"ValueSet/1"}),
        ("Condition", "code:in=http://osler.test/fhir/ValueSet/1", {"ValueSet/1"}),
        ("Observation", "patient._has:Condition:patient:code:in=http://a", {"http://a"}),
        ("Patient", "_filter=gender in http://a or (gender ss x|y and gender ni http://b)", {"http://a", "x", "http://b"}),
        ("ValueSet", "url:below=http://a", set()),
        ("Encounter", "location:below=1", set()),
        ("Condition", "code:in=http://a&nonsense:in=b&code:in=", {"http://a"}),
        ("Condition", "_filter=((", set()),
        ((), "_type=Nobody&code:in=http://a", set()),
    ],
)  # fmt: skip
def test_the_addresses_that_a_search_needs_are_known_before_it_is_parsed(parameters, types, query, addresses):
    pairs = parse_qsl(query, keep_blank_values=True)
    names = (types,) if isinstance(types, str) else types
    assert terminology_addresses(names, pairs, parameters, (BASE,)) == addresses


def test_a_canonical_address_with_a_version_asks_for_both(ask):
    where = ask("ValueSet", "url=http://x|1.0").query.where
    assert where == And((UriIs("url", "http://x"), TokenIs("version", None, "1.0")))
    with pytest.raises(InvalidParameter):
        ask("ValueSet", "url=http://x|1|2")


def test_quantities_of_one_composite_all_have_a_unit_of_ucum_or_none(parameters):
    parts = ("valueQuantity", "valueQuantity")
    url = "http://hl7.org/fhir/SearchParameter/Observation-value-quantity"
    custom = SearchParameter("u", "twice", "composite", ("Observation",), "Observation",
                             components=tuple((url, "value.as(Quantity)") for _ in parts))  # fmt: skip
    known = Parameters(custom=[custom])

    def parse(value):
        return parse_search(("Observation",), [("twice", value)], known, now=0).query.where

    assert parse("1|http://unitsofmeasure.org|g$1|http://unitsofmeasure.org|mg").param == "twice:ucum"
    assert parse("1$1||mg").param == "twice"
    with pytest.raises(InvalidParameter, match="for all quantities or for none"):
        parse("1$1|http://unitsofmeasure.org|mg")


def test_a_relative_address_of_this_server_is_also_the_absolute_one(ask):
    where = ask("Patient", "_profile=StructureDefinition/lipid").query.where
    assert where == Or(
        (
            UriIs("_profile", "StructureDefinition/lipid"),
            UriIs("_profile", f"{BASE}/StructureDefinition/lipid"),
        )
    )


def test_hierarchies_are_followed_to_a_bounded_depth(ask):
    def depth(part):
        match part:
            case Or(parts):
                return max(map(depth, parts))
            case Chain(_, _, inner) | Has(_, _, inner):
                return 1 + depth(inner)
            case _:
                return 0

    assert depth(ask("Encounter", "location:below=1").query.where) == 10
    assert depth(ask("Encounter", "location:above=1").query.where) == 11


def test_a_list_is_a_question_about_the_lists_that_have_the_resource_in_them(ask):
    assert ask("Patient", "_list=42").query.where == Has("List", "item:current", IdIs(("42",)))
