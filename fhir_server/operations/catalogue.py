"""The one table of operations: it feeds dispatch, the CapabilityStatement and the documentation."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_server.context import Operation
from fhir_server.operations.beds.table import BED_OPERATIONS
from fhir_server.operations.billing.cashier import CASHIER_OPERATIONS
from fhir_server.operations.billing.table import BILLING_OPERATIONS
from fhir_server.operations.bridge.table import BRIDGE_OPERATIONS
from fhir_server.operations.everything import everything
from fhir_server.operations.reindex import reindex
from fhir_server.operations.scheduling.availability import AVAILABILITY_OPERATIONS
from fhir_server.operations.scheduling.table import APPOINTMENT_OPERATIONS
from fhir_server.operations.search_parameters import status
from fhir_server.operations.terminology import expand, lookup, subsumes, validate_code
from fhir_server.operations.validate import validate

R4 = "http://hl7.org/fhir/OperationDefinition/"
OSLER = "https://osler.health/fhir/OperationDefinition/"

OPERATIONS: tuple[Operation, ...] = (
    Operation("validate", R4 + "Resource-validate", validate, type=True, instance=True),
    Operation("everything", R4 + "Patient-everything", everything, instance=True, types=("Patient",)),
    Operation("everything", R4 + "Encounter-everything", everything, instance=True, types=("Encounter",)),
    Operation("expand", R4 + "ValueSet-expand", expand, type=True, instance=True, types=("ValueSet",)),
    Operation("lookup", R4 + "CodeSystem-lookup", lookup, type=True, types=("CodeSystem",)),
    Operation(
        "validate-code",
        R4 + "ValueSet-validate-code",
        validate_code,
        type=True,
        instance=True,
        types=("ValueSet",),
    ),
    Operation(
        "validate-code",
        R4 + "CodeSystem-validate-code",
        validate_code,
        type=True,
        instance=True,
        types=("CodeSystem",),
    ),
    Operation(
        "subsumes", R4 + "CodeSystem-subsumes", subsumes, type=True, instance=True, types=("CodeSystem",)
    ),
    Operation(
        "reindex",
        OSLER + "reindex",
        reindex,
        system=True,
        instance=True,
        types=("SearchParameter",),
        affects_state=True,
    ),
    Operation(
        "status",
        OSLER + "SearchParameter-status",
        status,
        type=True,
        instance=True,
        types=("SearchParameter",),
    ),
    *APPOINTMENT_OPERATIONS,
    *BED_OPERATIONS,
    *BILLING_OPERATIONS,
    *CASHIER_OPERATIONS,
    *AVAILABILITY_OPERATIONS,
    *BRIDGE_OPERATIONS,
)


def operation_table() -> Mapping[str, tuple[Operation, ...]]:
    """Operations by name."""
    table: dict[str, tuple[Operation, ...]] = {}
    for operation in OPERATIONS:
        table[operation.name] = (*table.get(operation.name, ()), operation)
    return table
