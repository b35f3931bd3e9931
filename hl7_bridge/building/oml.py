"""OML^O21, and OML^O33 as IHE LAW has it (LAB-28): orders. HL7 v2.5.1 chapter 4, IHE PaLM TF-2b. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.fields import cwe, ei, told_identifiers, ts
from hl7_bridge.building.people import pid, pv1
from hl7_bridge.serializer import One, Segment

Resource = Mapping[str, Any]

# ServiceRequest.priority -> table 0485
_PRIORITIES = {"asap": "A", "routine": "R", "stat": "S", "urgent": "A"}
LAW_PROFILE = ("LAB-28", "IHE")


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """The order control of a change of a ServiceRequest: NW for a new order, CA for one that is taken back; None for no event."""
    old, new = None if was is None else was.get("status"), now.get("status")
    if new == "active" and old != "active" and now.get("intent", "order") != "proposal":
        return "NW"
    return "CA" if old == "active" and new in ("revoked", "entered-in-error") else None


def o21(
    request: Resource, specimens: Sequence[Resource], chart: Chart, control: str = "NW"
) -> Sequence[Segment]:
    """OML^O21 of an order: the segments after the header."""
    segments = [pid(chart.patient)]
    if chart.encounter is not None:
        segments.append(pv1(chart))
    segments += [_orc(control, request, chart), _tq1(request), _obr(1, request, chart)]
    segments += [_nte(n, one) for n, one in enumerate(request.get("note", []), 1)]
    return [*segments, *(_spm(n, one) for n, one in enumerate(specimens, 1))]


def o33(
    specimen: Resource, requests: Sequence[Resource], chart: Chart | None, control: str = "NW"
) -> Sequence[Segment]:
    """OML^O33 of a specimen with its orders, as LAW has it. No orders: control DC, there is nothing to do."""
    segments: list[Segment] = []
    if chart is not None:
        segments.append(pid(chart.patient))
        if chart.encounter is not None:
            segments.append(pv1(chart))
    segments += [_spm(1, specimen), _sac(specimen)]
    if not requests:
        return [*segments, Segment("ORC", {1: "DC", 9: ts(_received(specimen))})]
    known = Chart({}) if chart is None else chart
    for n, request in enumerate(requests, 1):
        segments += [_orc(control, request, known), _tq1(request), _obr(n, request, known)]
    return segments


def _orc(control: str, request: Resource, chart: Chart) -> Segment:
    requester = [request["requester"]] if "requester" in request else []
    return Segment(
        "ORC",
        {
            1: control,
            2: number(request),
            4: _group(request),
            9: ts(request.get("authoredOn")),
            12: chart.people(requester),
        },
    )


def number(request: Resource) -> One:
    """The placer's number of an order: its own id when it has no other."""
    numbers = told_identifiers(request)
    return ei(numbers[0]) if numbers else (str(request.get("id")), "OSLER")


def _group(request: Resource) -> One:
    group = request.get("requisition", {})
    return ei(group) if group.get("value") else None


def _tq1(request: Resource) -> Segment:
    start = request.get("occurrenceDateTime") or request.get("occurrencePeriod", {}).get("start")
    priority = _PRIORITIES.get(request.get("priority", "routine"), "R")
    return Segment("TQ1", {1: "1", 7: ts(start), 9: [(priority, None, "HL70485")]})


def _obr(n: int, request: Resource, chart: Chart) -> Segment:
    requester = [request["requester"]] if "requester" in request else []
    reasons: list[One] = [cwe(one) for one in request.get("reasonCode", [])]
    return Segment(
        "OBR",
        {
            1: str(n),
            2: number(request),
            4: cwe(request.get("code")),
            16: chart.people(requester),
            31: reasons,
        },
    )


def _spm(n: int, specimen: Resource) -> Segment:
    collection = specimen.get("collection", {})
    collected = collection.get("collectedDateTime")
    period = collection.get("collectedPeriod", {})
    return Segment(
        "SPM",
        {
            1: str(n),
            2: (_barcode(specimen),),
            4: cwe(specimen.get("type")) or (None, "unknown"),
            8: cwe(collection.get("bodySite")),
            11: [("P", None, "HL70369")],
            17: (ts(collected or period.get("start")), ts(period.get("end")))
            if collected or period
            else None,
            18: ts(_received(specimen)),
        },
    )


def _sac(specimen: Resource) -> Segment:
    return Segment("SAC", {3: _barcode(specimen)})


def _barcode(specimen: Resource) -> tuple[str | None, ...]:
    accession = specimen.get("accessionIdentifier", {})
    numbers = [accession] if accession.get("value") else told_identifiers(specimen)
    return ei(numbers[0]) if numbers else (str(specimen.get("id")), "OSLER")


def _received(specimen: Resource) -> str | None:
    found = specimen.get("receivedTime")
    return found if isinstance(found, str) else None


def _nte(number: int, note: Resource) -> Segment:
    return Segment("NTE", {1: str(number), 3: [note.get("text")]})
