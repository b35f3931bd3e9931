"""Account/$allocate: money that is kept for an Account is used for invoices, the oldest money first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import (
    OSLER,
    collection,
    positive,
    require_account,
    require_currency_is,
    require_invoice,
)
from fhir_server.operations.billing.requesting import reference_ids
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.invoicing import open_of, require_currency
from fhir_server.resources.billing.money import ZERO, sum_of
from fhir_server.resources.billing.payments import is_payment, moved, payment_of
from fhir_server.resources.change import Known
from fhir_server.search.parameters import DETAIL
from fhir_server.search.tree import RefersTo

ALLOCATE = OSLER + "Account-allocate"
# how many payments may ever have been kept for an account
MOST = 20_000


@dataclass(slots=True)
class Kept:
    """A payment, and how much of it is kept for an Account."""

    payment: Resource
    amount: Decimal
    currency: str
    used: bool = False


async def kept_for(known: Known, account: str, services: Services) -> list[Kept]:
    """The payments of which something is kept for an Account, in the order in which they came."""
    bases = services.settings.local_bases
    found = await known.find("PaymentReconciliation", RefersTo(DETAIL, "Account", account), MOST)
    made = [(p, payment_of(p, bases)) for p in found if is_payment(p, bases)]
    kept = [Kept(p, stated.kept_for(f"Account/{account}"), stated.currency) for p, stated in made]
    return [one for one in kept if one.amount > ZERO]


async def allocate(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the payments that were used."""
    asked = given(call, ALLOCATE)
    bases = services.settings.local_bases

    async def plan(known: Known) -> Sequence[Write]:
        account = f"Account/{(await require_account(known, call.id))['id']}"
        kept = await kept_for(known, account.partition("/")[2], services)
        at = format_instant(known.now)
        for invoice, amount, currency in await _wanted(asked, known, services):
            left = amount
            for one in kept:
                part = min(left, one.amount)
                if one.currency == currency and part > ZERO:
                    one.payment = moved(one.payment, account, f"Invoice/{invoice}", part, at, bases)
                    one.amount, one.used = one.amount - part, True
                    left -= part
            if left > ZERO:
                raise BusinessRule(
                    f"{sum_of((amount, -left))} {currency} are kept for {account}; Invoice/{invoice} would need {amount}.",
                    "amount",
                )
        return [Write(one.payment) for one in kept if one.used]

    return await carry_out(call, services, asked, plan, collection)


async def _wanted(asked: Given, known: Known, services: Services) -> list[tuple[str, Decimal, str]]:
    """How much of which Invoice is to be settled: all that is open unless an amount is given."""
    ids = reference_ids(asked, "invoice", "Invoice", services)
    stated = positive(asked, "amount")
    if stated is not None and len(ids) != 1:
        raise InvalidRequest("An amount is given for one invoice.", "amount")
    found = []
    for id in dict.fromkeys(ids):
        invoice = await require_invoice(known, id)
        currency = require_currency(invoice)
        if stated is not None:
            require_currency_is(stated[1], currency, "amount")
        amount = open_of(invoice) if stated is None else stated[0]
        if amount <= ZERO:
            raise BusinessRule(f"Nothing of Invoice/{id} is open.", "invoice")
        found.append((id, amount, currency))
    return found
