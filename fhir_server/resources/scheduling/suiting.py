"""Who may be booked with whom: the ages and the patients that a Schedule is for, and what who sees them is qualified in.

The rules are parts of those of Schedules (docs/appointments.md). An invariant to keep: an Appointment that has its time keeps
it, whatever the rules or the records become.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import period_interval
from fhir_server.context import Resource
from fhir_server.resources.beds.wards import birth_date, birthday, told_age
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.booked import booked_service
from fhir_server.resources.scheduling.lifecycle import OVERRIDE_REASON, extension_value, period_of
from fhir_server.resources.scheduling.limits import patients_of
from fhir_server.resources.scheduling.offers import is_offer
from fhir_server.resources.scheduling.rules import ScheduleRules
from fhir_server.resources.scheduling.taking import Taken, actors_of
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
    for actor, rules in stating:
        day = datetime.fromtimestamp(period[0] / 1_000_000, ZoneInfo(rules.zone)).date()
        for patient in patients_of(appointment):
            await _check_patient(patient, rules, day, appointment, known)
        if actor.startswith("Practitioner/") and rules.qualification:
            await _check_qualified(actor, rules, period[0], known)


async def _check_patient(
    patient: str, rules: ScheduleRules, day: date, appointment: Resource, known: Known
) -> None:
    where = "Appointment.participant"
    if rules.minimum_age is not None or rules.maximum_age is not None:
        record = await known.current("Patient", patient.removeprefix("Patient/"))
        born = None if record is None else birth_date(record.get("birthDate"))
        if born is None:
            raise BusinessRule(f"There is an age to be had here, and that of {patient} is not known.", where)
        for age, old_enough in ((rules.minimum_age, True), (rules.maximum_age, False)):
            if age is not None and (birthday(born, _quantity(age)) <= day) is not old_enough:
                limit = "from" if old_enough else "below"
                raise BusinessRule(
                    f"This is for patients {limit} the age of {told_age(_quantity(age))}.", where
                )
    if rules.patients is not None:
        seen = await _was_seen(patient, appointment, known)
        if seen is not (rules.patients == "existing"):
            text = "was seen here before" if seen else "was never seen here"
            raise BusinessRule(f"This is for {rules.patients} patients; {patient} {text}.", where)


def _quantity(age: tuple[str, str]) -> Resource:
    return {"value": age[0], "code": age[1]}


async def _was_seen(patient: str, appointment: Resource, known: Known) -> bool:
    """Whether the patient has come to one of those who take part, or to the service, before."""
    theirs = RefersTo("patient", "Patient", patient.removeprefix("Patient/"))
    status = any_of(TokenIs("status", None, one) for one in SEEN)
    visits = await known.find("Appointment", all_of([theirs, status]), MOST_VISITS)
    here = _seeing(appointment)
    return any(v["id"] != appointment.get("id") and here & _seeing(v) for v in visits)


def _seeing(appointment: Mapping[str, Any]) -> set[str]:
    service = booked_service(appointment)
    actors = {actor for actor in actors_of(appointment) if actor.startswith(SEEING)}
    return actors if service is None else {*actors, service}


async def _check_qualified(actor: str, rules: ScheduleRules, instant: int, known: Known) -> None:
    record = await known.current("Practitioner", actor.removeprefix("Practitioner/"))
    held = () if record is None else record.get("qualification", ())
    if not any(_codes(q) & rules.qualification and _holds(q, instant) for q in held):
        wanted = ", ".join(sorted(code for _, code in rules.qualification))
        raise BusinessRule(f"{actor} is not qualified at that time in: {wanted}.", "Appointment.participant")


def _codes(qualification: Mapping[str, Any]) -> set[tuple[str, str]]:
    codings: Iterable[Mapping[str, Any]] = qualification.get("code", {}).get("coding", ())
    return {(c.get("system", ""), c.get("code", "")) for c in codings}


def _holds(qualification: Mapping[str, Any], instant: int) -> bool:
    period = qualification.get("period", {})
    low, high = period_interval(period.get("start"), period.get("end"))
    return low <= instant < high
