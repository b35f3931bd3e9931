"""The operations of prices, charges and invoices, as rows of the one table of operations."""

from __future__ import annotations

from fhir_server.context import Operation
from fhir_server.operations.billing import (
    applying,
    capture,
    invoicing,
    issuing,
    rendering,
    ruling,
    stating,
    verifying,
)

ACCOUNT, INVOICE, DEFINITION = ("Account",), ("Invoice",), ("ChargeItemDefinition",)

BILLING_OPERATIONS: tuple[Operation, ...] = (
    Operation("apply", applying.APPLY, applying.apply, instance=True, types=DEFINITION, affects_state=True),
    Operation("price", applying.PRICE, applying.price, type=True, instance=True, types=DEFINITION),
    Operation(
        "capture-charges",
        capture.CAPTURE,
        capture.capture_charges,
        instance=True,
        types=ACCOUNT,
        affects_state=True,
    ),
    Operation(
        "invoice", invoicing.INVOICE, invoicing.invoice, instance=True, types=ACCOUNT, affects_state=True
    ),
    Operation("statement", stating.STATEMENT, stating.statement, instance=True, types=ACCOUNT),
    Operation("ageing", stating.AGEING, stating.ageing, type=True, types=ACCOUNT),
    Operation("issue", issuing.ISSUE, issuing.issue, instance=True, types=INVOICE, affects_state=True),
    Operation("credit", issuing.CREDIT, issuing.credit, instance=True, types=INVOICE, affects_state=True),
    Operation("render", rendering.RENDER, rendering.render, instance=True, types=INVOICE, affects_state=True),
    Operation("settings", ruling.SETTINGS, ruling.settings, type=True, types=("Basic",)),
    Operation("verify-series", verifying.VERIFY, verifying.verify_series, type=True, types=INVOICE),
)
