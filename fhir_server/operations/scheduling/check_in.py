"""Appointment/$check-in and $fulfil: a patient comes, and is seen. docs/scheduling.md

The visit is an Encounter whose statusHistory says when the patient came and when it began: the waiting time. Who waits has
a Task in the queue of the service. An invariant to keep: one Appointment has one visit, however often it is checked in.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import DAY, HOUR
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import Given, given
from fhir_server.operations.scheduling.changes import DEFINITIONS, appointment_of, instant_given
from fhir_server.operations.scheduling.searchsets import searchset
from fhir_server.resources.change import Known
from fhir_server.resources.permissions import require
from fhir_server.resources.scheduling.lifecycle import OVERRIDE_REASON, period_of, with_extension
from fhir_server.resources.scheduling.notices import patients_of
from fhir_server.resources.scheduling.queueing import (
    finished_visit,
    finished_wait,
    new_visit,
    new_wait,
    service_of,
)
from fhir_server.resources.scheduling.taking import zone_of
from fhir_server.resources.scheduling.zones import day_of, format_local, instant_at, midnight, wall_at
from fhir_server.search.tree import RefersTo

TO_COME = ("booked", "noshow")
EARLIEST = 6 * HOUR


async def check_in(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the Appointment, `arrived`, and with its Encounter and the Task of the queue."""
    taken = given(call, DEFINITIONS + "check-in")
    if taken.one("override") is not None:
        require(call.request.actor, "override")

    async def planner(known: Known) -> Sequence[Write]:
        appointment = await appointment_of(call, known)
        at = instant_given(taken, known.now)
        zone = await zone_of(appointment, known, services.settings.default_timezone)
        _check_day(appointment, at, known.now, zone)
        arrived = {**appointment, "status": "arrived"}
        if taken.one("override") is not None:
            arrived = with_extension(arrived, OVERRIDE_REASON, valueCodeableConcept=taken.one("override"))
        return [Write(arrived), *await _visit(arrived, at, taken, known, services)]

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written[:1], written[1:])

    return await carry_out(call, services, taken, planner, answer)


async def _visit(
    appointment: Resource, at: int, taken: Given, known: Known, services: Services
) -> list[Write]:
    """The Encounter and the place in the queue, unless the visit has begun already."""
    patients = patients_of(appointment)
    if not patients or await visits_of(appointment, known):
        return []
    encounter = new_visit(appointment, patients[0], services.new_id(), at)
    service = taken.one("service") or service_of(appointment)
    writes = [Write(encounter, "POST", fresh=True)]
    if service is not None:
        task = new_wait(encounter, service, services.new_id(), at, taken.one("priority"))
        writes.append(Write(task, "POST", fresh=True))
    return writes


def _check_day(appointment: Resource, at: int, now: int, zone: str) -> None:
    if appointment["status"] not in TO_COME:
        raise BusinessRule(
            f"An Appointment that is {appointment['status']} cannot be checked in.", "Appointment.status"
        )
    period = period_of(appointment)
    if period is None or at > now or not _opens(period[0], zone) <= at < period[1] + DAY:
        raise BusinessRule(
            f"The Appointment is not on the day of {format_local(at, zone)}.", "Appointment.start"
        )


def _opens(start: int, zone: str) -> int:
    """From when on one may come: the day itself by the clock of the place, and the evening before an early morning."""
    return min(instant_at(midnight(day_of(wall_at(start, zone))), zone), start - EARLIEST)


async def visits_of(appointment: Resource, known: Known) -> list[Resource]:
    """The Encounters of an Appointment that go on."""
    found = await known.find("Encounter", RefersTo("appointment", "Appointment", appointment["id"]))
    return [e for e in found if e["status"] not in ("finished", "cancelled", "entered-in-error")]


async def fulfil(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the Appointment, `fulfilled`, and with its Encounter, finished."""
    taken = given(call, DEFINITIONS + "fulfil")

    async def planner(known: Known) -> Sequence[Write]:
        appointment = await appointment_of(call, known)
        at = instant_given(taken, known.now)
        if at > known.now:
            raise BusinessRule("What has been fulfilled is not in the future.", "at")
        writes = [Write({**appointment, "status": "fulfilled"})]
        for encounter in await visits_of(appointment, known):
            writes.append(Write(finished_visit(encounter, at)))
            waits = await known.find("Task", RefersTo("encounter", "Encounter", encounter["id"]))
            writes += [Write(done) for t in waits if (done := finished_wait(t, known.now)) is not None]
        return writes

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written[:1], written[1:])

    return await carry_out(call, services, taken, planner, answer)
