"""Binary/$replay: a message of the HL7 v2 bridge is mapped again. docs/bridge.md"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, NotFound
from fhir_server.context import FhirResponse, OperationCall, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import given
from fhir_server.resources.change import Known
from hl7_bridge.journal import binary_of, entry_of, replayed

REPLAY = "https://osler.health/fhir/OperationDefinition/Binary-replay"


async def replay(call: OperationCall, services: Services) -> FhirResponse:
    """The message, received again; what waits already stays as it is."""
    asked = given(call, REPLAY)

    async def plan(known: Known) -> Sequence[Write]:
        binary = None if call.id is None else await known.current("Binary", call.id)
        if binary is None:
            raise NotFound(f"There is no Binary/{call.id}.")
        entry = entry_of(binary, known.now)
        if entry is None:
            raise BusinessRule(f"Binary/{call.id} is no message of the HL7 v2 bridge.", "Binary.meta.tag")
        if entry.status.state == "received":
            return [Write(binary)]
        return [Write(binary_of(entry.receipt, replayed(entry.status, "")))]

    return await carry_out(call, services, asked, plan)
