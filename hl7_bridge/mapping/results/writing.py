"""The results of one patient into the records: Observations, their report, their specimen, and what they set going.

An invariant to keep: the key of a result is made of its source and its numbers, never of its text, so the same result is found
again whatever it says now; and in whatever order tellings of it arrive, the records end up the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.identifiers import identifier
from hl7_bridge.mapping.draft import Draft, Held, Problem, identified
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results.anchors import Anchors, find_anchors, find_subject
from hl7_bridge.mapping.results.closing import close_order, is_finished
from hl7_bridge.mapping.results.events import Observed, Reported, Results
from hl7_bridge.mapping.results.observations import key_code
from hl7_bridge.mapping.results.panels import REPORTS, Panel, report_key, sender_of
from hl7_bridge.mapping.results.placing import (
    by_service,
    codes_of,
    known_results,
    make_results,
    order_of,
    placed,
    surroundings_of,
)
from hl7_bridge.mapping.results.reports import merged, report_of, report_status
from hl7_bridge.mapping.results.specimens import specimen_into
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.message import NULL, Value

_TEXTS = frozenset({"TX", "FT", "ST"})


async def write_results(event: Results, draft: Draft, context: Context) -> None:
    """Bring what an event tells into the draft. Raises Held when a person must help first."""
    anchors = await find_anchors(event, draft, context)
    reference = await find_subject(event, anchors, draft, context)
    subject = {"reference": reference}
    around = await surroundings_of(event, draft, context)
    encounter = await find_encounter(event, draft, context)
    panels = [_panel(report, event, anchors, context) for report in event.reports]
    used: dict[str, int] = {}
    for panel in panels:
        await specimen_into(panel, subject, around)
        make_results(panel, subject, encounter, used, around)
    panels = _one_for_each_report(panels)
    if context.profile.results.unmapped == "hold":
        _hold_unmapped(panels, draft)
    known = await known_results(panels, around)
    reports = await _reports_known(panels, around)
    for panel in panels:
        await _write(panel, known, reports.get(report_key(panel)), subject, encounter, around)


async def find_encounter(event: Results, draft: Draft, context: Context) -> dict[str, str] | None:
    """The visit of PV1-19, if the records have it."""
    visit = None if event.subject.visit.empty else identifier(event.subject.visit, context)
    if visit is None:
        return None
    found = await draft.any_of("Encounter", [(visit["system"], visit["value"])], 2)
    return {"reference": f"Encounter/{found[0]['id']}"} if len(found) == 1 else None


def _panel(report: Reported, event: Results, anchors: Anchors, context: Context) -> Panel:
    found = [anchors.specimen(sampled) for sampled in report.specimens]
    specimen = next((one for one in found if one is not None), None)
    report.results = _joined(report.results)
    orders = anchors.orders_of(report, specimen)
    return Panel(report, _key(report, event, context), specimen, orders, found)


def _key(report: Reported, event: Results, context: Context) -> str:
    """What the results of a report belong to: a number of its own, in the order of the profile."""
    for name in context.profile.results.key:
        if name == "specimen":
            number = report.specimens[0].number if report.specimens else ""
        else:
            number = _number(report.filler if name == "filler" else report.placer)
        if number:
            return number
    # without any number: the patient, what was measured and when
    first = event.subject.identifiers[0].text(1) if event.subject.identifiers else ""
    time = report.collected[0] or next((one.observed for one in report.results if one.observed), "")
    if first and time:
        return f"{first} {time}"
    return context.receipt.id


def _number(value: Value) -> str:
    """A number with its namespace, by which orders of two placers differ."""
    number = value.text(1).strip()
    return "" if number in ("", NULL) else number


def _joined(results: list[Observed]) -> list[Observed]:
    """Results without those that say nothing beside one that does; lines of one text are one result."""
    if len({(key_code(one), one.sub) for one in results}) == len(results):
        return results
    told = {(key_code(one), one.sub) for one in results if one.values}
    kept: list[Observed] = []
    for one in results:
        key = (key_code(one), one.sub)
        if not one.values and not one.notes and key in told:
            continue
        before = kept[-1] if kept else None
        if (
            before is not None
            and one.kind in _TEXTS
            and before.kind == one.kind
            and (key_code(before), before.sub, before.status) == (*key, one.status)
            and not one.unit.raw
            and not one.flags
        ):
            before.values = (*before.values, *one.values)
            before.notes = [*before.notes, *one.notes]
            continue
        kept.append(one)
    return kept


def _one_for_each_report(panels: list[Panel]) -> list[Panel]:
    """Panels that are one report (devices that name no panel) are told as one."""
    if len(panels) == 1:
        return panels
    found: dict[str, Panel] = {}
    for panel in panels:
        first = found.setdefault(report_key(panel), panel)
        if first is panel:
            continue
        first.made += panel.made
        first.report.notes += panel.report.notes
        first.orders += [order for order in panel.orders if order not in first.orders]
        if first.report.status != panel.report.status:
            first.report.status = ""
    return list(found.values())


def _hold_unmapped(panels: list[Panel], draft: Draft) -> None:
    if any(made.unmapped for panel in panels for _, made in panel.made):
        first = next(
            problem
            for problem in draft.problems
            if problem.reason == "unmapped-code" and problem.path.endswith("-3")
        )
        draft.problems.remove(first)
        raise Held(Problem(first.reason, first.text, first.path, first.value, True))


async def _reports_known(panels: list[Panel], around: Surroundings) -> dict[str, Resource]:
    system = REPORTS + sender_of(around)
    keys = list(dict.fromkeys([report_key(panel) for panel in panels]))
    found: dict[str, Resource] = {}
    for start in range(0, len(keys), 100):
        part = keys[start : start + 100]
        for one in await around.draft.any_of(
            "DiagnosticReport", [(system, key) for key in part], 2 * len(part)
        ):
            for number in one.get("identifier", []):
                if number.get("system") == system:
                    found[number["value"]] = one
    return found


async def _write(
    panel: Panel,
    known: dict[str, Resource],
    report: Resource | None,
    subject: Mapping[str, Any],
    encounter: Mapping[str, Any] | None,
    around: Surroundings,
) -> None:
    grown = await placed(panel, known, around)
    _write_report(panel, report, grown, subject, encounter, around)


def _write_report(
    panel: Panel,
    old: Resource | None,
    grown: dict[str, list[dict[str, Any]]],
    subject: Mapping[str, Any],
    encounter: Mapping[str, Any] | None,
    around: Surroundings,
) -> None:
    statuses = {made.resource["status"] for _, made in panel.made}
    status = report_status(panel.report.status, statuses, around.profile.results.status)
    if not statuses and not panel.report.status and not panel.report.notes and old is None:
        return
    new = report_of(panel.report, status, around, subject)
    system, key = REPORTS + sender_of(around), report_key(panel)
    new["identifier"] = [{"system": system, "value": key}, *new["identifier"]]
    if encounter is not None:
        new["encounter"] = encounter
    orders = _orders_of_report(panel)
    grown["basedOn"] = [{"reference": f"ServiceRequest/{one['id']}"} for one in orders]
    grown["specimen"] = [{"reference": one} for one in panel.specimen_references]
    written = merged(old, new, grown)
    if written is not None and old is None:
        around.draft.create(written, identified(system, key))
    elif written is not None:
        around.draft.update(written)
    _close(panel, orders, status, around)


def _orders_of_report(panel: Panel) -> list[Resource]:
    if len(panel.orders) == 1:
        return panel.orders
    found = {order["id"]: order for _, made in panel.made if (order := order_of(panel, made)) is not None}
    service = by_service(panel)
    if service is not None:
        found.setdefault(service["id"], service)
    return list(found.values())


def _close(panel: Panel, orders: list[Resource], status: str, around: Surroundings) -> None:
    """Orders that have a result which holds are done: by code, or as a whole when the report is final."""
    if not orders:
        return
    finished = set()
    for _, made in panel.made:
        if is_finished(made.resource["status"]):
            finished |= codes_of(made.resource["code"]) | {made.code}
    numbers = {panel.report.placer.text(1).strip(), panel.report.filler.text(1).strip()} - {""}
    for order in orders:
        by_code = bool(finished & codes_of(order.get("code", {})))
        named = bool(numbers & {one.get("value") for one in order.get("identifier", [])})
        told = panel.report.status in ("F", "C") or (named and not panel.report.status)
        if by_code or (told and is_finished(status)):
            close_order(order, around.draft)
