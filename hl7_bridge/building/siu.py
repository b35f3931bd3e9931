"""SIU messages: S12 to S15, S26. HL7 v2.5.1 chapter 10. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.fields import cwe, ei, told_identifiers, ts
from hl7_bridge.building.people import pid, pv1
from hl7_bridge.serializer import One, Segment

Resource = Mapping[str, Any]

STRUCTURE = "SIU_S12"
# Appointment.status -> table 0278
_STATES = {
    "arrived": "Started",
    "booked": "Booked",
    "cancelled": "Cancelled",
    "checked-in": "Started",
    "entered-in-error": "Deleted",
    "fulfilled": "Complete",
    "noshow": "Noshow",
    "pending": "Pending",
    "proposed": "Pending",
    "waitlist": "Waitlist",
}
_REASONS = {"S12": "NEW", "S13": "RESCHEDULED", "S14": "MODIFIED", "S15": "CANCELLED", "S26": "NOSHOW"}
TAKEN = frozenset(("booked", "arrived", "checked-in"))


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """Which event a change of an Appointment is; None for what is none."""
    old, new = None if was is None else was.get("status"), now.get("status")
    if new in TAKEN and old not in TAKEN:
        return "S12"
    if old in (*TAKEN, "pending"):
        if new in ("cancelled", "entered-in-error"):
            return "S15"
        if new == "noshow":
            return "S26"
    if new not in TAKEN or was is None:
        return None
    if (was.get("start"), was.get("end")) != (now.get("start"), now.get("end")):
        return "S13"
    return "S14" if _told(was) != _told(now) else None


def message(trigger: str, appointment: Resource, chart: Chart) -> Sequence[Segment]:
    """The segments after the header. `chart.patient` is empty when the appointment is nobody's."""
    segments = [_sch(trigger, appointment, chart), _tq1(appointment)]
    if chart.patient:
        segments.append(pid(chart.patient))
        if chart.encounter is not None:
            segments.append(pv1(chart))
    segments.append(Segment("RGS", {1: "1", 2: "A" if trigger == "S12" else "U"}))
    return [*segments, *_resources(appointment, chart)]


def _numbers(appointment: Resource) -> tuple[One, One]:
    """Placer and filler numbers; the filler's is that of the server when there is no other."""
    found: dict[str, One] = {}
    for one in told_identifiers(appointment):
        kind = next((c.get("code") for c in one.get("type", {}).get("coding", [])), "FILL")
        found.setdefault("PLAC" if kind == "PLAC" else "FILL", ei(one))
    return found.get("PLAC"), found.get("FILL") or (str(appointment.get("id")), "OSLER")


def _sch(trigger: str, appointment: Resource, chart: Chart) -> Segment:
    placer, filler = _numbers(appointment)
    people = chart.people(_actors(appointment, "Practitioner", "PractitionerRole"))
    contact: list[One] = people[:1] or [(None, "OSLER")]
    reason = _REASONS[trigger]
    minutes = appointment.get("minutesDuration")
    return Segment(
        "SCH",
        {
            1: placer,
            2: filler,
            6: (reason, reason.capitalize(), "L"),
            7: cwe((appointment.get("reasonCode") or [None])[0]),
            8: cwe(appointment.get("appointmentType")),
            9: None if minutes is None else str(minutes),
            10: None if minutes is None else ("min", "minutes", "UCUM"),
            11: [(None, None, None, ts(appointment.get("start")), ts(appointment.get("end")))],
            16: contact,
            20: contact,
            25: (_STATES.get(appointment.get("status", ""), "Booked"), None, "HL70278"),
        },
    )


def _tq1(appointment: Resource) -> Segment:
    return Segment("TQ1", {1: "1", 7: ts(appointment.get("start")), 8: ts(appointment.get("end"))})


def _resources(appointment: Resource, chart: Chart) -> list[Segment]:
    """AIS, AIG, AIL and AIP, in the order of the structure."""
    start = ts(appointment.get("start"))
    minutes = appointment.get("minutesDuration")
    length = (None, None) if minutes is None else (str(minutes), ("min", "minutes", "UCUM"))
    state = (_STATES.get(appointment.get("status", ""), "Booked"), None, "HL70278")
    found: list[Segment] = []
    for n, service in enumerate(appointment.get("serviceType", []), 1):
        found.append(
            Segment(
                "AIS", {1: str(n), 2: "A", 3: cwe(service), 4: start, 7: length[0], 8: length[1], 10: state}
            )
        )
    for n, device in enumerate(_actors(appointment, "Device"), 1):
        known = chart.at(device) or {}
        number = device.get("identifier", {}).get("value") or str(known.get("id") or "")
        kind = cwe(known.get("type")) or ("DEVICE", "Device", "L")
        thing = (number or None, device.get("display"), "L")
        found.append(Segment("AIG", {1: str(n), 2: "A", 3: thing, 4: kind, 8: start, 14: state}))
    for n, place in enumerate(_actors(appointment, "Location"), 1):
        found.append(Segment("AIL", {1: str(n), 2: "A", 3: [chart.place(place)], 6: start, 12: state}))
    people = chart.people(_actors(appointment, "Practitioner", "PractitionerRole"))
    for n, person in enumerate(people, 1):
        found.append(Segment("AIP", {1: str(n), 2: "A", 3: [person], 6: start, 12: state}))
    return found


def _actors(appointment: Resource, *types: str) -> list[Resource]:
    actors = [one["actor"] for one in appointment.get("participant", []) if "actor" in one]
    return [one for one in actors if type_of(one) in types]


def type_of(reference: Resource) -> str:
    """The type of what a Reference leads to."""
    return str(
        reference.get("reference", "").rpartition("/")[0].rpartition("/")[2] or reference.get("type", "")
    )


def _told(appointment: Resource) -> tuple[Any, ...]:
    names = ("status", "reasonCode", "appointmentType", "minutesDuration", "serviceType")
    actors = [one.get("actor") for one in appointment.get("participant", [])]
    return (*(appointment.get(name) for name in names), actors)
