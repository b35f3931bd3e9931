"""PaymentReconciliation/$refund and $reverse: money goes out again.

A payment out is a payment of its own that names its predecessor; what was used for an invoice is taken back from it first, which is open
again then. Above the limit of the settings a second person approves: the first call answers with the Task that asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.approving import approvals_named, ask_for_approval
from fhir_server.operations.billing.asking import (
    OSLER,
    holder_of,
    identified,
    positive,
    require_currency_is,
    require_invoice,
    require_payment,
    told,
)
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.approvals import REFUND as REFUNDS
from fhir_server.resources.billing.money import ZERO, money
from fhir_server.resources.billing.payments import (
    Payment,
    adjustment_extension,
    adjustment_of,
    moved,
    new_payment,
    payment_of,
    with_detail,
)
from fhir_server.resources.change import Known

REFUND = OSLER + "PaymentReconciliation-refund"
REVERSE = OSLER + "PaymentReconciliation-reverse"


async def refund(call: OperationCall, services: Services) -> FhirResponse:
    """The PaymentReconciliation of the payment out, or the Task that asks for its approval."""
    asked = given(call, REFUND)

    async def plan(known: Known) -> Sequence[Write]:
        payment = await require_payment(known, call.id, services)
        if adjustment_of(payment) is not None:
            raise BusinessRule(
                f"PaymentReconciliation/{call.id} is no money: $reverse takes back what was given up.",
                "PaymentReconciliation",
            )
        found = payment_of(payment, services.settings.local_bases)
        stated = positive(asked, "amount")
        if stated is not None:
            require_currency_is(stated[1], found.currency, "amount")
        return await _out(payment, found, None if stated is None else stated[0], asked, known, services)

    return await carry_out(call, services, asked, plan)


async def reverse(call: OperationCall, services: Services) -> FhirResponse:
    """The same for all of a payment: it was a mistake, or it was not honoured."""
    asked = given(call, REVERSE)

    async def plan(known: Known) -> Sequence[Write]:
        payment = await require_payment(known, call.id, services)
        found = payment_of(payment, services.settings.local_bases)
        return await _out(payment, found, _left(found), asked, known, services)

    return await carry_out(call, services, asked, plan)


def _left(found: Payment) -> Decimal:
    """What of a payment has not gone out again."""
    return found.amount - sum(found.refunded.values(), ZERO)


async def _out(
    payment: Resource, found: Payment, amount: Decimal | None, asked: Given, known: Known, services: Services
) -> list[Write]:
    """The writes of a payment out: what is kept goes first, then what was used, the last use first."""
    amount = found.kept if amount is None else amount
    if found.amount <= ZERO:
        raise BusinessRule("What went out is not given back; a new payment brings it in again.", "amount")
    if not ZERO < amount <= _left(found):
        raise BusinessRule(
            f"{amount} {found.currency} cannot go out: {_left(found)} of the payment have not gone out, "
            f"{found.kept} of it are not used.",
            "amount",
        )
    kind = adjustment_of(payment)
    if kind is None:
        gone = found.amount - _left(found)
        asking = await ask_for_approval(
            REFUNDS, asked, payment["id"], amount, gone, found.currency, known, services
        )
        if asking is not None:
            return [asking]
    at = format_instant(known.now)
    released = await _released(payment, found, amount, at, known, services)
    extensions = told(asked) + approvals_named(asked, services)
    if kind is not None:
        extensions.append(adjustment_extension(kind, None, asked.one("requester")))
    out = new_payment(services.new_id(), money(-amount, found.currency), at, *extensions)
    taken = _taken(identified(out, asked), released, amount, at, services)
    writes = [Write(taken, "POST", True)]
    return writes if released is payment else [*writes, Write(released)]


async def _released(
    payment: Resource, found: Payment, amount: Decimal, at: str, known: Known, services: Services
) -> Resource:
    """The payment with so much of it not used any more."""
    bases = services.settings.local_bases
    missing = amount - max(found.kept, ZERO)
    for id, used in reversed(found.used.items()):
        part = min(missing, used)
        if part > ZERO:
            invoice = await require_invoice(known, id)
            holder = found.holder or holder_of(invoice, services)
            payment = moved(payment, f"Invoice/{id}", holder, part, at, bases)
            missing -= part
    return payment


def _taken(out: Resource, payment: Resource, amount: Decimal, at: str, services: Services) -> Resource:
    """The payment out with the details that take back what is kept, the last kept first."""
    bases = services.settings.local_bases
    details = payment_of(payment, bases).details
    number, last = next((n, d) for n, d in reversed(list(enumerate(details, 1))) if d.holder is not None)
    return with_detail(out, "adjustment", str(last.holder), -amount, at, (payment["id"], number))
