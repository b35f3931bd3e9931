"""ORU^R01: results, with corrections. HL7 v2.5.1 chapter 7. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.fields import code_of, cwe, ei, nm, told_identifiers, ts
from hl7_bridge.building.people import pid, pv1
from hl7_bridge.mapping.tables.coding_systems import UCUM
from hl7_bridge.serializer import Field, One, Segment

Resource = Mapping[str, Any]

STRUCTURE = "ORU_R01"
# status of a report -> OBR-25
_REPORTS = {
    "amended": "C",
    "appended": "F",
    "cancelled": "X",
    "corrected": "C",
    "entered-in-error": "X",
    "final": "F",
    "partial": "A",
    "preliminary": "P",
}
# status of an Observation -> OBX-11
_RESULTS = {
    "amended": "C",
    "cancelled": "X",
    "corrected": "C",
    "entered-in-error": "W",
    "final": "F",
    "preliminary": "P",
    "registered": "I",
}


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """R01 when a report tells something new."""
    if now.get("status") not in _REPORTS:
        return None
    if was is not None and all(
        was.get(name) == now.get(name) for name in ("status", "result", "conclusion", "issued")
    ):
        return None
    return "R01"


def message(report: Resource, observations: Sequence[Resource], chart: Chart) -> Sequence[Segment]:
    """The segments after the header: the report, and its results in order."""
    segments = [pid(chart.patient)]
    if chart.encounter is not None:
        segments.append(pv1(chart))
    segments += [_orc(report, chart), _obr(report, chart)]
    number = 0
    for one in observations:
        for part, sub in _parts(one):
            number += 1
            segments.append(_obx(number, sub, part, one, chart))
            segments += [_nte(n, note) for n, note in enumerate(one.get("note", []), 1) if not sub]
    if report.get("conclusion"):
        segments.append(_conclusion(number + 1, report))
    return segments


def _parts(observation: Resource) -> list[tuple[Resource, str]]:
    """The Observation, and its components with their numbers."""
    components = [(one, str(n)) for n, one in enumerate(observation.get("component", []), 1)]
    has_value = any(name.startswith("value") for name in observation) or "dataAbsentReason" in observation
    return [(observation, ""), *components] if has_value or not components else components


def _orders(report: Resource, chart: Chart) -> tuple[One, One]:
    """Placer and filler numbers: of the order, and of the report."""
    placer: One = None
    for reference in report.get("basedOn", []):
        order = chart.at(reference) or {}
        numbers = told_identifiers(order) or ([reference["identifier"]] if "identifier" in reference else [])
        if numbers and numbers[0].get("value"):
            placer = ei(numbers[0])
            break
        if order.get("id"):
            placer = (str(order["id"]), "OSLER")
            break
    numbers = told_identifiers(report)
    return placer, ei(numbers[0]) if numbers else (str(report.get("id")), "OSLER")


def _orc(report: Resource, chart: Chart) -> Segment:
    placer, filler = _orders(report, chart)
    return Segment("ORC", {1: "RE", 2: placer, 3: filler})


def _obr(report: Resource, chart: Chart) -> Segment:
    placer, filler = _orders(report, chart)
    effective = report.get("effectivePeriod", {})
    orders = [chart.at(one) or {} for one in report.get("basedOn", [])]
    requesters = [one["requester"] for one in orders if "requester" in one]
    sections = [code for one in report.get("category", []) if (code := code_of(one, SECTIONS)) is not None]
    return Segment(
        "OBR",
        {
            1: "1",
            2: placer,
            3: filler,
            4: cwe(report.get("code")),
            7: ts(report.get("effectiveDateTime") or effective.get("start")),
            8: ts(effective.get("end")),
            16: chart.people(requesters),
            22: ts(report.get("issued")),
            24: sections[0] if sections else None,
            25: _REPORTS[report["status"]],
        },
    )


SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"


def _obx(number: int, sub: str, part: Resource, observation: Resource, chart: Chart) -> Segment:
    kind, value, unit = _value(part)
    interpretations = [code for one in part.get("interpretation", []) if (code := code_of(one)) is not None]
    effective = observation.get("effectiveDateTime") or observation.get("effectivePeriod", {}).get("start")
    return Segment(
        "OBX",
        {
            1: str(number),
            2: kind,
            3: cwe(part.get("code")),
            4: sub or None,
            5: value,
            6: unit,
            7: _range(part),
            8: list(interpretations),
            11: _RESULTS.get(observation.get("status", ""), "F"),
            14: ts(effective),
            16: chart.people([one for one in observation.get("performer", []) if "Practitioner" in str(one)]),
            19: ts(observation.get("issued")),
        },
    )


def _value(part: Resource) -> tuple[str | None, Field, One]:
    """OBX-2, OBX-5 and OBX-6."""
    if "valueQuantity" in part:
        quantity = part["valueQuantity"]
        unit = _unit(quantity)
        comparator = quantity.get("comparator")
        if quantity.get("value") is None:
            return "ST", quantity.get("unit"), None
        return (
            ("SN", (comparator, nm(quantity["value"])), unit)
            if comparator
            else (
                "NM",
                nm(quantity["value"]),
                unit,
            )
        )
    if "valueCodeableConcept" in part:
        return "CE", cwe(part["valueCodeableConcept"]), None
    if "valueString" in part:
        return ("TX" if "\n" in part["valueString"] else "ST"), part["valueString"], None
    if "valueInteger" in part:
        return "NM", str(part["valueInteger"]), None
    if "valueBoolean" in part:
        return "ST", "true" if part["valueBoolean"] else "false", None
    if "valueDateTime" in part:
        return "TS", ts(part["valueDateTime"]), None
    if "valueTime" in part:
        return "TM", part["valueTime"].replace(":", ""), None
    if "valueRange" in part:
        low, high = (part["valueRange"].get(name, {}) for name in ("low", "high"))
        return "SN", (None, nm(low.get("value")), "-", nm(high.get("value"))), _unit(low or high)
    if "valueRatio" in part:
        parts = [part["valueRatio"].get(name, {}).get("value") for name in ("numerator", "denominator")]
        return "SN", (None, nm(parts[0]), ":", nm(parts[1])), None
    absent = part.get("dataAbsentReason")
    words = None if absent is None else absent.get("text") or code_of(absent)
    return ("ST", words, None) if words else (None, None, None)


def _unit(quantity: Resource) -> One:
    unit, code = quantity.get("unit"), quantity.get("code")
    if code and quantity.get("system") == UCUM:
        return (code, unit or code, "UCUM")
    return (unit or code, None, "L") if unit or code else None


def _range(part: Resource) -> str | None:
    """The reference range as it is written: `low-high`, `<high`, `>low`."""
    for one in part.get("referenceRange", []):
        low, high = nm(one.get("low", {}).get("value")), nm(one.get("high", {}).get("value"))
        if low and high:
            return f"{low}-{high}"
        if low or high:
            return f">={low}" if low else f"<={high}"
        if one.get("text"):
            return str(one["text"])
    return None


def _nte(number: int, note: Resource) -> Segment:
    return Segment("NTE", {1: str(number), 3: [note.get("text")]})


def _conclusion(number: int, report: Resource) -> Segment:
    code = ("55752-0", "Clinical information", "LN")
    return Segment(
        "OBX", {1: str(number), 2: "TX", 3: code, 5: report["conclusion"], 11: _REPORTS[report["status"]]}
    )
