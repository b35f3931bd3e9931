"""The specimen of a panel: found by its numbers, made when there is none, and grown by what is told of it.

https://hl7.org/fhir/R4/specimen.html, and SPM to Specimen of the v2-to-FHIR implementation guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.draft import identified
from hl7_bridge.mapping.results.anchors import numbers_of, specimen_system
from hl7_bridge.mapping.results.events import Sampled
from hl7_bridge.mapping.results.observations import SOURCE
from hl7_bridge.mapping.results.panels import REPORTS, Panel, sender_of
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.units import read_unit
from hl7_bridge.message import NULL


async def specimen_into(panel: Panel, subject: Mapping[str, Any], around: Surroundings) -> None:
    """The specimen of a panel, made when there is none; one without a number is found again by what it belongs to."""
    if panel.specimen is not None:
        panel.specimen_reference = f"Specimen/{panel.specimen['id']}"
        _kind_into(panel.specimen, panel.report.specimens, around)
        return
    if not panel.report.specimens:
        return
    sampled = panel.report.specimens[0]
    kind = around.mapped(sampled.kind, "SPM-4", "SPM-4")
    if not numbers_of(sampled) and kind is None:
        return
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
    if numbers[0]:
        panel.specimen_reference = around.draft.create(made, identified(system, numbers[0]))
    else:
        key = {"system": REPORTS + sender_of(around), "value": f"{panel.key}/specimen"}
        made["identifier"] = [key]
        known = await around.draft.any_of("Specimen", [(key["system"], key["value"])], 1)
        if known:
            panel.specimen_reference = f"Specimen/{known[0]['id']}"
        else:
            panel.specimen_reference = around.draft.create(made, identified(key["system"], key["value"]))


def _kind_into(specimen: Resource, told: list[Sampled], around: Surroundings) -> None:
    """Put what people have mapped the type of a specimen to beside what was told of it by the same sender."""
    source = SOURCE + around.context.receipt.connection
    if (
        not told
        or "SPM-4" not in around.profile.results.asks
        or specimen.get("meta", {}).get("source") != source
    ):
        return
    kind = around.mapped(told[0].kind, "SPM-4", "SPM-4")
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
