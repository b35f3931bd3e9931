"""Records of made-up patients, the same ones for the same seed, in the sizes and shapes that hospital systems send.

A patient comes as a transaction Bundle: the Patient and about 40 resources around the stays (Encounter, Condition,
Observation, Procedure, MedicationRequest, DiagnosticReport, Immunization, AllergyIntolerance, Claim,
ExplanationOfBenefit), each with a `urn:uuid:` fullUrl by which the others refer to it. Numbers are written as Decimal, with their digits.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from fhir_r4.jsonio import encode

Resource = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
HL7 = "http://terminology.hl7.org/CodeSystem"
RECORD_NUMBERS = "http://north-hospital.example/record-numbers"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"

FAMILIES = [
    "Ahlberg",
    "Bauer",
    "Castellano",
    "Dimitrov",
    "Eriksen",
    "Ferreira",
    "Grabowski",
    "Haddad",
    "Ivanova",
    "Jankowski",
    "Keller",
    "Lindqvist",
    "Moreau",
    "Novak",
    "Okafor",
    "Petrov",
    "Quintero",
    "Rossi",
    "Svoboda",
    "Takahashi",
    "Urbina",
    "Varga",
    "Weiss",
    "Xu",
    "Yilmaz",
    "Zielinski",
]
WOMEN = [
    "Agnes",
    "Beatriz",
    "Clara",
    "Dana",
    "Elena",
    "Fatima",
    "Greta",
    "Hana",
    "Ines",
    "Julia",
    "Katarzyna",
    "Lucia",
    "Mina",
    "Nora",
    "Olga",
    "Paula",
    "Rosa",
]
MEN = [
    "Adam",
    "Bruno",
    "Carlos",
    "David",
    "Emil",
    "Felix",
    "Georg",
    "Hassan",
    "Ivan",
    "Jonas",
    "Karel",
    "Leo",
    "Marco",
    "Nils",
    "Otto",
    "Pavel",
    "Rafael",
]
CITIES = (
    ("Springfield", "MA", "01103"),
    ("Worcester", "MA", "01608"),
    ("Lowell", "MA", "01852"),
    ("Salem", "MA", "01970"),
)
CONDITIONS = (
    ("38341003", "Hypertensive disorder"),
    ("44054006", "Diabetes mellitus type 2"),
    ("195967001", "Asthma"),
    ("55822004", "Hyperlipidemia"),
    ("233604007", "Pneumonia"),
    ("22298006", "Myocardial infarction"),
    ("84114007", "Heart failure"),
    ("13645005", "Chronic obstructive lung disease"),
)
# Code, display, unit, low, high, decimal places
VITALS = (
    ("8867-4", "Heart rate", "/min", 52, 118, 0),
    ("9279-1", "Respiratory rate", "/min", 11, 24, 0),
    ("8310-5", "Body temperature", "Cel", 36, 39, 1),
    ("29463-7", "Body weight", "kg", 45, 120, 1),
    ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%", 89, 100, 0),
)
LABS = (
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 8, 17, 1),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 1, 4, 2),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 62, 240, 0),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 130, 149, 0),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 3, 6, 2),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 5, 12, 1),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 120, 310, 0),
)
DRUGS = (
    ("314076", "lisinopril 10 MG Oral Tablet"),
    ("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    ("617314", "atorvastatin 20 MG Oral Tablet"),
    ("308136", "amlodipine 2.5 MG Oral Tablet"),
    ("313782", "acetaminophen 325 MG Oral Tablet"),
    ("245314", "albuterol 0.83 MG/ML Inhalation Solution"),
)
PROCEDURES = (
    ("710824005", "Assessment of health and social care needs"),
    ("430193006", "Medication reconciliation"),
    ("399208008", "Plain chest X-ray"),
    ("29303009", "Electrocardiographic procedure"),
)
STAYS = 3
OBSERVATIONS_OF_STAY = 7


def concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def category(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": f"{HL7}/{system}", "code": code, "display": display}]}


class Maker:
    """Makes the record of one patient. `number` decides everything that differs between patients."""

    def __init__(self, number: int, seed: int = 4) -> None:
        self._number = number
        self._random = random.Random(f"{seed}/{number}")
        self._entries: list[Resource] = []
        self._start = datetime(2021, 1, 4, 8, 30) + timedelta(days=self._random.randrange(1200))

    def bundle(self) -> Resource:
        """The whole record as a transaction Bundle."""
        subject = self._add(self.patient())
        for stay in range(STAYS):
            self._stay(subject, self._start + timedelta(days=60 * stay))
        self._add(self._immunization(subject))
        self._add(self._allergy(subject))
        return {"resourceType": "Bundle", "type": "transaction", "entry": self._entries}

    def _add(self, resource: Resource) -> str:
        """Put the resource into the Bundle; the address by which others in it refer to it."""
        full_url = f"urn:uuid:{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        type = resource["resourceType"]
        self._entries.append(
            {"fullUrl": full_url, "resource": resource, "request": {"method": "POST", "url": type}}
        )
        return full_url

    def _pick(self, among: Any) -> Any:
        return among[self._random.randrange(len(among))]

    def _time(self, moment: datetime, minutes: int = 0) -> str:
        return (moment + timedelta(minutes=minutes)).isoformat(timespec="seconds") + "-05:00"

    def patient(self) -> Resource:
        """A Patient of about 2.4 kB, with narrative and extensions."""
        woman = self._random.random() < 0.5
        family, given, middle = (
            self._pick(FAMILIES),
            self._pick(WOMEN if woman else MEN),
            self._pick(WOMEN if woman else MEN),
        )
        born = date(1935, 1, 1) + timedelta(days=self._random.randrange(30_000))
        city, state, zip_code = self._pick(CITIES)
        number = f"{self._number:08d}"
        street = f"{self._random.randrange(1, 990)} {self._pick(FAMILIES)} Street Apt {self._random.randrange(1, 40)}"
        return {
            "resourceType": "Patient",
            "meta": {"profile": [f"{US_CORE}/us-core-patient"]},
            "text": {
                "status": "generated",
                "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>'
                f"{given} {family}, born {born}, record {number}</p></div>",
            },
            "extension": [
                self._us_core("race", "2106-3", "White"),
                self._us_core("ethnicity", "2186-5", "Not Hispanic or Latino"),
                {"url": f"{US_CORE}/us-core-birthsex", "valueCode": "F" if woman else "M"},
                {
                    "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
                    "valueAddress": {"city": city, "state": state, "country": "US"},
                },
            ],
            "identifier": [
                {
                    "use": "usual",
                    "type": concept(f"{HL7}/v2-0203", "MR", "Medical Record Number"),
                    "system": RECORD_NUMBERS,
                    "value": number,
                },
                {
                    "type": concept(f"{HL7}/v2-0203", "SS", "Social Security Number"),
                    "system": "http://hl7.org/fhir/sid/us-ssn",
                    "value": f"999-{self._number % 90 + 10}-{self._number % 9000 + 1000}",
                },
            ],
            "active": True,
            "name": [
                {
                    "use": "official",
                    "family": family,
                    "given": [given, middle],
                    "prefix": ["Ms." if woman else "Mr."],
                }
            ],
            "telecom": [
                {
                    "system": "phone",
                    "value": f"555-{self._number % 900 + 100}-{self._number % 9000 + 1000}",
                    "use": "home",
                }
            ],
            "gender": "female" if woman else "male",
            "birthDate": born.isoformat(),
            "address": [
                {
                    "extension": [
                        {
                            "url": "http://hl7.org/fhir/StructureDefinition/geolocation",
                            "extension": [
                                {
                                    "url": "latitude",
                                    "valueDecimal": Decimal(f"42.{self._random.randrange(10**9):09d}"),
                                },
                                {
                                    "url": "longitude",
                                    "valueDecimal": Decimal(f"-71.{self._random.randrange(10**9):09d}"),
                                },
                            ],
                        }
                    ],
                    "line": [street],
                    "city": city,
                    "state": state,
                    "postalCode": zip_code,
                    "country": "US",
                }
            ],
            "maritalStatus": concept(f"{HL7}/v3-MaritalStatus", "M", "Married"),
            "multipleBirthBoolean": False,
            "communication": [
                {
                    "language": concept("urn:ietf:bcp:47", "en-US", "English (United States)"),
                    "preferred": True,
                }
            ],
        }

    def _us_core(self, name: str, code: str, display: str) -> Resource:
        coding = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": code, "display": display}
        return {
            "url": f"{US_CORE}/us-core-{name}",
            "extension": [
                {"url": "ombCategory", "valueCoding": coding},
                {"url": "text", "valueString": display},
            ],
        }

    def _stay(self, subject: str, begin: datetime) -> None:
        encounter = self._add(self._encounter(subject, begin))
        about = {"subject": {"reference": subject}, "encounter": {"reference": encounter}}
        condition = self._add(self._condition(about, begin))
        vitals = [self._add(self.observation(about, begin, VITALS, "vital-signs", n)) for n in range(3)]
        del vitals
        results = [
            self._add(self.observation(about, begin, LABS, "laboratory", n))
            for n in range(OBSERVATIONS_OF_STAY - 3)
        ]
        self._add(self._report(about, begin, results))
        self._add(self._procedure(about, begin))
        order = self._add(self._order(about, begin, condition))
        claim = self._add(self._claim(subject, begin, encounter, condition, order))
        self._add(self._benefit(subject, begin, claim))

    def _encounter(self, subject: str, begin: datetime) -> Resource:
        return {
            "resourceType": "Encounter",
            "identifier": [
                {
                    "use": "official",
                    "system": "http://north-hospital.example/visits",
                    "value": f"{self._number}-{begin:%Y%m%d}",
                }
            ],
            "status": "finished",
            "class": {"system": f"{HL7}/v3-ActCode", "code": "AMB"},
            "type": [concept(SNOMED, "185349003", "Encounter for check up (procedure)")],
            "subject": {"reference": subject, "display": f"Patient {self._number:08d}"},
            "participant": [
                {
                    "type": [concept(f"{HL7}/v3-ParticipationType", "PPRF", "primary performer")],
                    "period": {"start": self._time(begin), "end": self._time(begin, 45)},
                    "individual": {"display": f"Dr. {self._pick(FAMILIES)}"},
                }
            ],
            "period": {"start": self._time(begin), "end": self._time(begin, 45)},
            "reasonCode": [concept(SNOMED, *self._pick(CONDITIONS))],
            "location": [{"location": {"display": "North Hospital, outpatient clinic"}}],
            "serviceProvider": {"display": "North Hospital"},
        }

    def _condition(self, about: Resource, begin: datetime) -> Resource:
        return {
            "resourceType": "Condition",
            "clinicalStatus": category("condition-clinical", "active", "Active"),
            "verificationStatus": category("condition-ver-status", "confirmed", "Confirmed"),
            "category": [category("condition-category", "encounter-diagnosis", "Encounter Diagnosis")],
            "code": concept(SNOMED, *self._pick(CONDITIONS)),
            **about,
            "onsetDateTime": self._time(begin),
            "recordedDate": self._time(begin),
        }

    def observation(
        self,
        about: Resource,
        begin: datetime,
        among: tuple[tuple[str, str, str, int, int, int], ...],
        kind: str,
        minute: int,
    ) -> Resource:
        """A measured value of about 1 kB."""
        code, display, unit, low, high, places = self._pick(among)
        scale = 10**places
        amount = Decimal(self._random.randrange(low * scale, high * scale)).scaleb(-places)
        quantity = {"unit": unit, "system": UCUM, "code": unit}
        return {
            "resourceType": "Observation",
            "status": "final",
            "category": [category("observation-category", kind, kind.replace("-", " ").title())],
            "code": concept(LOINC, code, display),
            **about,
            "effectiveDateTime": self._time(begin, minute),
            "issued": self._time(begin, minute).replace("-05:00", ".438-05:00"),
            "valueQuantity": {"value": amount, **quantity},
            "referenceRange": [
                {"low": {"value": Decimal(low), **quantity}, "high": {"value": Decimal(high), **quantity}}
            ],
        }

    def _report(self, about: Resource, begin: datetime, results: list[str]) -> Resource:
        return {
            "resourceType": "DiagnosticReport",
            "status": "final",
            "category": [category("v2-0074", "LAB", "Laboratory")],
            "code": concept(LOINC, "51990-0", "Basic metabolic panel - Blood"),
            **about,
            "effectiveDateTime": self._time(begin),
            "issued": self._time(begin, 90),
            "performer": [{"display": "North Hospital laboratory"}],
            "result": [{"reference": reference, "display": "result"} for reference in results],
        }

    def _procedure(self, about: Resource, begin: datetime) -> Resource:
        return {
            "resourceType": "Procedure",
            "status": "completed",
            "code": concept(SNOMED, *self._pick(PROCEDURES)),
            **about,
            "performedPeriod": {"start": self._time(begin), "end": self._time(begin, 15)},
        }

    def _order(self, about: Resource, begin: datetime, condition: str) -> Resource:
        return {
            "resourceType": "MedicationRequest",
            "status": "active",
            "intent": "order",
            "medicationCodeableConcept": concept(RXNORM, *self._pick(DRUGS)),
            **about,
            "authoredOn": self._time(begin),
            "requester": {"display": f"Dr. {self._pick(FAMILIES)}"},
            "reasonReference": [{"reference": condition}],
            "dosageInstruction": [
                {
                    "sequence": 1,
                    "timing": {"repeat": {"frequency": 1, "period": Decimal("1.0"), "periodUnit": "d"}},
                    "asNeededBoolean": False,
                    "doseAndRate": [
                        {
                            "type": category("dose-rate-type", "ordered", "Ordered"),
                            "doseQuantity": {"value": Decimal("1.0")},
                        }
                    ],
                }
            ],
        }

    def _price(self) -> Resource:
        return {"value": Decimal(self._random.randrange(2_000, 90_000)).scaleb(-2), "currency": "USD"}

    def _claim(self, subject: str, begin: datetime, encounter: str, condition: str, order: str) -> Resource:
        return {
            "resourceType": "Claim",
            "status": "active",
            "type": category("claim-type", "institutional", "Institutional"),
            "use": "claim",
            "patient": {"reference": subject},
            "billablePeriod": {"start": self._time(begin), "end": self._time(begin, 45)},
            "created": self._time(begin, 45),
            "provider": {"display": "North Hospital"},
            "priority": category("processpriority", "normal", "Normal"),
            "prescription": {"reference": order},
            "diagnosis": [{"sequence": 1, "diagnosisReference": {"reference": condition}}],
            "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "Sample Mutual"}}],
            "item": [
                {
                    "sequence": 1,
                    "productOrService": concept(SNOMED, "185349003", "Encounter for check up (procedure)"),
                    "encounter": [{"reference": encounter}],
                },
                {
                    "sequence": 2,
                    "diagnosisSequence": [1],
                    "productOrService": concept(SNOMED, *self._pick(CONDITIONS)),
                    "net": self._price(),
                },
            ],
            "total": self._price(),
        }

    def _benefit(self, subject: str, begin: datetime, claim: str) -> Resource:
        adjudications = [
            {"category": category("adjudication", code, code.title()), "amount": self._price()}
            for code in ("submitted", "copay", "eligible", "deductible", "benefit")
        ]
        return {
            "resourceType": "ExplanationOfBenefit",
            "status": "active",
            "type": category("claim-type", "institutional", "Institutional"),
            "use": "claim",
            "patient": {"reference": subject},
            "billablePeriod": {"start": self._time(begin, 45), "end": self._time(begin, 525_645)},
            "created": self._time(begin, 45),
            "insurer": {"display": "Sample Mutual"},
            "provider": {"display": "North Hospital"},
            "claim": {"reference": claim},
            "outcome": "complete",
            "insurance": [{"focal": True, "coverage": {"display": "Sample Mutual"}}],
            "item": [
                {
                    "sequence": 1,
                    "category": category("ex-benefitcategory", "1", "Medical Care"),
                    "productOrService": concept(SNOMED, "185349003", "Encounter for check up (procedure)"),
                    "servicedPeriod": {"start": self._time(begin), "end": self._time(begin, 45)},
                    "adjudication": adjudications,
                }
            ],
            "total": [
                {
                    "category": category("adjudication", "submitted", "Submitted Amount"),
                    "amount": self._price(),
                }
            ],
            "payment": {"amount": self._price()},
        }

    def _immunization(self, subject: str) -> Resource:
        return {
            "resourceType": "Immunization",
            "status": "completed",
            "vaccineCode": concept(
                "http://hl7.org/fhir/sid/cvx", "140", "Influenza, seasonal, injectable, preservative free"
            ),
            "patient": {"reference": subject},
            "occurrenceDateTime": self._time(self._start),
            "primarySource": True,
        }

    def _allergy(self, subject: str) -> Resource:
        return {
            "resourceType": "AllergyIntolerance",
            "clinicalStatus": category("allergyintolerance-clinical", "active", "Active"),
            "verificationStatus": category("allergyintolerance-verification", "confirmed", "Confirmed"),
            "type": "allergy",
            "category": ["medication"],
            "criticality": "low",
            "code": concept(SNOMED, "91936005", "Allergy to penicillin"),
            "patient": {"reference": subject},
            "recordedDate": self._time(self._start),
        }


def patients(count: int) -> Iterator[Resource]:
    """`count` Patients alone."""
    return (Maker(number).patient() for number in range(count))


def bundles(count: int, first: int = 0) -> Iterator[Resource]:
    """The records of `count` patients, each a transaction Bundle."""
    return (Maker(number).bundle() for number in range(first, first + count))


def observations(count: int, subjects: int) -> Iterator[Resource]:
    """`count` Observations of the patients `Patient/p0` to `Patient/p<subjects - 1>`."""
    for number in range(count):
        maker = Maker(number, seed=5)
        about = {"subject": {"reference": f"Patient/p{number % subjects}"}}
        yield maker.observation(
            about, datetime(2024, 2, 1, 7) + timedelta(minutes=number), LABS, "laboratory", 0
        )


def with_id(resource: Resource, id: str) -> Resource:
    return {"resourceType": resource["resourceType"], "id": id, **resource}


def as_bytes(resource: Resource) -> bytes:
    return encode(resource)
