"""Resources that the tests of search stand on: every data type that is indexed is in one of them."""

from decimal import Decimal
from typing import Any

SCT = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {
        "profile": ["http://osler.test/StructureDefinition/inpatient|1.0"],
        "source": "urn:feed:adt",
        "tag": [{"system": "http://osler.test/tags", "code": "vip"}],
        "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}],
    },
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/patient-extensions-Patient-mothersMaidenName",
            "valueString": "Müller",
        }
    ],
    "active": False,
    "identifier": [
        {
            "system": "http://osler.test/mrn",
            "value": "007",
            "type": {"coding": [{"system": "urn:v2-0203", "code": "MR"}], "text": "Medical record number"},
        },
        {"value": "loose"},
    ],
    "name": [
        {"use": "official", "family": "Åström", "given": ["Eve  Marie", None, "Ölga"], "prefix": ["Dr."]},
        {"text": "Evy"},
    ],
    "telecom": [
        {"system": "phone", "value": "+47 1", "use": "mobile"},
        {"system": "email", "value": "eve@osler.test"},
        {"system": "fax", "value": "99"},
    ],
    "gender": "female",
    "birthDate": "1980-02",
    "deceasedBoolean": False,
    "address": [
        {"use": "home", "line": ["Main St 1"], "city": "Łódź", "postalCode": "90-001", "country": "PL"}
    ],
    "generalPractitioner": [
        {"reference": "Practitioner/d1"},
        {"reference": "http://other.test/fhir/Practitioner/d2/_history/4"},
        {"identifier": {"system": "http://osler.test/npi", "value": "n7"}},
    ],
    "managingOrganization": {"reference": "#org"},
    "contained": [{"resourceType": "Organization", "id": "org", "name": "Inside"}],
    "link": [{"other": {"reference": "http://osler.test/fhir/Patient/p0"}, "type": "seealso"}],
}

PRESSURE: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "category": [{"text": "vital signs"}],
    "code": {"coding": [{"system": LOINC, "code": "85354-9"}, {"code": "BP"}], "text": "Blood pressure"},
    "subject": {"reference": "Patient/p1"},
    "effectivePeriod": {"start": "2026-01-31T09:30:00+01:00"},
    "performer": [{"reference": "Practitioner/d1"}, {"display": "somebody"}],
    "component": [
        {
            "code": {"coding": [{"system": LOINC, "code": "8480-6", "display": "Systolic"}]},
            "valueQuantity": {"value": Decimal("120"), "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"},
        },
        {
            "code": {"coding": [{"system": LOINC, "code": "8462-4"}]},
            "valueQuantity": {"value": Decimal("80.0"), "comparator": "<", "unit": "mmHg"},
        },
    ],
}

TRACE: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o2",
    "status": "amended",
    "code": {"coding": [{"system": LOINC, "code": "131328"}]},
    "subject": {"reference": "Device/x", "type": "Device"},
    "effectiveTiming": {
        "event": ["2026-02-03", "2026-02-01T00:00:00Z"],
        "repeat": {"boundsPeriod": {"start": "2026-01-15", "end": "2026-02-02"}},
    },
    "valueSampledData": {
        "origin": {"value": Decimal("2"), "unit": "mV", "system": UCUM, "code": "mV"},
        "period": Decimal("10"),
        "factor": Decimal("0.5"),
        "dimensions": 1,
        "data": "2 -4 E 8 U",
    },
}

RISK: dict[str, Any] = {
    "resourceType": "RiskAssessment",
    "id": "r1",
    "status": "final",
    "subject": {"reference": "Group/g1"},
    "occurrenceDateTime": "2026",
    "prediction": [
        {"probabilityDecimal": Decimal("0.25")},
        {"probabilityRange": {"low": {"value": Decimal("0.5")}}},
    ],
}

INVOICE: dict[str, Any] = {
    "resourceType": "Invoice",
    "id": "i1",
    "status": "issued",
    "totalGross": {"value": Decimal("99.90"), "currency": "NOK"},
}

VALUE_SET: dict[str, Any] = {
    "resourceType": "ValueSet",
    "id": "v1",
    "url": "http://osler.test/ValueSet/wards",
    "status": "draft",
    "description": "All  Wards",
    "useContext": [
        {
            "code": {"system": "http://terminology.hl7.org/CodeSystem/usage-context-type", "code": "age"},
            "valueRange": {"low": {"value": Decimal("18"), "unit": "a", "system": UCUM, "code": "a"}},
        }
    ],
}

PLAN: dict[str, Any] = {
    "resourceType": "PlanDefinition",
    "id": "pl1",
    "status": "active",
    "version": "1.A",
    "relatedArtifact": [
        {"type": "depends-on", "resource": "http://osler.test/ValueSet/wards|2.0"},
        {"type": "successor", "resource": "http://osler.test/plans/next"},
    ],
    "library": ["http://osler.test/logic/l1"],
}

DOCUMENT: dict[str, Any] = {
    "resourceType": "Bundle",
    "id": "b1",
    "type": "document",
    "timestamp": "2026-01-31T09:30:00.123Z",
    "entry": [
        {"resource": {"resourceType": "Composition", "id": "c1"}},
        {"resource": {"resourceType": "Patient", "id": "c2"}},
    ],
}

ANSWERS: dict[str, Any] = {
    "resourceType": "QuestionnaireResponse",
    "id": "q1",
    "status": "completed",
    "item": [
        {
            "linkId": "1",
            "extension": [
                {
                    "url": "http://hl7.org/fhir/StructureDefinition/questionnaireresponse-isSubject",
                    "valueBoolean": True,
                }
            ],
            "answer": [{"valueReference": {"reference": "Patient/p1"}}, {"valueString": "no"}],
        },
        {"linkId": "2", "answer": [{"valueReference": {"reference": "Patient/p2"}}]},
    ],
}

APPOINTMENT: dict[str, Any] = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "booked",
    "start": "2026-03-01T08:00:00Z",
    "participant": [
        {"actor": {"reference": "Patient/p1"}, "status": "accepted"},
        {"actor": {"reference": "http://osler.test/fhir/Location/l1"}, "status": "accepted"},
        {"actor": {"reference": "urn:uuid:1", "type": "Practitioner"}, "status": "needs-action"},
    ],
}

SEQUENCE: dict[str, Any] = {
    "resourceType": "MolecularSequence",
    "id": "ms1",
    "coordinateSystem": 1,
    "referenceSeq": {
        "chromosome": {"coding": [{"system": "urn:chr", "code": "1"}]},
        "windowStart": 1,
        "windowEnd": 101,
    },
    "variant": [{"start": 128273725, "end": 128273726}, {"start": 5, "end": 6}, {"start": 7}],
}

WARD: dict[str, Any] = {
    "resourceType": "Location",
    "id": "ward",
    "status": "active",
    "position": {"longitude": Decimal("10.75"), "latitude": Decimal("59.95")},
    "partOf": {"reference": "Location/house"},
}

PROBLEMS: dict[str, Any] = {
    "resourceType": "List",
    "id": "l1",
    "status": "current",
    "mode": "working",
    "code": {"coding": [{"system": LOINC, "code": "11450-4"}]},
    "entry": [
        {"item": {"reference": "Condition/c1"}},
        {"deleted": True, "item": {"reference": "Condition/c2"}},
    ],
}

ALL = (
    SEQUENCE,
    WARD,
    PROBLEMS,
    PATIENT,
    PRESSURE,
    TRACE,
    RISK,
    INVOICE,
    VALUE_SET,
    PLAN,
    DOCUMENT,
    ANSWERS,
    APPOINTMENT,
)
