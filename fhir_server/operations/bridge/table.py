"""The operations of the HL7 v2 bridge, as rows of the one table of operations."""

from __future__ import annotations

from fhir_server.context import Operation
from fhir_server.operations.bridge.replay import REPLAY, replay
from fhir_server.operations.bridge.resolve import RESOLVE, resolve

BRIDGE_OPERATIONS: tuple[Operation, ...] = (
    Operation("resolve", RESOLVE, resolve, instance=True, types=("Task",), affects_state=True),
    Operation("replay", REPLAY, replay, instance=True, types=("Binary",), affects_state=True),
)
