"""What $validate is told beyond the structure."""

import pytest

from profiles.structure import StructuralValidator
from tests.profiles.samples import RICH_PATIENT, observation, patient

VALIDATOR = StructuralValidator()
BASE = "http://hl7.org/fhir/StructureDefinition/"


def found(resource, *profiles):
    return [(i.severity, i.code, *i.expression) for i in VALIDATOR.validate(resource, profiles)]


def test_sound_resource_has_nothing_to_tell():
    assert found(RICH_PATIENT) == []


def test_problems_come_as_in_the_check():
    wrong = patient(birthDate="x")
    assert VALIDATOR.validate(wrong) == VALIDATOR.check(wrong)


@pytest.mark.parametrize(
    "profile", [BASE + "Patient", BASE + "Patient|4.0.1", BASE + "DomainResource", BASE + "Resource"]
)
def test_base_definition_of_the_type_is_met(profile):
    assert found(patient(), profile) == []


def test_base_definition_of_another_type_is_not_met():
    assert found(patient(), BASE + "Observation") == [("error", "invalid")]


def test_profile_asked_for_that_is_not_known_is_an_error():
    assert found(patient(), "http://example.org/p") == [("error", "not-supported")]


def test_profile_claimed_that_is_not_known_is_a_warning():
    claims = patient(meta={"profile": ["http://example.org/p"]})
    assert found(claims) == [("warning", "not-supported", "Patient.meta.profile[0]")]
    assert found(claims, "http://example.org/p") == [("error", "not-supported")]


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        (patient(maritalStatus={"coding": [{"system": "http://a.org", "code": "M"}]}), "Patient.maritalStatus"),
        (
            observation(component=[{"code": {"text": "x"}, "dataAbsentReason": {"coding": [{"code": "x"}]}}]),
            "Observation.component[0].dataAbsentReason",
        ),
        (
            {"resourceType": "Endpoint", "status": "active", "connectionType": {"code": "x"}, "address": "http://a.b",
             "payloadType": [{"text": "any"}]},
            "Endpoint.connectionType",
        ),
    ],
)  # fmt: skip
def test_extensible_binding_that_is_not_met_is_a_warning(resource, place):
    assert VALIDATOR.check(resource) is None
    assert found(resource) == [("warning", "code-invalid", place)]


def test_extensible_binding_that_is_met_or_left_open_is_fine():
    married = {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}
    assert found(patient(maritalStatus={"coding": [{"code": "own"}, married]})) == []
    assert found(patient(maritalStatus={"text": "married"})) == []


TOLERATED = [
    (
        observation(performer=[{"reference": "Encounter/1"}]),
        ("warning", "value", "Observation.performer[0]"),
    ),
    (
        {
            "resourceType": "DeviceMetric",
            "type": {"text": "x"},
            "category": "setting",
            "parent": {"reference": "DeviceDefinition/1"},
        },
        ("warning", "value", "DeviceMetric.parent"),
    ),
    (
        {"resourceType": "Questionnaire", "status": "draft", "item": [{"type": "display", "text": "x"}]},
        ("warning", "required", "Questionnaire.item[0].linkId"),
    ),
    (
        patient(text={"status": "empty", "div": '<div xmlns="http://www.w3.org/1999/xhtml"/>'}),
        ("warning", "invariant", "Patient.text.div"),
    ),
    (
        patient(contained=[{"resourceType": "Organization", "id": "o", "name": "x"}]),
        ("warning", "invariant", "Patient.contained[0]"),
    ),
]


@pytest.mark.parametrize(("resource", "expected"), TOLERATED)
def test_what_official_examples_do_against_the_definitions_is_a_warning(resource, expected):
    assert VALIDATOR.check(resource) is None
    assert found(resource) == [expected]


def test_contained_resource_that_refers_to_its_container_is_in_use():
    provenance = {
        "resourceType": "Provenance",
        "id": "p",
        "target": [{"reference": "#"}],
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"who": {"display": "x"}}],
    }
    assert found(patient(contained=[provenance])) == []


def test_warnings_are_found_in_nested_resources():
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": TOLERATED[0][0]}]}
    assert found(bundle) == [("warning", "value", "Bundle.entry[0].resource.performer[0]")]
