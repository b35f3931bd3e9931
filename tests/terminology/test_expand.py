"""ValueSet/$expand over definitions and handed-in resources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_r4 import definitions
from fhir_r4.errors import FhirError, InvalidRequest, NotSupported
from terminology.errors import (
    ContentNotHeld,
    InvalidTerminology,
    TooCostly,
    UnknownCodeSystem,
    UnknownValueSet,
)
from terminology.local import LocalTerminology

from .wards import WARD_SYSTEM, WARDS, code_system, codes, holding, parameters, value_set

GENDER = "http://hl7.org/fhir/ValueSet/administrative-gender"


def test_enumerated_system_is_expanded_in_its_own_order(defined: LocalTerminology):
    answer = defined.expand(parameters(url=GENDER))
    assert answer["url"] == GENDER
    assert codes(answer) == ["male", "female", "other", "unknown"]
    assert answer["expansion"]["contains"][0] == {
        "system": "http://hl7.org/fhir/administrative-gender",
        "code": "male",
        "display": "Male",
    }
    assert answer["expansion"]["total"] == 4
    assert {"name": "used-codesystem", "valueUri": "http://hl7.org/fhir/administrative-gender|4.0.1"} in (
        answer["expansion"]["parameter"]
    )


def test_is_a_filter_takes_all_levels_and_the_exclusion_holds(defined: LocalTerminology):
    found = codes(defined.expand(parameters(url="http://terminology.hl7.org/ValueSet/v3-ActEncounterCode")))
    assert {"AMB", "IMP", "ACUTE", "NONAC", "EMER", "HH", "VR"} <= set(found)
    assert "_ActAccountCode" not in found
    assert "_ActEncounterCode" not in found  # the value set excludes it


def test_timestamp_is_the_clock_that_was_passed_in():
    service = LocalTerminology(now=lambda: datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
    assert service.expand(parameters(url=GENDER))["expansion"]["timestamp"] == "2024-05-06T07:08:09.000Z"


def test_pages_have_one_identifier_and_make_up_the_whole(defined: LocalTerminology):
    pages = [defined.expand(parameters(url=GENDER, offset=at, count=3)) for at in (0, 3)]
    assert [code for page in pages for code in codes(page)] == ["male", "female", "other", "unknown"]
    assert len({page["expansion"]["identifier"] for page in pages}) == 1
    assert [page["expansion"]["offset"] for page in pages] == [0, 3]
    assert {page["expansion"]["total"] for page in pages} == {4}


def test_count_zero_tells_only_the_total(defined: LocalTerminology):
    expansion = defined.expand(parameters(url=GENDER, count=0))["expansion"]
    assert expansion["total"] == 4
    assert "contains" not in expansion


@pytest.mark.parametrize(
    ("given", "message"), [({"count": -1}, "count"), ({"offset": -5}, "offset"), ({"count": "many"}, "count")]
)
def test_bad_page_is_refused(defined: LocalTerminology, given: dict[str, Any], message: str):
    with pytest.raises(InvalidRequest, match=message):
        defined.expand(parameters(url=GENDER, **given))


def test_filter_finds_words_of_displays_and_codes_whatever_their_case(wards: LocalTerminology):
    every = value_set({"system": WARDS})
    assert codes(wards.expand(parameters(valueSet=every, filter="WARD trau"))) == ["trauma"]
    assert codes(wards.expand(parameters(valueSet=every, filter="chirurg"))) == ["surgical"]
    assert codes(wards.expand(parameters(valueSet=every, filter="nothing"))) == []


def test_inactive_and_abstract_codes_are_marked(wards: LocalTerminology):
    rows = {
        r["code"]: r
        for r in wards.expand(parameters(valueSet=value_set({"system": WARDS})))["expansion"]["contains"]
    }
    assert rows["inpatient"]["abstract"] is True
    assert rows["lazaret"]["inactive"] is True
    assert "inactive" not in rows["surgical"]
    assert "abstract" not in rows["surgical"]


def test_active_only_and_not_for_ui_leave_codes_out(wards: LocalTerminology):
    every = value_set({"system": WARDS})
    assert "lazaret" not in codes(wards.expand(parameters(valueSet=every, activeOnly=True)))
    assert "inpatient" not in codes(wards.expand(parameters(valueSet=every, excludeNotForUI=True)))
    assert "lazaret" not in codes(
        wards.expand(parameters(valueSet=value_set({"system": WARDS}, inactive=False)))
    )


FILTERS = [
    ("concept", "is-a", "surgical", {"surgical", "trauma"}),
    ("concept", "descendent-of", "inpatient", {"surgical", "medical", "trauma"}),
    ("concept", "descendent-of", "medical", {"trauma"}),
    ("concept", "is-not-a", "surgical", {"inpatient", "medical", "lazaret"}),
    ("concept", "generalizes", "trauma", {"trauma", "surgical", "medical", "inpatient"}),
    ("concept", "child-of", "inpatient", {"surgical", "medical"}),
    ("code", "in", "trauma, medical", {"trauma", "medical"}),
    ("code", "not-in", "trauma,medical,lazaret", {"inpatient", "surgical"}),
    ("display", "regex", "(Trauma|Surgical) w.*", {"surgical", "trauma"}),
    ("floor", "=", "2", {"surgical"}),
    ("floor", "exists", "true", {"surgical", "trauma"}),
    ("floor", "exists", "false", {"inpatient", "medical", "lazaret"}),
    ("parent", "=", "surgical", {"trauma"}),
    ("notSelectable", "=", "true", {"inpatient"}),
]


@pytest.mark.parametrize(("name", "operator", "value", "expected"), FILTERS)
def test_filter_operator(wards: LocalTerminology, name: str, operator: str, value: str, expected: set[str]):
    include = {"system": WARDS, "filter": [{"property": name, "op": operator, "value": value}]}
    assert set(codes(wards.expand(parameters(valueSet=value_set(include))))) == expected


def test_filters_of_one_include_must_all_hold(wards: LocalTerminology):
    filters = [
        {"property": "concept", "op": "is-a", "value": "surgical"},
        {"property": "floor", "op": "=", "value": "3"},
    ]
    assert codes(wards.expand(parameters(valueSet=value_set({"system": WARDS, "filter": filters})))) == [
        "trauma"
    ]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"property": "concept", "op": "is-a"}, InvalidTerminology),
        ({"property": "colour", "op": "=", "value": "red"}, InvalidTerminology),
        ({"property": "floor", "op": "is-a", "value": "2"}, NotSupported),
        ({"property": "concept", "op": "sounds-like", "value": "2"}, NotSupported),
        ({"property": "floor", "op": "exists", "value": "maybe"}, InvalidTerminology),
        ({"property": "code", "op": "regex", "value": "(a"}, InvalidTerminology),
    ],
)
def test_filter_that_is_not_understood_is_refused(wards: LocalTerminology, row: Any, error: type[FhirError]):
    with pytest.raises(error):
        wards.expand(parameters(valueSet=value_set({"system": WARDS, "filter": [row]})))


def test_excluded_codes_and_systems_are_left_out(wards: LocalTerminology):
    filters = [{"property": "concept", "op": "is-a", "value": "surgical"}]
    some = value_set({"system": WARDS}, exclude=[{"system": WARDS, "filter": filters}])
    assert codes(wards.expand(parameters(valueSet=some))) == ["inpatient", "medical", "lazaret"]
    both = value_set({"system": WARDS}, {"valueSet": [GENDER]})
    left = wards.expand(parameters(valueSet=both, exclude__system=WARDS))
    assert codes(left) == ["male", "female", "other", "unknown"]


def test_value_sets_of_one_include_are_intersected_and_includes_joined():
    first = value_set(
        {"system": WARDS, "concept": [{"code": "surgical"}, {"code": "medical"}]},
        url="http://hospital.test/ValueSet/a",
    )
    second = value_set(
        {"system": WARDS, "concept": [{"code": "medical"}, {"code": "trauma"}]},
        url="http://hospital.test/ValueSet/b",
    )
    service = holding(WARD_SYSTEM, first, second)
    common = value_set({"valueSet": [first["url"], second["url"]]})
    joined = value_set({"valueSet": [first["url"]]}, {"valueSet": [second["url"]]})
    limited = value_set({"system": WARDS, "valueSet": [second["url"]]})
    assert codes(service.expand(parameters(valueSet=common))) == ["medical"]
    assert codes(service.expand(parameters(valueSet=joined))) == ["surgical", "medical", "trauma"]
    assert sorted(codes(service.expand(parameters(valueSet=limited)))) == ["medical", "trauma"]


def test_contained_value_set_is_imported(wards: LocalTerminology):
    inner = value_set(
        {"system": WARDS, "concept": [{"code": "trauma"}]},
        id="inner",
        url="http://hospital.test/ValueSet/inner",
    )
    outer = value_set({"valueSet": ["#inner"]}, contained=[inner])
    assert codes(wards.expand(parameters(valueSet=outer))) == ["trauma"]


def test_value_set_that_includes_itself_is_refused():
    first = value_set(
        {"valueSet": ["http://hospital.test/ValueSet/b"]}, url="http://hospital.test/ValueSet/a"
    )
    second = value_set(
        {"valueSet": ["http://hospital.test/ValueSet/a"]}, url="http://hospital.test/ValueSet/b"
    )
    with pytest.raises(InvalidTerminology, match="includes itself"):
        holding(first, second).expand(parameters(url=first["url"]))


def test_enumeration_of_a_system_that_is_not_held_is_expanded_as_it_stands(defined: LocalTerminology):
    loinc = {
        "system": "http://loinc.org",
        "concept": [{"code": "8867-4", "display": "Heart rate"}, {"code": "9279-1"}],
    }
    rows = defined.expand(parameters(valueSet=value_set(loinc)))["expansion"]["contains"]
    assert rows == [
        {"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"},
        {"system": "http://loinc.org", "code": "9279-1"},
    ]


def test_enumerated_code_that_the_complete_system_lacks_is_no_member(wards: LocalTerminology):
    some = value_set({"system": WARDS, "concept": [{"code": "trauma"}, {"code": "maternity"}]})
    assert codes(wards.expand(parameters(valueSet=some))) == ["trauma"]


@pytest.mark.parametrize(
    ("url", "error", "named"),
    [
        ("http://hl7.org/fhir/ValueSet/none-such", UnknownValueSet, "none-such"),
        ("http://hl7.org/fhir/ValueSet/condition-code", ContentNotHeld, "http://snomed.info/sct"),
        ("http://hl7.org/fhir/ValueSet/observation-codes", UnknownCodeSystem, "http://loinc.org"),
        ("http://hl7.org/fhir/ValueSet/service-type", ContentNotHeld, "service-type"),
        ("http://hl7.org/fhir/ValueSet/ucum-units", TooCostly, "http://unitsofmeasure.org"),
        ("http://hl7.org/fhir/ValueSet/administrative-gender|1.0", UnknownValueSet, "1.0"),
    ],
)
def test_what_is_not_held_is_refused_by_name(
    defined: LocalTerminology, url: str, error: type[FhirError], named: str
):
    with pytest.raises(error, match=named.replace("|", r"\|")):
        defined.expand(parameters(url=url))


def test_version_of_an_include_picks_the_code_system():
    old = code_system({"code": "a", "display": "Old"}, version="1")
    new = code_system({"code": "a", "display": "New"}, {"code": "b"}, version="2")
    service = holding(old, new)
    url = old["url"]

    def display(include: dict[str, str], **given: Any) -> str:
        answer = service.expand(parameters(valueSet=value_set(include), **given))
        return str(answer["expansion"]["contains"][0]["display"])

    assert display({"system": url}) == "New"
    assert display({"system": url, "version": "1"}) == "Old"
    assert display({"system": url}, system__version=f"{url}|1") == "Old"
    assert display({"system": url, "version": "2"}, system__version=f"{url}|1") == "New"
    assert display({"system": url, "version": "2"}, force__system__version=f"{url}|1") == "Old"
    with pytest.raises(UnknownCodeSystem, match="3"):
        display({"system": url, "version": "3"})
    with pytest.raises(InvalidTerminology, match="version 2"):
        display({"system": url}, check__system__version=f"{url}|1")


def test_display_language_picks_the_designation(wards: LocalTerminology):
    some = value_set({"system": WARDS, "concept": [{"code": "surgical"}, {"code": "medical"}]})
    rows = wards.expand(parameters(valueSet=some, displayLanguage="de, fr;q=0.5"))["expansion"]["contains"]
    assert [r["display"] for r in rows] == ["Chirurgische Station", "Medical ward"]
    hard = wards.expand(parameters(valueSet=some, displayLanguage="de, *;q=0"))["expansion"]["contains"]
    assert [r.get("display") for r in hard] == ["Chirurgische Station", None]


def test_designations_come_when_asked_for(wards: LocalTerminology):
    some = value_set({"system": WARDS, "concept": [{"code": "surgical"}]})
    plain = wards.expand(parameters(valueSet=some))["expansion"]["contains"][0]
    every = wards.expand(parameters(valueSet=some, includeDesignations=True))["expansion"]["contains"][0]
    short = wards.expand(parameters(valueSet=some, designation="http://hospital.test/use|short"))[
        "expansion"
    ]["contains"][0]
    assert "designation" not in plain
    assert [d["value"] for d in every["designation"]] == ["Chirurgische Station", "SURG"]
    assert [d["value"] for d in short["designation"]] == ["SURG"]


def test_supplement_adds_designations_when_it_is_named():
    supplement = code_system(
        {"code": "medical", "designation": [{"language": "fr", "value": "Service de médecine"}]},
        url="http://hospital.test/CodeSystem/french",
        content="supplement",
        supplements=WARDS,
    )
    service = holding(WARD_SYSTEM, supplement)
    some = value_set({"system": WARDS, "concept": [{"code": "medical"}]})

    def display(**given: Any) -> str:
        return str(
            service.expand(parameters(displayLanguage="fr", **given))["expansion"]["contains"][0]["display"]
        )

    named = {
        "url": "http://hl7.org/fhir/StructureDefinition/valueset-supplement",
        "valueCanonical": supplement["url"],
    }
    assert display(valueSet=some) == "Medical ward"
    assert display(valueSet=some, useSupplement=supplement["url"]) == "Service de médecine"
    assert display(valueSet={**some, "extension": [named]}) == "Service de médecine"
    with pytest.raises(UnknownCodeSystem, match="klingon"):
        display(valueSet=some, useSupplement="http://hospital.test/CodeSystem/klingon")


def test_definition_of_the_value_set_comes_when_asked_for(defined: LocalTerminology):
    assert "compose" not in defined.expand(parameters(url=GENDER))
    assert "compose" in defined.expand(parameters(url=GENDER, includeDefinition=True))


def test_property_comes_as_the_extension_that_stands_for_it(wards: LocalTerminology):
    some = value_set({"system": WARDS, "concept": [{"code": "surgical"}]})
    expansion = wards.expand(parameters(valueSet=some, property="floor"))["expansion"]
    declared = expansion["extension"][0]["extension"]
    shown = expansion["contains"][0]["extension"][0]["extension"]
    assert declared == [{"url": "code", "valueCode": "floor"}]
    assert shown == [{"url": "code", "valueCode": "floor"}, {"url": "value", "valueInteger": 2}]


@pytest.mark.parametrize("name", ["context", "contextDirection", "date", "frobnicate"])
def test_parameter_that_is_not_supported_is_refused_by_name(defined: LocalTerminology, name: str):
    with pytest.raises(NotSupported, match=name):
        defined.expand(parameters(url=GENDER, **{name: "x"}))


def test_url_or_value_set_must_be_given_and_not_both(defined: LocalTerminology):
    with pytest.raises(InvalidRequest, match="url, valueSet"):
        defined.expand(parameters())
    with pytest.raises(InvalidRequest, match="url, valueSet"):
        defined.expand(parameters(url=GENDER, valueSet=value_set()))


def test_stored_expansion_counts_when_there_is_no_compose(defined: LocalTerminology):
    listed = {"resourceType": "ValueSet", "url": "http://x.test/v", "status": "active"}
    rows = [
        {
            "system": "http://x.test/s",
            "code": "a",
            "display": "A",
            "contains": [{"system": "http://x.test/s", "code": "b"}],
        }
    ]
    assert codes(defined.expand(parameters(valueSet={**listed, "expansion": {"contains": rows}}))) == [
        "a",
        "b",
    ]
    with pytest.raises(InvalidTerminology, match="part of its expansion"):
        defined.expand(parameters(valueSet={**listed, "expansion": {"total": 9, "contains": rows}}))
    with pytest.raises(InvalidTerminology, match="neither"):
        defined.expand(parameters(valueSet=listed))


def test_too_many_codes_for_one_answer_are_too_costly():
    many = holding(code_system(*({"code": f"c{n}"} for n in range(20_001)), url=WARDS))
    every = value_set({"system": WARDS})
    with pytest.raises(TooCostly, match="count and offset"):
        many.expand(parameters(valueSet=every))
    assert len(codes(many.expand(parameters(valueSet=every, count=10, offset=20_000)))) == 1


def test_every_value_set_of_the_definitions_is_expanded_or_refused_by_name(defined: LocalTerminology):
    # The one filter of the definitions whose property no concept has: it could only give an empty answer.
    without_values = "http://hl7.org/fhir/ValueSet/example-filter"
    refusals: list[str] = []
    for url in definitions.value_set_urls():
        if url == without_values:
            continue
        try:
            answer = defined.expand(parameters(url=url, count=5))
        except (ContentNotHeld, UnknownCodeSystem, UnknownValueSet, TooCostly) as error:
            refusals.append(str(error))
        else:
            assert answer["expansion"]["total"] > 0
    assert 0 < len(refusals) < 200
    assert all("://" in text or "urn:" in text for text in refusals)


def expansion_parameter(name: str, **value: object) -> dict[str, Any]:
    about = [{"url": "name", "valueCode": name}, {"url": "value", **value}]
    return {"url": "http://hl7.org/fhir/StructureDefinition/valueset-expansion-parameter", "extension": about}


def test_expansion_parameter_of_the_value_set_counts_unless_the_request_says_otherwise(
    wards: LocalTerminology,
):
    some = value_set({"system": WARDS})
    some["compose"]["extension"] = [expansion_parameter("activeOnly", valueBoolean=True)]
    assert "lazaret" not in codes(wards.expand(parameters(valueSet=some)))
    assert "lazaret" in codes(wards.expand(parameters(valueSet=some, activeOnly=False)))
    some["compose"]["extension"] = [expansion_parameter("mood", valueCode="good")]
    with pytest.raises(NotSupported, match="mood"):
        wards.expand(parameters(valueSet=some))
