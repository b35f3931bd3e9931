"""Operations that change one Appointment: $confirm, $cancel, $no-show. docs/scheduling.md"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fhir_r4.errors import BusinessRule, NotFound
from fhir_r4.temporal import MINUTE, format_instant, parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.change import Known
from fhir_server.resources.permissions import require
from fhir_server.resources.scheduling.lifecycle import (
    HOLD_EXPIRES,
    OVERRIDE_REASON,
    is_live,
    period_of,
    with_extension,
    without_extension,
)
from fhir_server.resources.scheduling.notices import notice_of
from fhir_server.resources.scheduling.taking import zone_of

DEFINITIONS = "https://osler.health/fhir/OperationDefinition/Appointment-"
# who is later than this is taken to have missed the appointment
GRACE = 15 * MINUTE

# makes the writes of an Appointment as it is; the Appointment comes first
Change = Callable[[Resource, Given, Known], Awaitable[Sequence[Write]]]


async def changed(call: OperationCall, services: Services, name: str, change: Change) -> FhirResponse:
    """The Appointment of the call after `change`. Raises NotFound."""
    taken = given(call, DEFINITIONS + name)

    async def planner(known: Known) -> Sequence[Write]:
        return await change(await appointment_of(call, known), taken, known)

    return await carry_out(call, services, taken, planner)


async def appointment_of(call: OperationCall, known: Known) -> Resource:
    """The Appointment on which an operation is called. Raises NotFound."""
    assert call.id is not None
    found = await known.current("Appointment", call.id)
    if found is None:
        raise NotFound(f"There is no Appointment/{call.id}.", "Appointment")
    return found


def instant_given(taken: Given, now: int, name: str = "at") -> int:
    """The instant of a parameter, or now."""
    text = taken.one(name)
    return now if text is None else parse_interval(text)[0]


async def confirm(call: OperationCall, services: Services) -> FhirResponse:
    """The pending Appointment, booked, with all who were to answer accepting."""

    async def change(appointment: Resource, taken: Given, known: Known) -> Sequence[Write]:
        if appointment["status"] != "pending":
            raise BusinessRule(
                f"An Appointment that is {appointment['status']} is not to be confirmed.",
                "Appointment.status",
            )
        return [Write(confirmed(appointment))]

    return await changed(call, services, "confirm", change)


def confirmed(appointment: Resource) -> Resource:
    """The Appointment booked; who has not declined has accepted."""
    participants = [
        p if p["status"] == "declined" else {**p, "status": "accepted"} for p in appointment["participant"]
    ]
    booked = without_extension(appointment, HOLD_EXPIRES)
    return {**booked, "status": "booked", "participant": participants}


async def cancel(call: OperationCall, services: Services) -> FhirResponse:
    """The Appointment, cancelled, with the reason; its time is free in the same commit."""

    async def change(appointment: Resource, taken: Given, known: Known) -> Sequence[Write]:
        after = {**appointment, "status": "cancelled", "cancelationReason": taken.one("reason")}
        after = overridden(after, taken, call)
        writes = [Write(after)]
        if taken.one("notify") is True and is_live(appointment, known.now):
            zone = await zone_of(appointment, known, services.settings.default_timezone)
            notice = notice_of(after, "cancelled", services.new_id(), known.now, zone=zone)
            writes += [] if notice is None else [Write(notice, "POST", fresh=True)]
        return writes

    return await changed(call, services, "cancel", change)


def overridden(appointment: Resource, taken: Given, call: OperationCall) -> Resource:
    """The Appointment with the reason of an exception when one is given. Raises Forbidden."""
    reason = taken.one("override")
    if reason is None:
        return appointment
    require(call.request.actor, "override")
    return with_extension(appointment, OVERRIDE_REASON, valueCodeableConcept=reason)


async def no_show(call: OperationCall, services: Services) -> FhirResponse:
    """The Appointment that its patient has missed."""

    async def change(appointment: Resource, taken: Given, known: Known) -> Sequence[Write]:
        at = instant_given(taken, known.now)
        period = period_of(appointment)
        if period is None or at > known.now or at < period[0] + GRACE:
            raise BusinessRule(
                f"Who is missed is waited for until {format_instant((period or (0, 0))[0] + GRACE)}.",
                "Appointment.start",
            )
        return [Write({**appointment, "status": "noshow"})]

    return await changed(call, services, "no-show", change)


def text_of(concept: Any) -> str:
    """What a person reads of a CodeableConcept."""
    codings = concept.get("coding", ())
    return str(concept.get("text") or next((c.get("display") or c.get("code") for c in codings), ""))
