"""Observations into the records, as far as they hold against what is there.

An invariant to keep: in whatever order tellings of a result arrive, the records end up the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.datatypes.identifiers import entity
from hl7_bridge.mapping.draft import Draft, identified
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results import codes
from hl7_bridge.mapping.results.attachments import attach
from hl7_bridge.mapping.results.closing import ask, is_corrected, is_finished
from hl7_bridge.mapping.results.events import Observed, Results
from hl7_bridge.mapping.results.observations import Made, Place, observation_of
from hl7_bridge.mapping.results.panels import KEYS, Panel, key_part, of_parent, parent_key, sender_of
from hl7_bridge.mapping.results.ranks import decide, is_alike, when, without_value
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.tables.results import RANKS, REPORT_STATUS
from hl7_bridge.message import NULL


async def surroundings_of(event: Results, draft: Draft, context: Context) -> Surroundings:
    """What the results of an event share, with what people have mapped where the profile knows no code or unit."""
    around = Surroundings(context, draft, event.sent, event.delimiters)
    profile, memory = context.profile, around.memory
    unknown_code = unknown_unit = False
    for report in event.reports:
        for one in report.results:
            code = memory.code(one.code)
            one.key = one.key or code.key
            unknown_code = unknown_code or not (code.has_loinc or _is_known(one, profile))
            unknown_unit = unknown_unit or (one.unit.raw != "" and memory.unit(one.unit)[0].unknown)
    if unknown_code:
        around.code_map = await codes.concept_map(codes.codes_url(profile), draft)
    if unknown_unit:
        around.unit_map = await codes.concept_map(codes.units_url(profile), draft)
    return around


def _is_known(observed: Observed, profile: Profile) -> bool:
    """Whether the profile says the LOINC of a result."""
    test = profile.test(observed.code.text(1) or observed.name)
    return test is not None and test.loinc != ""


def make_results(
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
        panel.category,
    )
    lead = [key_part(part) for part in (panel.key, of_parent(panel)) if part]
    each = around.profile.results.repeat == "each"
    for observed in report.results:
        made = observation_of(observed, place, around)
        if made is None:
            continue
        parts = [made.code, observed.sub]
        if each:
            parts.append(observed.run or observed.analysed or observed.observed)
        key = "/".join(lead + [key_part(part) for part in parts if part])
        count = used[key] = used.get(key, 0) + 1
        if count > 1:
            key = f"{key}~{count}"
        panel.made.append((key, made))


async def known_results(panels: list[Panel], around: Surroundings) -> dict[str, Resource]:
    """The Observations that are there already, by key."""
    system = KEYS + sender_of(around)
    keys = list(dict.fromkeys([key for panel in panels for key, _ in panel.made]))
    keys += [key for panel in panels if (key := parent_key(panel)) and key not in keys]
    found: dict[str, Resource] = {}
    for start in range(0, len(keys), 100):
        part = keys[start : start + 100]
        for one in await around.draft.any_of("Observation", [(system, key) for key in part], 2 * len(part)):
            for number in one.get("identifier", []):
                if number.get("system") == system:
                    found[number["value"]] = one
    return found


async def placed(
    panel: Panel, known: dict[str, Resource], around: Surroundings
) -> dict[str, list[dict[str, Any]]]:
    """Write the Observations of a panel, and what does not fit into one; what its report has of them, by element."""
    results: list[dict[str, Any]] = []
    forms: list[dict[str, Any]] = []
    media: list[dict[str, Any]] = []
    system = KEYS + sender_of(around)
    parent = _parent_of(panel, known, around)
    for key, made in panel.made:
        order = order_of(panel, made)
        if made.reading.attached:
            number = {"system": system, "value": key}
            more, pictures = await attach(made, number, around)
            forms += more
            media += pictures
            if not made.reading.members:
                continue
        if parent is not None:
            made.resource["derivedFrom"] = [parent]
        reference = _place(system, key, made, known, order, around)
        around.placed[key] = reference
        results.append({"reference": reference})
    return {"result": results, "presentedForm": forms, "media": media}


def _parent_of(panel: Panel, known: dict[str, Resource], around: Surroundings) -> dict[str, Any] | None:
    """A reference to the result that those of a panel go on from; by its key while nobody has told it."""
    key = parent_key(panel)
    if not key:
        return None
    assert panel.report.parent is not None
    said = panel.report.parent.said
    made: dict[str, Any] = {"display": said} if said not in ("", NULL) else {}
    if key in around.placed:
        return {**made, "reference": around.placed[key]}
    if key in known:
        return {**made, "reference": f"Observation/{known[key]['id']}"}
    number = {"system": KEYS + sender_of(around), "value": key}
    return {**made, "type": "Observation", "identifier": number}


def _place(
    system: str,
    key: str,
    made: Made,
    known: dict[str, Resource],
    order: Resource | None,
    around: Surroundings,
) -> str:
    """Write an Observation, as far as it holds against what is there; the reference to it."""
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
    critical = made.critical and (is_finished(now["status"]) or now["status"] == "preliminary")
    corrected = is_corrected(old, now)
    if not critical and not corrected:
        return
    number = f"{sender_of(around)}/{key}"
    if critical:
        shown = "~".join(value.whole() for value in made.told.values)
        ask("acknowledge-critical-result", now, reference, f"{number}/{shown}", order, around)
    if corrected:
        ask(
            "review-corrected-result",
            now,
            reference,
            f"{number}/{now['issued']}/{now['status']}",
            order,
            around,
        )


def order_of(panel: Panel, made: Made) -> Resource | None:
    """The order of one result: the only one, or the one of its code or its report's."""
    if not panel.orders:
        return None
    if len(panel.orders) == 1:
        return panel.orders[0]
    own = codes_of(made.resource["code"]) | {made.code}
    return next(
        (order for order in panel.orders if own & codes_of(order.get("code", {}))), None
    ) or by_service(panel)


def by_service(panel: Panel) -> Resource | None:
    if not panel.orders:
        return None
    service = {panel.report.service.text(1).strip(), panel.report.service.text(4).strip()} - {""}
    return next((order for order in panel.orders if service & codes_of(order.get("code", {}))), None)


def codes_of(concept: Mapping[str, Any]) -> set[str]:
    return {coding["code"] for coding in concept.get("coding", []) if "code" in coding}
