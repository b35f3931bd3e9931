"""What the hospital publishes: the price list and the admission questionnaire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from fhir_server.demo.elements import IDENTIFIERS, Resource, concept, money
from fhir_server.demo.vocabulary import PRICES

BASE = "https://osler.example/fhir/"
ADMISSION = f"{BASE}Questionnaire/admission"


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
            "code": concept(f"{IDENTIFIERS}price", code, name),
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
