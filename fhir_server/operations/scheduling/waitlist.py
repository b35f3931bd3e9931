"""Appointment/$waitlist-offer: offer a time that has become free to one who waits. docs/appointments.md

The background does the same by itself for every time that is released; an invariant to keep is in
fhir_server/resources/scheduling/offers.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import NotFound
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import given
from fhir_server.operations.scheduling.changes import DEFINITIONS, appointment_of
from fhir_server.operations.scheduling.searchsets import searchset
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import hold_expiry
from fhir_server.resources.scheduling.notices import notice_of
from fhir_server.resources.scheduling.offers import best_candidate, offered, with_actors
from fhir_server.resources.scheduling.taking import taken_by
from fhir_server.search.tree import TokenIs

MOST_WAITING = 5000


async def waitlist_offer(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the Appointment that is offered the time, and with the message to its patient.

    Raises NotFound when nobody fits, Conflict when the time is not free.
    """
    taken = given(call, DEFINITIONS + "waitlist-offer")
    zone = services.settings.default_timezone

    async def planner(known: Known) -> Sequence[Write]:
        released = await appointment_of(call, known)
        rules = (await taken_by(released, known, zone)).actors
        released = with_actors(released, rules)
        waiting = await known.find("Appointment", TokenIs("status", None, "waitlist"), MOST_WAITING)
        candidate = best_candidate(released, waiting, known.now)
        if candidate is None:
            raise NotFound("Nobody who waits fits this time.", "Appointment")
        offer = offered(candidate, released, known.now)
        until = hold_expiry(offer)
        assert until is not None
        place = next((r.zone for r in rules.values() if r is not None), zone)
        notice = notice_of(offer, "offer", services.new_id(), known.now, zone=place, until=until)
        return [Write(offer), *([] if notice is None else [Write(notice, "POST", fresh=True)])]

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written[:1], written[1:])

    return await carry_out(call, services, taken, planner, answer)
