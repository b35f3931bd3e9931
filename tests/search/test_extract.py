"""What resources leave in the index."""

import math

import pytest

from fhir_r4.definitions import resource_types
from fhir_r4.temporal import OPEN_HIGH, parse_interval
from fhir_server.search.entries import Entries
from fhir_server.search.match import all_kinds
from fhir_server.search.parameters import STORE_PARAMETERS
from fhir_server.search.paths import Item, follow
from fhir_server.search.rules import RULES, Rules
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
        (r.TRACE, "patient", []),
        (r.TRACE, "subject", [("Device", "x", "", "")]),
        (r.TRACE, "date", [(parse_interval("2026-01-15")[0], parse_interval("2026-02-03")[1])]),
        (r.TRACE, "value-quantity", [(0.0, 6.0, r.UCUM, "mV", "mV")]),
        (r.RISK, "probability", [(0.25, 0.25), (0.5, math.inf)]),
        (r.RISK, "patient", []),
        (r.INVOICE, "totalgross", [(99.9, 99.9, "urn:iso:std:iso:4217", "NOK", "NOK")]),
        (r.VALUE_SET, "url", [("http://osler.test/ValueSet/wards",)]),
        (r.VALUE_SET, "description", [("all wards", "All  Wards")]),
        (r.VALUE_SET, "context-quantity", [(18.0, math.inf, r.UCUM, "a", "a")]),
        (r.PLAN, "depends-on", [
            ("", "http://osler.test/logic/l1", "", ""), ("ValueSet", "wards", "http://osler.test", "2.0"),
        ]),
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


@pytest.mark.parametrize("resource", r.ALL, ids=lambda x: f"{x['resourceType']}/{x['id']}")
def test_the_generated_code_does_what_paths_and_rules_say_one_by_one(parameters, extractor, resource):
    rules, expected = Rules(local_bases=(BASE,)), Entries()
    for compiled in parameters.compiled(resource["resourceType"]):
        for path in compiled.paths:
            if not any(isinstance(step, Item) for step in path.steps):
                for value in follow(path, resource):
                    RULES[compiled.definition.type][path.type](
                        rules, expected, compiled.definition.code, value
                    )
    found = extractor.extract(resource)
    numbered = {c.definition.code for c in parameters.compiled(resource["resourceType"])
                if any(isinstance(step, Item) for p in c.paths for step in p.steps)}  # fmt: skip
    for kind, wanted in zip(all_kinds(found), all_kinds(expected), strict=True):
        assert len(kind) == len(set(kind)), "no entry twice"
        assert {e for e in kind if e[0] not in numbered} == set(wanted)


@pytest.mark.parametrize("type", resource_types())
def test_an_empty_resource_of_every_type_can_be_indexed(extractor, type):
    entries = extractor.extract({"resourceType": type})
    assert len(entries.references) == 0


def test_a_period_that_ends_before_it_begins_is_not_indexed(extractor):
    encounter = {"resourceType": "Encounter", "period": {"start": "2026-02-01", "end": "2026-01-01"}}
    assert of(extractor.extract(encounter), "date") == []


def test_a_resource_is_not_changed(extractor):
    import copy

    before = copy.deepcopy(r.PATIENT)
    extractor.extract(r.PATIENT)
    assert before == r.PATIENT
