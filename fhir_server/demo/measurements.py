"""Vital signs and laboratory results: order, specimen, values and report."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from fhir_server.demo.elements import (
    LOINC,
    SNOMED,
    Resource,
    concept,
    identifier,
    instant,
    later,
    quantity,
    reference,
)
from fhir_server.demo.record import Record
from fhir_server.demo.vocabulary import PANELS, Analyte

VITAL_SIGNS = ("observation-category", "vital-signs", "Vital signs")
LABORATORY = ("observation-category", "laboratory", "Laboratory")
INTERPRETATIONS = {"N": "Normal", "H": "High", "L": "Low"}
BREATHS = "/min"


def _vital(
    record: Record, encounter: Resource, when: datetime, code: tuple[str, str], **value: object
) -> None:
    record.add(
        "Observation",
        "obs",
        status="final",
        category=[concept(*VITAL_SIGNS)],
        code=concept(LOINC, *code),
        subject=record.subject,
        encounter=reference(encounter),
        effectiveDateTime=instant(when),
        performer=[encounter["participant"][0]["individual"]],
        **value,
    )


def add_vital_signs(
    record: Record, encounter: Resource, when: datetime, *, ill: bool, body_size: bool = False
) -> None:
    """Blood pressure, heart rate and, for the ill, breathing, oxygen and temperature; weight and height on request."""
    chance = record.chance
    child = record.person.age(when.date()) < 12
    systolic = chance.randint(86, 110) if child else chance.randint(104, 158)
    diastolic = systolic - chance.randint(34, 60)
    pressure = [
        {"code": concept(LOINC, code, name), "valueQuantity": quantity(value, "mmHg", "mm[Hg]")}
        for code, name, value in (
            ("8480-6", "Systolic blood pressure", systolic),
            ("8462-4", "Diastolic blood pressure", diastolic),
        )
    ]
    _vital(record, encounter, when, ("85354-9", "Blood pressure"), component=pressure)
    rate = chance.randint(80, 130) if child else chance.randint(56, 118 if ill else 92)
    _vital(
        record, encounter, when, ("8867-4", "Heart rate"), valueQuantity=quantity(rate, "beats/min", "/min")
    )
    if ill:
        breaths = chance.randint(20, 34) if child else chance.randint(12, 24)
        oxygen = chance.randint(91, 99)
        temperature = f"{chance.randint(362, 394) / 10:.1f}"
        _vital(
            record,
            encounter,
            when,
            ("9279-1", "Breathing rate"),
            valueQuantity=quantity(breaths, "breaths/min", BREATHS),
        )
        _vital(record, encounter, when, ("2708-6", "Oxygen saturation"), valueQuantity=quantity(oxygen, "%"))
        _vital(
            record,
            encounter,
            when,
            ("8310-5", "Body temperature"),
            valueQuantity=quantity(temperature, "°C", "Cel"),
        )
    if body_size:
        weight = f"{record.person.weight + chance.randint(-20, 20) / 10:.1f}"
        _vital(record, encounter, when, ("29463-7", "Body weight"), valueQuantity=quantity(weight, "kg"))
        _vital(
            record,
            encounter,
            when,
            ("8302-2", "Body height"),
            valueQuantity=quantity(record.person.height, "cm"),
        )


def order(
    record: Record,
    encounter: Resource,
    when: datetime,
    code: Resource,
    category: tuple[str, str],
    prefix: str = "ord",
) -> Resource:
    """A ServiceRequest of the one who leads the encounter; completed unless changed."""
    return record.add(
        "ServiceRequest",
        prefix,
        status="completed",
        intent="order",
        category=[concept(SNOMED, *category)],
        priority="routine",
        code=code,
        subject=record.subject,
        encounter=reference(encounter),
        authoredOn=instant(when),
        requester=encounter["participant"][0]["individual"],
    )


def add_panel(record: Record, encounter: Resource, when: datetime, panel: str) -> None:
    """Order and results of a panel of PANELS; while the results are not due yet, an order with its specimen."""
    code, name, analytes = PANELS[panel]
    request = order(
        record, encounter, when, concept(LOINC, code, name), ("108252007", "Laboratory procedure")
    )
    taken = later(when, minutes=record.chance.randint(5, 40))
    issued = later(taken, minutes=record.chance.randint(40, 150))
    done = issued <= record.now
    request["status"] = "completed" if done else "active"
    if taken > record.now:
        return
    specimen = record.add(
        "Specimen",
        "spec",
        accessionIdentifier=identifier(
            "accession", f"L{record.person.number:04d}{len(record.resources):04d}"
        ),
        status="available",
        type=concept(SNOMED, "122555007", "Venous blood"),
        subject=record.subject,
        request=[reference(request)],
        collection={"collectedDateTime": instant(taken)},
    )
    if not done:
        return
    results = [_result(record, encounter, request, specimen, taken, issued, a) for a in analytes]
    record.add(
        "DiagnosticReport",
        "rep",
        basedOn=[reference(request)],
        status="final",
        category=[concept("v2-0074", "LAB", "Laboratory")],
        code=concept(LOINC, code, name),
        subject=record.subject,
        encounter=reference(encounter),
        effectiveDateTime=instant(taken),
        issued=instant(issued),
        performer=[reference("Organization/org-laboratory", "Laboratory")],
        specimen=[reference(specimen)],
        result=[reference(r) for r in results],
    )


def _result(
    record: Record,
    encounter: Resource,
    request: Resource,
    specimen: Resource,
    taken: datetime,
    issued: datetime,
    analyte: Analyte,
) -> Resource:
    value = _value(record, analyte)
    low, high = Decimal(analyte.low), Decimal(analyte.high)
    flag = "L" if value < low else "H" if value > high else "N"
    return record.add(
        "Observation",
        "obs",
        basedOn=[reference(request)],
        status="final",
        category=[concept(*LABORATORY)],
        code=concept(LOINC, analyte.loinc, analyte.name),
        subject=record.subject,
        encounter=reference(encounter),
        effectiveDateTime=instant(taken),
        issued=instant(issued),
        performer=[reference("Organization/org-laboratory", "Laboratory")],
        valueQuantity=quantity(str(value), analyte.unit),
        interpretation=[concept("v3-ObservationInterpretation", flag, INTERPRETATIONS[flag])],
        specimen=reference(specimen),
        referenceRange=[
            {"low": quantity(analyte.low, analyte.unit), "high": quantity(analyte.high, analyte.unit)}
        ],
    )


def _value(record: Record, analyte: Analyte) -> Decimal:
    """Mostly inside the reference range, in tenths of its width; with all digits that the analyte has."""
    low, high = Decimal(analyte.low), Decimal(analyte.high)
    step = record.chance.randint(1, 9) if record.happens(0.78) else record.chance.choice((-2, -1, 12, 14, 17))
    value = low + (high - low) * Decimal(step) / 10
    return max(value, low / 2).quantize(Decimal(1).scaleb(-analyte.digits))
