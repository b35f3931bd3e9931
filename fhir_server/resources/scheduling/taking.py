"""What a live Appointment takes: the time of those who take part, and the Slots that it names.

The actors are its participants, and those of the Schedules that its Slots belong to: a partner that names nothing but a
Slot takes the time of the same people as one that names them. An invariant to keep: a role and the practitioner in it are
one person, whichever of them is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fhir_r4.errors import BusinessRule, Conflict
from fhir_r4.temporal import parse_interval
from fhir_server.context import Resource
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.booked import booked_schedules, booked_service
from fhir_server.resources.scheduling.lifecycle import (
    OVERBOOKING_REASON,
    extension_value,
    hold_expiry,
    period_of,
)
from fhir_server.resources.scheduling.related import rules_of
from fhir_server.resources.scheduling.rules import (
    UNLIMITED,
    WHOLE,
    Limit,
    ScheduleRules,
    local_reference,
    time_claims,
    time_key,
)
from fhir_server.search.tree import RefersTo, any_of
from fhir_server.store.records import Claim

T = TypeVar("T")
ACTOR_TYPES = ("Practitioner", "PractitionerRole", "Location", "Device", "HealthcareService")
CLOSED = ("busy-unavailable", "entered-in-error")
WALK_IN = "WALKIN"


def slot_key(id: str) -> str:
    """The key of the claims on a Slot."""
    return f"slot:Slot/{id}"


def slots_of(appointment: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the Slots of this server that an Appointment names."""
    local = (local_reference(reference) for reference in appointment.get("slot", ()))
    return tuple(
        dict.fromkeys(r.removeprefix("Slot/") for r in local if r is not None and r.startswith("Slot/"))
    )


def actors_of(appointment: Mapping[str, Any]) -> tuple[str, ...]:
    """The local references of those whose time the participants take.

    Who has declined takes no part; who is optional does so when accepted; who is only informed never does.
    """
    taking = []
    for participant in appointment.get("participant", ()):
        actor = local_reference(participant.get("actor", {}))
        required = participant.get("required", "required")
        status = participant.get("status")
        if actor is None or actor.partition("/")[0] not in ACTOR_TYPES or status == "declined":
            continue
        if required == "required" or (required == "optional" and status == "accepted"):
            taking.append(actor)
    return tuple(dict.fromkeys(taking))


def declined_by(appointment: Mapping[str, Any]) -> frozenset[str]:
    """The local references of those who have declined to take part."""
    participants = [p for p in appointment.get("participant", ()) if p.get("status") == "declined"]
    actors = (local_reference(p.get("actor", {})) for p in participants)
    return frozenset(actor for actor in actors if actor is not None)


def is_overbooking(appointment: Mapping[str, Any]) -> bool:
    """Whether it may take the room that is kept beyond the capacity: with a reason, or for who walks in."""
    return extension_value(appointment, OVERBOOKING_REASON) is not None or is_walk_in(appointment)


def is_walk_in(appointment: Mapping[str, Any]) -> bool:
    """Whether it is for somebody who comes without a booking."""
    return any(c.get("code") == WALK_IN for c in appointment.get("appointmentType", {}).get("coding", ()))


def claims_of_appointment(
    appointment: Mapping[str, Any], taken: Taken, held: Iterable[str] = ()
) -> tuple[Claim, ...]:
    """The claims of a live Appointment on what it takes; `held` are the Slots that it has taken already.

    Raises Conflict for a Slot that is closed, BusinessRule for one whose Schedule is not active.
    """
    period = period_of(appointment)
    assert period is not None
    expires = hold_expiry(appointment)
    overbooked = is_overbooking(appointment)
    claims: list[Claim] = []
    for id, (slot, rules) in taken.slots.items():
        if slot is not None and id not in held:
            _check_open(slot, rules)
        claims.append(_slot_claim(id, slot, rules, period, expires, overbooked))
    for actor, one in taken.actors.items():
        own = taken.periods.get(actor, period)
        if one is None:
            claims.append(Claim(time_key(actor), WHOLE, UNLIMITED, own, expires))
        else:
            claims += time_claims(one, actor, own, expires=expires, overbooked=overbooked)
    return tuple(claims)


@dataclass(frozen=True, slots=True)
class Taken:
    """The Slots and actors that an Appointment takes, each with its rules: None where there are none.

    A Slot that is not on this server is None as well. `periods` are those of actors who take part for a time of their own.
    """

    slots: Mapping[str, tuple[Resource | None, ScheduleRules | None]]
    actors: Mapping[str, ScheduleRules | None]
    periods: Mapping[str, tuple[int, int]]


async def taken_by(appointment: Mapping[str, Any], known: Known, zone: str) -> Taken:
    """The Slots that an Appointment names, and the actors whose time it takes."""
    slots: dict[str, tuple[Resource | None, ScheduleRules | None]] = {}
    actors: dict[str, ScheduleRules | None] = {}
    declined = declined_by(appointment)
    acting, service = actors_of(appointment), booked_service(appointment)
    for id in slots_of(appointment):
        slot = await known.current("Slot", id)
        rules = None if slot is None else await slot_rules(slot, known, zone, service)
        slots[id] = slot, rules
        if rules is not None:
            actors.update({a: rules for a in rules.actors if a not in actors and a not in declined})
    for id in booked_schedules(appointment):
        schedule = await known.current("Schedule", id)
        rules = None if schedule is None else await rules_of(schedule, known.current, zone, service)
        if rules is not None and rules.active:
            actors.update({a: rules for a in rules.actors if a in acting and a not in actors})
    for actor in acting:
        if actor not in actors:
            actors[actor] = await _rules_of_actor(actor, appointment, known, zone)
    periods = dict(_periods(appointment))
    for role in [actor for actor in periods if actor.startswith("PractitionerRole/")]:
        for person in await with_practitioners({role: None}, known):
            periods.setdefault(person, periods[role])
    return Taken(slots, await with_practitioners(actors, known), periods)


async def zone_of(appointment: Mapping[str, Any] | None, known: Known, default: str) -> str:
    """The zone of the place of an Appointment."""
    if appointment is None or period_of(appointment) is None:
        return default
    taken = await taken_by(appointment, known, default)
    return next((rules.zone for rules in taken.actors.values() if rules is not None), default)


def _periods(appointment: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The participants who take part for a time of their own, and that time. Raises BusinessRule for none."""
    for participant in appointment.get("participant", ()):
        actor, period = local_reference(participant.get("actor", {})), participant.get("period", {})
        if actor is not None and "start" in period and "end" in period:
            low, high = parse_interval(period["start"])[0], parse_interval(period["end"])[0]
            if low >= high:
                raise BusinessRule("A period ends after it begins.", "Appointment.participant.period")
            yield actor, (low, high)


async def slot_rules(
    slot: Mapping[str, Any], known: Known, zone: str, service: str | None = None
) -> ScheduleRules | None:
    """The rules of the Schedule that a Slot belongs to; None when it is not on this server."""
    reference = local_reference(slot.get("schedule", {}))
    schedule = None if reference is None else await known.current("Schedule", reference.partition("/")[2])
    return None if schedule is None else await rules_of(schedule, known.current, zone, service)


async def with_practitioners(
    taken: Mapping[str, ScheduleRules | None], known: Known
) -> dict[str, ScheduleRules | None]:
    """The same actors, and the practitioners behind the roles among them."""
    all = dict(taken)
    for actor, rules in taken.items():
        if actor.startswith("PractitionerRole/"):
            role = await known.current(*_key(actor))
            person = None if role is None else local_reference(role.get("practitioner", {}))
            if person is not None and all.get(person) is None:
                all[person] = rules
    return all


async def _rules_of_actor(
    actor: str, appointment: Mapping[str, Any], known: Known, zone: str
) -> ScheduleRules | None:
    """The strictest of the rules that apply to an actor; None for one without an active Schedule."""
    references = [actor]
    if actor.startswith("Practitioner/"):
        roles = await known.find("PractitionerRole", RefersTo("practitioner", *_key(actor)))
        references += [f"PractitionerRole/{role['id']}" for role in roles]
    schedules = await known.find("Schedule", any_of(RefersTo("actor", *_key(r)) for r in references))
    wanted = _codes(appointment.get("serviceType", ()))
    fitting = [s for s in schedules if wanted & _codes(s.get("serviceType", ()))] or schedules
    found = [await rules_of(schedule, known.current, zone) for schedule in fitting]
    return _strictest([rules for rules in found if rules.active])


def _strictest(rules: Sequence[ScheduleRules]) -> ScheduleRules | None:
    if not rules:
        return None
    return replace(
        min(rules, key=lambda r: (r.capacity, r.overbooking)),
        buffer_before=max(r.buffer_before for r in rules),
        buffer_after=max(r.buffer_after for r in rules),
        shared_buffers=all(r.shared_buffers for r in rules),
        cancel_before=max((r.cancel_before for r in rules if r.cancel_before is not None), default=None),
        open_bookings=_lowest(r.open_bookings for r in rules),
        open_holds=_lowest(r.open_holds for r in rules),
        minimum_age=_first(r.minimum_age for r in rules),
        maximum_age=_first(r.maximum_age for r in rules),
        patients=_first(r.patients for r in rules),
        qualification=next((r.qualification for r in rules if r.qualification), frozenset()),
    )


def _first(stated: Iterable[T | None]) -> T | None:
    return next((one for one in stated if one is not None), None)


def _lowest(limits: Iterable[Limit | None]) -> Limit | None:
    stated = [limit for limit in limits if limit is not None]
    return min(stated, key=lambda limit: limit.most, default=None)


def _codes(concepts: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {
        (c.get("system", ""), c.get("code", "")) for concept in concepts for c in concept.get("coding", ())
    }


def _key(reference: str) -> tuple[str, str]:
    type, _, id = reference.partition("/")
    return type, id


def _check_open(slot: Resource, rules: ScheduleRules | None) -> None:
    if slot["status"] in CLOSED:
        raise Conflict(f"Slot/{slot['id']} cannot be booked: it is {slot['status']}.", "Appointment.slot")
    if rules is not None and not rules.active:
        raise BusinessRule(
            f"Slot/{slot['id']} cannot be booked: Schedule/{rules.id} is not active.", "Appointment.slot"
        )


def _slot_claim(
    id: str,
    slot: Resource | None,
    rules: ScheduleRules | None,
    period: tuple[int, int],
    expires: int | None,
    overbooked: bool,
) -> Claim:
    interval = period if slot is None else (period_of(slot) or period)
    if rules is None:
        return Claim(slot_key(id), WHOLE, WHOLE, interval, expires)
    room = WHOLE + rules.share * rules.overbooking if overbooked else WHOLE
    return Claim(slot_key(id), rules.share, room, interval, expires)
