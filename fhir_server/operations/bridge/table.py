"""The operations of the HL7 v2 bridge, as rows of the one table of operations.

The mappings of messages are imported when one of them is called: a server without devices need not wait for them.
"""

from __future__ import annotations

from fhir_server.context import FhirResponse, Operation, OperationCall, Services

OSLER = "https://osler.health/fhir/OperationDefinition/"


async def _resolve(call: OperationCall, services: Services) -> FhirResponse:
    from fhir_server.operations.bridge.resolve import resolve

    return await resolve(call, services)


async def _replay(call: OperationCall, services: Services) -> FhirResponse:
    from fhir_server.operations.bridge.replay import replay

    return await replay(call, services)


BRIDGE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "resolve", OSLER + "Task-resolve", _resolve, instance=True, types=("Task",), affects_state=True
    ),
    Operation(
        "replay", OSLER + "Binary-replay", _replay, instance=True, types=("Binary",), affects_state=True
    ),
)
