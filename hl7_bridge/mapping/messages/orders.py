"""ORM, OML and OMG: orders that others place, change and cancel. ORL, ORR and ORG: what a filler says of ours.

Source: HL7 v2.5.1 chapters 4.4 and 13.3; IHE LAB LAB-1, LAB-28. An invariant to keep: an order is found again by the numbers of its placer and
filler together with what was ordered, so a group of orders under one number stays a group of orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import filled, is_late, with_as_of, with_extensions
from hl7_bridge.mapping.classification import kind_of
from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft, Held, Problem, identified
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.results.anchors import find_anchors, find_subject
from hl7_bridge.mapping.results.events import Reported, Results
from hl7_bridge.mapping.results.grouping import Group, grouped, reported_of, subject_of
from hl7_bridge.mapping.results.observations import Place, observation_of
from hl7_bridge.mapping.results.panels import KEYS, Panel, key_part
from hl7_bridge.mapping.results.reports import numbers
from hl7_bridge.mapping.results.specimens import specimen_into
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.results.writing import find_encounter
from hl7_bridge.mapping.segments.evn import event as happened
from hl7_bridge.mapping.segments.orc import CONTROL, order_status, request_of
from hl7_bridge.mapping.tables.results import ORDER_CONTROL
from hl7_bridge.message import NULL, Message

ORDERS = "https://osler.health/fhir/hl7v2/order/"
# What a filler says of an order of ours: what becomes of the Task that asks for it.
ACCEPTED = frozenset({"OK", "NA", "SC", "SN", "RE", "AF", "OE", "OF"})
REFUSED = frozenset({"UA", "OC", "CR", "DR", "OD", "UX", "UM"})
_OPEN_TASKS = "draft,requested,received,ready,accepted"


async def orders(message: Message, draft: Draft, context: Context) -> None:
    """Bring the orders of a message into the records. Raises Held."""
    if kind_of(message, context.profile) != "order":
        return
    context = told_in_zone(message, context)
    for patient in grouped(message, context.profile):
        if any(group.medication for group in patient.groups):
            text = "Orders of medication are not mapped."
            raise Held(Problem("dead-letter", text, "RXO", "", True))
        groups = [(group, reported_of(group, context.profile)) for group in patient.groups]
        event = Results(
            subject_of(patient, context.profile),
            [report for _, report in groups],
            message.header.text(7),
            message.delimiters,
        )
        await _place(event, groups, happened(message, context).at, draft, context)


async def _place(
    event: Results, groups: list[tuple[Group, Reported]], at: int, draft: Draft, context: Context
) -> None:
    anchors = await find_anchors(event, draft, context)
    subject = {"reference": await find_subject(event, anchors, draft, context)}
    around = Surroundings(context, draft, event.sent, event.delimiters)
    encounter = await find_encounter(event, draft, context)
    used: Counter[str] = Counter()
    taken: set[str] = set()
    for group, report in groups:
        found = [anchors.specimen(sampled) for sampled in report.specimens]
        key = _key(report, context)
        used[key] += 1
        if used[key] > 1:
            # ordered several times under one number
            key = f"{key}~{used[key]}"
        known = await _known(report, key, len(groups), taken, around)
        if known is not None:
            taken.add(known["id"])
        panel = Panel(report, key, next((one for one in found if one is not None), None), [], found)
        await specimen_into(panel, subject, around)
        state = report.order.text(5).strip().upper() if report.order is not None else ""
        status = order_status(report.control, state, None if known is None else known.get("status"), around)
        made = request_of(report, status, group.timings, group.diagnoses, around, subject)
        made["identifier"] = [{"system": ORDERS + _own(context), "value": key}, *made["identifier"]]
        if encounter is not None:
            made["encounter"] = encounter
        if panel.specimen_references:
            made["specimen"] = [{"reference": one} for one in panel.specimen_references]
        supporting = await _supporting(report, panel, subject, encounter, around)
        if supporting:
            made["supportingInfo"] = supporting
        _write(made, known, key, at, around)


def _write(made: Resource, known: Resource | None, key: str, at: int, around: Surroundings) -> None:
    """Write an order as of an instant; what a newer message has told of it stays."""
    context = around.context
    if known is None:
        around.draft.create(with_as_of(made, at, context), identified(ORDERS + _own(context), key))
        return
    identifiers = [*known.get("identifier", [])]
    identifiers += [one for one in made["identifier"] if not _has(identifiers, one)]
    if is_late(known, at, context):
        changed = filled(known, {**made, "identifier": identifiers}, context)
    else:
        control = {CONTROL: made["extension"]} if "extension" in made else {}
        told = {name: member for name, member in made.items() if name != "extension"}
        changed = with_extensions({**known, **told, "identifier": identifiers}, control)
        changed = with_as_of(changed, at, context)
    changed["meta"] = {**known.get("meta", {}), **made["meta"]}
    if changed != known:
        around.draft.update(changed)


def _has(identifiers: list[dict[str, Any]], one: Mapping[str, Any]) -> bool:
    return any(
        each.get("system") == one["system"] and each.get("value") == one["value"] for each in identifiers
    )


async def _known(
    report: Reported, key: str, together: int, taken: Collection[str], around: Surroundings
) -> Resource | None:
    """The ServiceRequest of an order that was told before, or that we have placed ourselves.

    `taken` are the ids of those that the message has told of already.
    """
    own = (ORDERS + _own(around.context), key)
    told = [(one["system"], one["value"]) for one in numbers(report.placer, report.filler, around)]
    found = await around.draft.any_of("ServiceRequest", [own, *told], 50)
    for one in found:
        if _has(one.get("identifier", []), {"system": own[0], "value": own[1]}):
            return one
    code = report.service.text(1).strip()
    found = [one for one in found if one["id"] not in taken]
    same = [one for one in found if not code or code in _codes(one)]
    if len(same) == 1 and (code or together == 1 or len(found) == 1):
        return same[0]
    return found[0] if len(found) == 1 and together == 1 and not code else None


def _key(report: Reported, context: Context) -> str:
    for value in (report.placer, report.filler):
        number = value.text(1).strip()
        if number not in ("", NULL):
            parts = (
                number,
                value.text(2).strip(),
                report.service.text(1).strip() or report.service.text(2).strip(),
            )
            return "/".join(key_part(part) for part in parts if part and part != NULL)
    return f"{context.receipt.id}/{quote(report.service.text(1), safe='')}"


async def _supporting(
    report: Reported,
    panel: Panel,
    subject: Mapping[str, Any],
    encounter: Mapping[str, Any] | None,
    around: Surroundings,
) -> list[dict[str, str]]:
    """What is told with an order (answers to its questions): Observations that the order names."""
    found: list[str] = []
    specimen = None if panel.specimen_reference is None else {"reference": panel.specimen_reference}
    place = Place(subject, encounter, specimen, None, "final", "", ("", ""), panel.category)
    system = KEYS + _own(around.context)
    for observed in report.results:
        made = observation_of(observed, place, around)
        if made is None or made.reading.empty:
            continue
        key = "/".join(("order", panel.key, quote(made.code, safe=""), quote(observed.sub, safe="")))
        known = await around.draft.any_of("Observation", [(system, key)], 2)
        if known:
            found.append(f"Observation/{known[0]['id']}")
            continue
        resource = {name: member for name, member in made.resource.items() if name != "category"}
        resource["identifier"] = [{"system": system, "value": key}]
        found.append(around.draft.create(resource, identified(system, key)))
    return [{"reference": one} for one in dict.fromkeys(found)]


# what a filler says


async def responses(message: Message, draft: Draft, context: Context) -> None:
    """Note what a filler says of our orders: taken, refused, cancelled, with its number."""
    context = told_in_zone(message, context)
    around = Surroundings(context, draft, message.header.text(7), message.delimiters)
    refusal = message.get("MSA-1") in ("AE", "AR", "CE", "CR")
    why = _why(message)
    for patient in grouped(message, context.profile):
        for group in patient.groups:
            report = reported_of(group, context.profile)
            if report.control or not report.placer.empty:
                await _respond(report, refusal, why, around)


async def _respond(report: Reported, refusal: bool, why: str, around: Surroundings) -> None:
    number = report.placer.text(1).strip() or report.filler.text(1).strip()
    told = [(one["system"], one["value"]) for one in numbers(report.placer, report.filler, around)]
    if report.control == "CR" and not number and not told:
        # the answer to our DC: there was no order to tell of, so there is none to find
        return
    found = await around.draft.any_of("ServiceRequest", told, 10)
    if not found and number:
        found = await around.draft.find("ServiceRequest", [("identifier", _escaped(number))], 10)
    code = report.service.text(1).strip()
    if len(found) > 1:
        found = [one for one in found if code and code in _codes(one)] or found
    if len(found) != 1:
        around.draft.problem(
            "unmatched-specimen" if not found else "ambiguous-identifier",
            "The filler answers about an order that is not known.",
            "ORC-2",
            "|".join(told[0]) if told else number,
        )
        return
    known = found[0]
    control = report.control or ("UA" if refusal else "OK")
    if control not in ORDER_CONTROL:
        around.draft.problem("unreadable-value", "ORC-1 is not in table 0119.", "ORC-1", control)
    state = report.order.text(5).strip().upper() if report.order is not None else ""
    status = order_status(control, state, known.get("status"), around)
    changed = {**known, "status": status}
    identifiers = [*known.get("identifier", [])]
    identifiers += [
        one for one in numbers(report.placer, report.filler, around) if not _has(identifiers, one)
    ]
    if identifiers:
        changed["identifier"] = identifiers
    reason = "\n".join([*report.notes, *([why] if why and control in REFUSED | {"UC", "UH", "UD"} else [])])
    if reason and {"text": reason} not in known.get("note", []):
        changed["note"] = [*known.get("note", []), {"text": reason}]
    if changed != known:
        around.draft.update(changed)
    await _tell_tasks(known, control, reason, around)


async def _tell_tasks(order: Resource, control: str, reason: str, around: Surroundings) -> None:
    """Tasks that ask for the order to be fulfilled are accepted or rejected."""
    outcome = "accepted" if control in ACCEPTED else "rejected" if control in REFUSED else ""
    if not outcome:
        return
    query = [("focus", f"ServiceRequest/{order['id']}"), ("status", _OPEN_TASKS)]
    for task in await around.draft.find("Task", query):
        changed = {**task, "status": outcome}
        if reason:
            changed["statusReason"] = {"text": reason}
        if changed != task:
            around.draft.update(changed)


def _why(message: Message) -> str:
    told = [message.get("MSA-3"), *(segment.text(8) for segment in message.all("ERR"))]
    told += [segment.text(3, 2) for segment in message.all("ERR")]
    return "; ".join(dict.fromkeys(text.strip() for text in told if text.strip() not in ("", NULL)))


def _codes(order: Mapping[str, Any]) -> set[str]:
    return {coding.get("code", "") for coding in order.get("code", {}).get("coding", [])}


def _own(context: Context) -> str:
    return quote(context.receipt.connection, safe="")


def _escaped(text: str) -> str:
    for character in "\\$,|":
        text = text.replace(character, f"\\{character}")
    return text


MAPPINGS: Mapping[tuple[str, str], Map] = {
    # without its event, as old senders tell it
    ("ORM", ""): orders,
    ("ORM", "O01"): orders,
    ("OML", "O21"): orders,
    ("OML", "O33"): orders,
    ("OML", "O35"): orders,
    ("OML", "O39"): orders,
    ("OMG", "O19"): orders,
    ("ORR", "O02"): responses,
    ("ORG", "O20"): responses,
    ("ORL", "O22"): responses,
    ("ORL", "O34"): responses,
    ("ORL", "O36"): responses,
    ("ORL", "O40"): responses,
}
