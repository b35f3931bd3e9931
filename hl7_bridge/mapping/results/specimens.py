"""The specimen of a panel: found by its numbers, made when there is none, and grown by what is told of it.

https://hl7.org/fhir/R4/specimen.html, and SPM to Specimen of the v2-to-FHIR implementation guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.identifiers import SHIPMENT, entity, identifier, typed
from hl7_bridge.mapping.draft import identified
from hl7_bridge.mapping.results.anchors import numbers_of, specimen_system
from hl7_bridge.mapping.results.events import Sampled
from hl7_bridge.mapping.results.observations import SOURCE
from hl7_bridge.mapping.results.panels import REPORTS, Panel, sender_of
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.units import read_unit
from hl7_bridge.message import NULL, Segment, Value


async def specimen_into(panel: Panel, subject: Mapping[str, Any], around: Surroundings) -> None:
    """The specimens of a panel, made when there are none; one without a number is found again by what it belongs to."""
    for n, sampled in enumerate(panel.report.specimens):
        known = panel.found[n] if n < len(panel.found) else None
        if known is not None:
            reference = f"Specimen/{known['id']}"
            _kind_into(known, sampled, around)
        else:
            mark = "specimen" if n == 0 else f"specimen~{n + 1}"
            made = _specimen_of(sampled, subject, around)
            reference = "" if made is None else await _create(made, f"{panel.key}/{mark}", around)
        if reference and reference not in panel.specimen_references:
            panel.specimen_references.append(reference)


def _specimen_of(sampled: Sampled, subject: Mapping[str, Any], around: Surroundings) -> Resource | None:
    """The Specimen that is told of; None when it has neither a number nor a type."""
    kind = around.mapped(sampled.kind, "SPM-4", "SPM-4")
    if not numbers_of(sampled) and kind is None:
        return None
    made: Resource = {
        "resourceType": "Specimen",
        "meta": {"source": SOURCE + around.context.receipt.connection},
    }
    system = specimen_system(around.context)
    numbers = [sampled.number or (sampled.identifiers[0] if sampled.identifiers else "")]
    numbers += [number for number in sampled.identifiers if number not in numbers]
    if numbers[0]:
        made["identifier"] = [{"system": system, "value": number} for number in numbers]
    if kind is not None:
        made["type"] = kind
    made["subject"] = subject
    _collection_into(made, sampled, around)
    if sampled.segment is not None:
        _rest_into(made, sampled.segment, around)
    accession = entity(sampled.accession, around.context)
    if accession is not None:
        made.setdefault("accessionIdentifier", accession)
    return made


async def _create(made: Resource, keyed: str, around: Surroundings) -> str:
    """Make a Specimen; without a number of its own `keyed` is its number."""
    if made.get("identifier"):
        first = made["identifier"][0]
        return around.draft.create(made, identified(first["system"], first["value"]))
    key = {"system": REPORTS + sender_of(around), "value": keyed}
    made["identifier"] = [key]
    known = await around.draft.any_of("Specimen", [(key["system"], key["value"])], 1)
    if known:
        return f"Specimen/{known[0]['id']}"
    return around.draft.create(made, identified(key["system"], key["value"]))


def _kind_into(specimen: Resource, told: Sampled, around: Surroundings) -> None:
    """Put what people have mapped the type of a specimen to beside what was told of it by the same sender."""
    source = SOURCE + around.context.receipt.connection
    if "SPM-4" not in around.profile.results.asks or specimen.get("meta", {}).get("source") != source:
        return
    kind = around.mapped(told.kind, "SPM-4", "SPM-4")
    known = specimen.get("type", {}).get("coding", [])
    if kind is None or kind == specimen.get("type"):
        return
    if known and all(one in kind.get("coding", []) for one in known):
        around.draft.update({**specimen, "type": kind})


def _collection_into(made: Resource, sampled: Sampled, around: Surroundings) -> None:
    received = around.time(sampled.received) if sampled.received else None
    if received is not None:
        made["receivedTime"] = received
    start, end = (around.time(text) if text else None for text in sampled.collected)
    collection: dict[str, Any] = {}
    if start is not None and end is not None and start != end:
        collection["collectedPeriod"] = {"start": start, "end": end}
    elif start is not None or end is not None:
        collection["collectedDateTime"] = start or end
    for name, value in (("method", sampled.method), ("bodySite", sampled.site)):
        concept = around.concept(value)
        if concept is not None:
            collection[name] = concept
    number = around.reader.number(sampled.quantity.text(1)) if sampled.quantity.raw else None
    if number is not None:
        unit = read_unit(
            sampled.quantity.text(2, 1), sampled.quantity.text(2, 2), sampled.quantity.text(2, 3)
        )
        collection["quantity"] = {"value": number, **unit.members()}
    if collection:
        made["collection"] = collection
    container = sampled.container.text(1).strip()
    if container not in ("", NULL):
        made["container"] = [
            {"identifier": [{"system": specimen_system(around.context), "value": container}]}
        ]
    conditions = [one for value in sampled.condition if (one := around.concept(value)) is not None]
    if conditions:
        made["condition"] = conditions


@maps("SPM-3", "SPM-6", "SPM-14", "SPM-20", "SPM-27", "SPM-30", "SPM-31", "SPM-32")
def _rest_into(made: Resource, told: Segment, around: Surroundings) -> None:
    """What SPM says besides: parents, container, other numbers, whether it is there, and what it is described as."""
    context = around.context
    parents = [one for value in told.values(3) if (one := _parent(value, around)) is not None]
    if parents:
        made["parent"] = [{"type": "Specimen", "identifier": one} for one in parents]
    additive = next((one for value in told.values(6) if (one := around.concept(value)) is not None), None)
    kind = around.concept(told.value(27))
    container = made.get("container", [{}])[0]
    if kind is not None:
        container = {**container, "type": kind}
    if additive is not None:
        container = {**container, "additiveCodeableConcept": additive}
    if container:
        made["container"] = [container]
    notes = [text for value in told.values(14) if (text := value.whole().strip()) not in ("", NULL)]
    if notes:
        made["note"] = [{"text": text} for text in notes]
    status = {"Y": "available", "N": "unavailable"}.get(told.text(20).strip().upper())
    if status is not None:
        made["status"] = status
    accession = next(
        (one for value in told.values(30) if (one := identifier(value, context)) is not None), None
    )
    if accession is not None:
        made["accessionIdentifier"] = accession
    others = [identifier(value, context) for value in told.values(31)]
    shipment = entity(told.value(32), context)
    others.append(None if shipment is None else typed(shipment, SHIPMENT))
    known = made.get("identifier", [])
    if known:
        # without a number of its own a specimen is not known by others
        made["identifier"] = [*known, *(one for one in others if one is not None and one not in known)]


def _parent(value: Value, around: Surroundings) -> dict[str, Any] | None:
    """EIP: the placer's number of the parent, else the filler's."""
    for component in (1, 2):
        raw = value.raw_component(component)
        if raw not in ("", NULL):
            marks = value.delimiters
            return entity(Value(raw.replace(marks.subcomponent, marks.component), marks), around.context)
    return None
