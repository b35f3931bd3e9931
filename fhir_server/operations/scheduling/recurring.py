"""The occurrences of a booking that recurs, by a rule of RFC 5545, at the same wall time. docs/appointments.md

An invariant to keep: an occurrence names the Slot at its own time, when the Schedule keeps Slots there, and never that of
another occurrence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.temporal import DAY, format_instant
from fhir_server.context import Resource, Services
from fhir_server.operations.scheduling.reschedule import schedules_of_slots, slots_at
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import period_of, with_extension
from fhir_server.resources.scheduling.recurrence import Recurrence, check_recurrence, recurring_days
from fhir_server.resources.scheduling.taking import taken_by
from fhir_server.resources.scheduling.zones import day_of, instant_at, midnight, wall_at

SERIES = "https://osler.health/fhir/StructureDefinition/appointment-series"
MOST = 60
LONGEST = timedelta(days=800)


async def occurrences(
    appointment: Resource, rule: str, series: str, known: Known, services: Services
) -> Sequence[Resource]:
    """The Appointment once for each day of the rule, the first on its own day, each without an id.

    Raises InvalidRequest for a rule that is none, BusinessRule for too many occurrences.
    """
    period = period_of(appointment)
    if period is None:
        raise InvalidRequest("A booking that recurs needs start and end.", "recurrence")
    default = services.settings.default_timezone
    taken = await taken_by(appointment, known, default)
    zone = next((rules.zone for rules in taken.actors.values() if rules is not None), default)
    wall = wall_at(period[0], zone)
    first = day_of(wall)
    recurrence = Recurrence(rule, first, 0, DAY)
    try:
        check_recurrence(recurrence)
        days = recurring_days(recurrence, first, first + LONGEST)
    except (BusinessRule, ValueError) as error:
        raise InvalidRequest(f"The recurrence is no rule of RFC 5545: {error}", "recurrence") from error
    if not days or len(days) > MOST:
        raise BusinessRule(
            f"A recurrence has from 1 to {MOST} occurrences; state COUNT or UNTIL.", "recurrence"
        )
    schedules = await schedules_of_slots(appointment, known)
    length, clock = period[1] - period[0], wall - midnight(first)
    found = []
    for day in days:
        begin = instant_at(midnight(day) + clock, zone)
        one = {k: v for k, v in appointment.items() if k not in ("slot", "id")}
        one |= {"start": format_instant(begin), "end": format_instant(begin + length)}
        slots = [s for id in schedules for s in await slots_at(id, begin, begin + length, known)]
        found.append(with_extension({**one, "slot": slots} if slots else one, SERIES, valueString=series))
    return found
