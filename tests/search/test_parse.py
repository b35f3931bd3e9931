"""From the address to a search, and its account."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.errors import FhirError, InvalidParameter, InvalidRequest, NotSupported, UnknownParameter
from fhir_server.search.codes import Addresses
from fhir_server.search.modifiers import MODIFIERS
from fhir_server.search.parameters import Parameters
from fhir_server.search.parse import parse_search
from fhir_server.search.rule_table import ENTRY_KINDS, RULES
from fhir_server.search.tree import (
    And,
    Chain,
    Everything,
    Has,
    IdIs,
    Include,
    Not,
    Or,
    RefersTo,
    Repeats,
    SearchQuery,
    SortKey,
    TextIs,
    TokenIs,
    UriIs,
)
from fhir_server.search.values import split_values, unescape


def test_repetition_means_and_and_a_comma_means_or(ask):
    where = ask("Patient", "family=a,b&given=c").query.where
    assert where == And(
        (
            Or((TextIs("family", "a", "starts"), TextIs("family", "b", "starts"))),
            TextIs("given", "c", "starts"),
        )
    )


def test_without_criteria_everything_is_found(ask):
    parsed = ask("Patient", "_count=10")
    assert parsed.query.where == Everything()
    assert (parsed.query.count, parsed.query.types) == (10, ("Patient",))


@pytest.mark.parametrize(
    ("type", "query", "error", "named"),
    [
        ("Patient", "nmae=x", UnknownParameter, "name"),
        ("Patient", "name:below=x", UnknownParameter, ":contains"),
        ("Patient", "birthdate:exact=2020", UnknownParameter, ":missing"),
        ("Patient", "organization:Nonsense=1", UnknownParameter, "resource type"),
        ("Patient", "gender.name=x", UnknownParameter, "no reference"),
        ("Patient", "organization:Patient.name=x", UnknownParameter, "Organization"),
        ("Patient", "organization.nmae=x", UnknownParameter, "name"),
        ("Patient", "_has:Observation:code:status=x", UnknownParameter, "no reference"),
        ("Patient", "_has:Observation:device:status=x", UnknownParameter, "never refers"),
        ("Patient", "_has:Observation:patient=x", UnknownParameter, "_has:Type"),
        ("Patient", "_has:Obs:patient:code=x", UnknownParameter, "Obs"),
        ("Patient", "_count:exact=1", UnknownParameter, "modifier"),
        ("Patient", "_include:deep=Patient:organization", UnknownParameter, ":iterate"),
        ("Patient", "_sort=nmae", UnknownParameter, "name"),
        ("Patient", "_type=Patient", UnknownParameter, "_type"),
        ((), "name=x", UnknownParameter, "all types"),
        (("Patient", "Observation"), "name=x", UnknownParameter, "Observation"),
        ("Patient", "gender:of-type=a|b|c", UnknownParameter, ":of-type"),
        ("Patient", "active:text=x", UnknownParameter, "it takes :missing, :not."),
        ("Patient", "active:in=http://x", UnknownParameter, ":in"),
        ("Patient", "identifier:below=a|b", UnknownParameter, ":below"),
        ("Patient", "_id:text=x", UnknownParameter, ":text"),
        ("PlanDefinition", "depends-on:identifier=x", UnknownParameter, ":identifier"),
        ("Patient", "_text:exact=x", UnknownParameter, ":exact"),
        ("Patient", "_filter:not=x", UnknownParameter, ":not"),
        ("Patient", "_list:missing=true", UnknownParameter, ":missing"),
        ("Observation", "code-value-quantity:exact=a$1", UnknownParameter, ":exact"),
        ("Binary", "_text=x", UnknownParameter, "_text"),
        ("Patient", "_query=x", NotSupported, "_query"),
        ("Patient", "gender:in=http://x", NotSupported, "terminology"),
        ("Patient", "_sort=organization.name", NotSupported, "_sort"),
        ("Patient", "_sort=_text", NotSupported, "no order"),
        ("Patient", "_sort=_list", NotSupported, "no order"),
        ("Patient", "_sort=_score", UnknownParameter, "_score"),
        ("Observation", "_sort=code-value-quantity", NotSupported, "no order"),
        ("Location", "_sort=near", NotSupported, "no order"),
    ],
)
def test_what_is_not_known_is_refused_and_named_or_told_when_lenient(ask, type, query, error, named):
    with pytest.raises(error) as refused:
        ask(type, query)
    assert named in str(refused.value)
    parsed = ask(type, query, handling="lenient")
    (issue,) = parsed.ignored
    assert issue.severity == "warning"
    assert issue.expression == (query.partition("=")[0],)
    assert parsed.applied == ()
    assert parsed.query.where == Everything()


@pytest.mark.parametrize(
    "query",
    ["birthdate=yesterday", "birthdate=eq", "birthdate=2020-13", "birthdate=xx2020", "name=", "name=a,,b", "gender=|",
     "gender=a|b|c", "gender:missing=maybe", "organization=", "organization:Organization=Location/1", "_id=",
     "_lastUpdated=now", "_count=-1", "_count=x", "_count=1.5", "_count=", "_count=1&_count=2", "_total=some",
     "_summary=short", "_sort=", "_sort=-", "_include=organization", "_include=Patient:gender",
     "_include=Patient:organization:Location", "_include=Patient:organization:Nowhere", "_include=Observation:subject",
     "_revinclude=Observation:device", "_contained=yes", "_contained=", "_containedType=contained", "_contained=true&_containedType=both",
     "_count=٣", "_text=", "_text=a OR", "_text=(a", "_text=a)", "_text=AND", '_text="a',
     "_text=bon*", "_text=-", "_content=" + "a " * 101, "_list=", "_list=a/b", "_list=$current-nonsense", "_filter=",
     "identifier:of-type=a|b", "identifier:of-type=a||c", "organization:below=Patient/1", "link:below=1",
     "organization:above=http://x/y"],
)  # fmt: skip
@pytest.mark.parametrize("handling", ["strict", "lenient"])
def test_a_value_that_its_parameter_cannot_have_is_refused_even_when_lenient(ask, query, handling):
    with pytest.raises(InvalidParameter) as refused:
        ask("Patient", query, handling=handling)
    assert query.partition("=")[0].partition(":")[0] in refused.value.issues[0].expression[0]


@pytest.mark.parametrize(
    "query", ["value-quantity=5|mg", "value-quantity=5|http://unitsofmeasure.org|", "value-quantity=x||mg"]
)
def test_a_quantity_is_a_number_with_a_unit_or_without(ask, query):
    with pytest.raises(InvalidParameter):
        ask("Observation", query)


def test_an_unknown_type_is_refused(ask):
    with pytest.raises(InvalidParameter, match="Nobody"):
        ask((), "_type=Patient,Nobody")


def test_a_search_of_all_types_can_be_limited_to_some(ask):
    parsed = ask((), "_type=Patient,Person&name=x")
    assert parsed.query.types == ("Patient", "Person")
    assert parsed.applied == (("_type", "Patient,Person"), ("name", "x"))


def test_a_chain_follows_every_type_that_has_the_parameter(ask):
    where = ask("Observation", "subject.name=x").query.where
    name = TextIs("name", "x", "starts")
    assert where == Or((Chain("subject", "Patient", name), Chain("subject", "Location", name)))


def test_a_chain_can_be_narrowed_by_type_and_be_deep(ask):
    where = ask("Observation", "subject:Patient.organization.name:exact=Ward").query.where
    assert where == Chain(
        "subject", "Patient", Chain("organization", "Organization", TextIs("name", "Ward", "exact"))
    )


def test_has_can_be_nested_and_chained_into(ask):
    inner = TokenIs("code", None, "c")
    assert ask("Patient", "_has:Observation:patient:code=c").query.where == Has(
        "Observation", "patient", inner
    )
    nested = ask("Practitioner", "_has:Encounter:practitioner:_has:Observation:encounter:code=c").query.where
    assert nested == Has("Encounter", "practitioner", Has("Observation", "encounter", inner))
    chained = ask("Observation", "subject:Patient._has:Group:member:_id=g").query.where
    assert chained == Chain("subject", "Patient", Has("Group", "member", IdIs(("g",))))


def test_a_chain_without_end_is_refused(ask):
    with pytest.raises(FhirError, match="links"):
        ask("Location", "partof." * 50 + "name=x")


def test_a_chain_that_can_mean_too_much_is_refused(ask):
    with pytest.raises(InvalidRequest, match="name the types"):
        ask("Basic", "subject." * 8 + "code=x")
    assert isinstance(ask("Basic", "subject:Observation.subject:Patient.name=x").query.where, Chain)


def test_a_problem_inside_of_a_chain_names_the_whole_parameter(ask):
    with pytest.raises(InvalidParameter) as refused:
        ask("Observation", "subject:Patient.birthdate=soon")
    assert refused.value.issues[0].expression == ("subject:Patient.birthdate",)


def test_a_chain_is_followed_where_its_value_makes_sense(ask):
    # `relationship` of DocumentReference is a composite, that of RelatedPerson a token
    where = ask("Basic", "subject.relationship=x").query.where
    assert {chain.target for chain in where.parts} == {"FamilyMemberHistory", "RelatedPerson"}


def test_ids_are_asked_for_at_once(ask):
    assert ask("Patient", "_id=a,b,a").query.where == IdIs(("a", "b"))


def test_an_id_has_the_type_of_the_only_possible_target(ask):
    assert ask("Observation", "patient=1").query.where == RefersTo("patient", "Patient", "1")
    assert ask("Observation", "subject=1").query.where == RefersTo("subject", None, "1")


def test_sort_keys_keep_their_order_and_direction(ask):
    assert ask("Patient", "_sort=-birthdate,family,_lastUpdated,-_id").query.sort == (
        SortKey("birthdate", "date", True),
        SortKey("family", "string"),
        SortKey("_lastUpdated", "date"),
        SortKey("_id", "token", True),
    )


def test_includes_in_all_forms(ask):
    query = (
        "_include=Observation:subject:Patient&_include:iterate=Patient:organization&_include=Observation:*"
        "&_revinclude=Provenance:target&_revinclude:iterate=Encounter:patient"
    )
    assert ask("Observation", query).query.includes == (
        Include("Observation", "subject", "Patient"),
        Include("Patient", "organization", iterate=True),
        Include("Observation", None),
        Include("Provenance", "target", reverse=True),
        Include("Encounter", "patient", reverse=True, iterate=True),
    )
    assert ask("Observation", "_include=*").query.includes == (Include("Observation", None),)
    assert ask((), "_include=*").query.includes == (Include("*", None),)
    assert ask("Patient", "_include:iterate=*").query.includes == (Include("*", None, iterate=True),)
    assert ask("Patient", "_revinclude=*").query.includes == (Include("*", None, reverse=True),)
    again = ask("Patient", "_include:recurse=Patient:organization").query.includes
    assert again == (Include("Patient", "organization", iterate=True),)


@pytest.mark.parametrize(
    "query", ["_summary=count", "_count=0", "_summary=count&_count=5", "_count=5&_summary=count"]
)
def test_a_page_of_nothing_asks_for_an_exact_total(ask, query):
    asked = ask("Patient", query).query
    assert (asked.count, asked.total) == (0, "accurate")


def test_a_page_that_is_too_long_is_cut_and_told(ask):
    parsed = ask("Patient", "_count=99999999999999999999", max_count=100)
    assert parsed.query.count == 100
    assert parsed.applied == (("_count", "100"),)
    assert [issue.severity for issue in parsed.ignored] == ["information"]


def test_the_default_page_never_exceeds_the_longest(ask):
    assert ask("Patient", "", default_count=50, max_count=10).query.count == 10


def test_parameters_of_the_presentation_pass_through(ask):
    pairs = (("_summary", "text"), ("_elements", "name"), ("_format", "json"), ("_contained", "false"))
    parsed = ask("Patient", "&".join(f"{n}={v}" for n, v in pairs))
    assert parsed.applied == pairs
    assert parsed.query.where == Everything()


def test_contained_resources_are_searched_as_types_of_their_own(ask):
    assert ask("Patient", "_contained=false").query.types == ("Patient",)
    shown = "_containedType=contained"
    assert ask("Patient", f"_contained=true&{shown}&active=true").query == SearchQuery(
        ("Patient#",), TokenIs("active", None, "true")
    )
    assert ask("Patient", f"_contained=both&{shown}").query.types == ("Patient", "Patient#")
    both = ask(("Patient", "Group"), f"_contained=both&{shown}").query.types
    assert both == ("Patient", "Group", "Patient#", "Group#")
    every = ask((), "_contained=true").query.types
    assert "Patient#" in every
    assert "Patient" not in every


def test_one_match_stands_for_each_container(ask):
    active = TokenIs("active", None, "true")
    query = ask("Patient", "_contained=true&active=true").query
    assert query.where == And((active, Not(Repeats(("Patient#",), active))))
    assert not ask("Patient", "_contained=true").alone
    assert ask("Patient", "_containedType=contained&_contained=true").alone


def test_includes_go_out_from_contained_resources_too(ask):
    def includes(query):
        return ask("Patient", query).query.includes

    out, into = "_include=Patient:organization", "_revinclude=Observation:subject"
    of, of_inner = (Include(source, "organization") for source in ("Patient", "Patient#"))
    assert includes(out) == (of,)
    assert includes(f"{out}&_contained=true") == (of, of_inner)
    assert includes(f"{into}&_contained=true") == (Include("Observation", "subject", reverse=True),)
    assert includes(f"{into}&_contained=true&_containedType=contained") == tuple(
        Include("Observation", param, reverse=True) for param in ("subject", "subject:contained")
    )


@pytest.mark.parametrize("name", ["_text", "_content"])
def test_no_words_are_looked_for_in_contained_resources_alone(ask, name):
    with pytest.raises(NotSupported):
        ask("Patient", f"{name}=x&_contained=true")
    parsed = ask("Patient", f"{name}=x&_contained=both", handling="lenient")
    assert [issue.expression for issue in parsed.ignored] == [(name,)]
    assert ask("Patient", f"{name}=x&_contained=false").ignored == ()


def test_a_cursor_is_handed_on_unread(ask):
    assert ask("Patient", "_cursor=abc").query.cursor == "abc"


def test_every_kind_has_its_modifiers_and_rules(parameters):
    kinds = {d.type for type in ("Patient", "Observation", "ValueSet") for d in parameters.of(type).values()}
    assert kinds <= set(MODIFIERS)
    assert set(RULES) == set(MODIFIERS) - {"composite"}
    for leaves in (leaves for types in RULES.values() for found in types.values() for leaves in found):
        assert leaves.kind in ENTRY_KINDS
        assert leaves.suffix in ("", ":ucum") or leaves.suffix[1:] in {
            m for ms in MODIFIERS.values() for m in ms
        }


def test_a_uri_is_taken_as_it_is(ask):
    assert ask("ValueSet", "url=urn:oid:1.2").query.where == UriIs("url", "urn:oid:1.2")


@given(st.text(alphabet="a,\\$|", max_size=12))
def test_what_is_escaped_is_one_value_and_comes_back(text):
    escaped = "".join("\\" + c if c in ",\\$|" else c for c in text)
    assert split_values(escaped, ",") == [escaped]
    assert unescape(escaped) == text


@given(st.lists(st.text(alphabet="a\\,", max_size=5), min_size=1, max_size=4))
def test_splitting_loses_nothing(texts):
    joined = ",".join(texts)
    assert ",".join(split_values(joined, ",")) == joined


ALL = Parameters()
NAMES = sorted(ALL.of("Observation"))


def assert_told(refused):
    assert refused.status == 400
    assert refused.issues[0].expression


queries = st.lists(
    st.tuples(
        st.builds(lambda a, b, c: a + b + c, st.sampled_from([*NAMES, "_include", "_sort", "_has", "_list", "x"]),
                  st.sampled_from(["", ":not", ":missing", ":Patient", ":exact", ".name", ":Patient.name", ":in", ":below",
                                   ":above", ":text", ":identifier"]),
                  st.sampled_from(["", ":exact"])),
        st.one_of(st.text(max_size=10), st.sampled_from(["2020", "gt5", "a|b", "Patient/1", "true", "1||x", "a$b", "a$1",
                                                      "a|b$1|http://unitsofmeasure.org|mg", "http://x|1", "code eq a",
                                                      "(a or b) not c", "$current-problems"])),
    ),
    max_size=4,
)  # fmt: skip


@given(queries, st.sampled_from(["strict", "lenient"]))
def test_every_pair_is_applied_ignored_or_refused(pairs, handling):
    try:
        parsed = parse_search(("Observation",), pairs, ALL, now=0, handling=handling, terminology=Addresses())
    except FhirError as refused:
        assert_told(refused)
        return
    told = [issue for issue in parsed.ignored if issue.severity == "warning"]
    warned = [issue for issue in told if not issue.diagnostics.startswith("Nothing can match")]
    assert len(parsed.applied) + len(warned) == len(pairs)
    assert handling == "lenient" or not warned
