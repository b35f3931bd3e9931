"""The reminder of an Appointment: a CommunicationRequest that is due the day before, by the clock of the place. Pure.

An invariant to keep: an Appointment has one reminder, under an id that follows from its own, so it is never made twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fhir_r4.temporal import DAY, parse_time
from fhir_server.context import Resource
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.notices import notice_of
from fhir_server.resources.scheduling.zones import day_of, instant_at, midnight, wall_at


def reminder_id(appointment_id: str) -> str:
    return "reminder-" + sha256(appointment_id.encode()).hexdigest()[:40]


def due_at(start: int, time: str, zone: str) -> int:
    """The instant at which the clocks of `zone` show `time` on the day before `start`."""
    clock = parse_time(time)[0]
    return instant_at(midnight(day_of(wall_at(start, zone))) - DAY + clock, zone)


def reminder_of(
    appointment_id: str,
    appointment: Mapping[str, Any] | None,
    kept: Resource | None,
    time: str,
    zone: str,
    now: int,
) -> Resource | None:
    """The reminder as it is to be; None when nothing changes. `kept` is the one there is, `time` when it is due."""
    wanted = None
    period = None if appointment is None else period_of(appointment)
    if appointment is not None and appointment["status"] == "booked" and period is not None:
        due = due_at(period[0], time, zone)
        if due > now:
            wanted = notice_of(appointment, "reminder", reminder_id(appointment_id), due, zone=zone, now=now)
    if wanted is None:
        return {**kept, "status": "revoked"} if kept is not None and kept["status"] == "active" else None
    if kept is not None:
        wanted["authoredOn"] = kept["authoredOn"]
        same = ("occurrenceDateTime", "recipient", "payload")
        if kept["status"] in ("active", "completed") and all(kept.get(m) == wanted.get(m) for m in same):
            return None
    return wanted
