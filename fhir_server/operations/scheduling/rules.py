"""What must hold of a new booking by the rules of the Schedules that it takes: notice and horizon."""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import check_times, period_of
from fhir_server.resources.scheduling.rules import refusal_of
from fhir_server.resources.scheduling.taking import is_overbooking, taken_by


async def check_bookable(appointment: Resource, known: Known, services: Services) -> None:
    """Raise BusinessRule when the time is past, too near, too far, or without a schedule to book.

    Who overbooks with a reason, or walks in, is not asked for notice.
    """
    check_times(appointment)
    period = period_of(appointment)
    assert period is not None
    if period[1] <= known.now:
        raise BusinessRule("The time is past.", "Appointment.start")
    if is_overbooking(appointment):
        return
    taken = await taken_by(appointment, known, services.settings.default_timezone)
    for actor, rules in taken.actors.items():
        refusal = None if rules is None else refusal_of(rules, taken.periods.get(actor, period), known.now)
        if refusal is not None:
            raise BusinessRule(f"{actor}: {refusal}", "Appointment.start")
