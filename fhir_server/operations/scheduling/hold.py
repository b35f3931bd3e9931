"""Appointment/$hold (IHE ITI-116): keep a time for a while, for one who is still choosing or filling in.

https://profiles.ihe.net/ITI/Scheduling/ITI-116.html. An invariant to keep: the hold is over at the instant it states,
whether or not anybody has tidied up.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.temporal import HOUR, MINUTE, format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import Given, given
from fhir_server.operations.scheduling.asked import asked_for
from fhir_server.operations.scheduling.rules import check_bookable
from fhir_server.operations.scheduling.searchsets import or_lost, searchset
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import HOLD_EXPIRES, is_live, with_extension
from fhir_server.resources.scheduling.rules import duration_of

DEFINITION = "https://osler.health/fhir/OperationDefinition/Appointment-hold"
DEFAULT, LONGEST = 10 * MINUTE, 2 * HOUR
# what may be held; a hold that has expired may be held again
HOLDABLE = ("proposed", "pending", "waitlist")


async def hold(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the Appointment, `pending` and with the instant at which the hold ends."""
    taken = given(call, DEFINITION)
    length = hold_length(taken)

    async def planner(known: Known) -> Sequence[Write]:
        asked = await asked_for(taken, known, services)
        if asked.before is not None:
            _check_holdable(asked.before, known.now)
        expires = format_instant(known.now + length)
        held = with_extension({**asked.appointment, "status": "pending"}, HOLD_EXPIRES, valueInstant=expires)
        check_bookable(held, known.now)
        return [Write(held, "POST" if asked.fresh else "PUT", asked.fresh)]

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written)

    return await or_lost(call, lambda: carry_out(call, services, taken, planner, answer))


def hold_length(taken: Given) -> int:
    """How long to hold, in microseconds. Raises InvalidRequest beyond what is allowed."""
    stated = taken.one("hold-for")
    if stated is None:
        return DEFAULT
    try:
        length = duration_of(stated, "hold-for")
    except BusinessRule as error:
        raise InvalidRequest(str(error), "hold-for") from error
    if not 0 < length <= LONGEST:
        raise InvalidRequest("hold-for is longer than nothing and at most two hours.", "hold-for")
    return length


def _check_holdable(before: Resource, now: int) -> None:
    if before["status"] not in HOLDABLE:
        raise BusinessRule(f"An Appointment that is {before['status']} cannot be held.", "Appointment.status")
    if is_live(before, now) and not any(e.get("url") == HOLD_EXPIRES for e in before.get("extension", ())):
        raise BusinessRule(
            "The Appointment has its time already; it waits for an answer.", "Appointment.status"
        )
