"""What the hospital publishes: the price list and the admission questionnaire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from fhir_server.demo.elements import CVX, IDENTIFIERS, LOINC, SNOMED, Resource, coding, concept, money
from fhir_server.demo.vocabulary import PANELS, PRICES, PROCEDURES, VACCINES

BASE = "https://osler.example/fhir/"
ADMISSION = f"{BASE}Questionnaire/admission"
# A value may have the code of its panel: what is charged is the report.
REPORTS_ALONE = {
    "description": "The report is charged, not each of its values",
    "language": "text/fhirpath",
    "expression": "service.all(reference.startsWith('DiagnosticReport/'))",
}


def price_list(anchor: date) -> Iterator[Resource]:
    """A ChargeItemDefinition for each price, in euros and valid for the year of `anchor` and the one before."""
    for key, code, name, amount in PRICES:
        yield {
            "resourceType": "ChargeItemDefinition",
            "id": f"price-{key}",
            "url": f"{BASE}ChargeItemDefinition/price-{key}",
            "version": "1",
            "title": name,
            "status": "active",
            "date": f"{anchor.year - 1}-01-01",
            "publisher": "Osler University Hospital",
            "effectivePeriod": {"start": f"{anchor.year - 1}-01-01", "end": f"{anchor.year}-12-31"},
            "code": {
                "coding": [coding(f"{IDENTIFIERS}price", code, name), *_charged_for(key)],
                "text": name,
            },
            **({"applicability": [REPORTS_ALONE]} if key in PANELS else {}),
            "propertyGroup": [
                {
                    "priceComponent": [
                        {
                            "type": "base",
                            "code": concept(f"{IDENTIFIERS}price", code, name),
                            "amount": money(amount),
                        }
                    ]
                }
            ],
        }


def _charged_for(price: str) -> Iterator[Resource]:
    """The codings of what a price is charged for when it is done."""
    if price in PROCEDURES:
        yield coding(SNOMED, *PROCEDURES[price][:2])
    if price in PANELS:
        yield coding(LOINC, *PANELS[price][:2])
    if price == "vaccination":
        for code, name, _ in VACCINES:
            yield coding(CVX, code, name)
    if price == "visit-return":
        yield coding("v3-ActCode", "AMB", "ambulatory")
    if price == "visit-emergency":
        yield coding("v3-ActCode", "EMER", "emergency")
    if price == "bed-day-ward":
        yield coding("https://osler.health/fhir/CodeSystem/charge-event", "bed-day", "Day in a bed")


QUESTIONS = (
    ("allergies", "Do you have any allergies?", "boolean"),
    ("alone", "Do you live alone?", "boolean"),
    ("falls", "How many times did you fall in the last year?", "integer"),
    ("contact", "Whom may we call?", "string"),
)


def questionnaire(anchor: date) -> Resource:
    """The questions that are asked when somebody is admitted."""
    return {
        "resourceType": "Questionnaire",
        "id": "questionnaire-admission",
        "url": ADMISSION,
        "version": "1",
        "name": "Admission",
        "title": "Questions on admission",
        "status": "active",
        "subjectType": ["Patient"],
        "date": f"{anchor.year - 1}-01-01",
        "publisher": "Osler University Hospital",
        "item": [
            {"linkId": link, "text": text, "type": kind, "required": link != "contact"}
            for link, text, kind in QUESTIONS
        ],
    }
