"""A small house of resources that are searched together: what chains, lists and filters are asked of."""

from collections.abc import Iterable
from typing import Any

from fhir_server.search.entries import Entries
from fhir_server.search.extract import Extractor
from fhir_server.search.fulltext import full_texts
from fhir_server.search.match import Candidate, matches
from fhir_server.search.tree import SearchQuery
from tests.search.resources import LOINC, SCT, UCUM

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"


def reference(text: str) -> dict[str, Any]:
    return {"reference": text}


def concept(system: str, code: str, display: str = "", text: str = "") -> dict[str, Any]:
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return {"coding": [coding]} | ({"text": text} if text else {})


def told(words: str) -> dict[str, Any]:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{words}</p></div>'}


def observation(id: str, code: str, patient: str, **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": concept(LOINC, code),
        "subject": reference(f"Patient/{patient}"),
        **value,
    }


def milligrams(value: Any, unit: str = "mg") -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


HOUSE: tuple[dict[str, Any], ...] = (
    {"resourceType": "Organization", "id": "trust", "name": "Trust"},
    {"resourceType": "Organization", "id": "clinic", "name": "Clinic", "partOf": reference("Organization/trust")},
    {"resourceType": "Location", "id": "site", "name": "Site", "position": {"latitude": 59.95, "longitude": 10.75}},
    {"resourceType": "Location", "id": "ward", "name": "Ward", "partOf": reference("Location/site"),
     "position": {"latitude": 59.949, "longitude": 10.752}},
    {"resourceType": "Location", "id": "bed", "name": "Bed", "partOf": reference("Location/ward")},
    {"resourceType": "Location", "id": "abroad", "name": "Abroad", "position": {"latitude": -33.87, "longitude": 151.21}},
    {"resourceType": "Patient", "id": "peter", "active": True, "gender": "male", "birthDate": "1974-12-25",
     "name": [{"family": "Chalmers", "given": ["Peter", "James"]}], "managingOrganization": reference("Organization/clinic"),
     "identifier": [{"type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "MR"), "system": "urn:mrn", "value": "446053"}]},
    {"resourceType": "Patient", "id": "eve", "gender": "female", "birthDate": "2014-11-01",
     "name": [{"family": "Van den Berg", "given": ["Eve"]}], "managingOrganization": reference("Organization/trust"),
     "identifier": [{"type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "SS"), "system": "urn:ssn", "value": "446053"}]},
    {"resourceType": "Patient", "id": "blank"},
    {"resourceType": "Encounter", "id": "stay", "status": "in-progress", "class": {"code": "IMP"}, "subject": reference("Patient/peter"),
     "location": [{"location": reference("Location/bed")}]},
    {"resourceType": "Encounter", "id": "visit", "status": "finished", "class": {"code": "AMB"}, "subject": reference("Patient/peter"),
     "partOf": reference("Encounter/stay"), "location": [{"location": reference("Location/site")}]},
    observation("dose", "1234-5", "peter", valueQuantity=milligrams(6.2), encounter=reference("Encounter/stay"),
                effectiveDateTime="2013-01-14T10:00:00Z"),
    observation("gram", "1234-5", "eve", valueQuantity=milligrams(0.0062, "g"), encounter=reference("Encounter/visit"),
                effectivePeriod={"start": "2013-01-01", "end": "2013-01-31"}),
    observation("mixed", "9999-9", "eve", component=[
        {"code": concept(LOINC, "8480-6"), "valueQuantity": milligrams(50, "mm[Hg]")},
        {"code": concept(LOINC, "8462-4"), "valueQuantity": milligrams(120, "mm[Hg]")},
    ]),
    observation("said", "1234-5", "eve", valueString="positive"),
    {"resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": {"text": "Labs"},
     "subject": reference("Patient/peter"), "result": [reference("Observation/dose"), reference("Observation/said")]},
    {"resourceType": "AuditEvent", "id": "audit", "entity": [{"what": reference("Observation/dose")}]},
    {"resourceType": "Condition", "id": "headache", "subject": reference("Patient/peter"), "clinicalStatus": concept(CLINICAL, "active"),
     "code": concept(SCT, "25064002", "Headache (finding)", "Sore head"), "text": told("Peter has a headache")},
    {"resourceType": "Condition", "id": "liver", "subject": reference("Patient/peter"), "clinicalStatus": concept(CLINICAL, "relapse"),
     "code": {"text": "Headache, at last"}, "text": told("Metast&auml;ses &amp; more of the <b>liver</b>, bone-dry")},
    {"resourceType": "Condition", "id": "bone", "subject": reference("Patient/eve"), "clinicalStatus": concept(CLINICAL, "remission"),
     "code": concept(SCT, "93974005"), "text": told("Metastases of bone"), "note": [{"text": "Seen by Dr Liver"}]},
    {"resourceType": "List", "id": "42", "status": "current", "mode": "working", "code": concept(LOINC, "11450-4"),
     "entry": [{"item": reference("Condition/headache")}, {"deleted": True, "item": reference("Condition/liver")}]},
    {"resourceType": "List", "id": "old", "status": "retired", "mode": "working", "code": concept(LOINC, "11450-4"),
     "entry": [{"item": reference("Condition/bone")}]},
    {"resourceType": "AllergyIntolerance", "id": "penicillin", "patient": reference("Patient/peter"), "category": ["medication"]},
    {"resourceType": "AllergyIntolerance", "id": "peanuts", "patient": reference("Patient/peter"), "category": ["food"]},
    {"resourceType": "List", "id": "allergies", "status": "current", "mode": "working", "code": concept(LOINC, "48765-2"),
     "entry": [{"item": reference("AllergyIntolerance/penicillin")}, {"item": reference("AllergyIntolerance/peanuts")}]},
    {"resourceType": "Group", "id": "herd", "type": "animal", "actual": True, "characteristic": [
        {"code": concept("urn:c", "gender"), "valueCodeableConcept": concept("urn:v", "mixed"), "exclude": False},
        {"code": concept("urn:c", "owner"), "valueCodeableConcept": concept("urn:v", "Eve"), "exclude": False}]},
    {"resourceType": "DocumentReference", "id": "note", "status": "current", "content": [{"attachment": {"contentType": "text/xml; charset=UTF-8"}}],
     "relatesTo": [{"code": "appends", "target": reference("DocumentReference/first")}]},
    {"resourceType": "DocumentReference", "id": "first", "status": "current", "content": [{"attachment": {"contentType": "application/pdf"}}]},
    {"resourceType": "PlanDefinition", "id": "p10", "status": "active", "library": ["http://acme.com/some-profile|1.0"]},
    {"resourceType": "PlanDefinition", "id": "p11", "status": "active", "library": ["http://acme.com/some-profile|1.1"]},
    {"resourceType": "PlanDefinition", "id": "p20", "status": "active", "library": ["http://acme.com/some-profile|10.0"]},
    {"resourceType": "PlanDefinition", "id": "p", "status": "active", "library": ["http://acme.com/some-profile"]},
)  # fmt: skip


class House:
    """The resources as a search sees them."""

    def __init__(self, extractor: Extractor, resources: Iterable[dict[str, Any]] = HOUSE) -> None:
        self.candidates = [
            Candidate(r["resourceType"], r["id"], 0, n, extractor.extract(r), lambda r=r: full_texts(r))
            for n, r in enumerate(resources)
        ]
        self._by_key = {(c.type, c.id): c for c in self.candidates}

    def find(self, type: str, id: str) -> Candidate | None:
        return self._by_key.get((type, id))

    def referring(self, source: str, param: str, type: str, id: str) -> list[Candidate]:
        def refers(entries: Entries) -> bool:
            return any(entry[:4] == (param, type, id, "") for entry in entries.references)

        return [c for c in self.candidates if c.type == source and refers(c.entries)]

    def ids(self, query: SearchQuery) -> list[str]:
        """The ids of what a search finds, in order of creation."""
        among = [c for c in self.candidates if not query.types or c.type in query.types]
        return [c.id for c in among if matches(query.where, c, self)]
