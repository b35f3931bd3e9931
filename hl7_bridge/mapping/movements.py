"""Where a patient has been: the places of a visit as movements in order of their times. Pure.

Movements become known in any order. An invariant to keep: the same movements give the same places, in whatever order they were
told, and a patient is where the newest movement says.
"""

from __future__ import annotations

from typing import Any

from fhir_r4.temporal import format_instant, parse_interval
from hl7_bridge.mapping.changes import AS_OF, OSLER
from hl7_bridge.mapping.segments.evn import Event

OVERRIDE = OSLER + "ward-rule-override"
# events that move a patient
MOVES = frozenset(("A01", "A02", "A04", "A06", "A07"))
KEPT = frozenset(("planned", "reserved"))

Entry = dict[str, Any]


def moved(entries: list[Entry], place: Entry, start: str | None, event: Event) -> list[Entry]:
    """The patient came to a place, at `start` or at the event."""
    entries = _been(entries)
    since = event.written if start is None else start
    at = parse_interval(since)[0]
    if any(_same(one, place) and one.get("period", {}).get("start") == since for one in entries):
        return entries
    earlier = [one for one in entries if _time(one) <= at]
    later = entries[len(earlier) :]
    if event.trigger != "A02" and earlier and _same(earlier[-1], place):
        return entries
    if later and _same(later[0], place) and "start" not in later[0].get("period", {}):
        # seen there by now: it is known since when
        later[0] = {**later[0], **_entry(place, since), "status": later[0]["status"]}
        return _joined(earlier, later)
    return _joined(earlier, [_entry(place, since), *later])


def moved_back(entries: list[Entry], place: Entry, event: Event) -> list[Entry]:
    """The last movement before the event was a mistake: the patient is still at `place`."""
    entries = _been(entries)
    earlier = [one for one in entries if _time(one) <= event.at]
    later = entries[len(earlier) :]
    if earlier and not _same(earlier[-1], place):
        earlier.pop()
        if earlier:
            earlier[-1] = _open(earlier[-1])
    if earlier and _same(earlier[-1], place) and len(earlier) + len(later) < len(entries):
        return _joined(earlier, later)
    return _joined(earlier, [_entry(place, event.written), *later])


def seen(place: Entry, event: Event) -> list[Entry]:
    """The patient was at a place when the event took place; nobody has told since when."""
    found = [{"url": AS_OF, "valueInstant": format_instant(event.at)}]
    return [{"extension": found, "location": place, "status": "active"}]


def named(entries: list[Entry], place: Entry, called: str) -> list[Entry]:
    """The places with the one that was known by what it is called only, now that it is known."""
    if "reference" not in place:
        return entries
    return [
        {**one, "location": place, "extension": [*one.get("extension", []), *_unready()]}
        if "reference" not in one["location"] and one["location"].get("display") == called
        else one
        for one in entries
    ]


def going_on(entries: list[Entry]) -> list[Entry]:
    """The places of a visit that goes on: the patient is at the last one."""
    entries = _completed(entries)
    if entries and entries[-1].get("status") not in KEPT:
        entries[-1] = {**_open(entries[-1]), "status": "active"}
    return entries


def over(entries: list[Entry], end: str) -> list[Entry]:
    """The places of a visit that has ended: nobody is anywhere, and nothing is kept."""
    entries = _completed(_been(entries))
    if entries:
        last = entries[-1]
        period = {name: value for name, value in last.get("period", {}).items() if name != "end"}
        if "start" not in period or parse_interval(period["start"])[0] <= parse_interval(end)[0]:
            period["end"] = end
        entries[-1] = {**last, "status": "completed", "period": period}
    return entries


def planned_again(entries: list[Entry]) -> list[Entry]:
    """The places of a visit that has not begun: the last one is kept."""
    return [{"location": entries[-1]["location"], "status": "planned"}] if entries else []


def _entry(place: Entry, since: str) -> Entry:
    """A place that the patient came to. That the bed was not told to be clean does not undo that somebody lies there."""
    made: Entry = {"location": place, "status": "active", "period": {"start": since}}
    return {"extension": _unready(), **made} if "reference" in place else made


def _unready() -> list[dict[str, Any]]:
    parts = [
        {"url": "reason", "valueCodeableConcept": {"text": "Told by an HL7 v2 message"}},
        {"url": "rule", "valueCode": "bed-not-ready"},
    ]
    return [{"url": OVERRIDE, "extension": parts}]


def _been(entries: list[Entry]) -> list[Entry]:
    """The places where the patient was; without those that were only kept."""
    return [one for one in entries if one.get("status") not in KEPT]


def _joined(earlier: list[Entry], later: list[Entry]) -> list[Entry]:
    """The places before and after, with the end of the last one before where the next begins."""
    if not earlier or not later:
        return [*earlier, *later]
    last, start = earlier[-1], later[0].get("period", {}).get("start")
    period = {name: value for name, value in last.get("period", {}).items() if name != "end"}
    period |= {} if start is None else {"end": start}
    closed = {name: value for name, value in last.items() if name != "period"}
    found = [*earlier[:-1], closed | ({"period": period} if period else {}), *later]
    after = found[len(earlier)]
    if len(later) > 1 and "start" in later[1].get("period", {}):
        end = later[1]["period"]["start"]
        found[len(earlier)] = {**after, "period": {**after.get("period", {}), "end": end}}
    return found


def _completed(entries: list[Entry]) -> list[Entry]:
    """All but the last are over."""
    return [
        {**one, "status": "completed"} if n < len(entries) - 1 and one.get("status") not in KEPT else one
        for n, one in enumerate(entries)
    ]


def _open(entry: Entry) -> Entry:
    period = {name: value for name, value in entry.get("period", {}).items() if name != "end"}
    rest = {name: value for name, value in entry.items() if name != "period"}
    return {**rest, "period": period} if period else rest


def _time(entry: Entry) -> int:
    """When the patient came, or was seen, in microseconds."""
    start = entry.get("period", {}).get("start")
    told = [one["valueInstant"] for one in entry.get("extension", []) if one.get("url") == AS_OF]
    for text in (start, *told):
        if text is not None:
            return parse_interval(text)[0]
    return 0


def _same(entry: Entry, place: Entry) -> bool:
    one = entry["location"]
    if "reference" in one or "reference" in place:
        return bool(one.get("reference") == place.get("reference"))
    return bool(one.get("display") == place.get("display"))
