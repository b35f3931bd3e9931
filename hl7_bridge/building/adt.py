"""ADT messages: A01 to A04, A08, A11 to A13, A40. HL7 v2.5.1 chapter 3. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.people import before, evn, here, mrg, pid, pv1
from hl7_bridge.mapping.stays import REVERSAL
from hl7_bridge.serializer import Segment

Resource = Mapping[str, Any]

# trigger -> structure
STRUCTURES = {
    "A01": "ADT_A01",
    "A02": "ADT_A02",
    "A03": "ADT_A03",
    "A04": "ADT_A01",
    "A08": "ADT_A01",
    "A11": "ADT_A09",
    "A12": "ADT_A12",
    "A13": "ADT_A01",
    "A40": "ADT_A39",
}
PRESENT = frozenset(("arrived", "triaged", "in-progress", "onleave"))
INPATIENT = frozenset(("IMP", "ACUTE", "NONAC"))


def visit_message(chart: Chart, recorded: str, occurred: str | None = None) -> Sequence[Segment]:
    """The segments after the header of an event of a visit."""
    return (evn(recorded, occurred), pid(chart.patient), pv1(chart))


def merge_message(gone: Resource, stays: Resource, recorded: str) -> Sequence[Segment]:
    """The segments after the header of A40: the numbers of `gone` are given up for those of `stays`."""
    return (evn(recorded), pid(stays), mrg(gone))


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """Which event a change of an Encounter is; None for what is none."""
    old = None if was is None else was.get("status")
    new = now.get("status")
    if new in PRESENT and old not in PRESENT:
        if old == "finished":
            return "A13"
        return "A01" if now.get("class", {}).get("code") in INPATIENT else "A04"
    if old in PRESENT:
        if new == "finished":
            return "A03"
        if new in ("cancelled", "entered-in-error", "planned"):
            return "A11"
    if was is None or old != new or new not in PRESENT:
        return "A08" if was is not None and new in PRESENT and _told(was) != _told(now) else None
    if _class(was) != _class(now) and _class(now) in INPATIENT and _class(was) not in INPATIENT:
        return "A01"
    if here(was) is not None and _place(was) != _place(now) and here(now) is not None:
        return "A12" if _cancelled_transfers(now) > _cancelled_transfers(was) else "A02"
    return "A08" if _told(was) != _told(now) else None


def occurred(trigger: str, visit: Resource) -> str | None:
    """When an event took place, as the visit tells: EVN-6."""
    period: Mapping[str, str] = visit.get("period", {})
    if trigger in ("A01", "A04"):
        return period.get("start")
    if trigger == "A03":
        return period.get("end")
    if trigger == "A02":
        active = [one for one in visit.get("location", []) if one.get("status") == "active"]
        last: Mapping[str, str] = active[-1].get("period", {}) if active else {}
        return last.get("start")
    return None


def _class(visit: Resource) -> str | None:
    code: str | None = visit.get("class", {}).get("code")
    return code


def _place(visit: Resource) -> tuple[Any, ...]:
    found = here(visit) or {}
    return (found.get("reference"), found.get("display") if "reference" not in found else None)


def _told(visit: Resource) -> tuple[Any, ...]:
    """What PV1 tells of a visit."""
    return (str(pv1(Chart({}, visit)).fields), _place(visit), str(before(visit)))


def _cancelled_transfers(visit: Resource) -> int:
    return sum(
        any(part.get("valueCode") == "transfer" for part in one.get("extension", []))
        for one in visit.get("extension", [])
        if one.get("url") == REVERSAL
    )
