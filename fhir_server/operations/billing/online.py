"""Invoice/$checkout and what follows: an invoice is paid on the page of a provider, who tells us when that is done.

The checkout is a draft PaymentReconciliation, which holds nothing. It becomes a payment when the provider says so: what is open of
the invoice by then is settled, what is beyond is kept for the Account, for money that has come is never refused. A call of the webhook
that comes again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, NotFound, NotSupported
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan as Looking
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.writing import commit, prepare
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import (
    OSLER,
    holder_of,
    method_concept,
    positive,
    require_currency_is,
    require_invoice,
)
from fhir_server.operations.billing.providers import Checkout, Event, Order, providers_of
from fhir_server.operations.billing.tracing import carry_out, told_by
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.invoicing import (
    BALANCED,
    ISSUED,
    is_credit_note,
    open_of,
    require_currency,
)
from fhir_server.resources.billing.money import ZERO, money
from fhir_server.resources.billing.payments import CHECKOUT, METHOD, is_payment, new_payment, with_detail
from fhir_server.resources.change import Known

DEFINITION = OSLER + "Invoice-checkout"


async def checkout(call: OperationCall, services: Services) -> FhirResponse:
    """The draft PaymentReconciliation, with the address of the page in its extension `payment-checkout`."""
    asked = given(call, DEFINITION)
    provider = next(iter(providers_of(services.settings).values()), None)
    if provider is None:
        raise NotSupported(
            "No provider of online payments is set up (settings checkout_url and checkout_secret)."
        )
    order = _order(asked, await require_invoice(Looking(services, ()), call.id), services)
    page = None if asked.one("dry-run") is True else await provider.begin(order)

    async def plan(known: Known) -> Sequence[Write]:
        invoice = await require_invoice(known, call.id)
        draft = _draft(order, page, provider.name, invoice, format_instant(known.now))
        return [Write(draft)]

    return await carry_out(call, services, asked, plan)


def _order(asked: Given, invoice: Resource, services: Services) -> Order:
    """What is to be paid of an Invoice: all that is open, or the amount. Raises BusinessRule."""
    currency, open = require_currency(invoice), open_of(invoice)
    stated = positive(asked, "amount")
    if stated is not None:
        require_currency_is(stated[1], currency, "amount")
    amount = open if stated is None else stated[0]
    if not ZERO < amount <= open:
        raise BusinessRule(f"{open} {currency} of Invoice/{invoice['id']} are open.", "amount")
    digest = hashlib.sha256(f"{invoice['id']}\0{asked.one('request-id')}".encode()).hexdigest()
    back = services.settings.checkout_return.replace("{invoice}", str(invoice["id"]))
    return Order(f"checkout-{digest[:40]}", amount, currency, _title(invoice), back)


def _title(invoice: Resource) -> str:
    """The invoice as its number has it: nothing of what was done is told to a provider."""
    numbers = [
        i["value"] for i in invoice.get("identifier", ()) if i.get("use") == "official" and "value" in i
    ]
    return f"Invoice {numbers[0] if numbers else invoice['id']}"


def _draft(order: Order, page: Checkout | None, provider: str, invoice: Resource, at: str) -> Resource:
    told: list[Resource] = [{"url": METHOD, "valueCodeableConcept": method_concept("online")}]
    if page is not None:
        parts = [
            {"url": "provider", "valueString": provider},
            {"url": "id", "valueString": page.id},
            {"url": "page", "valueUrl": page.url},
        ]
        told.append({"url": CHECKOUT, "extension": parts})
    made = new_payment(order.id, money(order.amount, order.currency), at, *told)
    if page is not None:
        made["paymentIdentifier"] = {"value": page.id}
    draft = with_detail(made, "payment", f"Invoice/{invoice['id']}", order.amount, at)
    return {**draft, "status": "draft", "outcome": "queued"}


async def take_event(event: Event, services: Services) -> str:
    """Book what a provider has told; what was done: `paid`, `expired`, or `known` when it was told before.

    Raises NotFound for a checkout that is not ours, BusinessRule for one in another currency.
    """

    async def attempt() -> str:
        looking = Looking(services, ())
        draft = await looking.current("PaymentReconciliation", event.order)
        if draft is None or not _is_of(draft, event):
            raise NotFound(f"The checkout {event.checkout[:80]!r} is not of this hospital.")
        if is_payment(draft, services.settings.local_bases):
            return "known"
        if event.kind == "expired":
            if draft["status"] == "cancelled":
                return "known"
            made = {**draft, "status": "cancelled"}
        else:
            made = await _paid(draft, event, looking, services)
        trace = told_by(
            _provider(draft), made["id"], f"checkout-{event.kind}", services.new_id(), looking.now
        )
        ops = [
            prepare(services, "PUT", made, made["id"]),
            prepare(services, "POST", trace, trace["id"], fresh=True),
        ]
        await commit(services, ops, looking.preconditions, [made, trace])
        return event.kind

    return await retrying(attempt)


def _provider(draft: Resource) -> str:
    """The name of the provider on whose page a checkout was."""
    parts = [
        p for e in draft.get("extension", ()) if e.get("url") == CHECKOUT for p in e.get("extension", ())
    ]
    return next((str(p["valueString"]) for p in parts if p.get("url") == "provider"), "provider")


def _is_of(draft: Resource, event: Event) -> bool:
    parts = [
        p for e in draft.get("extension", ()) if e.get("url") == CHECKOUT for p in e.get("extension", ())
    ]
    return any(p.get("url") == "id" and p.get("valueString") == event.checkout for p in parts)


async def _paid(draft: Resource, event: Event, looking: Looking, services: Services) -> Resource:
    """The payment: what is open of its Invoice, and what is beyond that for who it is kept for."""
    require_currency_is(event.currency, draft["paymentAmount"]["currency"], "amount")
    id = str(draft["detail"][0]["request"]["reference"]).rpartition("/")[2]
    invoice = await require_invoice(looking, id)
    at = format_instant(looking.now)
    bare = {k: v for k, v in draft.items() if k not in ("meta", "detail")}
    made = {
        **bare,
        "status": "active",
        "outcome": "complete",
        "paymentDate": at[:10],
        "paymentAmount": money(event.amount, event.currency),
    }
    payable = invoice.get("status") in (ISSUED, BALANCED) and not is_credit_note(invoice)
    part = min(event.amount, max(open_of(invoice), ZERO)) if payable else ZERO
    if part > ZERO:
        made = with_detail(made, "payment", f"Invoice/{id}", part, at)
    if event.amount > part:
        made = with_detail(made, "advance", holder_of(invoice, services), event.amount - part, at)
    return made
