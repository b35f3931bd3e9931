"""Who may be booked with whom: the ages and the patients that a Schedule is for, and what who sees them is qualified in.

The rules are parts of those of Schedules (docs/appointments.md); `$find` and bookings ask the same functions. An invariant to
keep: an Appointment that has its time keeps it, whatever the rules or the records become.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import OPEN_HIGH, OPEN_LOW, period_interval
from fhir_server.context import Resource
from fhir_server.resources.beds.wards import birth_date, birthday, told_age
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.booked import booked_service
from fhir_server.resources.scheduling.intervals import Interval, union
from fhir_server.resources.scheduling.lifecycle import OVERRIDE_REASON, extension_value, period_of
from fhir_server.resources.scheduling.limits import patients_of
from fhir_server.resources.scheduling.offers import is_offer
from fhir_server.resources.scheduling.rules import Age, ScheduleRules, local_reference
from fhir_server.resources.scheduling.taking import Taken, actors_of, slots_of, with_practitioners
from fhir_server.resources.scheduling.zones import instant_at, midnight
from fhir_server.search.tree import RefersTo, TokenIs, all_of, any_of

SEEN = ("arrived", "checked-in", "fulfilled")
SEEING = ("Practitioner/", "PractitionerRole/", "HealthcareService/")
MOST_VISITS = 1000


async def check_suits(appointment: Resource, taken: Taken, known: Known) -> None:
    """Raise BusinessRule when a patient is not of those that the Schedules are for, or who sees them lacks a qualification.

    A reason to override lets everybody in; an offer is to one who was let wait for it.
    """
    if extension_value(appointment, OVERRIDE_REASON) is not None or is_offer(appointment):
        return
    stating = [(actor, rules) for actor, rules in taken.actors.items() if rules is not None and rules.who]
    if not stating:
        return
    period = period_of(appointment)
    assert period is not None
    here = seeing(taken.actors, booked_service(appointment))
    for actor, rules in stating:
        for patient in patients_of(appointment):
            record = await known.current("Patient", patient.removeprefix("Patient/"))
            born = None if record is None else birth_date(record.get("birthDate"))
            _refuse(age_refusal(rules, born, patient, period[0]))
            if rules.patients is not None:
                seen = await seen_by(patient, known, but=appointment.get("id"))
                _refuse(acquaintance_refusal(rules, patient, known_here=bool(here & seen)))
        if actor.startswith("Practitioner/") and rules.qualification:
            record = await known.current("Practitioner", actor.removeprefix("Practitioner/"))
            _refuse(qualification_refusal(rules, actor, qualified(record, rules), period[0]))


def _refuse(refusal: str | None) -> None:
    if refusal is not None:
        raise BusinessRule(refusal, "Appointment.participant")


# Ages


def ages(rules: ScheduleRules, born: date | None) -> Interval:
    """The starts [low, high) at which somebody born then is of the age that the rules are for; none when that is not known."""
    if rules.minimum_age is None and rules.maximum_age is None:
        return OPEN_LOW, OPEN_HIGH
    if born is None:
        return 0, 0
    low = OPEN_LOW if rules.minimum_age is None else _birthday(born, rules.minimum_age, rules.zone)
    high = OPEN_HIGH if rules.maximum_age is None else _birthday(born, rules.maximum_age, rules.zone)
    return low, high


def _birthday(born: date, age: Age, zone: str) -> int:
    return instant_at(midnight(birthday(born, _quantity(age))), zone)


def age_refusal(rules: ScheduleRules, born: date | None, patient: str, start: int) -> str | None:
    """Why somebody born then is not booked at `start` by the ages of the rules; None when they are."""
    low, high = ages(rules, born)
    if low <= start < high:
        return None
    if born is None:
        return f"There is an age to be had here, and that of {patient} is not known."
    limit, age = ("from", rules.minimum_age) if start < low else ("below", rules.maximum_age)
    assert age is not None
    return f"This is for patients {limit} the age of {told_age(_quantity(age))}."


def _quantity(age: Age) -> Resource:
    return {"value": age[0], "code": age[1]}


# New and existing patients


def acquaintance_refusal(rules: ScheduleRules, patient: str, *, known_here: bool) -> str | None:
    """Why somebody who was, or was not, seen here before is not booked by the rules; None when they are."""
    if rules.patients is None or known_here is (rules.patients == "existing"):
        return None
    text = "was seen here before" if known_here else "was never seen here"
    return f"This is for {rules.patients} patients; {patient} {text}."


def seeing(actors: Iterable[str], service: str | None) -> set[str]:
    """Those of the actors who see patients, and the service, which does too."""
    found = {actor for actor in actors if actor.startswith(SEEING)}
    return found if service is None else {*found, service}


async def seen_by(patient: str, known: Known, but: str | None = None) -> set[str]:
    """The practitioners, roles and services that the patient has come to, not counting the Appointment `but`.

    A role and the practitioner in it are one person, and a Slot is as good as those whose Schedule it is of.
    """
    theirs = RefersTo("patient", "Patient", patient.removeprefix("Patient/"))
    status = any_of(TokenIs("status", None, one) for one in SEEN)
    found: set[str] = set()
    for visit in await known.find("Appointment", all_of([theirs, status]), MOST_VISITS):
        if visit["id"] != but:
            found |= seeing([*actors_of(visit), *await _of_slots(visit, known)], booked_service(visit))
    return found | {*await with_practitioners(dict.fromkeys(found), known)}


async def _of_slots(visit: Resource, known: Known) -> list[str]:
    actors: list[str] = []
    for id in slots_of(visit):
        slot = await known.current("Slot", id)
        reference = None if slot is None else local_reference(slot.get("schedule", {}))
        schedule = None if reference is None else await known.current(*_key(reference))
        named = () if schedule is None else schedule.get("actor", ())
        actors += [actor for one in named if (actor := local_reference(one)) is not None]
    return actors


# Qualifications


def qualified(practitioner: Resource | None, rules: ScheduleRules) -> Sequence[Interval]:
    """When the practitioner has one of the qualifications that the rules ask for."""
    held = () if practitioner is None else practitioner.get("qualification", ())
    periods = (q.get("period", {}) for q in held if _codes(q) & rules.qualification)
    return union(period_interval(p.get("start"), p.get("end")) for p in periods)


def qualification_refusal(
    rules: ScheduleRules, practitioner: str, held: Iterable[Interval], start: int
) -> str | None:
    """Why nobody is booked with the practitioner at `start`, who is qualified when `held` says; None when they are."""
    if any(low <= start < high for low, high in held):
        return None
    wanted = ", ".join(sorted(code for _, code in rules.qualification))
    return f"{practitioner} is not qualified at that time in: {wanted}."


def _codes(qualification: Mapping[str, Any]) -> set[tuple[str, str]]:
    codings: Iterable[Mapping[str, Any]] = qualification.get("code", {}).get("coding", ())
    return {(c.get("system", ""), c.get("code", "")) for c in codings}


def _key(reference: str) -> tuple[str, str]:
    type, _, id = reference.partition("/")
    return type, id
