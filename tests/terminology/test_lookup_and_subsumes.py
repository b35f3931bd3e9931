"""CodeSystem/$lookup and CodeSystem/$subsumes."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_r4.errors import FhirError, InvalidRequest
from terminology.errors import ContentNotHeld, InvalidTerminology, UnknownCode, UnknownCodeSystem
from terminology.local import LocalTerminology

from .wards import WARD_SYSTEM, WARDS, code_system, holding, named, parameters

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def properties(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    """(code, value) of each property of a $lookup."""
    found = []
    for row in answer["parameter"]:
        if row["name"] == "property":
            part = {p["name"]: next(v for k, v in p.items() if k.startswith("value")) for p in row["part"]}
            found.append((part["code"], part["value"]))
    return found


def test_lookup_tells_name_version_display_and_parents(defined: LocalTerminology):
    answer = defined.lookup(parameters(system=ACT_CODE, code="AMB"))
    values = named(answer)
    assert values["name"] == "v3.ActCode"
    assert values["version"] == "2018-08-12"
    assert values["display"] == "ambulatory"
    assert ("parent", "_ActEncounterCode") in properties(answer)


def test_lookup_by_coding_is_lookup_by_system_and_code(wards: LocalTerminology):
    by_code = wards.lookup(parameters(system=WARDS, code="surgical"))
    assert wards.lookup(parameters(coding={"system": WARDS, "code": "surgical"})) == by_code
    assert named(by_code)["definition"] == "A ward for patients before and after operations."
    assert ("floor", 2) in properties(by_code)
    assert ("child", "trauma") in properties(by_code)


def test_lookup_gives_only_the_properties_asked_for(wards: LocalTerminology):
    answer = wards.lookup(parameters(system=WARDS, code="trauma", property=["parent"]))
    assert properties(answer) == [("parent", "surgical"), ("parent", "medical")]
    assert "definition" not in named(answer)


def test_lookup_gives_designations_and_the_display_in_a_language(wards: LocalTerminology):
    answer = wards.lookup(parameters(system=WARDS, code="surgical", displayLanguage="de"))
    assert named(answer)["display"] == "Chirurgische Station"
    designations = [r["part"][-1]["valueString"] for r in answer["parameter"] if r["name"] == "designation"]
    assert designations == ["Surgical ward", "Chirurgische Station", "SURG"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"system": ACT_CODE, "code": "NONE"}, UnknownCode, "NONE"),
        ({"system": "http://loinc.org", "code": "8867-4"}, UnknownCodeSystem, "http://loinc.org"),
        ({"system": "http://snomed.info/sct", "code": "1"}, ContentNotHeld, "http://snomed.info/sct"),
        ({"system": ACT_CODE, "code": "AMB", "version": "1999"}, UnknownCodeSystem, "2018-08-12"),
        ({"code": "AMB"}, InvalidRequest, "system"),
        ({"system": ACT_CODE}, InvalidRequest, "code, coding"),
        (
            {"system": ACT_CODE, "code": "AMB", "coding": {"system": ACT_CODE, "code": "AMB"}},
            InvalidRequest,
            "code, coding",
        ),
    ],
)
def test_lookup_of_what_is_not_known_is_refused(
    defined: LocalTerminology, given: dict[str, Any], error: type[FhirError], message: str
):
    with pytest.raises(error, match=message):
        defined.lookup(parameters(**given))


def test_lookup_of_an_unknown_code_is_a_404(defined: LocalTerminology):
    with pytest.raises(UnknownCode) as caught:
        defined.lookup(parameters(system=ACT_CODE, code="NONE"))
    assert caught.value.status == 404
    assert caught.value.code == "not-found"


def test_lookup_in_a_fragment_finds_what_is_there_and_refuses_the_rest():
    service = holding(code_system({"code": "a", "display": "A"}, url=WARDS, content="fragment"))
    assert named(service.lookup(parameters(system=WARDS, code="a")))["display"] == "A"
    with pytest.raises(ContentNotHeld, match="fragment"):
        service.lookup(parameters(system=WARDS, code="b"))


def test_case_of_a_code_matters_only_where_the_system_minds():
    minds = holding(code_system({"code": "aB"}, url=WARDS))
    does_not = holding(code_system({"code": "aB"}, url=WARDS, caseSensitive=False))
    assert named(does_not.lookup(parameters(system=WARDS, code="AB")))["code"] == "aB"
    with pytest.raises(UnknownCode):
        minds.lookup(parameters(system=WARDS, code="AB"))


def test_handed_in_code_system_comes_before_the_definitions():
    gender = "http://hl7.org/fhir/administrative-gender"
    service = holding(code_system({"code": "male", "display": "Männlich"}, url=gender))
    assert named(service.lookup(parameters(system=gender, code="male")))["display"] == "Männlich"


def test_code_that_stands_twice_is_refused():
    with pytest.raises(InvalidTerminology, match="more than once"):
        holding(code_system({"code": "a"}, {"code": "a"}, url=WARDS)).lookup(
            parameters(system=WARDS, code="a")
        )


@pytest.mark.parametrize(
    ("a", "b", "outcome"),
    [
        ("inpatient", "trauma", "subsumes"),
        ("trauma", "inpatient", "subsumed-by"),
        ("medical", "trauma", "subsumes"),
        ("surgical", "medical", "not-subsumed"),
        ("surgical", "surgical", "equivalent"),
        ("lazaret", "trauma", "not-subsumed"),
    ],
)
def test_subsumes_follows_every_parent(wards: LocalTerminology, a: str, b: str, outcome: str):
    by_code = wards.subsumes(parameters(system=WARDS, codeA=a, codeB=b))
    by_coding = wards.subsumes(
        parameters(codingA={"system": WARDS, "code": a}, codingB={"system": WARDS, "code": b})
    )
    assert named(by_code) == named(by_coding) == {"outcome": outcome}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"codeA": "surgical", "codeB": "trauma"}, InvalidRequest),
        ({"system": WARDS, "codeA": "surgical"}, InvalidRequest),
        ({"system": WARDS, "codeA": "surgical", "codeB": "none"}, UnknownCode),
        ({"system": "http://loinc.org", "codeA": "1", "codeB": "2"}, UnknownCodeSystem),
        ({"system": "http://snomed.info/sct", "codeA": "1", "codeB": "2"}, ContentNotHeld),
        (
            {"codingA": {"system": WARDS, "code": "trauma"}, "codingB": {"system": ACT_CODE, "code": "AMB"}},
            InvalidRequest,
        ),
        ({"system": WARDS, "codeA": "a", "codeB": "b", "frob": "x"}, FhirError),
    ],
)
def test_subsumes_of_what_cannot_be_told_is_refused(
    wards: LocalTerminology, given: dict[str, Any], error: type[FhirError]
):
    with pytest.raises(error):
        wards.subsumes(parameters(**given))


def test_hierarchy_of_parts_does_not_subsume():
    parts = holding({**WARD_SYSTEM, "hierarchyMeaning": "part-of"})
    with pytest.raises(ContentNotHeld, match="part-of"):
        parts.subsumes(parameters(system=WARDS, codeA="inpatient", codeB="trauma"))
    same = parts.subsumes(parameters(system=WARDS, codeA="trauma", codeB="trauma"))
    assert named(same) == {"outcome": "equivalent"}


def test_circle_of_parents_makes_codes_equivalent_and_ends():
    circle = code_system(
        {"code": "a", "property": [{"code": "parent", "valueCode": "b"}]},
        {"code": "b", "property": [{"code": "parent", "valueCode": "a"}]},
        url=WARDS,
    )
    assert named(holding(circle).subsumes(parameters(system=WARDS, codeA="a", codeB="b"))) == {
        "outcome": "equivalent"
    }
