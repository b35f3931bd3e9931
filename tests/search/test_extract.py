"""What resources leave in the index."""

import math
from itertools import product

import pytest

from fhir_r4.definitions import resource_types
from fhir_r4.temporal import OPEN_HIGH, parse_interval
from fhir_server.search.contained import CONTAINED
from fhir_server.search.entries import Entries
from fhir_server.search.match import all_kinds
from fhir_server.search.parameters import STORE_PARAMETERS, value_type
from fhir_server.search.paths import Item, follow
from fhir_server.search.rule_table import ENTRY_KINDS, RULES
from fhir_server.search.rules import Rules
from tests.search import resources as r
from tests.search.conftest import BASE

CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


def of(entries, code):
    """The entries of one parameter, without its code, over all kinds."""
    return sorted(entry[1:] for kind in all_kinds(entries) for entry in kind if entry[0] == code)


@pytest.mark.parametrize(
    ("resource", "code", "expected"),
    [
        (r.PATIENT, "active", [("", "false")]),
        (r.PATIENT, "deceased", [("", "false")]),
        (r.PATIENT, "gender", [("", "female")]),
        (r.PATIENT, "identifier", [("", "loose"), ("http://osler.test/mrn", "007")]),
        (r.PATIENT, "email", [("", "eve@osler.test")]),
        (r.PATIENT, "phone", [("mobile", "+47 1")]),
        (r.PATIENT, "telecom", [("", "99"), ("", "eve@osler.test"), ("mobile", "+47 1")]),
        (r.PATIENT, "_tag", [("http://osler.test/tags", "vip")]),
        (r.PATIENT, "_security", [(CONFIDENTIALITY, "R")]),
        (r.PATIENT, "_source", [("urn:feed:adt",)]),
        (
            r.PATIENT,
            "_profile",
            [
                ("http://osler.test/StructureDefinition/inpatient",),
                ("http://osler.test/StructureDefinition/inpatient|1.0",),
            ],
        ),
        (r.PATIENT, "mothersMaidenName", [("muller", "Müller")]),
        (r.PATIENT, "family", [("astrom", "Åström")]),
        (r.PATIENT, "given", [("eve marie", "Eve  Marie"), ("olga", "Ölga")]),
        (
            r.PATIENT,
            "name",
            [("astrom", "Åström"), ("dr.", "Dr."), ("eve marie", "Eve  Marie"), ("evy", "Evy"), ("olga", "Ölga")],
        ),
        (r.PATIENT, "address", [("90-001", "90-001"), ("main st 1", "Main St 1"), ("pl", "PL"), ("łodz", "Łódź")]),
        (r.PATIENT, "address-use", [("", "home")]),
        (r.PATIENT, "birthdate", [parse_interval("1980-02")]),
        (r.PATIENT, "general-practitioner", [
            ("", "", "", ""),
            ("Practitioner", "d1", "", ""),
            ("Practitioner", "d2", "http://other.test/fhir", "4"),
        ]),
        (r.PATIENT, "general-practitioner:identifier", [("http://osler.test/npi", "n7")]),
        (r.PATIENT, "identifier:of-type", [("urn:v2-0203", "MR|007")]),
        (r.PATIENT, "identifier:text", [("medical record number", "medical record number")]),
        (r.PATIENT, "organization", [("", "", "", "")]),
        (r.PATIENT, "link", [("Patient", "p0", "", "")]),
        (r.PRESSURE, "code", [("", "BP"), (r.LOINC, "85354-9")]),
        (r.PRESSURE, "category", [("", "")]),
        (r.PRESSURE, "combo-code", [("", "BP"), (r.LOINC, "8462-4"), (r.LOINC, "8480-6"), (r.LOINC, "85354-9")]),
        (r.PRESSURE, "patient", [("Patient", "p1", "", "")]),
        (r.PRESSURE, "date", [(parse_interval("2026-01-31T08:30:00Z")[0], OPEN_HIGH)]),
        (r.PRESSURE, "component-value-quantity", [
            (-math.inf, math.nextafter(80, 0), "", "", "mmHg"),
            (120.0, 120.0, r.UCUM, "mm[Hg]", "mmHg"),
        ]),
        (r.PRESSURE, "value-quantity", []),
        (r.PRESSURE, "code:text", [("blood pressure", "blood pressure")]),
        (r.PRESSURE, "combo-code:text", [("blood pressure", "blood pressure"), ("systolic", "systolic")]),
        (r.PRESSURE, "category:text", [("vital signs", "vital signs")]),
        (r.PRESSURE, "component-value-quantity:ucum", [
            (15998640.0, 15998640.0, "urn:osler:ucum", "g.m-1.s-2", ""),
        ]),
        (r.TRACE, "patient", []),
        (r.TRACE, "subject", [("Device", "x", "", "")]),
        (r.TRACE, "date", [(parse_interval("2026-01-15")[0], parse_interval("2026-02-03")[1])]),
        (r.TRACE, "value-quantity", [(0.0, 6.0, r.UCUM, "mV", "mV")]),
        (r.RISK, "probability", [(0.25, 0.25), (0.5, math.inf)]),
        (r.RISK, "patient", []),
        (r.TRACE, "value-quantity:ucum", [(0.0, 6.0, "urn:osler:ucum", "C-1.g.m2.s-2", "")]),
        (r.WARD, "near", [(59.95, 10.75)]),
        (r.WARD, "partof", [("Location", "house", "", "")]),
        (r.PROBLEMS, "item", [("Condition", "c1", "", ""), ("Condition", "c2", "", "")]),
        (r.PROBLEMS, "item:current", [("Condition", "c1", "", "")]),
        (r.INVOICE, "totalgross", [(99.9, 99.9, "urn:iso:std:iso:4217", "NOK", "NOK")]),
        (r.VALUE_SET, "url", [("http://osler.test/ValueSet/wards",)]),
        (r.VALUE_SET, "description", [("all wards", "All  Wards")]),
        (r.VALUE_SET, "context-quantity", [(18.0, math.inf, r.UCUM, "a", "a")]),
        (r.VALUE_SET, "context-quantity:ucum", [(568036800.0, math.inf, "urn:osler:ucum", "s", "")]),
        (r.PLAN, "depends-on", [
            ("", "http://osler.test/logic/l1", "", ""), ("ValueSet", "wards", "http://osler.test", "2.0"),
        ]),
        (r.PLAN, "depends-on:below", [
            ("http://osler.test/ValueSet/wards", "2"), ("http://osler.test/ValueSet/wards", "2.0"),
        ]),
        (r.PLAN, "version", [("", "1.A"), ("", "1.a")]),
        (r.PLAN, "successor", [("", "http://osler.test/plans/next", "", "")]),
        (r.DOCUMENT, "composition", [("Composition", "c1", "", "")]),
        (r.DOCUMENT, "timestamp", [parse_interval("2026-01-31T09:30:00.123Z")]),
        (r.ANSWERS, "item-subject", [("Patient", "p1", "", "")]),
        (r.APPOINTMENT, "location", [("Location", "l1", "", "")]),
        (r.APPOINTMENT, "practitioner", [("", "urn:uuid:1", "", "")]),
        (r.APPOINTMENT, "actor", [
            ("", "urn:uuid:1", "", ""), ("Location", "l1", "", ""), ("Patient", "p1", "", ""),
        ]),
    ],
)  # fmt: skip
def test_a_parameter_finds_what_its_definition_says(extractor, resource, code, expected):
    assert of(extractor.extract(resource), code) == expected


def test_the_answers_of_the_store_leave_no_entries(extractor):
    entries = extractor.extract(r.PATIENT)
    assert not {e[0] for kind in all_kinds(entries) for e in kind} & STORE_PARAMETERS


def test_dates_without_a_zone_are_read_in_the_zone_given(parameters):
    from fhir_server.search.extract import Extractor

    entries = Extractor(parameters, zone="Asia/Tokyo").extract(r.PATIENT)
    assert of(entries, "birthdate") == [parse_interval("1980-02", "Asia/Tokyo")]


def one_by_one(compiled, resource):
    """The entries of a parameter by plain reading: every path followed by itself, every value put to its rules."""
    rules, found = Rules(local_bases=(BASE,)), Entries()
    kind, code = compiled.definition.type, compiled.definition.code
    for path in compiled.paths:
        for value in follow(path, resource):
            for leaves in RULES[kind][value_type(path)]:
                if leaves.needs and value.get(leaves.needs) is None:
                    continue
                entries = getattr(found, ENTRY_KINDS[leaves.kind][0])
                entries += [(code + leaves.suffix, *members) for members in leaves.rule(rules, value)]
    return found


def composites_one_by_one(compiled, resource):
    rules, found = Rules(local_bases=(BASE,)), set()

    def values(part, element, suffix):
        return [
            (leaves.kind, *members)
            for path in part.paths
            for value in follow(path, resource if part.whole else element)
            for leaves in RULES[part.kind][value_type(path)]
            if leaves.suffix == suffix
            for members in leaves.rule(rules, value)
        ]

    for path, parts in zip(compiled.paths, compiled.parts, strict=True):
        for element in follow(path, resource):
            written = [values(part, element, "") for part in parts]
            canonical = [values(part, element, ":ucum") for part in parts]
            found |= {(compiled.definition.code, one) for one in product(*written)}
            if any(canonical):
                either = [c or w for c, w in zip(canonical, written, strict=True)]
                found |= {(compiled.definition.code + ":ucum", one) for one in product(*either)}
    return found


@pytest.mark.parametrize("resource", r.ALL, ids=lambda x: f"{x['resourceType']}/{x['id']}")
def test_the_generated_code_does_what_paths_and_rules_say_one_by_one(parameters, extractor, resource):
    compiled = parameters.compiled(resource["resourceType"])
    numbered = {c.definition.code for c in compiled
                if any(isinstance(step, Item) for p in c.paths for step in p.steps)}  # fmt: skip
    found = extractor.extract(resource)
    wanted = [set() for _ in all_kinds(found)]
    for one in compiled:
        if one.definition.type == "composite":
            wanted[-2] |= composites_one_by_one(one, resource)
        elif one.definition.code not in numbered:
            for kind, entries in zip(wanted, all_kinds(one_by_one(one, resource)), strict=True):
                kind.update(entries)
    for kind, entries in zip(all_kinds(found), wanted, strict=True):
        assert len(kind) == len(set(kind)), "no entry twice"
        # references to what is contained have a test of their own
        outer = [e for e in kind if not e[0].endswith(CONTAINED)]
        assert {e for e in outer if e[0].partition(":")[0] not in numbered} == entries


def test_a_composite_has_an_entry_for_each_combination_within_one_element(extractor):
    systolic, diastolic = ("token", r.LOINC, "8480-6"), ("token", r.LOINC, "8462-4")
    mmhg = ("quantity", 120.0, 120.0, r.UCUM, "mm[Hg]", "mmHg")
    below = ("quantity", -math.inf, math.nextafter(80, 0), "", "", "mmHg")
    found = extractor.extract(r.PRESSURE)
    assert of(found, "component-code-value-quantity") == [((diastolic, below),), ((systolic, mmhg),)]
    canonical = ("quantity", 15998640.0, 15998640.0, "urn:osler:ucum", "g.m-1.s-2", "")
    assert of(found, "component-code-value-quantity:ucum") == [((systolic, canonical),)]
    assert of(found, "code-value-quantity") == []


def test_a_composite_takes_what_it_needs_from_the_whole_resource(extractor):
    found = extractor.extract(r.SEQUENCE)
    chromosome = ("token", "urn:chr", "1")
    assert of(found, "chromosome-variant-coordinate") == [
        ((chromosome, ("number", 5.0, 5.0), ("number", 6.0, 6.0)),),
        ((chromosome, ("number", 128273725.0, 128273725.0), ("number", 128273726.0, 128273726.0)),),
    ]
    assert of(found, "chromosome-window-coordinate") == [
        ((chromosome, ("number", 1.0, 1.0), ("number", 101.0, 101.0)),)
    ]


@pytest.mark.parametrize("type", resource_types())
def test_an_empty_resource_of_every_type_can_be_indexed(extractor, type):
    entries = extractor.extract({"resourceType": type})
    assert len(entries.references) == 0


def test_a_period_that_ends_before_it_begins_is_not_indexed(extractor):
    encounter = {"resourceType": "Encounter", "period": {"start": "2026-02-01", "end": "2026-01-01"}}
    assert of(extractor.extract(encounter), "date") == []


CONTAINER = {
    "resourceType": "QuestionnaireResponse",
    "id": "q1",
    "contained": [
        {"resourceType": "Patient", "id": "p", "active": True, "managingOrganization": {"reference": "#o"}},
        {"resourceType": "Organization", "id": "o", "name": "Ward"},
        {"resourceType": "Questionnaire", "id": "form", "status": "active"},
        {"resourceType": "Provenance", "id": "by", "target": [{"reference": "#"}]},
        {"resourceType": "Basic"},
    ],
    "questionnaire": "#form",
    "status": "completed",
    "subject": {"reference": "#p"},
    "author": {"reference": "#nobody"},
    "source": {"reference": "Patient/1"},
}


def test_references_to_what_is_contained_lead_there(extractor):
    references = set(extractor.extract(CONTAINER).references)
    key = "QuestionnaireResponse/q1"
    assert {e for e in references if e[1]} == {
        ("patient:contained", "Patient#", f"{key}#p", "", ""),
        ("subject:contained", "Patient#", f"{key}#p", "", ""),
        ("questionnaire:contained", "Questionnaire#", f"{key}#form", "", ""),
        ("source", "Patient", "1", "", ""),
    }
    # what is there is not missing
    assert {e[0] for e in references if not e[1]} == {"patient", "subject", "questionnaire", "author"}


def test_what_is_contained_has_entries_of_its_own(extractor):
    inner = {(one.type, one.id): one.entries for one in extractor.extract(CONTAINER).contained}
    assert list(inner) == [
        ("Patient", "p"),
        ("Organization", "o"),
        ("Questionnaire", "form"),
        ("Provenance", "by"),
    ]
    assert of(inner["Patient", "p"], "active") == [("", "true")]
    assert ("organization:contained", "Organization#", "QuestionnaireResponse/q1#o", "", "") in inner[
        "Patient", "p"
    ].references
    assert of(inner["Organization", "o"], "name") == [("ward", "Ward")]
    # a resource that is contained may refer to the one that it is in
    assert ("target", "QuestionnaireResponse", "q1", "", "") in inner["Provenance", "by"].references


def test_without_contained_resources_a_fragment_leads_nowhere(extractor):
    entries = extractor.extract({k: v for k, v in CONTAINER.items() if k != "contained"})
    assert {e for e in entries.references if e[1]} == {("source", "Patient", "1", "", "")}
    assert entries.contained == ()


def test_a_resource_is_not_changed(extractor):
    import copy

    before = copy.deepcopy(r.PATIENT)
    assert "contained" in before
    extractor.extract(r.PATIENT)
    assert before == r.PATIENT
