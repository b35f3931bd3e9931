"""What one patient may have: so many open bookings and holds, one place at a time; and how late, or how far ahead, a booking
may be made or given up.

The limits are parts of the rules of Schedules (docs/scheduling.md) and count for what stands on the resource that states
them: all bookings of a service when the service does. An invariant to keep: an Appointment that has its time keeps it,
whatever the limits become.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fhir_r4.errors import BusinessRule, Conflict, Issue
from fhir_r4.temporal import DAY, OPEN_HIGH, format_instant
from fhir_server.context import Resource
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import (
    LIVE,
    OVERRIDE_REASON,
    extension_value,
    hold_expiry,
    is_live,
    period_of,
)
from fhir_server.resources.scheduling.offers import is_offer
from fhir_server.resources.scheduling.rules import (
    UNLIMITED,
    WHOLE,
    Limit,
    ScheduleRules,
    local_reference,
    refusal_of,
    time_key,
)
from fhir_server.resources.scheduling.taking import Taken, is_overbooking, taken_by
from fhir_server.search.tree import DateIs, RefersTo, TokenIs, all_of, any_of
from fhir_server.store.records import Claim

# how many appointments of one patient are looked at
MOST_LOOKED_AT = 1000


def patients_of(appointment: Mapping[str, Any]) -> tuple[str, ...]:
    """The local references of the patients who are to come."""
    coming = []
    for participant in appointment.get("participant", ()):
        actor = local_reference(participant.get("actor", {}))
        if actor is None or not actor.startswith("Patient/") or participant.get("status") == "declined":
            continue
        if participant.get("required") != "information-only":
            coming.append(actor)
    return tuple(dict.fromkeys(coming))


def patient_claims(appointment: Mapping[str, Any], taken: Taken, overlap: str) -> tuple[Claim, ...]:
    """The time of the patients, which nothing else may take under `overlap` `refuse`."""
    period = period_of(appointment)
    assert period is not None
    alone = overlap == "refuse" and not is_overbooking(appointment)
    room, expires = WHOLE if alone else UNLIMITED, hold_expiry(appointment)
    return tuple(
        Claim(time_key(patient), WHOLE, room, taken.periods.get(patient, period), expires)
        for patient in patients_of(appointment)
    )


async def overlaps(appointment: Resource, known: Known) -> list[Issue]:
    """A warning for each patient who is somewhere else at the time."""
    period = period_of(appointment)
    assert period is not None
    told = []
    for patient in patients_of(appointment):
        others = await _live_of(patient, appointment.get("id"), period[0], period[1], known)
        for other in others:
            text = f"{patient} has Appointment/{other['id']} at this time, from {other['start']}."
            told.append(Issue("warning", "conflict", text, ("Appointment.participant",)))
    return told


async def check_limits(appointment: Resource, taken: Taken, known: Known, zone: str) -> None:
    """Raise Conflict when a patient has as many open bookings, or holds, as the rules allow, and this were one more.

    Who overbooks with a reason, or walks in, is not counted against; nor is an offer to one who waits.
    """
    if is_overbooking(appointment) or is_offer(appointment):
        return
    rules = _rules(taken)
    bookings = set(_stated(r.open_bookings for r in rules))
    holds = set(_stated(r.open_holds for r in rules)) if hold_expiry(appointment) is not None else set()
    if not bookings and not holds:
        return
    for patient in patients_of(appointment):
        under = await open_bookings(patient, known, zone, but=appointment.get("id"))
        for limit in bookings:
            refusal = bookings_refusal(limit, patient, under)
            if refusal is not None:
                raise Conflict(refusal, "Appointment.participant")
        for source, most in holds:
            held = sum(source in sources and hold_expiry(other) is not None for other, sources in under)
            if held >= most:
                text = f"{patient} holds {most} times of {source}: no more are allowed."
                raise Conflict(text, "Appointment.participant")


# the Appointments of a patient that are not over, each with the references of the resources whose limits it counts for
Open = Sequence[tuple[Resource, frozenset[str]]]


async def open_bookings(patient: str, known: Known, zone: str, but: str | None = None) -> Open:
    """What a patient has booked or holds from now on, not counting the Appointment `but`."""
    others = await _live_of(patient, but, known.now, OPEN_HIGH, known)
    return [(other, _sources(await taken_by(other, known, zone))) for other in others]


def bookings_refusal(limit: Limit, patient: str, under: Open) -> str | None:
    """Why the patient, who has these, may not have one more booking under the limit; None when one fits."""
    if sum(limit.source in sources for _, sources in under) < limit.most:
        return None
    return f"{patient} has {limit.most} open bookings of {limit.source}: no more are allowed."


def check_notice(appointment: Resource, taken: Taken, now: int) -> None:
    """Raise BusinessRule when a time that is newly taken is nearer or further ahead than the rules allow.

    Who overbooks with a reason, walks in, has a reason to override or is made an offer is let in; so is a record of what has begun.
    """
    period = period_of(appointment)
    assert period is not None
    excepted = is_overbooking(appointment) or extension_value(appointment, OVERRIDE_REASON) is not None
    if excepted or is_offer(appointment) or period[0] < now:
        return
    for actor, rules in taken.actors.items():
        refusal = None if rules is None else refusal_of(rules, taken.periods.get(actor, period), now)
        if refusal is not None:
            raise BusinessRule(
                f"{actor}: {refusal} With a reason it can be booked still: extension {OVERRIDE_REASON}.",
                "Appointment.start",
            )


async def check_deadline(before: Resource, after: Resource | None, known: Known, zone: str) -> None:
    """Raise BusinessRule when a booking is cancelled, moved or deleted later than its rules allow, without a reason."""
    if not _gives_up(before, after, known.now):
        return
    if after is not None and extension_value(after, OVERRIDE_REASON) is not None:
        return
    period = period_of(before)
    assert period is not None
    taken = await taken_by(before, known, zone)
    lengths = (r.cancel_before for r in _rules(taken))
    length = max((one for one in lengths if one is not None), default=None)
    if length is not None and known.now > period[0] - length:
        raise BusinessRule(
            f"This could be cancelled or moved until {format_instant(period[0] - length)};"
            f" since then it needs a reason: extension {OVERRIDE_REASON}.",
            "Appointment.status",
        )


def _gives_up(before: Resource, after: Resource | None, now: int) -> bool:
    """Whether a booking, which is no hold, does not come to pass at its time."""
    period = period_of(before)
    booked = before["status"] in ("pending", "booked") and hold_expiry(before) is None
    if not booked or period is None or period[1] <= now:
        return False
    if after is None or after["status"] in ("cancelled", "proposed", "waitlist"):
        return True
    return after["status"] in LIVE and period_of(after) != period


async def _live_of(patient: str, but: str | None, low: int, high: int, known: Known) -> list[Resource]:
    """The live Appointments of a patient that share a moment with [low, high), but for one."""
    wanted = [
        RefersTo("patient", "Patient", patient.removeprefix("Patient/")),
        any_of(TokenIs("status", None, status) for status in LIVE),
        DateIs("date", "ge", low - DAY, low - DAY + 1),
    ]
    if high != OPEN_HIGH:
        wanted.append(DateIs("date", "lt", high, high + 1))
    found = await known.find("Appointment", all_of(wanted), MOST_LOOKED_AT)
    return [
        other
        for other in found
        if other["id"] != but
        and is_live(other, known.now)
        and patient in patients_of(other)
        and (period := period_of(other)) is not None
        and period[0] < high
        and low < period[1]
    ]


def _stated(limits: Iterable[Limit | None]) -> Iterator[Limit]:
    return (limit for limit in limits if limit is not None)


def _rules(taken: Taken) -> list[ScheduleRules]:
    return [r for r in (*taken.actors.values(), *(r for _, r in taken.slots.values())) if r is not None]


def _sources(taken: Taken) -> frozenset[str]:
    """The references of the resources whose limits an Appointment counts for."""
    return frozenset(
        limit.source for r in _rules(taken) for limit in (r.open_bookings, r.open_holds) if limit is not None
    )
