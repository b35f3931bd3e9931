"""Visits as events leave them: state, times and places. Pure.

HL7 v2.5.1 chapter 3.3. Events come late and out of order. An invariant to keep: a visit is as the newest event of each kind has
left it, by the time at which the event took place; one that comes late is told in the history and moves nobody back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_r4.temporal import format_instant, parse_interval
from hl7_bridge.delivery import Resource
from hl7_bridge.mapping import movements
from hl7_bridge.mapping.changes import AS_OF, OSLER, Changes, changed, extension_of, with_extensions
from hl7_bridge.mapping.segments.evn import Event

REVERSAL = OSLER + "encounter-reversal"
STATE = "state"
DETAILS = "details"
# after the kind of an event: when the message that told of it was received
CAME = "-received"

# trigger -> the state of the visit afterwards
STATES = {
    "A01": "in-progress",
    "A03": "finished",
    "A04": "in-progress",
    "A05": "planned",
    "A06": "in-progress",
    "A07": "in-progress",
    "A11": "cancelled",
    "A13": "in-progress",
}
# events that tell of a visit, whatever else a message is about
OF_VISITS = frozenset((*STATES, "A02", "A08", "A12"))
BEGINS = frozenset(("A01", "A04"))


@dataclass(frozen=True, slots=True)
class Told:
    """What a message tells of a visit. `place` and `prior` are references to Locations, None when none are told.

    `called` is what the message calls the place.
    """

    event: Event
    details: Changes
    hospitalization: Changes
    place: dict[str, Any] | None = None
    prior: dict[str, Any] | None = None
    start: str | None = None
    end: str | None = None
    called: str = ""


def after(visit: Resource, told: Told) -> Resource:
    """The visit after an event."""
    made = _details(visit, told)
    made = _period(made, told)
    made = _state(made, told)
    return _placed(made, visit.get("location", []), told)


def _placed(visit: Resource, before: list[dict[str, Any]], told: Told) -> Resource:
    """With the places, as far as the state of the visit allows."""
    trigger, here, at = told.event.trigger, told.place, told.event
    if at.again and before:
        # it was told already; a move that was taken back since is not made again
        return visit if here is None else {**visit, "location": movements.named(before, here, told.called)}
    entries = before
    planned = visit.get("status") == "planned"
    if trigger == "A05":
        if here is not None and planned:
            entries = [{"location": here, "status": "planned"}]
    elif trigger == "A12":
        if here is not None:
            entries = movements.moved_back(entries, here, at)
    elif here is not None and trigger in movements.MOVES:
        entries = movements.moved(entries, here, told.start if trigger in BEGINS else None, at)
    elif here is not None and not entries:
        entries = movements.seen(here, at)
    if planned:
        entries = movements.planned_again(entries)
    elif visit.get("status") in ("finished", "cancelled"):
        entries = movements.over(entries, visit.get("period", {}).get("end") or at.written)
    else:
        entries = movements.going_on(entries)
    rest = {name: value for name, value in visit.items() if name != "location"}
    return {**rest, "location": entries} if entries else rest


def _newest(visit: Resource, kind: str) -> tuple[str, str]:
    """When the newest event of a kind took place, and when its message was received, as instants; '' when none is known."""
    found = extension_of(visit, AS_OF)
    told = {
        one["url"]: str(one.get("valueInstant", "")) for one in ([] if found is None else found["extension"])
    }
    return told.get(kind, ""), told.get(kind + CAME, "")


def _order(event: Event) -> tuple[str, str]:
    # all instants are written alike, in UTC with milliseconds, so their texts are in the order of time
    return format_instant(event.at), format_instant(event.received)


def is_late(visit: Resource, kind: str, event: Event) -> bool:
    """Whether a newer event of this kind has told already, or one of the same time whose message was received later."""
    return _order(event) < _newest(visit, kind)


def is_told(visit: Resource, kind: str, event: Event) -> bool:
    """Whether a message that is mapped again has told the newest event of this kind itself."""
    return event.again and _order(event) == _newest(visit, kind)


def _told_now(visit: Resource, kind: str, event: Event) -> Resource:
    found = extension_of(visit, AS_OF)
    urls = (kind, kind + CAME)
    parts = [one for one in ([] if found is None else found["extension"]) if one["url"] not in urls]
    parts += [{"url": url, "valueInstant": at} for url, at in zip(urls, _order(event), strict=True)]
    parts.sort(key=lambda one: str(one["url"]))
    return with_extensions(visit, {AS_OF: [{"url": AS_OF, "extension": parts}]})


def _details(visit: Resource, told: Told) -> Resource:
    """With class, types, people, and how the patient came and went; a late event only adds what nobody has told."""
    stays = visit.get("hospitalization", {})
    changes = {**told.details}
    if is_late(visit, DETAILS, told.event):
        if told.event.again:
            return visit
        changes = {name: value for name, value in changes.items() if name not in visit and value is not None}
        hospitalization = {**{k: v for k, v in told.hospitalization.items() if v is not None}, **stays}
        made = changed(visit, changes)
    else:
        hospitalization = changed(stays, told.hospitalization)
        made = _told_now(changed(visit, changes), DETAILS, told.event)
    if hospitalization:
        return {**made, "hospitalization": hospitalization}
    return {name: value for name, value in made.items() if name != "hospitalization"}


def _period(visit: Resource, told: Told) -> Resource:
    period = dict(visit.get("period", {}))
    trigger = told.event.trigger
    start = told.start or (told.event.written if trigger in BEGINS and "start" not in period else None)
    if start is not None and ("start" not in period or not is_late(visit, DETAILS, told.event)):
        period["start"] = start
    if not is_late(visit, STATE, told.event):
        if trigger == "A03":
            period["end"] = told.end or told.event.written
        elif trigger == "A13":
            period.pop("end", None)
        elif told.end is not None:
            period["end"] = told.end
    if not period:
        return visit
    return {**visit, "period": period}


# state


def _state(visit: Resource, told: Told) -> Resource:
    trigger = told.event.trigger
    status = STATES.get(trigger)
    if trigger == "A12" and "status" in visit:
        return _taken_back(visit, trigger, told.event)
    if status is None:
        if "status" in visit:
            return visit
        return {**visit, "status": _implied(told)}
    if is_late(visit, STATE, told.event) or is_told(visit, STATE, told.event):
        return visit if "status" in visit else {**visit, "status": status}
    before = visit.get("status")
    if trigger == "A11":
        status = _before_admission(visit)
    if trigger == "A05" and before not in (None, "planned"):
        return visit
    made = _told_now({**visit, "status": status}, STATE, told.event)
    if before is not None and before != status:
        made = _with_history(made, before, told.event)
    if (trigger, status) == ("A11", "planned") or (trigger, before) == ("A13", "finished"):
        made = _taken_back(made, trigger, told.event)
    return made


def _implied(told: Told) -> str:
    """The state of a visit of which nothing but times are known."""
    if told.end is not None:
        return "finished"
    return "in-progress" if told.event.trigger in OF_VISITS else "unknown"


def _before_admission(visit: Resource) -> str:
    """The state that a cancelled admission leaves: planned, if it was before, else cancelled."""
    had = [one["status"] for one in visit.get("statusHistory", [])]
    return "planned" if had[-1:] == ["planned"] and visit.get("status") != "planned" else "cancelled"


def _with_history(visit: Resource, before: str, event: Event) -> Resource:
    history = visit.get("statusHistory", [])
    since = history[-1].get("period", {}).get("end") if history else visit.get("period", {}).get("start")
    period = {"end": event.written}
    if since is not None and parse_interval(since)[0] <= event.at:
        period = {"start": since, **period}
    return {**visit, "statusHistory": [*history, {"status": before, "period": period}]}


def _taken_back(visit: Resource, trigger: str, event: Event) -> Resource:
    parts = [
        {"url": "what", "valueCode": {"A11": "admission", "A12": "transfer"}.get(trigger, "discharge")},
        {"url": "at", "valueDateTime": event.written},
        {"url": "reason", "valueCodeableConcept": {"text": f"HL7 v2 {trigger}"}},
    ]
    made = {"url": REVERSAL, "extension": parts}
    known = visit.get("extension", [])
    return visit if made in known else {**visit, "extension": [*known, made]}
