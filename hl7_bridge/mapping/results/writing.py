"""The results of one patient into the records: Observations, their report, their specimen, and what they set going.

An invariant to keep: the key of a result is made of its source and its numbers, never of its text, so the same result is found
again whatever it says now; and in whatever order tellings of it arrive, the records end up the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.identifiers import entity, identifier
from hl7_bridge.mapping.draft import Draft, Held, Problem, identified
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results import codes
from hl7_bridge.mapping.results.anchors import (
    Anchors,
    find_anchors,
    find_subject,
    numbers_of,
    specimen_system,
)
from hl7_bridge.mapping.results.attachments import attach
from hl7_bridge.mapping.results.closing import ask, close_order, is_corrected, is_finished
from hl7_bridge.mapping.results.events import Observed, Reported, Results, Sampled
from hl7_bridge.mapping.results.observations import SOURCE, Made, Place, key_code, observation_of
from hl7_bridge.mapping.results.ranks import decide, is_alike, when, without_value
from hl7_bridge.mapping.results.reports import merged, report_of, report_status
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.tables.results import RANKS, REPORT_STATUS
from hl7_bridge.mapping.units import read_unit
from hl7_bridge.message import NULL, Value

KEYS = "https://osler.health/fhir/hl7v2/result/"
REPORTS = "https://osler.health/fhir/hl7v2/report/"
_TEXTS = frozenset({"TX", "FT", "ST"})


@dataclass(slots=True)
class Panel:
    """A report on its way: what of it is found and made. `key` is what its results belong to."""

    report: Reported
    key: str
    specimen: Resource | None
    orders: list[Resource]
    specimen_reference: str | None = None
    made: list[tuple[str, Made]] = field(default_factory=list)
    report_key: str = ""


async def write_results(event: Results, draft: Draft, context: Context) -> None:
    """Bring what an event tells into the draft. Raises Held when a person must help first."""
    anchors = await find_anchors(event, draft, context)
    reference = await find_subject(event, anchors, draft, context)
    subject = {"reference": reference}
    around = await _surroundings(event, draft, context)
    encounter = await find_encounter(event, draft, context)
    panels = [_panel(report, event, anchors, context) for report in event.reports]
    used: dict[str, int] = {}
    for panel in panels:
        await specimen_into(panel, subject, around)
        _make(panel, subject, encounter, used, around)
    panels = _one_for_each_report(panels)
    if context.profile.results.unmapped == "hold":
        _hold_unmapped(panels, draft)
    known = await _known(panels, around)
    reports = await _reports_known(panels, around)
    for panel in panels:
        await _write(panel, known, reports.get(_report_key(panel)), subject, encounter, around)


async def _surroundings(event: Results, draft: Draft, context: Context) -> Surroundings:
    around = Surroundings(context, draft, event.sent, event.delimiters)
    profile = context.profile
    observed = [one for report in event.reports for one in report.results]
    if any(_is_unknown(one, around) for one in observed):
        around.code_map = await codes.concept_map(codes.codes_url(profile), draft)
    if any(one.unit.raw and around.memory.unit(one.unit)[0].unknown for one in observed):
        around.unit_map = await codes.concept_map(codes.units_url(profile), draft)
    return around


def _is_unknown(observed: Observed, around: Surroundings) -> bool:
    if around.memory.code(observed.code).has_loinc:
        return False
    test = around.profile.test(observed.code.text(1) or observed.name)
    return test is None or not test.loinc


async def find_encounter(event: Results, draft: Draft, context: Context) -> dict[str, str] | None:
    """The visit of PV1-19, if the records have it."""
    visit = None if event.subject.visit.empty else identifier(event.subject.visit, context)
    if visit is None:
        return None
    found = await draft.any_of("Encounter", [(visit["system"], visit["value"])], 2)
    return {"reference": f"Encounter/{found[0]['id']}"} if len(found) == 1 else None


def _panel(report: Reported, event: Results, anchors: Anchors, context: Context) -> Panel:
    found = [one for sampled in report.specimens if (one := anchors.specimen(sampled)) is not None]
    specimen = found[0] if found else None
    report.results = _joined(report.results)
    return Panel(report, _key(report, event, context), specimen, anchors.orders_of(report, specimen))


def _key(report: Reported, event: Results, context: Context) -> str:
    """What the results of a report belong to: a number of its own, in the order of the profile."""
    sampled = report.specimens[0] if report.specimens else None
    numbers = {
        "filler": _number(report.filler),
        "specimen": "" if sampled is None else sampled.number,
        "placer": _number(report.placer),
    }
    for name in context.profile.results.key:
        if numbers[name]:
            return numbers[name]
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


# the specimen


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
        key = {"system": REPORTS + _own(around), "value": f"{panel.key}/specimen"}
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


# the results


def _make(
    panel: Panel,
    subject: Mapping[str, Any],
    encounter: Mapping[str, Any] | None,
    used: dict[str, int],
    around: Surroundings,
) -> None:
    """Make the Observations of a panel; `used` counts the keys of the message, so that none is told twice."""
    report = panel.report
    specimen = None if panel.specimen_reference is None else {"reference": panel.specimen_reference}
    place = Place(
        subject,
        encounter,
        specimen,
        report.specimens[0] if report.specimens else None,
        REPORT_STATUS.get(report.status, ""),
        report.reported,
        report.collected,
    )
    for observed in report.results:
        made = observation_of(observed, place, around)
        if made is None:
            continue
        parts = [panel.key, made.code, observed.sub]
        if around.profile.results.repeat == "each":
            parts.append(observed.run or observed.analysed or observed.observed)
        key = "/".join([key_part(part) for part in parts if part])
        used[key] = used.get(key, 0) + 1
        if used[key] > 1:
            key = f"{key}~{used[key]}"
        panel.made.append((key, made))


def _one_for_each_report(panels: list[Panel]) -> list[Panel]:
    """Panels that are one report (devices that name no panel) are told as one."""
    found: dict[str, Panel] = {}
    for panel in panels:
        first = found.setdefault(_report_key(panel), panel)
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


async def _known(panels: list[Panel], around: Surroundings) -> dict[str, Resource]:
    """The Observations that are there already, by key."""
    system = KEYS + _own(around)
    keys = list(dict.fromkeys(key for panel in panels for key, _ in panel.made))
    found: dict[str, Resource] = {}
    for start in range(0, len(keys), 100):
        part = keys[start : start + 100]
        for one in await around.draft.any_of("Observation", [(system, key) for key in part], 2 * len(part)):
            for number in one.get("identifier", []):
                if number.get("system") == system:
                    found[number["value"]] = one
    return found


def _report_key(panel: Panel) -> str:
    if panel.report_key:
        return panel.report_key
    service = panel.report.service
    name = service.text(1).strip() or service.text(4).strip() or service.text(2).strip()
    parts = [panel.key, "" if name == NULL else name]
    panel.report_key = "/".join([key_part(part) for part in parts if part])
    return panel.report_key


async def _reports_known(panels: list[Panel], around: Surroundings) -> dict[str, Resource]:
    system = REPORTS + _own(around)
    keys = list(dict.fromkeys(_report_key(panel) for panel in panels))
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


def key_part(text: str) -> str:
    """A text as a part of a key: what would end it is written otherwise."""
    return text if text.isalnum() else _quoted(text)


@lru_cache(4096)
def _quoted(text: str) -> str:
    return quote(text, safe=" :+.,;()%#*")


def _own(around: Surroundings) -> str:
    return key_part(around.context.receipt.connection)


async def _write(
    panel: Panel,
    known: dict[str, Resource],
    report: Resource | None,
    subject: Mapping[str, Any],
    encounter: Mapping[str, Any] | None,
    around: Surroundings,
) -> None:
    results: list[dict[str, Any]] = []
    forms: list[dict[str, Any]] = []
    media: list[dict[str, Any]] = []
    for key, made in panel.made:
        order = _order_of(panel, made)
        if made.reading.attached:
            number = {"system": KEYS + _own(around), "value": key}
            more, pictures = await attach(made, number, around)
            forms += more
            media += pictures
            if not made.reading.members:
                continue
        reference = _place(key, made, known, order, around)
        results.append({"reference": reference})
    _write_report(
        panel, report, {"result": results, "presentedForm": forms, "media": media}, subject, encounter, around
    )


def _place(
    key: str,
    made: Made,
    known: dict[str, Resource],
    order: Resource | None,
    around: Surroundings,
) -> str:
    """Write an Observation, as far as it holds against what is there; the reference to it."""
    system = KEYS + _own(around)
    new = made.resource
    new["identifier"] = [{"system": system, "value": key}]
    own = entity(made.told.identifier, around.context) if made.told.identifier.raw else None
    if own is not None:
        new["identifier"].append(own)
    if order is not None:
        new["basedOn"] = [{"reference": f"ServiceRequest/{order['id']}"}]
    old = known.get(key)
    if old is None:
        reference = around.draft.create(new, identified(system, key))
        _set_going(key, made, None, new, reference, order, around)
        return reference
    reference = f"Observation/{old['id']}"
    changed = _against(old, new, made, around)
    if changed is not None and changed != old:
        around.draft.update(changed)
        known[key] = changed
        _set_going(key, made, old, changed, reference, order, around)
    elif changed is None and _is_withdrawal(old, new):
        around.draft.problem(
            "held-result", "A result that holds was cancelled.", f"{made.told.where}-11", made.told.status
        )
    return reference


def _against(old: Resource, new: Resource, made: Made, around: Surroundings) -> Resource | None:
    """The Observation as it is after another telling; None when the old one stays."""
    outcome = decide(old, new, around.profile.results.repeat)
    decisions = around.draft.decisions
    where = f"{made.told.where}-5"
    if outcome == "hold":
        if "arrived" in decisions or f"arrived {where}" in decisions:
            outcome = "write"
        elif "standing" in decisions or f"standing {where}" in decisions:
            outcome = "keep"
        else:
            text = "Another value for the same result is there already."
            shown = "~".join(value.whole() for value in made.told.values)
            around.draft.problem("held-result", text, where, shown)
    if outcome in ("keep", "hold"):
        return None
    kept = {**old, "meta": {**old.get("meta", {}), **new["meta"]}}
    if new["status"] == "entered-in-error" or (made.told.status in ("U", "V") and not made.told.values):
        # only its status is told; what it said stays
        return {**kept, "status": new["status"], "issued": new["issued"]}
    if outcome == "same" and is_alike(old, new) and new["issued"] == old.get("issued"):
        merged_ = {**without_value(kept), **new, "id": old["id"], "meta": kept["meta"]}
        merged_["identifier"] = old.get("identifier", new["identifier"])
        return merged_
    changed = {**without_value(kept), **new, "id": old["id"], "meta": kept["meta"]}
    changed["identifier"] = [*old.get("identifier", [])] or new["identifier"]
    return changed


def _is_withdrawal(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return (
        new["status"] == "cancelled"
        and RANKS.get(old.get("status", ""), 0) in (2, 3)
        and when(new) > when(old)
    )


def _set_going(
    key: str,
    made: Made,
    old: Resource | None,
    now: Resource,
    reference: str,
    order: Resource | None,
    around: Surroundings,
) -> None:
    """What a result that was written calls for."""
    number = f"{_own(around)}/{key}"
    if made.critical and is_finished(now["status"]) | (now["status"] == "preliminary"):
        shown = "~".join(value.whole() for value in made.told.values)
        ask("acknowledge-critical-result", now, reference, f"{number}/{shown}", order, around)
    if is_corrected(old, now):
        ask(
            "review-corrected-result",
            now,
            reference,
            f"{number}/{now['issued']}/{now['status']}",
            order,
            around,
        )


# the report and the order


def _write_report(
    panel: Panel,
    old: Resource | None,
    grown: dict[str, list[dict[str, Any]]],
    subject: Mapping[str, Any],
    encounter: Mapping[str, Any] | None,
    around: Surroundings,
) -> None:
    statuses = [made.resource["status"] for _, made in panel.made]
    status = report_status(panel.report.status, statuses, around.profile.results.status)
    if not statuses and not panel.report.status and not panel.report.notes and old is None:
        return
    new = report_of(panel.report, status, around, subject)
    system, key = REPORTS + _own(around), _report_key(panel)
    new["identifier"] = [{"system": system, "value": key}, *new["identifier"]]
    if encounter is not None:
        new["encounter"] = encounter
    orders = _orders_of_report(panel)
    grown["basedOn"] = [{"reference": f"ServiceRequest/{one['id']}"} for one in orders]
    grown["specimen"] = [{"reference": panel.specimen_reference}] if panel.specimen_reference else []
    written = merged(old, new, grown)
    if written is not None and old is None:
        around.draft.create(written, identified(system, key))
    elif written is not None:
        around.draft.update(written)
    _close(panel, orders, status, around)


def _order_of(panel: Panel, made: Made) -> Resource | None:
    """The order of one result: the only one, or the one of its code or its report's."""
    if not panel.orders:
        return None
    if len(panel.orders) == 1:
        return panel.orders[0]
    own = _codes(made.resource["code"]) | {made.code}
    return next(
        (order for order in panel.orders if own & _codes(order.get("code", {}))), None
    ) or _by_service(panel)


def _by_service(panel: Panel) -> Resource | None:
    if not panel.orders:
        return None
    service = {panel.report.service.text(1).strip(), panel.report.service.text(4).strip()} - {""}
    return next((order for order in panel.orders if service & _codes(order.get("code", {}))), None)


def _orders_of_report(panel: Panel) -> list[Resource]:
    if len(panel.orders) == 1:
        return panel.orders
    found = {order["id"]: order for _, made in panel.made if (order := _order_of(panel, made)) is not None}
    service = _by_service(panel)
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
            finished |= _codes(made.resource["code"]) | {made.code}
    numbers = {panel.report.placer.text(1).strip(), panel.report.filler.text(1).strip()} - {""}
    for order in orders:
        by_code = bool(finished & _codes(order.get("code", {})))
        named = bool(numbers & {one.get("value") for one in order.get("identifier", [])})
        told = panel.report.status in ("F", "C") or (named and not panel.report.status)
        if by_code or (told and is_finished(status)):
            close_order(order, around.draft)


def _codes(concept: Mapping[str, Any]) -> set[str]:
    return {coding["code"] for coding in concept.get("coding", []) if "code" in coding}
