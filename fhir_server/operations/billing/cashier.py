"""The operations of the cashier and of the dealings with payers, as rows of the one table of operations."""

from __future__ import annotations

from fhir_server.context import Operation, OperationHandler
from fhir_server.operations.billing import (
    allocating,
    eligibility,
    online,
    paying,
    posting,
    reducing,
    refunding,
    splitting,
    submitting,
)


def _on(type: str, name: str, definition: str, handler: OperationHandler) -> Operation:
    """An operation on one resource of the type, that writes."""
    return Operation(name, definition, handler, instance=True, types=(type,), affects_state=True)


def _of(type: str, name: str, definition: str, handler: OperationHandler) -> Operation:
    """An operation on the type, that writes."""
    return Operation(name, definition, handler, type=True, types=(type,), affects_state=True)


CASHIER_OPERATIONS: tuple[Operation, ...] = (
    _on("Invoice", "pay", paying.PAY, paying.pay),
    _on("Invoice", "checkout", online.DEFINITION, online.checkout),
    _on("Account", "deposit", paying.DEPOSIT, paying.deposit),
    _on("Account", "allocate", allocating.ALLOCATE, allocating.allocate),
    _on("PaymentReconciliation", "refund", refunding.REFUND, refunding.refund),
    _on("PaymentReconciliation", "reverse", refunding.REVERSE, refunding.reverse),
    _on("Invoice", "discount", reducing.DISCOUNT_DEFINITION, reducing.discount),
    _on("Invoice", "write-off", reducing.WRITE_OFF_DEFINITION, reducing.write_off),
    _on("Invoice", "split", splitting.SPLIT, splitting.split),
    _on("ClaimResponse", "post", posting.POST, posting.post),
    _of("Claim", "submit", submitting.SUBMIT, submitting.submit),
    _of("Claim", "inquire", submitting.INQUIRE, submitting.inquire),
    _of("CoverageEligibilityRequest", "submit", eligibility.SUBMIT, eligibility.submit),
)
