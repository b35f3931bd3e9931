"""What search and the validator ask of terminology, and rules that hold for every code system and value set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4 import definitions
from terminology.errors import ContentNotHeld, UnknownCodeSystem, UnknownValueSet
from terminology.local import LocalTerminology
from terminology.service import Membership, Terminology
from terminology.subsumes import outcome

from .wards import WARD_SYSTEM, WARDS, code_system, codes, holding, named, parameters, value_set

GENDER = "http://hl7.org/fhir/ValueSet/administrative-gender"
GENDER_SYSTEM = "http://hl7.org/fhir/administrative-gender"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
SERVICE: Terminology = LocalTerminology()


def test_expansion_codes_are_pairs_of_system_and_code(defined: LocalTerminology):
    assert defined.expansion_codes(GENDER) == {
        (GENDER_SYSTEM, c) for c in ("male", "female", "other", "unknown")
    }


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://hl7.org/fhir/ValueSet/observation-codes", UnknownCodeSystem),
        ("http://hl7.org/fhir/ValueSet/condition-code", ContentNotHeld),
        ("http://nowhere.test/vs", UnknownValueSet),
    ],
)
def test_expansion_that_is_not_held_is_refused_every_time(
    defined: LocalTerminology, url: str, error: type[Exception]
):
    for _ in range(2):
        with pytest.raises(error):
            defined.expansion_codes(url)


def test_descendants_and_ancestors_leave_the_code_itself_out(wards: LocalTerminology):
    assert wards.descendants(WARDS, "inpatient") == {"surgical", "medical", "trauma"}
    assert wards.ancestors(WARDS, "trauma") == {"surgical", "medical", "inpatient"}
    assert wards.descendants(WARDS, "trauma") == frozenset()
    assert wards.descendants(WARDS, "none") == frozenset()


def test_hierarchy_of_a_system_that_is_not_held_is_refused(defined: LocalTerminology):
    with pytest.raises(ContentNotHeld):
        defined.descendants("http://snomed.info/sct", "404684003")
    with pytest.raises(UnknownCodeSystem):
        defined.ancestors("http://loinc.org", "LP7785-9")


@pytest.mark.parametrize(
    ("url", "system", "code", "answer"),
    [
        (GENDER, GENDER_SYSTEM, "male", Membership.YES),
        (f"{GENDER}|4.0.1", GENDER_SYSTEM, "male", Membership.YES),
        (f"{GENDER}|1.0", GENDER_SYSTEM, "male", Membership.UNKNOWN),
        (GENDER, GENDER_SYSTEM, "martian", Membership.NO),
        (GENDER, "http://other.test", "male", Membership.NO),
        (GENDER, None, "male", Membership.YES),
        (GENDER, None, "martian", Membership.NO),
        ("http://hl7.org/fhir/ValueSet/ucum-units", "http://unitsofmeasure.org", "mg", Membership.UNKNOWN),
        ("http://hl7.org/fhir/ValueSet/ucum-units", None, "mg", Membership.UNKNOWN),
        ("http://hl7.org/fhir/ValueSet/ucum-units", GENDER_SYSTEM, "male", Membership.NO),
        ("http://nowhere.test/vs", GENDER_SYSTEM, "male", Membership.UNKNOWN),
    ],
)
def test_binding_is_met_or_not_or_cannot_be_told(url: str, system: str | None, code: str, answer: Membership):
    assert SERVICE.validate(url, system, code) is answer
    assert SERVICE.validate(url, system, code) is answer


def test_code_of_the_known_part_is_in_a_value_set_of_which_another_part_is_not_held():
    some = value_set({"system": WARDS}, {"system": "http://loinc.org"})
    service = holding(WARD_SYSTEM, some)
    assert service.validate(some["url"], WARDS, "trauma") is Membership.YES
    assert service.validate(some["url"], None, "trauma") is Membership.YES
    assert service.validate(some["url"], WARDS, "none") is Membership.NO
    assert service.validate(some["url"], None, "none") is Membership.UNKNOWN
    assert service.validate(some["url"], "http://loinc.org", "8867-4") is Membership.UNKNOWN


def test_exclude_that_cannot_be_told_leaves_the_question_open():
    filters = [{"property": "concept", "op": "is-a", "value": "1"}]
    some = value_set({"system": WARDS}, exclude=[{"system": "http://snomed.info/sct", "filter": filters}])
    service = holding(WARD_SYSTEM, some)
    assert service.validate(some["url"], WARDS, "trauma") is Membership.YES
    listed = value_set(
        {"system": "http://snomed.info/sct", "concept": [{"code": "2"}]},
        exclude=[{"system": "http://snomed.info/sct", "filter": filters}],
        url="http://hospital.test/ValueSet/y",
    )
    assert holding(listed).validate(listed["url"], "http://snomed.info/sct", "2") is Membership.UNKNOWN


def test_service_over_other_resources_leaves_this_one_as_it_was(defined: LocalTerminology):
    other = defined.with_resources(lambda kind, url, version: WARD_SYSTEM if url == WARDS else None)
    assert other.descendants(WARDS, "inpatient") == {"surgical", "medical", "trauma"}
    with pytest.raises(UnknownCodeSystem):
        defined.descendants(WARDS, "inpatient")


KNOWN_SETS = sorted(
    url
    for url in definitions.value_set_urls()
    if definitions.enumerated_codes(url) is not None or "v3-Act" in url
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KNOWN_SETS), st.data())
def test_every_code_of_an_expansion_validates(url: str, data: st.DataObject):
    rows = SERVICE.expand(parameters(url=url))["expansion"]["contains"]
    row = data.draw(st.sampled_from(rows))
    asked = parameters(url=url, coding={k: row[k] for k in ("system", "code", "display") if k in row})
    assert named(SERVICE.validate_code(asked, "ValueSet"))["result"] is True
    assert SERVICE.validate(url, row["system"], row["code"]) is Membership.YES
    assert SERVICE.validate(url, None, row["code"]) is Membership.YES


CODES = [f"c{n}" for n in range(8)]


@st.composite
def hierarchies(draw: st.DrawFn) -> dict[str, Any]:
    """A code system in which each code has any earlier codes as parents."""
    rows = []
    for index, code in enumerate(CODES):
        above = draw(st.lists(st.sampled_from(CODES[:index]), max_size=3, unique=True)) if index else []
        rows.append({"code": code, "property": [{"code": "parent", "valueCode": parent} for parent in above]})
    return code_system(*draw(st.permutations(rows)), url=WARDS, hierarchyMeaning="is-a")


@settings(max_examples=60, deadline=None)
@given(hierarchies(), st.sampled_from(CODES), st.sampled_from(CODES), st.sampled_from(CODES))
def test_subsumption_is_a_partial_order(system: dict[str, Any], a: str, b: str, c: str):
    service = holding(system)

    def relation(x: str, y: str) -> str:
        return str(named(service.subsumes(parameters(system=WARDS, codeA=x, codeB=y)))["outcome"])

    mirrored = {"subsumes": "subsumed-by", "subsumed-by": "subsumes"}
    assert (relation(a, b) == "equivalent") == (a == b)
    assert relation(b, a) == mirrored.get(relation(a, b), relation(a, b))
    if relation(a, b) == relation(b, c) == "subsumes":
        assert relation(a, c) == "subsumes"
    assert (
        (b in service.descendants(WARDS, a))
        == (a in service.ancestors(WARDS, b))
        == (relation(a, b) == "subsumes")
    )


@settings(max_examples=60, deadline=None)
@given(
    hierarchies(),
    st.sampled_from(CODES),
    st.sampled_from(["is-a", "descendent-of", "is-not-a", "generalizes"]),
)
def test_filter_on_the_hierarchy_agrees_with_subsumption(system: dict[str, Any], code: str, operator: str):
    service = holding(system)
    include = {"system": WARDS, "filter": [{"property": "concept", "op": operator, "value": code}]}
    below = service.descendants(WARDS, code)
    expected = {
        "is-a": below | {code},
        "descendent-of": below,
        "is-not-a": set(CODES) - below - {code},
        "generalizes": service.ancestors(WARDS, code) | {code},
    }
    assert set(codes(service.expand(parameters(valueSet=value_set(include))))) == expected[operator]


def test_definitions_agree_with_nesting(defined: LocalTerminology):
    assert defined.ancestors(ACT_CODE, "DN") == {"CC", "_ActAccountCode"}
    system = definitions.code_system(ACT_CODE)
    assert system is not None
    for concept in system.concepts[:200]:
        if concept.parent is not None:
            assert concept.parent in defined.ancestors(ACT_CODE, concept.code)


def test_outcome_needs_a_hierarchy_only_for_two_codes():
    from terminology.concepts import code_system_of

    grouped = code_system_of(
        code_system({"code": "a", "concept": [{"code": "b"}]}, hierarchyMeaning="grouped-by")
    )
    assert outcome(grouped, "a", "a") == "equivalent"
    with pytest.raises(ContentNotHeld, match="grouped-by"):
        outcome(grouped, "a", "b")
