"""ValueSet/$validate-code and CodeSystem/$validate-code."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_r4.errors import FhirError, InvalidRequest, NotSupported
from terminology.errors import InvalidTerminology, UnknownValueSet
from terminology.local import LocalTerminology

from .wards import WARD_SYSTEM, WARDS, code_system, holding, named, parameters, value_set

GENDER = "http://hl7.org/fhir/ValueSet/administrative-gender"
GENDER_SYSTEM = "http://hl7.org/fhir/administrative-gender"
EVERY_WARD = value_set({"system": WARDS})


def in_value_set(service: LocalTerminology, **given: Any) -> dict[str, Any]:
    return named(service.validate_code(parameters(**given), "ValueSet"))


def in_code_system(service: LocalTerminology, **given: Any) -> dict[str, Any]:
    return named(service.validate_code(parameters(**given), "CodeSystem"))


def places(answer: dict[str, Any]) -> list[str]:
    return [place for issue in answer["issues"]["issue"] for place in issue.get("expression", [])]


def test_code_in_the_value_set_is_valid(defined: LocalTerminology):
    answer = in_value_set(defined, url=GENDER, system=GENDER_SYSTEM, code="male")
    assert answer == {
        "result": True,
        "system": GENDER_SYSTEM,
        "code": "male",
        "version": "4.0.1",
        "display": "Male",
    }


def test_coding_and_codeable_concept_are_judged_alike(defined: LocalTerminology):
    coding = {"system": GENDER_SYSTEM, "code": "male", "display": "male"}
    assert in_value_set(defined, url=GENDER, coding=coding)["result"] is True
    assert in_value_set(defined, url=GENDER, codeableConcept={"coding": [coding]})["result"] is True


def test_code_outside_the_value_set_is_invalid_and_the_message_says_why(defined: LocalTerminology):
    answer = in_value_set(defined, url=GENDER, system=GENDER_SYSTEM, code="martian")
    assert answer["result"] is False
    assert GENDER in answer["message"]
    assert "Unknown code 'martian'" in answer["message"]
    assert set(places(answer)) == {"code"}


def test_one_coding_in_the_value_set_is_enough_for_a_codeable_concept(wards: LocalTerminology):
    only_trauma = value_set({"system": WARDS, "concept": [{"code": "trauma"}]})
    both = {"coding": [{"system": WARDS, "code": "medical"}, {"system": WARDS, "code": "trauma"}]}
    answer = in_value_set(wards, valueSet=only_trauma, codeableConcept=both)
    assert answer["result"] is True
    assert answer["code"] == "trauma"
    none = in_value_set(
        wards, valueSet=only_trauma, codeableConcept={"coding": [{"system": WARDS, "code": "medical"}]}
    )
    assert none["result"] is False
    assert "CodeableConcept.coding[0].code" in places(none)


def test_wrong_display_is_an_error_unless_leniency_is_asked_for(wards: LocalTerminology):
    given = {
        "valueSet": EVERY_WARD,
        "coding": {"system": WARDS, "code": "trauma", "display": "Delivery room"},
    }
    strict = in_value_set(wards, **given)
    assert strict["result"] is False
    assert "Delivery room" in strict["message"]
    assert "Trauma ward" in strict["message"]
    assert strict["display"] == "Trauma ward"
    assert places(strict) == ["Coding.display"]
    lenient = in_value_set(wards, **given, lenient__display__validation=True)
    assert lenient["result"] is True
    assert "Delivery room" in lenient["message"]


@pytest.mark.parametrize("display", ["Surgical ward", "SURGICAL WARD", "Chirurgische Station", "SURG"])
def test_display_may_be_any_designation_in_any_case(wards: LocalTerminology, display: str):
    answer = in_value_set(wards, valueSet=EVERY_WARD, system=WARDS, code="surgical", display=display)
    assert answer["result"] is True


def test_display_must_be_of_the_language_that_is_named(wards: LocalTerminology):
    given = {"valueSet": EVERY_WARD, "system": WARDS, "code": "surgical", "displayLanguage": "de"}
    assert in_value_set(wards, **given, display="Chirurgische Station")["result"] is True
    assert in_value_set(wards, **given, display="Surgical ward")["result"] is False


def test_inactive_code_is_valid_with_a_warning_and_invalid_when_only_active_ones_are_wanted(
    wards: LocalTerminology,
):
    given = {"valueSet": EVERY_WARD, "system": WARDS, "code": "lazaret"}
    answer = in_value_set(wards, **given)
    assert answer["result"] is True
    assert answer["inactive"] is True
    assert "retired" in answer["message"]
    assert in_value_set(wards, **given, activeOnly=True)["result"] is False


def test_abstract_code_is_refused_when_abstract_is_false(wards: LocalTerminology):
    given = {"valueSet": EVERY_WARD, "system": WARDS, "code": "inpatient"}
    assert in_value_set(wards, **given)["result"] is True
    assert in_value_set(wards, **given, abstract=True)["result"] is True
    assert in_value_set(wards, **given, abstract=False)["result"] is False


def test_case_that_the_system_does_not_mind_is_noted():
    service = holding(code_system({"code": "aB", "display": "X"}, url=WARDS, caseSensitive=False))
    answer = in_value_set(service, valueSet=EVERY_WARD, system=WARDS, code="Ab")
    assert answer["result"] is True
    assert answer["normalized-code"] == "aB"


def test_system_is_inferred_when_one_system_has_the_code(wards: LocalTerminology):
    both = value_set({"system": WARDS}, {"system": GENDER_SYSTEM})
    answer = in_value_set(wards, valueSet=both, code="trauma", inferSystem=True)
    assert answer["result"] is True
    assert answer["system"] == WARDS
    assert in_value_set(wards, valueSet=both, code="none", inferSystem=True)["result"] is False


def test_system_that_could_be_two_is_not_inferred():
    other = code_system({"code": "trauma"}, url="http://other.test/cs")
    both = value_set({"system": WARDS}, {"system": "http://other.test/cs"})
    answer = in_value_set(holding(WARD_SYSTEM, other), valueSet=both, code="trauma", inferSystem=True)
    assert answer["result"] is False
    assert "http://other.test/cs" in answer["message"]


@pytest.mark.parametrize(
    ("url", "system", "code"),
    [
        ("http://hl7.org/fhir/ValueSet/ucum-units", "http://unitsofmeasure.org", "mg"),
        ("http://hl7.org/fhir/ValueSet/observation-codes", "http://loinc.org", "8867-4"),
        ("http://hl7.org/fhir/ValueSet/condition-code", "http://snomed.info/sct", "73211009"),
        (GENDER, "http://nowhere.test/cs", "male"),
    ],
)
def test_code_of_a_system_that_is_not_held_is_not_called_valid(
    defined: LocalTerminology, url: str, system: str, code: str
):
    answer = in_value_set(defined, url=url, system=system, code=code)
    assert answer["result"] is False
    assert system in answer["message"]


def test_enumeration_validates_codes_of_a_system_that_is_not_held(defined: LocalTerminology):
    loinc = value_set(
        {"system": "http://loinc.org", "concept": [{"code": "8867-4", "display": "Heart rate"}]}
    )
    given = {"valueSet": loinc, "system": "http://loinc.org"}
    assert in_value_set(defined, **given, code="8867-4")["result"] is True
    assert in_value_set(defined, **given, code="8867-4", display="Pulse")["result"] is False
    assert in_value_set(defined, **given, code="9279-1")["result"] is False


def test_import_that_is_not_known_is_told_in_the_message(wards: LocalTerminology):
    broken = value_set({"valueSet": ["http://hospital.test/ValueSet/gone"]})
    answer = in_value_set(wards, valueSet=broken, system=WARDS, code="trauma")
    assert answer["result"] is False
    assert "http://hospital.test/ValueSet/gone" in answer["message"]


def test_coding_of_another_version_than_the_value_set_uses_is_invalid(wards: LocalTerminology):
    coding = {"system": WARDS, "code": "trauma", "version": "1850"}
    answer = in_value_set(wards, valueSet=EVERY_WARD, coding=coding)
    assert answer["result"] is False
    assert "2024" in answer["message"]
    assert in_value_set(wards, valueSet=EVERY_WARD, coding={**coding, "version": "2024"})["result"] is True


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"url": GENDER, "code": "male"}, InvalidRequest, "inferSystem"),
        ({"url": GENDER}, InvalidRequest, "code, coding, codeableConcept"),
        ({"url": GENDER, "codeableConcept": {"coding": []}}, InvalidRequest, "no coding"),
        ({"url": GENDER, "coding": {"system": GENDER_SYSTEM, "display": "x"}}, InvalidRequest, "no code"),
        ({"code": "male", "system": GENDER_SYSTEM}, InvalidRequest, "url, valueSet"),
        (
            {"url": "http://nowhere.test/vs", "code": "male", "system": GENDER_SYSTEM},
            UnknownValueSet,
            "nowhere",
        ),
        ({"url": GENDER, "code": "male", "system": GENDER_SYSTEM, "context": "x"}, NotSupported, "context"),
        (
            {"url": GENDER, "code": "male", "system": GENDER_SYSTEM, "abstract": "perhaps"},
            InvalidRequest,
            "abstract",
        ),
        (
            {
                "valueSet": value_set(
                    {"system": GENDER_SYSTEM, "filter": [{"property": "concept", "op": "is-a"}]}
                ),
                "system": "x:y",
                "code": "z",
            },
            InvalidTerminology,
            "no value",
        ),
    ],
)
def test_request_that_cannot_be_judged_is_refused(
    defined: LocalTerminology, given: dict[str, Any], error: type[FhirError], message: str
):
    with pytest.raises(error, match=message):
        in_value_set(defined, **given)


def test_code_system_has_or_lacks_a_code(defined: LocalTerminology):
    known = in_code_system(defined, url=GENDER_SYSTEM, code="female")
    assert known["result"] is True
    assert known["display"] == "Female"
    unknown = in_code_system(defined, url=GENDER_SYSTEM, code="martian")
    assert unknown["result"] is False
    assert "martian" in unknown["message"]
    assert in_code_system(defined, coding={"system": GENDER_SYSTEM, "code": "female"})["result"] is True


def test_code_system_can_be_handed_in_with_the_request(defined: LocalTerminology):
    assert in_code_system(defined, codeSystem=WARD_SYSTEM, code="trauma")["result"] is True
    assert in_code_system(defined, codeSystem=WARD_SYSTEM, code="delivery")["result"] is False


def test_coding_of_another_system_is_not_of_this_one(defined: LocalTerminology):
    answer = in_code_system(defined, url=GENDER_SYSTEM, coding={"system": WARDS, "code": "female"})
    assert answer["result"] is False


def test_code_missing_from_a_fragment_is_not_called_unknown():
    service = holding(code_system({"code": "a"}, url=WARDS, content="fragment"))
    answer = in_code_system(service, url=WARDS, code="b")
    assert answer["result"] is False
    assert "fragment" in answer["message"]


def test_resource_that_comes_with_the_request_is_used_and_forgotten(defined: LocalTerminology):
    given = {"valueSet": EVERY_WARD, "system": WARDS, "code": "trauma"}
    assert in_value_set(defined, **given, tx__resource=WARD_SYSTEM)["result"] is True
    assert in_value_set(defined, **given)["result"] is False
