"""Every message that is built is valid under the strict level of hl7apy, and says what the resources say."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from hl7_bridge.building import adt, dft, mdm, oml, oru, siu
from hl7_bridge.building.chart import Chart
from hl7_bridge.message import Message, parse
from hl7_bridge.serializer import Route, Segment, build, header

NOW = "2026-03-01T09:00:00+01:00"
ROUTE = Route(("OSLER", None, None), ("HOSP", "2.16.840.1.113883.19.1", "ISO"), "LIS", "LAB")
MRN = {
    "system": "https://osler.health/fhir/hl7v2/authority/HOSP",
    "value": "4711",
    "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [MRN, {"system": "urn:oid:1.2.36.146.595.217.0.1", "value": "12345"}],
    "name": [{"use": "official", "family": "O'Brien & Söhne|x", "given": ["Jane", "Ann"], "prefix": ["Dr."]}],
    "gender": "female",
    "birthDate": "1980-05-01",
    "address": [{"use": "home", "line": ["Main St 1", "c/o Doe"], "city": "Berlin", "postalCode": "10115"}],
    "telecom": [
        {"system": "phone", "value": "030 123", "use": "home"},
        {"system": "email", "value": "jane@example.org", "use": "work"},
    ],
    "maritalStatus": {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}]
    },
    "communication": [
        {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "de"}]}, "preferred": True}
    ],
    "multipleBirthInteger": 2,
    "deceasedDateTime": "2026-03-02T10:00:00Z",
}


def kind(code: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/location-physical-type"
    return {"coding": [{"system": system, "code": code}]}


KNOWN: dict[str, dict[str, Any]] = {
    "Location/bed": {
        "id": "bed",
        "name": "B",
        "physicalType": kind("bd"),
        "partOf": {"reference": "Location/room"},
    },
    "Location/room": {
        "id": "room",
        "name": "1",
        "physicalType": kind("ro"),
        "partOf": {"reference": "Location/ward"},
    },
    "Location/ward": {"id": "ward", "name": "W1", "physicalType": kind("wa")},
    "Practitioner/d": {
        "resourceType": "Practitioner",
        "id": "d",
        "identifier": [{"system": "urn:oid:1.2.3.4.5", "value": "77"}],
        "name": [{"family": "Smith", "given": ["John"], "prefix": ["Dr."]}],
    },
    "ServiceRequest/o1": {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "identifier": [{"system": "https://osler.health/fhir/hl7v2/authority/CPOE", "value": "ORD1"}],
        "requester": {"reference": "Practitioner/d"},
    },
}
VISIT: dict[str, Any] = {
    "resourceType": "Encounter",
    "id": "e1",
    "identifier": [{"system": "https://osler.health/fhir/hl7v2/authority/HOSP", "value": "V1"}],
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "period": {"start": NOW, "end": "2026-03-05T10:00:00+01:00"},
    "participant": [
        {
            "type": [{"coding": [{"code": "ATND"}]}],
            "individual": {"reference": "Practitioner/d"},
        }
    ],
    "location": [
        {"location": {"reference": "Location/ward"}, "status": "completed"},
        {"location": {"reference": "Location/bed"}, "status": "active"},
    ],
    "hospitalization": {
        "admitSource": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0023", "code": "1"}]}
    },
}
CHART = Chart(PATIENT, VISIT, KNOWN)


def check(type: tuple[str, str, str], segments: Sequence[Segment]) -> Message:
    """The message, after hl7apy has found nothing against it."""
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message

    head = header(ROUTE, type, "1234567890ABCDEF1234", datetime(2026, 3, 1, 9, tzinfo=UTC))
    raw = build([head, *segments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = parse_message(raw.decode(), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
        assert told.validate()
    return parse(raw)


@pytest.mark.parametrize("trigger", ["A01", "A02", "A03", "A04", "A08", "A11", "A12", "A13"])
def test_visit_messages_are_valid_and_tell_patient_and_place(trigger: str) -> None:
    structure = adt.STRUCTURES[trigger]
    told = check(("ADT", trigger, structure), adt.visit_message(CHART, NOW, NOW))
    assert told.get("PID-3.1") == "4711"
    assert told.get("PID-3.4.1") == "HOSP"
    assert told.get("PID-3[2].4.2") == "1.2.36.146.595.217.0.1"
    assert told.get("PID-5.1") == "O'Brien & Söhne|x"
    assert told.get("PID-5.5") == "Dr."
    assert told.get("PV1-2") == "I"
    assert [told.get(f"PV1-3.{n}") for n in (1, 2, 3)] == ["W1", "1", "B"]
    assert told.get("PV1-6.1") == "W1"
    assert told.get("PV1-7.2") == "Smith"
    assert told.get("PV1-19.1") == "V1"
    assert told.get("PV1-44") == "20260301090000+0100"


def test_a_patient_without_a_visit_is_told_without_one() -> None:
    told = check(("ADT", "A08", "ADT_A01"), adt.visit_message(Chart(PATIENT), NOW))
    assert told.get("PV1-2") == "N"


def test_a_bare_patient_makes_a_valid_message() -> None:
    bare = {"resourceType": "Patient", "id": "p9"}
    told = check(("ADT", "A08", "ADT_A01"), adt.visit_message(Chart(bare), NOW))
    assert told.get("PID-3.1") == "p9"


def test_merges_are_valid() -> None:
    gone = {**PATIENT, "identifier": [{**MRN, "value": "4700"}]}
    told = check(("ADT", "A40", "ADT_A39"), adt.merge_message(gone, PATIENT, NOW))
    assert (told.get("PID-3.1"), told.get("MRG-1.1")) == ("4711", "4700")


APPOINTMENT: dict[str, Any] = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "booked",
    "start": "2026-03-01T09:00:00Z",
    "end": "2026-03-01T09:20:00Z",
    "minutesDuration": 20,
    "serviceType": [{"coding": [{"system": "http://snomed.info/sct", "code": "11429006"}], "text": "Visit"}],
    "reasonCode": [{"text": "check-up"}],
    "participant": [
        {"actor": {"reference": "Patient/p1"}, "status": "accepted"},
        {"actor": {"reference": "Practitioner/d"}, "status": "accepted"},
        {"actor": {"reference": "Location/room"}, "status": "accepted"},
        {"actor": {"reference": "Device/ct", "display": "CT"}, "status": "accepted"},
    ],
}


@pytest.mark.parametrize("trigger", ["S12", "S13", "S14", "S15", "S26"])
def test_appointment_messages_are_valid(trigger: str) -> None:
    told = check(("SIU", trigger, siu.STRUCTURE), siu.message(trigger, APPOINTMENT, CHART))
    assert told.get("SCH-2.1") == "a1"
    assert told.get("TQ1-7") == "20260301090000+0000"
    assert told.get("AIP-3.2") == "Smith"
    assert told.get("AIL-3.2") == "1"
    assert told.get("AIG-3.2") == "CT"
    assert told.get("AIS-3.1") == "11429006"


def test_an_appointment_of_nobody_is_valid() -> None:
    check(("SIU", "S12", siu.STRUCTURE), siu.message("S12", {**APPOINTMENT, "participant": []}, Chart({})))


def test_charges_are_valid() -> None:
    charge = {
        "resourceType": "ChargeItem",
        "id": "c1",
        "status": "billable",
        "code": {
            "coding": [{"system": "http://www.ama-assn.org/go/cpt", "code": "71045", "display": "X-ray"}]
        },
        "quantity": {"value": Decimal("2")},
        "priceOverride": {"value": Decimal("25.00"), "currency": "EUR"},
        "occurrenceDateTime": NOW,
        "performer": [{"actor": {"reference": "Practitioner/d"}}],
        "performingOrganization": {"display": "Radiology"},
    }
    told = check(("DFT", "P03", dft.STRUCTURE), dft.message(charge, CHART, NOW))
    assert told.get("FT1-6") == "CG"
    assert told.get("FT1-10") == "2"
    assert told.get("FT1-11.1.1") == "25.00"
    assert told.get("FT1-11.1.2") == "EUR"
    told = check(("DFT", "P03", dft.STRUCTURE), dft.message({**charge, "status": "aborted"}, CHART, NOW))
    assert told.get("FT1-6") == "CD"


def test_documents_are_valid() -> None:
    document = {
        "resourceType": "DocumentReference",
        "id": "d1",
        "status": "current",
        "docStatus": "final",
        "type": {
            "coding": [{"system": "http://loinc.org", "code": "18842-5", "display": "Discharge summary"}]
        },
        "date": NOW,
        "author": [{"reference": "Practitioner/d"}],
        "content": [{"attachment": {"contentType": "application/pdf", "url": "Binary/b"}}],
    }
    told = check(
        ("MDM", "T02", mdm.STRUCTURE), mdm.message(document, CHART, NOW, [("application/pdf", "aGk=")])
    )
    assert told.get("TXA-2") == "DS"
    assert told.get("TXA-12.1") == "d1"
    assert told.get("OBX-5.5") == "aGk="


def lab(code: str, **more: Any) -> dict[str, Any]:
    name = {"coding": [{"system": "http://loinc.org", "code": code, "display": "Test"}]}
    return {"resourceType": "Observation", "status": "final", "code": name, "issued": NOW, **more}


REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "r1",
    "status": "final",
    "basedOn": [{"reference": "ServiceRequest/o1"}],
    "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "CH"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "51990-0", "display": "Panel"}]},
    "effectiveDateTime": NOW,
    "issued": NOW,
    "conclusion": "Nothing\nunusual.",
}
UCUM = "http://unitsofmeasure.org"
RESULTS = [
    lab(
        "2345-7",
        valueQuantity={"value": Decimal("5.40"), "unit": "mmol/L", "system": UCUM, "code": "mmol/L"},
        referenceRange=[{"low": {"value": Decimal("3.9")}, "high": {"value": Decimal("5.6")}}],
        interpretation=[{"coding": [{"code": "N"}]}],
        note=[{"text": "fasting"}],
        performer=[{"reference": "Practitioner/d"}],
        effectiveDateTime=NOW,
    ),
    lab("1-8", valueQuantity={"value": Decimal("0.1"), "comparator": "<", "unit": "U"}),
    lab("2-6", valueCodeableConcept={"text": "positive"}),
    lab("3-4", valueString="two\nlines"),
    lab("4-2", valueBoolean=True),
    lab("5-9", valueInteger=3),
    lab("6-7", valueDateTime=NOW),
    lab("7-5", valueRange={"low": {"value": 1}, "high": {"value": 2}}),
    lab("8-3", valueRatio={"numerator": {"value": 1}, "denominator": {"value": 128}}),
    lab("9-1", valueTime="10:00:00"),
    lab("10-9", dataAbsentReason={"text": "clotted"}, status="cancelled"),
    lab(
        "85354-9",
        status="corrected",
        component=[
            {"code": {"text": "systolic"}, "valueQuantity": {"value": 120, "unit": "mmHg"}},
            {"code": {"text": "diastolic"}, "valueQuantity": {"value": 80, "unit": "mmHg"}},
        ],
    ),
]


def test_reports_are_valid_with_every_kind_of_value() -> None:
    told = check(("ORU", "R01", oru.STRUCTURE), oru.message(REPORT, RESULTS, CHART))
    assert told.get("OBR-2.1") == "ORD1"
    assert told.get("OBR-25") == "F"
    first = told.all("OBX")[0]
    assert [first.text(n) for n in (2, 5, 7, 8, 11)] == ["NM", "5.40", "3.9-5.6", "N", "F"]
    assert first.text(6, 3) == "UCUM"
    assert told.all("OBX")[1].text(5, 1) == "<"
    assert [one.text(11) for one in told.all("OBX")][-3:-1] == ["C", "C"]
    assert told.all("OBX")[-1].text(5) == "Nothing\nunusual."


def test_a_corrected_report_says_so() -> None:
    told = check(
        ("ORU", "R01", oru.STRUCTURE), oru.message({**REPORT, "status": "corrected"}, RESULTS[:1], CHART)
    )
    assert told.get("OBR-25") == "C"


ORDER = {
    "resourceType": "ServiceRequest",
    "id": "o1",
    "status": "active",
    "priority": "stat",
    "authoredOn": NOW,
    "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}]},
    "requester": {"reference": "Practitioner/d"},
    "reasonCode": [{"text": "fever"}],
    "note": [{"text": "urgent"}],
}
SPECIMEN = {
    "resourceType": "Specimen",
    "id": "s1",
    "accessionIdentifier": {"value": "S-100"},
    "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0487", "code": "SER"}]},
    "collection": {"collectedDateTime": NOW},
    "receivedTime": NOW,
}


@pytest.mark.parametrize("control", ["NW", "CA"])
def test_orders_are_valid(control: str) -> None:
    told = check(("OML", "O21", "OML_O21"), oml.o21(ORDER, [SPECIMEN], CHART, control))
    assert told.get("ORC-1") == control
    assert told.get("ORC-2.1") == "o1"
    assert told.get("OBR-4.1") == "2345-7"
    assert told.get("TQ1-9.1") == "S"
    assert told.get("SPM-2.1.1") == "S-100"


def test_work_for_an_analyser_is_valid() -> None:
    told = check(("OML", "O33", "OML_O33"), oml.o33(SPECIMEN, [ORDER], CHART))
    assert told.get("SAC-3.1") == "S-100"


def test_several_orders_of_a_specimen_are_valid() -> None:
    """Their groups are said here: hl7apy takes the second ORC for that of a prior result."""
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.core import Group
    from hl7apy.core import Message as Told
    from hl7apy.parser import parse_segment

    segments = oml.o33(SPECIMEN, [ORDER, {**ORDER, "id": "o2"}], CHART)
    head = header(ROUTE, ("OML", "O33", "OML_O33"), "1", datetime(2026, 3, 1, 9, tzinfo=UTC))
    raw = build([head, *segments])
    strict = {"validation_level": VALIDATION_LEVEL.STRICT, "version": "2.5.1"}
    whole = Told("OML_O33", **strict)
    patient, specimen = Group("OML_O33_PATIENT", **strict), Group("OML_O33_SPECIMEN", **strict)
    within: Any = patient
    for text in raw.decode().strip("\r").split("\r"):
        one = parse_segment(text, **strict)
        match text[:3]:
            case "MSH":
                whole.msh = text
                continue
            case "PV1":
                visit = patient.add_group("OML_O33_PATIENT_VISIT")
                visit.add(one)
                continue
            case "SPM":
                within = specimen
            case "ORC":
                order = specimen.add_group("OML_O33_ORDER")
                within = order
            case "TQ1":
                order.add_group("OML_O33_TIMING").add(one)
                continue
            case "OBR":
                within = order.add_group("OML_O33_OBSERVATION_REQUEST")
        within.add(one)
    whole.add(patient)
    whole.add(specimen)
    assert whole.validate()
    assert [one.text(2) for one in parse(raw).all("ORC")] == ["o1", "o2"]


def test_no_work_for_an_analyser_is_valid() -> None:
    told = check(("OML", "O33", "OML_O33"), oml.o33(SPECIMEN, [], None))
    assert told.get("ORC-1") == "DC"
    assert told.first("OBR") is None
