"""ORC with its OBR, TQ1 and DG1 as a ServiceRequest.

https://hl7.org/fhir/uv/v2mappings/ (ORC and OBR to ServiceRequest). An invariant to keep: an order that is over is not opened again by a message
that says it is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.identifiers import identifier, typed
from hl7_bridge.mapping.datatypes.people import organization, person
from hl7_bridge.mapping.results.events import Reported
from hl7_bridge.mapping.results.observations import SOURCE
from hl7_bridge.mapping.results.reports import beside, group_numbers, numbers
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.results import ORDER_CONTROL, ORDER_STATUS, PRIORITIES
from hl7_bridge.message import NULL, Segment

CONTROL = "https://osler.health/fhir/StructureDefinition/hl7-order-control"
OVER = frozenset({"revoked", "completed", "entered-in-error"})
NEW = frozenset({"NW", "SN", "NA", "PA", "CH"})


@maps("ORC-1", "ORC-5")
def order_status(control: str, state: str, known: str | None, around: Surroundings) -> str:
    """The status of the order by its control code and state; `known` is that of the order that is there."""
    if control and control not in ORDER_CONTROL:
        around.draft.problem("unreadable-value", "ORC-1 is not in table 0119.", "ORC-1", control)
    if state and state not in ORDER_STATUS:
        around.draft.problem("unreadable-value", "ORC-5 is not in table 0038.", "ORC-5", state)
    told = ORDER_CONTROL.get(control)
    if known in OVER and (control in NEW or control not in ORDER_CONTROL or told is None):
        return known or "active"
    if told is None or (told == "active" and control not in ("RL", "RO", "RF", "OE")):
        # where the order stands says more than that it is an order
        told = ORDER_STATUS.get(state, told)
    return told or known or "active"


@maps(
    "ORC-2", "ORC-3", "ORC-4", "ORC-7", "ORC-9", "ORC-12", "ORC-15", "ORC-21",
    "OBR-5", "OBR-6", "OBR-11", "OBR-13", "OBR-27", "OBR-36", "OBR-46", "OBR-47", "TQ1-7", "TQ1-9", "DG1-3",
)  # fmt: skip
def request_of(
    report: Reported,
    status: str,
    timings: list[Segment],
    diagnoses: list[Segment],
    around: Surroundings,
    subject: Mapping[str, Any],
) -> Resource:
    """The ServiceRequest that an order tells of."""
    order, request = report.order, report.request
    made: Resource = {
        "resourceType": "ServiceRequest",
        "meta": {"source": SOURCE + around.context.receipt.connection},
        "identifier": [*numbers(report.placer, report.filler, around), *_alternates(report, around)],
        "status": status,
        "intent": "order" if request is None or request.text(11).strip() != "G" else "reflex-order",
        "subject": subject,
    }
    concept = around.mapped(report.service, "OBR-4", "OBR-4")
    if concept is not None:
        made["code"] = concept
    group = group_numbers(order, around) if order is not None else []
    if group:
        # it is not one of the identifiers: orders are found by these, and the group has many
        made["requisition"] = {name: member for name, member in group[0].items() if name != "type"}
    priority = _priority(order, request, timings)
    if priority is not None:
        made["priority"] = priority
    wanted = _first_time(around, *((one, 7) for one in timings))
    wanted = wanted or _first_time(around, (order, 7), (request, 27), component=4)
    wanted = wanted or _first_time(around, (request, 36), (request, 6), (order, 15), (request, 7))
    if wanted is not None:
        made["occurrenceDateTime"] = wanted
    authored = _first_time(around, (order, 9))
    # of an order that is told of again it says when something was done to it
    if authored is not None and (report.control in NEW or not report.control):
        made["authoredOn"] = authored
    _people_into(made, report, around)
    reasons = [one for value in report.reasons if (one := around.concept(value)) is not None]
    reasons += [one for each in diagnoses if (one := around.concept(each.value(3))) is not None]
    if reasons:
        made["reasonCode"] = reasons
    details = () if request is None else (*request.values(46), *request.values(47))
    detailed = [one for value in details if (one := around.concept(value)) is not None]
    if detailed:
        made["orderDetail"] = detailed
    notes = [*report.notes]
    if request is not None and request.text(13).strip() not in ("", NULL):
        notes.append(request.value(13).whole().strip())
    if notes:
        made["note"] = [{"text": text} for text in notes]
    if report.control:
        made["extension"] = [{"url": CONTROL, "valueCode": report.control}]
    return made


def _alternates(report: Reported, around: Surroundings) -> list[dict[str, Any]]:
    """Numbers of ORC beside those of OBR, and alternate numbers of the placer (ORC-33, OBR-53: later versions)."""
    order, request = report.order, report.request
    found = beside(report, around)
    told = () if order is None else order.values(33)
    told = told or (() if request is None else request.values(53))
    made = [identifier(value, around.context) for value in told]
    for one in made:
        if one is not None:
            found.append(typed({name: member for name, member in one.items() if name != "type"}, "PLAC"))
    return found


def _people_into(made: Resource, report: Reported, around: Surroundings) -> None:
    context, order = around.context, report.order
    requester = next(
        (one for value in report.requesters if (one := person(value, context)) is not None), None
    )
    if requester is None and order is not None:
        requester = organization(order.value(21), context) if order.raw(21) else None
    if requester is not None:
        made["requester"] = requester


def _priority(order: Segment | None, request: Segment | None, timings: list[Segment]) -> str | None:
    told = [timing.text(9) for timing in timings]
    if request is not None:
        told += [request.text(27, 6), request.text(5)]
    if order is not None:
        told.append(order.text(7, 6))
    return next((PRIORITIES[one.strip().upper()] for one in told if one.strip().upper() in PRIORITIES), None)


def _first_time(around: Surroundings, *places: tuple[Segment | None, int], component: int = 1) -> str | None:
    for segment, field in places:
        text = "" if segment is None else segment.text(field, component).strip()
        made = around.time(text) if text not in ("", NULL) else None
        if made is not None:
            return made
    return None
