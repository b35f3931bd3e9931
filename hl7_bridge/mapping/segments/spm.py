"""SPM and SAC: the specimen and the container that it is in.

https://hl7.org/fhir/uv/v2mappings/ (SPM and SAC to Specimen).
"""

from __future__ import annotations

from collections.abc import Mapping

from hl7_bridge.devices.conditions import picked
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.results.events import EMPTY, Sampled
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import NULL, Segment, Value

SKIPS = {
    "SPM-1": "The number of the segment says nothing of the specimen.",
    "SPM-5, SPM-9, SPM-10": "Modifiers and places of collection are kept in the raw message.",
    "SPM-11": "The role parts patients' specimens from controls, which profiles read.",
    "SPM-13, SPM-15, SPM-16": "Handling, risks and grouping are kept in the raw message.",
    "SPM-19, SPM-21..23": "Expiry, quality and rejection are kept in the raw message.",
    "SPM-25, SPM-26, SPM-28, SPM-29": "Amounts left and packaging are kept in the raw message.",
    "SAC-1, SAC-5..12": "Where a container stands in a machine is kept in the raw message.",
    "SAC-13..44": "Measures, indices and dilutions of a container are kept in the raw message.",
}


@maps("SPM-2", "SPM-4", "SPM-7", "SPM-8", "SPM-12", "SPM-17", "SPM-18", "SPM-24", "OBR-14", "OBR-15")
def sampled_of(specimen: Segment | None, at_hand: Mapping[str, Segment], profile: Profile) -> Sampled:
    """The event of a specimen: of SPM, else of what OBR says of it. The number stands where the profile says."""
    sampled = Sampled(number=picked(profile.specimen.paths, at_hand))
    if specimen is not None:
        sampled.segment = specimen
        told = (specimen.text(2, 1), specimen.text(2, 2))
        sampled.identifiers = tuple(text for one in told if (text := _clean(one)))
        sampled.kind = specimen.value(4)
        sampled.collected = (_clean(specimen.text(17, 1)), _clean(specimen.text(17, 2)))
        sampled.received = _clean(specimen.text(18))
        sampled.role = _clean(specimen.text(11))
        sampled.method, sampled.site = specimen.value(7), specimen.value(8)
        sampled.quantity = specimen.value(12)
        sampled.condition = specimen.values(24)
    request = at_hand.get("OBR")
    if request is not None:
        if sampled.kind.empty or sampled.kind.raw == NULL:
            sampled.kind = _source(request.value(15))
        sampled.received = sampled.received or _clean(request.text(14))
        if specimen is None and sampled.number:
            sampled.collected = (_clean(request.text(7)), _clean(request.text(8)))
    if not sampled.number and not profile.specimen.paths and sampled.identifiers:
        # a filler's number is the laboratory's own; labels carry the placer's
        sampled.number = sampled.identifiers[0]
    return sampled


@maps("SAC-2", "SAC-3", "SAC-4")
def container_into(sampled: Sampled, container: Segment) -> None:
    """What SAC adds to a specimen."""
    sampled.accession = container.value(2)
    number = _clean(container.text(3)) or _clean(container.text(4))
    if number:
        sampled.container = container.value(3) if _clean(container.text(3)) else container.value(4)
        if not sampled.number:
            sampled.number = number


def _source(value: Value) -> Value:
    """OBR-15 is CM before 2.5: the kind of specimen is its first component, which may hold codes as subcomponents."""
    raw = value.raw_component(1)
    if not raw or raw == NULL:
        return EMPTY
    marks = value.delimiters
    return Value(raw.replace(marks.subcomponent, marks.component), marks)


def _clean(text: str) -> str:
    text = text.strip()
    return "" if text == NULL else text
