"""The pharmacy: products and lots on the shelf; what is prescribed, dispensed and taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from fhir_server.demo.elements import (
    ATC,
    SNOMED,
    TERMINOLOGY,
    Resource,
    concept,
    instant,
    later,
    number,
    quantity,
    reference,
)
from fhir_server.demo.record import Record
from fhir_server.demo.vocabulary import DRUGS, Drug

FORMS = {
    "tablet": ("385055001", "Tablet"),
    "capsule": ("385049006", "Capsule"),
    "puff": ("420641004", "Solution for inhalation"),
    "vial": ("385219001", "Solution for injection"),
    "syringe": ("385219001", "Solution for injection"),
    "ampoule": ("385219001", "Solution for injection"),
}


def _counted(amount: str | int, drug: Drug) -> Resource:
    return quantity(amount, drug.form, f"{{{drug.form}}}")


def medications(anchor: date) -> Iterator[Resource]:
    """Each product, and two lots of each that are good beyond `anchor`."""
    for position, (key, drug) in enumerate(DRUGS.items(), 1):
        product: Resource = {
            "resourceType": "Medication",
            "id": f"medication-{key}",
            "code": {**concept(ATC, drug.atc, drug.name), "text": f"{drug.name} {drug.strength}"},
            "status": "active",
            "form": concept(SNOMED, *FORMS[drug.form]),
        }
        yield product
        for lot in (1, 2):
            expires = anchor + timedelta(days=60 + 17 * position + 200 * lot)
            batch = {
                "lotNumber": f"{key[:3].upper()}{position:02d}{lot}",
                "expirationDate": expires.isoformat(),
            }
            yield {**product, "id": f"lot-{key}-{lot}", "batch": batch}


def prescribe(
    record: Record,
    encounter: Resource,
    when: datetime,
    key: str,
    *,
    inpatient: bool,
    reason: Resource | None = None,
) -> Resource:
    """A MedicationRequest, active while the encounter or the treatment goes on."""
    drug = DRUGS[key]
    over = later(when, days=drug.pack // drug.per_day)
    if inpatient:
        finished = encounter["status"] == "finished"
    else:
        finished = over < record.now
    return record.add(
        "MedicationRequest",
        "rx",
        status="completed" if finished else "stopped" if record.dead else "active",
        intent="order",
        category=[concept("medicationrequest-category", "inpatient" if inpatient else "outpatient")],
        medicationReference=reference(f"Medication/medication-{key}", f"{drug.name} {drug.strength}"),
        subject=record.subject,
        encounter=reference(encounter),
        authoredOn=instant(when),
        requester=encounter["participant"][0]["individual"],
        reasonReference=[reference(reason)] if reason is not None else None,
        dosageInstruction=[_dosage(drug)],
        dispenseRequest=None
        if inpatient
        else {
            "validityPeriod": {"start": instant(when), "end": instant(later(when, days=180))},
            "numberOfRepeatsAllowed": 2,
            "quantity": _counted(drug.pack, drug),
            "expectedSupplyDuration": quantity(drug.pack // drug.per_day, "days", "d"),
        },
    )


def _dosage(drug: Drug) -> Resource:
    return {
        "text": f"{drug.dose} {drug.form} {drug.per_day} times a day",
        "timing": {"repeat": {"frequency": drug.per_day, "period": 1, "periodUnit": "d"}},
        "route": concept(SNOMED, *drug.route),
        "doseAndRate": [
            {
                "type": concept(f"{TERMINOLOGY}dose-rate-type", "ordered", "Ordered"),
                "doseQuantity": {**_counted(1, drug), "value": number(drug.dose)},
            }
        ],
    }


def dispense(record: Record, request: Resource, when: datetime, key: str) -> None:
    """Hand out what `request` asks for, once, from a lot of the shelf."""
    drug = DRUGS[key]
    lot = record.chance.randint(1, 2)
    record.add(
        "MedicationDispense",
        "disp",
        status="completed",
        medicationReference=reference(f"Medication/lot-{key}-{lot}", f"{drug.name} {drug.strength}"),
        subject=record.subject,
        context=request["encounter"],
        performer=[{"actor": reference("Organization/org-pharmacy", "Pharmacy")}],
        location=reference("Location/pharmacy"),
        authorizingPrescription=[reference(request)],
        quantity=_counted(drug.pack, drug),
        daysSupply=quantity(drug.pack // drug.per_day, "days", "d"),
        whenPrepared=instant(when),
        whenHandedOver=instant(later(when, minutes=record.chance.randint(5, 60))),
        dosageInstruction=[_dosage(drug)],
    )


def add_statement(record: Record, key: str, since: date) -> None:
    """What the patient says to take."""
    drug = DRUGS[key]
    record.add(
        "MedicationStatement",
        "stmt",
        status="active",
        medicationCodeableConcept={
            **concept(ATC, drug.atc, drug.name),
            "text": f"{drug.name} {drug.strength}",
        },
        subject=record.subject,
        effectivePeriod={"start": since.isoformat()[:7]},
        dateAsserted=since.isoformat(),
        informationSource=record.subject,
        dosage=[{"text": f"{drug.dose} {drug.form} when needed"}],
    )
