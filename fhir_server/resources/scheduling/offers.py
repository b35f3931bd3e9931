"""Offers to those who wait: time that has become free is held for one of them, and passes on when the hold ends. Pure.

Who waits is an Appointment in state `waitlist`; `requestedPeriod`, `minutesDuration`, `serviceType`, `specialty` and the
participants say what would do. An offer is the same Appointment, pending and held; the extension `waitlist-offer` names whose
time it was. An invariant to keep: nobody is offered the same time twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fhir_r4.temporal import HOUR, MINUTE, format_instant, parse_interval, period_interval
from fhir_server.context import Resource
from fhir_server.resources.scheduling.lifecycle import (
    HOLD_EXPIRES,
    extension_value,
    is_live,
    period_of,
    with_extension,
    without_extension,
)
from fhir_server.resources.scheduling.taking import actors_of

OFFER = "https://osler.health/fhir/StructureDefinition/waitlist-offer"
DECLINED = "https://osler.health/fhir/StructureDefinition/waitlist-declined"
OFFERED_FOR = 4 * HOUR
# an offer that ends so shortly before the time itself is of no use
LAST = 30 * MINUTE


def with_actors(released: Resource, actors: Iterable[str]) -> Resource:
    """The Appointment with these taking part by name, also those who did by their Slots."""
    present = set(actors_of(released))
    added = [
        {"actor": {"reference": a}, "required": "required", "status": "accepted"}
        for a in actors
        if a not in present
    ]
    return {**released, "participant": [*released.get("participant", ()), *added]}


def time_of(released: Mapping[str, Any]) -> str:
    """What names a time that was offered: when and with whom."""
    return f"{released['start']} {' '.join(actors_of(released))}"


def best_candidate(released: Mapping[str, Any], waiting: Iterable[Resource], now: int) -> Resource | None:
    """Who is offered the time of an Appointment that has released it: by priority, then by creation, then by id."""
    fitting = [candidate for candidate in waiting if fits(candidate, released, now)]
    return min(fitting, key=_rank, default=None)


def _rank(candidate: Mapping[str, Any]) -> tuple[int, int, str]:
    created = candidate.get("created")
    # 1 is the highest; 0 says nothing, as in iCalendar
    return (
        candidate.get("priority") or 10,
        parse_interval(created)[0] if created is not None else 2**62,
        candidate["id"],
    )


def fits(candidate: Mapping[str, Any], released: Mapping[str, Any], now: int) -> bool:
    """Whether the time would do for one who waits."""
    period = period_of(released)
    if candidate["status"] != "waitlist" or period is None or period[0] - LAST <= now:
        return False
    if time_of(released) in _declined(candidate) or not set(actors_of(candidate)) <= set(actors_of(released)):
        return False
    wanted = [period_interval(p.get("start"), p.get("end")) for p in candidate.get("requestedPeriod", ())]
    end = period[0] + length_of(candidate, released)
    if end > period[1] or (wanted and not any(low <= period[0] and end <= high for low, high in wanted)):
        return False
    return all(_agree(candidate.get(m, ()), released.get(m, ())) for m in ("serviceType", "specialty"))


def length_of(candidate: Mapping[str, Any], released: Mapping[str, Any]) -> int:
    """How long the visit of one who waits takes, in microseconds; all of the time when nothing says."""
    stated = candidate.get("minutesDuration")
    period = period_of(released)
    assert period is not None
    return period[1] - period[0] if stated is None else int(stated) * MINUTE


def _declined(candidate: Mapping[str, Any]) -> list[str]:
    return [e["valueString"] for e in candidate.get("extension", ()) if e.get("url") == DECLINED]


def _agree(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> bool:
    wanted = _codes(one)
    return not wanted or bool(wanted & _codes(other))


def _codes(concepts: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {
        (c.get("system", ""), c.get("code", "")) for concept in concepts for c in concept.get("coding", ())
    }


def offered(candidate: Resource, released: Mapping[str, Any], now: int) -> Resource:
    """The Appointment of one who waits, holding the time until the offer ends."""
    period = period_of(released)
    assert period is not None
    until = min(now + OFFERED_FOR, period[0] - LAST)
    present = set(actors_of(candidate))
    participants = [
        {**p, "status": "needs-action"}
        if p.get("actor", {}).get("reference", "").startswith("Patient/")
        else p
        for p in candidate["participant"]
    ]
    added = [actor for actor in actors_of(released) if actor not in present]
    participants += [{"actor": {"reference": a}, "required": "required", "status": "accepted"} for a in added]
    offer = {
        **candidate,
        "status": "pending",
        "start": released["start"],
        "end": format_instant(period[0] + length_of(candidate, released)),
        "participant": participants,
    }
    if released.get("slot"):
        offer["slot"] = released["slot"]
    offer = with_extension(offer, HOLD_EXPIRES, valueInstant=format_instant(until))
    return with_extension(offer, OFFER, valueString=f"{time_of(released)}|{' '.join(added)}")


def is_offer(appointment: Mapping[str, Any]) -> bool:
    return appointment["status"] == "pending" and extension_value(appointment, OFFER) is not None


def withdrawn(offer: Resource) -> Resource:
    """The Appointment back on the waiting list; the same time is not offered to it again."""
    time, _, added = str(extension_value(offer, OFFER)).partition("|")
    gone = set(added.split())
    waiting = without_extension(without_extension(offer, OFFER), HOLD_EXPIRES)
    waiting = {k: v for k, v in waiting.items() if k not in ("start", "end", "slot")}
    kept = [p for p in offer["participant"] if p.get("actor", {}).get("reference") not in gone]
    kept = [{**p, "status": "accepted"} if p["status"] == "declined" else p for p in kept]
    refused = [*waiting.get("extension", ()), {"url": DECLINED, "valueString": time}]
    return {**waiting, "status": "waitlist", "participant": kept, "extension": refused}


def has_released(before: Mapping[str, Any], after: Mapping[str, Any] | None, now: int) -> bool:
    """Whether an Appointment took a time that it does not take any more."""
    if before["status"] not in ("pending", "booked", "arrived", "checked-in") or period_of(before) is None:
        return False
    if after is None or not is_live(after, now):
        return True
    return period_of(before) != period_of(after) or actors_of(before) != actors_of(after)
