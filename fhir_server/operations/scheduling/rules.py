"""What must hold of the time that an operation is to book: it is yet to come. What else must hold, the write is judged by."""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.scheduling.lifecycle import check_times, period_of
from fhir_server.resources.scheduling.taking import is_overbooking


def check_bookable(appointment: Resource, now: int) -> None:
    """Raise BusinessRule when the time is past; who walks in, or overbooks with a reason, may come when it has begun."""
    check_times(appointment)
    period = period_of(appointment)
    assert period is not None
    if period[1] <= now or (period[0] < now and not is_overbooking(appointment)):
        raise BusinessRule("The time is past.", "Appointment.start")
