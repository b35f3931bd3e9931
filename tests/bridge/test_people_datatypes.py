"""Data types of HL7 v2 as those of FHIR."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.temporal import parse_interval
from hl7_bridge.building.fields import ts
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import identifier
from hl7_bridge.mapping.datatypes.people import address, contact_point, human_name, person
from hl7_bridge.mapping.datatypes.times import date_time, day, microseconds, told_in_zone
from hl7_bridge.mapping.segments.pid import spoken
from hl7_bridge.message import Delimiters, Value, parse
from tests.bridge.people import context_of, message

CONTEXT = context_of(message("ADT^A01"))


def value(raw: str) -> Value:
    return Value(raw, Delimiters())


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("2026", "2026"),
        ("202603", "2026-03"),
        ("20260301", "2026-03-01"),
        # FHIR has no hour without minutes
        ("2026030109", "2026-03-01"),
        ("202603010930", "2026-03-01T09:30:00+01:00"),
        ("20260301093015", "2026-03-01T09:30:15+01:00"),
        ("20260301093015.25", "2026-03-01T09:30:15.25+01:00"),
        ("20260301093015-0530", "2026-03-01T09:30:15-05:30"),
        ("20260701093015", "2026-07-01T09:30:15+02:00"),
        # shown twice: the first time; skipped: as long after midnight
        ("20261025023000", "2026-10-25T02:30:00+02:00"),
        ("20260329023000", "2026-03-29T03:30:00+02:00"),
        ("20260301093015^M", "2026-03-01T09:30:00+01:00"),
        ("20261301", None),
        ("20260230", None),
        ("2026/03/01", None),
        ("20260301093015+9900", None),
        ('""', None),
        ("", None),
        ("0000", None),
    ],
)
def test_times_keep_their_precision(told: str, meant: str | None) -> None:
    assert date_time(value(told), CONTEXT) == meant


def test_the_day_is_the_one_that_was_written() -> None:
    assert day(value("19800501235959-0500")) == "1980-05-01"


def test_the_zone_of_the_header_holds_for_the_message() -> None:
    raw = message("ADT^A01").replace(b"20260301080000", b"20260301080000-0500")
    context = told_in_zone(parse(raw), CONTEXT)
    assert date_time("20260701080000", context) == "2026-07-01T08:00:00-05:00"


def test_a_header_with_the_offset_of_the_zone_keeps_both_halves_of_the_year() -> None:
    raw = message("ADT^A01").replace(b"20260301080000", b"20260301080000+0100")
    context = told_in_zone(parse(raw), CONTEXT)
    assert date_time("20260701080000", context) == "2026-07-01T08:00:00+02:00"


@settings(max_examples=100)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)), st.integers(-14 * 4, 14 * 4))
def test_times_with_an_offset_mean_the_same_instant_both_ways(moment: datetime, quarters: int) -> None:
    sign, minutes = "-" if quarters < 0 else "+", abs(quarters) * 15
    told = f"{moment:%Y%m%d%H%M%S}{sign}{minutes // 60:02d}{minutes % 60:02d}"
    meant = date_time(told, CONTEXT)
    assert meant is not None
    assert parse_interval(meant)[0] == microseconds(told, CONTEXT)
    assert ts(meant) == told
    shift = (quarters * 15) * 60_000_000
    naive = int(moment.replace(microsecond=0, tzinfo=UTC).timestamp()) * 1_000_000
    assert microseconds(told, CONTEXT) == naive - shift


@pytest.mark.parametrize(
    ("told", "system"),
    [
        ("1^^^HOSP", "https://osler.health/fhir/hl7v2/authority/HOSP"),
        ("1^^^A B&1.2.840.1&ISO", "urn:oid:1.2.840.1"),
        ("1^^^&1.2.840.1&ISO", "urn:oid:1.2.840.1"),
        ("1^^^A&not an oid&ISO", "https://osler.health/fhir/hl7v2/authority/A"),
        ("1^^^&0D0D5C3A-9F0F-4A5B-8B1C-6F1C0B5B2A11&UUID", "urn:uuid:0d0d5c3a-9f0f-4a5b-8b1c-6f1c0b5b2a11"),
        ("1^^^X&http://example.org/ids&URI", "http://example.org/ids"),
        ("1", "https://osler.health/fhir/hl7v2/authority/adt"),
        ("1^^^A&B", "https://osler.health/fhir/hl7v2/authority/A"),
    ],
)
def test_identifiers_always_have_a_system(told: str, system: str) -> None:
    found = identifier(value(told), CONTEXT)
    assert found is not None
    assert (found["system"], found["value"]) == (system, "1")


def test_a_profile_names_systems() -> None:
    context = replace(CONTEXT, profile=Profile(systems={"HOSP": "http://hospital.example/mrn"}))
    found = identifier(value("1^^^HOSP^MR"), context)
    assert found is not None
    assert found["system"] == "http://hospital.example/mrn"


@pytest.mark.parametrize(
    ("told", "system"),
    [
        ("1^a^LN", "http://loinc.org"),
        ("1^a^SCT", "http://snomed.info/sct"),
        ("1^a^I10", "http://hl7.org/fhir/sid/icd-10"),
        ("1^a^HL70078", "http://terminology.hl7.org/CodeSystem/v2-0078"),
        ("1^a^2.16.840.1.113883.6.1", "urn:oid:2.16.840.1.113883.6.1"),
        ("1^a^L", "https://osler.health/fhir/hl7v2/code/adt"),
        ("1^a^99ROC", "https://osler.health/fhir/hl7v2/code/adt/99ROC"),
        ("1^a^MYCODES", "https://osler.health/fhir/hl7v2/coding-system/MYCODES"),
        ("1^a", "https://osler.health/fhir/hl7v2/code/adt"),
    ],
)
def test_code_systems_are_addresses(told: str, system: str) -> None:
    found = concept(value(told), CONTEXT)
    assert found is not None
    assert found["coding"][0]["system"] == system


def test_a_concept_keeps_both_codes_and_the_words() -> None:
    found = concept(value("1^one^LN^2^two^L^2.7^^original"), CONTEXT)
    assert found is not None
    assert [(one["code"], one.get("version")) for one in found["coding"]] == [("1", "2.7"), ("2", None)]
    assert found["text"] == "original"


def test_words_without_a_code_are_text() -> None:
    assert concept(value("^only words"), CONTEXT) == {"text": "only words"}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("030 123^PRN^PH", {"system": "phone", "value": "030 123", "use": "home"}),
        ("^NET^Internet^a@b.org", {"system": "email", "value": "a@b.org"}),
        ("a@b.org^NET", {"system": "email", "value": "a@b.org"}),
        ("^PRN^CP^^49^30^123^4", {"system": "phone", "value": "+49 30 123 ext. 4", "use": "mobile"}),
        ("^WPN^FX^^^^^^^^^030 9", {"system": "fax", "value": "030 9", "use": "work"}),
        ("^PRN^PH", None),
    ],
)
def test_numbers_are_reached_as_they_are_told(told: str, meant: dict[str, Any] | None) -> None:
    assert contact_point(value(told), CONTEXT) == meant


def test_names_and_addresses() -> None:
    name = human_name(value("Doe&van^Jane^Ann Mary^Jr^Dr.^MD^L^^^^^20200101"), CONTEXT)
    assert name == {
        "use": "official",
        "family": "Doe",
        "given": ["Jane", "Ann", "Mary"],
        "prefix": ["Dr."],
        "suffix": ["Jr", "MD"],
        "period": {"start": "2020-01-01"},
    }
    assert address(value("&Main St&1^c/o X^Berlin^BE^10115^DE^H^^Mitte"), CONTEXT) == {
        "use": "home",
        "line": ["1 Main St", "c/o X"],
        "city": "Berlin",
        "district": "Mitte",
        "state": "BE",
        "postalCode": "10115",
        "country": "DE",
    }
    assert address(value("^^^^^^H"), CONTEXT) is None


def test_people_are_references_by_number_and_name() -> None:
    found = person(value("77^Smith^John^^^Dr.^^^HOSP^L^^^NPI"), CONTEXT)
    assert found is not None
    assert found["identifier"]["value"] == "77"
    assert found["identifier"]["type"]["coding"][0]["code"] == "NPI"
    assert found["display"] == "Dr. John Smith"


@pytest.mark.parametrize(
    ("told", "code"), [("de", "de"), ("ger", "de"), ("DEU^German^ISO639", "de"), ("ara^^HL70296", "ar")]
)
def test_languages_are_told_as_bcp_47_has_them(told: str, code: str) -> None:
    found = spoken(value(told), CONTEXT)
    assert found is not None
    assert found["coding"][0] == {"system": "urn:ietf:bcp:47", "code": code}
