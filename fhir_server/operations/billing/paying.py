"""Invoice/$pay and Account/$deposit: money comes in.

A payment settles what is open of an invoice; what is beyond is refused, or kept for the Account when that was asked for. Of cash that was
tendered the change is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import (
    OSLER,
    collection,
    holder_of,
    identified,
    positive,
    require_account,
    require_currency_is,
    require_invoice,
    told,
)
from fhir_server.operations.billing.notices import notice
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.invoicing import open_of, require_currency
from fhir_server.resources.billing.money import ZERO, money
from fhir_server.resources.billing.payments import new_payment, with_detail
from fhir_server.resources.change import Known

PAY = OSLER + "Invoice-pay"
DEPOSIT = OSLER + "Account-deposit"


async def pay(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the PaymentReconciliation and its PaymentNotice."""
    asked = given(call, PAY)

    async def plan(known: Known) -> Sequence[Write]:
        invoice = await require_invoice(known, call.id)
        currency = require_currency(invoice)
        amount = _amount(asked, open_of(invoice), currency)
        extensions = told(asked, *_tendered(asked, amount, currency))
        at = format_instant(known.now)
        made = identified(new_payment(services.new_id(), money(amount, currency), at, *extensions), asked)
        kept = asked.one("overpay") == "deposit"
        payment = settling(made, invoice, amount, services, keep_rest=kept)
        told_of = notice(services.new_id(), invoice, payment, money(amount, currency))
        return [Write(payment, "POST", True), Write(told_of, "POST", True)]

    return await carry_out(call, services, asked, plan, collection)


def settling(
    payment: Resource, invoice: Resource, amount: Decimal, services: Services, *, keep_rest: bool
) -> Resource:
    """The payment with details for an Invoice and, of what is beyond, for who it is kept for.

    Without `keep_rest` all of it is for the Invoice: the rules refuse what is too much.
    """
    part = min(amount, max(open_of(invoice), ZERO)) if keep_rest else amount
    at = payment["paymentDate"]
    if part > ZERO:
        payment = with_detail(payment, "payment", f"Invoice/{invoice['id']}", part, at)
    if amount > part:
        payment = with_detail(payment, "advance", holder_of(invoice, services), amount - part, at)
    return payment


def _amount(asked: Given, open: Decimal, currency: str) -> Decimal:
    """What is paid: the parameter, else all that is open."""
    stated = positive(asked, "amount")
    if stated is None:
        if open <= ZERO:
            raise BusinessRule("Nothing of the invoice is open.", "Invoice")
        return open
    require_currency_is(stated[1], currency, "amount")
    return stated[0]


def _tendered(asked: Given, amount: Decimal, currency: str) -> tuple[Resource | None, Resource | None]:
    """The cash that was handed over, and the change. Raises BusinessRule when it is too little."""
    found = positive(asked, "tendered")
    if found is None:
        return None, None
    require_currency_is(found[1], currency, "tendered")
    if asked.one("method") not in (None, "cash"):
        raise BusinessRule("Only cash is tendered and changed.", "tendered")
    if found[0] < amount:
        raise BusinessRule(
            f"{found[0]} {currency} were tendered; {amount} {currency} are to be paid.", "tendered"
        )
    return money(found[0], currency), money(found[0] - amount, currency)


async def deposit(call: OperationCall, services: Services) -> FhirResponse:
    """The PaymentReconciliation of money that is kept for an Account until it is used."""
    asked = given(call, DEPOSIT)

    async def plan(known: Known) -> Sequence[Write]:
        account = await require_account(known, call.id)
        stated = positive(asked, "amount")
        assert stated is not None
        amount, currency = stated
        extensions = told(asked, *_tendered(asked, amount, currency))
        at = format_instant(known.now)
        made = identified(new_payment(services.new_id(), money(amount, currency), at, *extensions), asked)
        payment = with_detail(made, "advance", f"Account/{account['id']}", amount, at)
        return [Write(payment, "POST", True)]

    return await carry_out(call, services, asked, plan)
