"""Appointment/$respond: the answer of one who is asked to take part. docs/scheduling.md

The same as to POST an AppointmentResponse; what follows from an answer is in fhir_server/resources/scheduling/response.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import given
from fhir_server.operations.scheduling.changes import DEFINITIONS, appointment_of
from fhir_server.operations.scheduling.searchsets import searchset
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.response import OPEN, with_answer


async def respond(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the AppointmentResponse, and with the Appointment as it is then."""
    taken = given(call, DEFINITIONS + "respond")

    async def planner(known: Known) -> Sequence[Write]:
        appointment = await appointment_of(call, known)
        if appointment["status"] not in OPEN:
            raise BusinessRule(
                f"An Appointment that is {appointment['status']} takes no answers.", "Appointment.status"
            )
        response: Resource = {
            "resourceType": "AppointmentResponse",
            "id": services.new_id(),
            "appointment": {"reference": f"Appointment/{call.id}"},
            "actor": taken.one("actor"),
            "participantStatus": taken.one("participantStatus"),
        }
        if with_answer(appointment, response) is None:
            raise BusinessRule(f"The actor does not take part in Appointment/{call.id}.", "actor")
        comment = taken.one("comment")
        if comment is not None:
            response["comment"] = comment
        return [Write(response, "POST", fresh=True), Write(appointment)]

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written[:1], written[1:])

    return await carry_out(call, services, taken, planner, answer)
