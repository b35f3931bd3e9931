"""A panel or order with its results as a DiagnosticReport, which later messages add to.

https://hl7.org/fhir/R4/diagnosticreport.html, and OBR to DiagnosticReport of the v2-to-FHIR implementation guide. An invariant to keep: a
report loses no result; its status never falls to a lower rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.identifiers import entity, typed
from hl7_bridge.mapping.datatypes.people import person
from hl7_bridge.mapping.results.events import Reported
from hl7_bridge.mapping.results.observations import SOURCE, STATUS
from hl7_bridge.mapping.results.ranks import decide_report
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.results import REPORT_STATUS
from hl7_bridge.message import NULL, Segment, Value

SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
CATEGORY = [{"coding": [{"system": SECTION, "code": "LAB", "display": "Laboratory"}]}]
# What later messages add to rather than replace.
_GROWING = ("result", "presentedForm", "media", "specimen", "basedOn")
_PLAIN_STATUSES = frozenset("APCFX") | {""}


def report_status(told: str, statuses: Iterable[str], default: str) -> str:
    """The status by OBR-25, else what the statuses of the results amount to."""
    if told in REPORT_STATUS:
        return REPORT_STATUS[told]
    found = set(statuses)
    if not found:
        return default
    if found <= {"entered-in-error"}:
        return "entered-in-error"
    if found <= {"cancelled", "entered-in-error"}:
        return "cancelled"
    if found & {"registered", "unknown"}:
        return "partial" if found - {"registered", "unknown"} else "registered"
    if "preliminary" in found:
        return "preliminary"
    return "corrected" if found & {"corrected", "amended"} else "final"


@maps("OBR-4", "OBR-7", "OBR-8", "OBR-22", "OBR-24", "OBR-25", "OBR-32", "OBR-33", "OBR-34")
def report_of(report: Reported, status: str, around: Surroundings, subject: Mapping[str, Any]) -> Resource:
    """The DiagnosticReport that an event tells of, without its results."""
    context = around.context
    if report.status and report.status not in REPORT_STATUS:
        around.draft.problem("unreadable-value", "OBR-25 is not in table 0123.", "OBR-25", report.status)
    made: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": {"source": SOURCE + context.receipt.connection},
        "identifier": [*numbers(report.placer, report.filler, around), *others(report, around)],
        "status": status,
        "category": _section(report.section),
        "code": around.mapped(report.service, "OBR-4", "OBR-4") or {"text": "Laboratory report"},
        "subject": subject,
    }
    if report.status not in _PLAIN_STATUSES:
        made["extension"] = [{"url": STATUS, "valueCode": report.status}]
    start, end = (around.time(text) if text else None for text in report.collected)
    if start is not None and end is not None and end != start:
        made["effectivePeriod"] = {"start": start, "end": end}
    elif start is not None or end is not None:
        made["effectiveDateTime"] = start or end
    made["issued"] = around.instant(report.reported)
    if report.interpreters:
        people = [one for value in report.interpreters if (one := _interpreter(value, around)) is not None]
        if people:
            made["resultsInterpreter"] = people
    if report.technicians:
        people = [one for value in report.technicians if (one := _interpreter(value, around)) is not None]
        if people:
            made["performer"] = people
    if report.notes:
        made["conclusion"] = "\n".join(report.notes)
    return made


def merged(old: Resource | None, new: Resource, grown: Mapping[str, Sequence[Any]]) -> Resource | None:
    """The report with what has been added; None when nothing is different."""
    if old is None:
        return {**new, **{name: [*members] for name, members in grown.items() if members}}
    parts = {name: members for name, members in grown.items() if members}
    base = {**old, **new, "id": old["id"], "meta": {**old.get("meta", {}), **new["meta"]}}
    if decide_report(old, new) == "keep":
        base = dict(old)
    else:
        base["identifier"] = _union(old.get("identifier", []), new["identifier"])
    for name in _GROWING:
        known = _union(old.get(name, []), parts.get(name, []))
        if known:
            base[name] = known
    return None if base == old else base


def numbers(placer: Value, filler: Value, around: Surroundings) -> list[dict[str, Any]]:
    """The placer's and the filler's numbers as identifiers."""
    found = []
    for value, kind in ((placer, "PLAC"), (filler, "FILL")):
        made = entity(value, around.context)
        if made is not None:
            found.append(typed(made, kind))
    return found


@maps("ORC-2", "ORC-3", "ORC-4")
def others(report: Reported, around: Surroundings) -> list[dict[str, Any]]:
    """The numbers of ORC that are not those of OBR, and those of the group that the order is in."""
    if report.order is None:
        return []
    return [*beside(report, around), *group_numbers(report.order, around)]


def beside(report: Reported, around: Surroundings) -> list[dict[str, Any]]:
    """The numbers of ORC that are not those of OBR."""
    if report.beside == (report.placer, report.filler):
        return []
    known = numbers(report.placer, report.filler, around)
    return [one for one in numbers(*report.beside, around) if one not in known]


def group_numbers(order: Segment, around: Surroundings) -> list[dict[str, Any]]:
    """ORC-4: EI, or EIP with the number that the filler gave the group."""
    group = order.value(4)
    marks = group.delimiters
    if marks.subcomponent not in group.raw:
        made = entity(group, around.context)
        return [] if made is None else [typed(made, "PGN")]
    found = []
    for component, kind in ((1, "PGN"), (2, "FGN")):
        raw = group.raw_component(component).replace(marks.subcomponent, marks.component)
        made = entity(Value(raw, marks), around.context) if raw else None
        if made is not None:
            found.append(typed(made, kind))
    return found


def _union(old: Iterable[Any], new: Iterable[Any]) -> list[Any]:
    found = [*old]
    found += [one for one in new if one not in found]
    return found


def _section(code: str) -> list[dict[str, Any]]:
    if code in ("", NULL, "LAB"):
        return CATEGORY
    return [{"coding": [{"system": SECTION, "code": code}]}]


def _interpreter(value: Value, around: Surroundings) -> dict[str, Any] | None:
    """NDL: number, family and given name are subcomponents of the first component."""
    raw = value.raw_component(1)
    marks = value.delimiters
    if marks.subcomponent in raw:
        return person(Value(raw.replace(marks.subcomponent, marks.component), marks), around.context)
    return person(value, around.context)
