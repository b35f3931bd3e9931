"""Account/$allocate: money that is kept for an Account is used for invoices, the oldest money first."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import (
    OSLER,
    collection,
    positive,
    reference_ids,
    require_account,
    require_currency_is,
    require_invoice,
)
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.beds.surroundings import local_bases
from fhir_server.resources.billing.invoicing import open_of, require_currency
from fhir_server.resources.billing.money import ZERO, sum_of
from fhir_server.resources.billing.payments import is_payment, moved, payment_of
from fhir_server.resources.change import Known
from fhir_server.search.parameters import DETAIL
from fhir_server.search.tree import RefersTo

ALLOCATE = OSLER + "Account-allocate"
MOST = 1000


async def payments_for(known: Known, account: str, services: Services) -> list[Resource]:
    """The payments of which something is kept for an Account, in the order in which they came."""
    bases = local_bases(services)
    found = await known.find("PaymentReconciliation", RefersTo(DETAIL, "Account", account), MOST)
    made = [p for p in found if is_payment(p, bases)]
    return [p for p in made if payment_of(p, bases).kept_for(f"Account/{account}") > ZERO]


async def allocate(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the payments that were used."""
    asked = given(call, ALLOCATE)
    bases = local_bases(services)

    async def plan(known: Known) -> Sequence[Write]:
        account = f"Account/{(await require_account(known, call.id))['id']}"
        payments = {p["id"]: p for p in await payments_for(known, account.partition("/")[2], services)}
        changed: dict[str, Resource] = {}
        at = format_instant(known.now)
        for invoice, amount, currency in await _wanted(asked, known, services):
            left = amount
            for id, payment in payments.items():
                found = payment_of(payment, bases)
                part = min(left, found.kept_for(account))
                if found.currency == currency and part > ZERO:
                    payments[id] = changed[id] = moved(
                        payment, account, f"Invoice/{invoice}", part, at, bases
                    )
                    left -= part
            if left > ZERO:
                raise BusinessRule(
                    f"{sum_of((amount, -left))} {currency} are kept for {account}; Invoice/{invoice} would need {amount}.",
                    "amount",
                )
        return [Write(payment) for payment in changed.values()]

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
