"""Appointment/$book (IHE ITI-117): book what was proposed, held or sent; change or cancel what is booked.

https://profiles.ihe.net/ITI/Scheduling/ITI-117.html. An invariant to keep: a booking that is refused leaves nothing behind,
neither a new patient nor the cancellation of another appointment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from fhir_r4.errors import BusinessRule, Conflict, InvalidRequest, NotFound
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import Given, given
from fhir_server.operations.scheduling.asked import Asked, asked_for
from fhir_server.operations.scheduling.people import patients_given, with_patients
from fhir_server.operations.scheduling.recurring import occurrences
from fhir_server.operations.scheduling.rules import check_bookable
from fhir_server.operations.scheduling.searchsets import or_lost, searchset
from fhir_server.resources.change import Known
from fhir_server.resources.permissions import require
from fhir_server.resources.scheduling.lifecycle import (
    HOLD_EXPIRES,
    OVERBOOKING_REASON,
    extension_value,
    with_extension,
    without_extension,
)
from fhir_server.resources.scheduling.rules import local_reference

DEFINITION = "https://osler.health/fhir/OperationDefinition/Appointment-book"
NEEDS_ACCEPTANCE = "https://osler.health/fhir/StructureDefinition/needs-acceptance"
# a change of what has been booked, as opposed to a booking
CHANGED = ("booked", "cancelled")
WAITING = ("needs-action", "tentative")


async def book(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the Appointment: booked, or pending while somebody has to accept; changed or cancelled."""
    taken = given(call, DEFINITION)
    if taken.one("override") is not None:
        require(call.request.actor, "overbook")

    if taken.one("recurrence") is not None:
        return await or_lost(call, lambda: book_series(call, services, taken))

    async def planner(known: Known) -> Sequence[Write]:
        asked = await asked_for(taken, known, services)
        writes = await _booking(asked, taken, known, services)
        other = taken.one("cancelled-appointment")
        return writes if other is None else [*writes, await _cancelled(other, known)]

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written[:1], written[1:])

    return await or_lost(call, lambda: carry_out(call, services, taken, planner, answer))


async def book_series(call: OperationCall, services: Services, taken: Given) -> FhirResponse:
    """A searchset with the occurrences of a booking that recurs: all or none, or those that could be booked."""
    if taken.one("cancelled-appointment") is not None:
        raise InvalidRequest("A booking that recurs takes the place of no other.", "cancelled-appointment")
    series = services.new_id()

    async def planner(known: Known) -> list[list[Write]]:
        asked = await asked_for(taken, known, services)
        if not asked.fresh:
            raise BusinessRule("What is kept already does not recur.", "recurrence")
        references, patients = await patients_given(taken.all("patient-resource"), known, services)
        base = with_patients(asked.appointment, references)
        wanted = await occurrences(base, taken.one("recurrence"), series, known, services)
        bookings = []
        for one in wanted:
            alone = Asked({**one, "id": services.new_id()})
            (write, *_) = await _booking(alone, taken, known, services, with_new_patients=False)
            bookings.append([write])
        bookings[0] += patients
        return bookings

    if taken.one("recurrence-mode") == "each":
        return await _one_by_one(call, services, taken, planner)

    async def all_of(known: Known) -> Sequence[Write]:
        bookings = await planner(known)
        return [*(b[0] for b in bookings), *bookings[0][1:]]

    def answer(written: Sequence[Resource]) -> Resource:
        booked = [r for r in written if r["resourceType"] == "Appointment"]
        return searchset(call, booked, [r for r in written if r["resourceType"] != "Appointment"])

    return await carry_out(call, services, taken, all_of, answer)


async def _one_by_one(
    call: OperationCall,
    services: Services,
    taken: Given,
    planner: Callable[[Known], Awaitable[list[list[Write]]]],
) -> FhirResponse:
    """Each occurrence in a commit of its own; what could not be booked is told."""
    for patient in taken.all("patient-resource"):
        if "id" not in patient and not patient.get("identifier"):
            raise BusinessRule("Who is booked one by one is known by id or identifier.", "patient-resource")
    count = len(await planner(Plan(services, ())))
    unpreferred = {name: value for name, value in call.request.headers.items() if name != "prefer"}
    booked: list[Resource] = []
    lost: list[dict[str, Any]] = []
    for n in range(count):

        async def one(known: Known, n: int = n) -> Sequence[Write]:
            bookings = await planner(known)
            return [*bookings[n][:1], *bookings[0][1:]]

        id = taken.one("request-id")
        # the answer is made of the Appointments, whatever form of it was preferred
        alone = replace(call, request=structs.replace(call.request, headers=unpreferred))
        own = taken if id is None else Given({**taken.values, "request-id": (f"{id}#{n}",)})
        try:
            answer = await carry_out(alone, services, own, one)
        except (Conflict, BusinessRule) as error:
            text = f"Occurrence {n + 1}: {error}"
            lost.append({"severity": "warning", "code": "conflict", "diagnostics": text})
        else:
            assert answer.resource is not None
            booked.append(answer.resource)
    if not booked:
        raise Conflict("None of the occurrences could be booked.")
    told = [{"resourceType": "OperationOutcome", "issue": lost}] if lost else []
    return FhirResponse(200, resource=searchset(call, booked, told))


async def _booking(
    asked: Asked, taken: Given, known: Known, services: Services, with_new_patients: bool = True
) -> list[Write]:
    """The Appointment first, then the patients who are new."""
    given_patients = taken.all("patient-resource") if with_new_patients else ()
    references, patients = await patients_given(given_patients, known, services)
    appointment = with_comment(with_patients(asked.appointment, references), taken.one("comment"))
    reason = taken.one("override")
    if reason is not None:
        appointment = with_extension(appointment, OVERBOOKING_REASON, valueCodeableConcept=reason)
    sent = taken.one("appointment-resource") is not None
    change = sent and asked.before is not None and asked.appointment["status"] in CHANGED
    if not change:
        _check_bookable_state(asked)
        appointment = await _settled(without_extension(appointment, HOLD_EXPIRES), known)
    if appointment["status"] != "cancelled" and _moves(asked.before, appointment):
        check_bookable(appointment, known.now)
    return [Write(appointment, "POST" if asked.fresh else "PUT", asked.fresh), *patients]


def _check_bookable_state(asked: Asked) -> None:
    kept = asked.before
    if kept is not None and kept["status"] == "pending" and extension_value(kept, HOLD_EXPIRES) is None:
        return
    status = asked.appointment["status"] if kept is None else kept["status"]
    allowed = (
        ("proposed", "pending", "waitlist", "booked") if kept is None else ("proposed", "pending", "waitlist")
    )
    if status not in allowed:
        raise BusinessRule(f"An Appointment that is {status} cannot be booked.", "Appointment.status")


def _moves(before: Resource | None, after: Resource) -> bool:
    return before is None or any(
        before.get(m) != after.get(m) for m in ("start", "end", "participant", "slot")
    )


async def _settled(appointment: Resource, known: Known) -> Resource:
    """Booked, with all who take part accepting; pending when one of them is to be asked first."""
    participants = []
    status = "booked"
    for participant in appointment.get("participant", ()):
        if participant.get("status") in WAITING:
            if await _is_asked(participant, known):
                status = "pending"
                participant = {**participant, "status": "needs-action"}
            else:
                participant = {**participant, "status": "accepted"}
        participants.append(participant)
    return {**appointment, "status": status, "participant": participants}


async def _is_asked(participant: Mapping[str, Any], known: Known) -> bool:
    """Whether a booking waits for this participant: who is required and whose record says so."""
    actor = local_reference(participant.get("actor", {}))
    if actor is None or participant.get("required", "required") != "required":
        return False
    type, _, id = actor.partition("/")
    resource = await known.current(type, id)
    return resource is not None and extension_value(resource, NEEDS_ACCEPTANCE) is True


def with_comment(appointment: Resource, comment: str | None) -> Resource:
    if comment is None:
        return appointment
    before = appointment.get("comment")
    return {**appointment, "comment": comment if before is None else f"{before}\n{comment}"}


async def _cancelled(reference: Mapping[str, Any], known: Known) -> Write:
    local = local_reference(reference)
    type, _, id = (local or "").partition("/")
    other = await known.current(type, id) if type == "Appointment" else None
    if other is None:
        raise NotFound("cancelled-appointment is not an Appointment of this server.", "cancelled-appointment")
    return Write({**other, "status": "cancelled"})
