"""The operations of wards and reception, as rows of the one table of operations."""

from __future__ import annotations

from fhir_server.context import Operation
from fhir_server.operations.beds import admitting, discharging, finding, keeping, moving, occupancy, showing

ENCOUNTER, LOCATION = ("Encounter",), ("Location",)


BED_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "admit",
        admitting.ADMIT,
        admitting.admit,
        type=True,
        instance=True,
        types=ENCOUNTER,
        affects_state=True,
    ),
    Operation(
        "cancel-admit",
        admitting.CANCEL_ADMIT,
        admitting.cancel_admit,
        instance=True,
        types=ENCOUNTER,
        affects_state=True,
    ),
    Operation(
        "transfer", moving.TRANSFER, moving.transfer, instance=True, types=ENCOUNTER, affects_state=True
    ),
    Operation("swap-beds", moving.SWAP, moving.swap_beds, type=True, types=ENCOUNTER, affects_state=True),
    Operation("leave", moving.LEAVE, moving.leave, instance=True, types=ENCOUNTER, affects_state=True),
    Operation("return", moving.RETURN, moving.return_, instance=True, types=ENCOUNTER, affects_state=True),
    Operation(
        "discharge",
        discharging.DISCHARGE,
        discharging.discharge,
        instance=True,
        types=ENCOUNTER,
        affects_state=True,
    ),
    Operation(
        "cancel-discharge",
        discharging.CANCEL_DISCHARGE,
        discharging.cancel_discharge,
        instance=True,
        types=ENCOUNTER,
        affects_state=True,
    ),
    Operation(
        "bed-status",
        keeping.BED_STATUS,
        keeping.bed_status,
        instance=True,
        types=LOCATION,
        affects_state=True,
    ),
    Operation("reserve", keeping.RESERVE, keeping.reserve, instance=True, types=LOCATION, affects_state=True),
    Operation("release", keeping.RELEASE, keeping.release, instance=True, types=LOCATION, affects_state=True),
    Operation("find-bed", finding.FIND_BED, finding.find_bed, type=True, instance=True, types=LOCATION),
    Operation("bed-board", showing.BED_BOARD, showing.bed_board, type=True, instance=True, types=LOCATION),
    Operation(
        "occupancy", occupancy.OCCUPANCY, occupancy.occupancy, type=True, instance=True, types=LOCATION
    ),
)
