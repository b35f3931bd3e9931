"""The registry of search parameters."""

from dataclasses import replace

import pytest

from fhir_r4.definitions import (
    SearchParameter,
    compartments,
    is_resource_type,
    resource_types,
    search_parameters,
)
from fhir_server.search.extract import Extractor
from fhir_server.search.parameters import INNER, LISTED, STORE_PARAMETERS, Parameters, compartment
from fhir_server.search.tree import IdIs, Or, RefersTo

# R4 itself gives these no expression.
WITHOUT_EXPRESSION = {"_query", "age", "birthOrderBoolean"}


def test_every_parameter_of_every_type_is_searchable_or_listed_with_a_known_reason(parameters):
    for type in resource_types():
        listed = {u.code: u.reason for u in parameters.unsearchable(type)}
        compiled = {c.definition.code for c in parameters.compiled(type)}
        special = set(parameters.special(type)) - {"_list"}
        assert (
            set(parameters.of(type))
            == set(listed) | (compiled - {p.code for p in INNER.values()}) | STORE_PARAMETERS | special
        )
        assert set(listed) <= WITHOUT_EXPRESSION, (type, listed)


def test_all_definitions_of_r4_are_there(parameters):
    served = {d.url for type in ("Resource", *resource_types()) for d in parameters.of(type).values()}
    baseless = {u.url for u in parameters.unsearchable("")}
    examples = {
        "http://hl7.org/fhir/SearchParameter/example",
        "http://hl7.org/fhir/SearchParameter/example-reference",
    }
    assert served | baseless | examples == {d.url for d in search_parameters()}


def test_no_path_of_a_searchable_parameter_is_left_out_but_for_types_that_its_kind_cannot_index(parameters):
    from fhir_r4.fhirpath.parser import parse
    from fhir_server.search.paths import compile_paths

    left_out = set()
    for type in resource_types():
        for compiled in parameters.compiled(type):
            if compiled.definition.type in ("composite", "special"):
                continue
            every = compile_paths(parse(compiled.definition.expression), type)
            kept = {path.type for path in compiled.paths}
            left_out |= {(compiled.definition.type, p.type) for p in every if p.type not in kept}
    # occurrence and performed can be a text, an age or a range: there is no date in them
    assert left_out == {("date", "string"), ("date", "Age"), ("date", "Range")}


def test_all_composites_of_r4_have_parts_of_the_kinds_of_their_components(parameters):
    composites = {}
    for type in resource_types():
        for code, definition in parameters.of(type).items():
            if definition.type == "composite":
                assert parameters.searchable(type, code)
                composites[type, code] = tuple(one.kind for one in parameters.parts_about(type, code))
    assert len(composites) == 72
    assert {code for (_, code), kinds in composites.items() if len(kinds) == 3} == {
        "chromosome-variant-coordinate", "chromosome-window-coordinate",
        "referenceseqid-variant-coordinate", "referenceseqid-window-coordinate",
    }  # fmt: skip
    assert composites["Observation", "code-value-date"] == ("token", "date")
    assert composites["DocumentReference", "relationship"] == ("token", "reference")


def test_parameters_without_an_expression_that_have_a_meaning_are_told(parameters):
    assert parameters.special("Patient") == ("_text", "_content", "_filter", "_list")
    assert parameters.special("Binary") == ("_content", "_filter", "_list")
    assert parameters.searchable("Patient", "_filter")
    assert not parameters.searchable("Patient", "_query")


def test_what_a_list_has_in_it_cannot_be_asked_for_by_name(parameters):
    assert LISTED not in parameters.of("List")


def test_a_custom_composite_is_put_together_like_any_other():
    definition = SearchParameter(
        url="http://osler.test/SearchParameter/name-use",
        code="name-use",
        type="composite",
        base=("Patient",),
        expression="Patient.name",
        components=(
            ("http://hl7.org/fhir/SearchParameter/individual-family", "family"),
            ("http://hl7.org/fhir/SearchParameter/individual-given", "given"),
        ),
    )
    entries = Extractor(Parameters(custom=[definition])).extract(
        {"resourceType": "Patient", "name": [{"family": "A", "given": ["B", "C"]}, {"family": "D"}]}
    )
    assert [e for e in entries.composites if e[0] == "name-use"] == [
        ("name-use", (("string", "a", "A"), ("string", "b", "B"))),
        ("name-use", (("string", "a", "A"), ("string", "c", "C"))),
    ]


@pytest.mark.parametrize(
    ("components", "reason"),
    [
        ((), "no components"),
        ((("http://osler.test/none", "family"),), "no kind"),
        ((("http://hl7.org/fhir/SearchParameter/individual-family", "period"),), "nothing that a string"),
        ((("http://hl7.org/fhir/SearchParameter/individual-family", "%resource.id | family"),), "%resource"),
        ((("http://hl7.org/fhir/SearchParameter/individual-family", "nmae"),), "no element nmae"),
    ],
)
def test_a_composite_that_cannot_be_put_together_is_listed_with_its_reason(components, reason):
    custom = SearchParameter("u", "x", "composite", ("Patient",), "Patient.name", components=components)
    (listed,) = [u for u in Parameters(custom=[custom]).unsearchable("Patient") if u.code == "x"]
    assert reason in listed.reason


def test_binaries_have_the_parameters_of_resource_alone(parameters):
    assert "_text" not in parameters.of("Binary")
    assert "_tag" in parameters.of("Binary")
    assert "_text" in parameters.of("Patient")


def test_targets_are_narrowed_to_what_the_type_can_refer_to(parameters):
    assert parameters.targets("Observation", "patient") == ("Patient",)
    assert set(parameters.targets("Observation", "subject")) == {"Patient", "Group", "Device", "Location"}
    assert set(parameters.targets("Appointment", "location")) == {"Location"}


def test_the_systems_that_codes_imply_are_those_of_their_required_binding(parameters):
    assert parameters.implied_systems("Patient", "gender") == {"http://hl7.org/fhir/administrative-gender"}
    assert parameters.implied_systems("Observation", "code") == frozenset()


def test_a_fingerprint_changes_with_the_definition_alone(parameters):
    again = Parameters()
    assert parameters.fingerprint("Patient", "name") == again.fingerprint("Patient", "name")
    assert parameters.fingerprint("Patient", "name") != parameters.fingerprint("Patient", "family")
    changed = replace(parameters.of("Patient")["name"], expression="Patient.name.family")
    custom = Parameters(custom=[changed])
    assert custom.fingerprint("Patient", "name") != parameters.fingerprint("Patient", "name")
    assert custom.fingerprint("Patient", "gender") == parameters.fingerprint("Patient", "gender")


def test_a_custom_parameter_is_indexed_like_any_other():
    definition = SearchParameter(
        url="http://osler.test/SearchParameter/official",
        code="official",
        type="string",
        base=("Patient",),
        expression="Patient.name.where(use = 'official' and family.exists()).family",
    )
    entries = Extractor(Parameters(custom=[definition])).extract(
        {
            "resourceType": "Patient",
            "name": [{"use": "official", "family": "A"}, {"use": "usual", "family": "B"}],
        }
    )
    assert [e for e in entries.strings if e[0] == "official"] == [("official", "a", "A")]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("Patient.nmae", "Patient has no element nmae"),
        ("Patient.name.given.combine(Patient.name.family)", "Call combine"),
        ("Patient.name.", "position"),
        ("Observation.code", "names no element of Patient"),
        ("Patient.birthDate", "cannot index date"),
    ],
)
def test_what_cannot_be_compiled_is_listed_with_its_reason(expression, reason):
    custom = SearchParameter("http://osler.test/x", "x", "string", ("Patient",), expression)
    parameters = Parameters(custom=[custom])
    (listed,) = [u for u in parameters.unsearchable("Patient") if u.code == "x"]
    assert reason in listed.reason
    assert not parameters.searchable("Patient", "x")


def test_a_compartment_holds_what_refers_to_its_subject():
    found = compartment("Patient", "1", "Observation")
    assert isinstance(found, Or)
    assert set(found.parts) == {RefersTo("subject", "Patient", "1"), RefersTo("performer", "Patient", "1")}


def test_the_subject_of_a_compartment_is_in_it():
    found = compartment("Patient", "1", "Patient")
    assert IdIs(("1",)) in found.parts
    assert compartment("Encounter", "1", "Encounter") == IdIs(("1",))


def test_where_r4_defines_no_compartment_there_is_none():
    assert compartment("Location", "1", "Observation") is None
    assert compartment("Patient", "1", "Location") is None


def test_every_parameter_of_a_compartment_is_a_searchable_reference(parameters):
    for members in compartments().values():
        for type, codes in members.items():
            assert is_resource_type(type)
            for code in codes:
                if code != "{def}":
                    assert parameters.of(type)[code].type == "reference"
                    assert parameters.searchable(type, code)
