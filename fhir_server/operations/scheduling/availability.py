"""The operations that tell and close free time, for the one table of operations."""

from __future__ import annotations

from fhir_server.context import Operation
from fhir_server.operations.scheduling import block, bulk_publish, calendar_feed, find

AVAILABILITY_OPERATIONS: tuple[Operation, ...] = (
    Operation("find", find.DEFINITION, find.find, type=True, types=("Appointment",)),
    Operation(
        "block",
        block.BLOCK_DEFINITION,
        block.block,
        instance=True,
        types=("Schedule",),
        affects_state=True,
    ),
    Operation(
        "unblock",
        block.UNBLOCK_DEFINITION,
        block.unblock,
        instance=True,
        types=("Schedule",),
        affects_state=True,
    ),
    Operation("bulk-publish", bulk_publish.DEFINITION, bulk_publish.bulk_publish, system=True),
    Operation(
        "calendar",
        calendar_feed.DEFINITION,
        calendar_feed.calendar,
        instance=True,
        types=("Appointment", "Practitioner", "PractitionerRole", "Location", "Device", "Schedule"),
    ),
)
