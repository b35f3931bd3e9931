"""What can be charged for: the resources that say that something was done, and what they say of it. Pure.

An invariant to keep: only what was done is charged, not what is planned or was a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.context import Resource


@dataclass(frozen=True, slots=True)
class Chargeable:
    """A type of event. `states` are those in which it was done; the others name its elements.

    `found_by` is the search parameter by which the events of an Encounter are found, '' when they are found by the patient;
    `service` whether ChargeItem.service may refer to it.
    """

    states: frozenset[str]
    codes: tuple[str, ...]
    encounter: str = "encounter"
    patient: str = "subject"
    when: tuple[str, ...] = ()
    quantity: tuple[str, ...] = ()
    found_by: str = "encounter"
    service: bool = True


EVENTS: Mapping[str, Chargeable] = {
    "DiagnosticReport": Chargeable(
        frozenset({"final", "amended", "corrected", "appended"}),
        ("code",),
        when=("effectiveDateTime", "effectivePeriod", "issued"),
    ),
    "Encounter": Chargeable(
        frozenset({"finished"}),
        ("type", "serviceType", "class"),
        encounter="",
        when=("period",),
        service=False,
    ),
    "ImagingStudy": Chargeable(frozenset({"available"}), ("procedureCode",), when=("started",)),
    "Immunization": Chargeable(
        frozenset({"completed"}),
        ("vaccineCode",),
        patient="patient",
        when=("occurrenceDateTime",),
        found_by="",
    ),
    "MedicationAdministration": Chargeable(
        frozenset({"completed"}),
        ("medicationCodeableConcept", "medicationReference"),
        encounter="context",
        when=("effectiveDateTime", "effectivePeriod"),
        found_by="context",
    ),
    "MedicationDispense": Chargeable(
        frozenset({"completed"}),
        ("medicationCodeableConcept", "medicationReference"),
        encounter="context",
        when=("whenHandedOver", "whenPrepared"),
        quantity=("quantity",),
        found_by="context",
    ),
    "Observation": Chargeable(
        frozenset({"final", "amended", "corrected"}),
        ("code",),
        when=("effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued"),
    ),
    "Procedure": Chargeable(
        frozenset({"completed"}), ("code",), when=("performedDateTime", "performedPeriod")
    ),
    "SupplyDelivery": Chargeable(
        frozenset({"completed"}),
        ("suppliedItem.itemCodeableConcept", "suppliedItem.itemReference"),
        encounter="",
        patient="patient",
        when=("occurrenceDateTime", "occurrencePeriod"),
        quantity=("suppliedItem", "quantity"),
        found_by="",
    ),
}
# what an Encounter charges for besides itself
BED_DAY = {"coding": [{"system": "https://osler.health/fhir/CodeSystem/charge-event", "code": "bed-day"}]}


def was_done(event: Resource) -> bool:
    """Whether it is an event that can be charged."""
    kind = EVENTS.get(event["resourceType"])
    return kind is not None and event.get("status") in kind.states


def concepts_of(event: Resource) -> Iterator[Resource]:
    """The CodeableConcepts that say what was done; Codings as concepts."""
    for path in EVENTS[event["resourceType"]].codes:
        value = _at(event, path.split("."))
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and "reference" not in one:
                yield {"coding": [one]} if path == "class" else one


def item_of(event: Resource) -> Any:
    """The Reference to the Medication or Device that was used, when the event says it so."""
    for path in EVENTS[event["resourceType"]].codes:
        value = _at(event, path.split("."))
        if isinstance(value, dict) and "reference" in value:
            return value
    return None


def encounter_of(event: Resource) -> Any:
    """The Reference to the Encounter; None when the event names none."""
    if event["resourceType"] == "Encounter":
        return {"reference": f"Encounter/{event['id']}"}
    name = EVENTS[event["resourceType"]].encounter
    return event.get(name) if name else None


def subject_of(event: Resource) -> Any:
    return event.get(EVENTS[event["resourceType"]].patient)


def time_of(event: Resource) -> str | None:
    """When it was done: the beginning of a period."""
    for name in EVENTS[event["resourceType"]].when:
        value = event.get(name)
        if isinstance(value, dict):
            value = value.get("start")
        if isinstance(value, str):
            return value
    return None


def quantity_in(event: Resource) -> Resource | None:
    """How much was given out."""
    path = EVENTS[event["resourceType"]].quantity
    value = _at(event, path) if path else None
    return value if isinstance(value, dict) and "value" in value else None


def _at(resource: Resource, path: Sequence[str]) -> Any:
    value: Any = resource
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
