"""Examples of the OpenAPI document: small resources that the server takes as they are; a test proves it."""

from __future__ import annotations

from typing import Any

_PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:oid:1.2.36.146.595.217.0.1", "value": "12345"}],
    "name": [{"family": "Osler", "given": ["William"]}],
    "gender": "male",
    "birthDate": "1849-07-12",
}

_OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
    "subject": {"reference": "Patient/pat-0001"},
    "effectiveDateTime": "2026-01-31T09:30:00Z",
    "valueQuantity": {
        "value": 72,
        "unit": "beats/minute",
        "system": "http://unitsofmeasure.org",
        "code": "/min",
    },
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Patient": _PATIENT,
    "Observation": _OBSERVATION,
    "Encounter": {
        "resourceType": "Encounter",
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/pat-0001"},
        "period": {"start": "2026-01-31T09:00:00Z"},
    },
    "Appointment": {
        "resourceType": "Appointment",
        "status": "booked",
        "start": "2026-02-02T10:00:00Z",
        "end": "2026-02-02T10:20:00Z",
        "participant": [{"actor": {"reference": "Patient/pat-0001"}, "status": "accepted"}],
    },
    "Condition": {
        "resourceType": "Condition",
        "clinicalStatus": {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
            ]
        },
        "code": {"text": "Fever"},
        "subject": {"reference": "Patient/pat-0001"},
    },
    "Bundle": {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:5ba0b9f6-0c9c-4c8c-9f2c-2d3e0b6a1c11",
                "resource": _PATIENT,
                "request": {"method": "POST", "url": "Patient"},
            },
            {
                "resource": {
                    **_OBSERVATION,
                    "subject": {"reference": "urn:uuid:5ba0b9f6-0c9c-4c8c-9f2c-2d3e0b6a1c11"},
                },
                "request": {"method": "POST", "url": "Observation"},
            },
        ],
    },
    "Parameters": {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": _PATIENT}]},
}
