"""What happened on an account in money: invoices, credit notes and payments, by date, with the balance after each.

Pure but for the search. An invariant to keep: the closing balance is the opening one and the movements, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_r4.references import parse_reference
from fhir_r4.temporal import Interval, parse_interval
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.invoicing import (
    DUE,
    FINAL,
    SETTLED,
    extension,
    gross_in,
    is_credit_note,
    is_elsewhere,
    open_of,
    require_currency,
)
from fhir_server.resources.billing.money import ZERO, amount_of, money, sum_of
from fhir_server.resources.billing.numbering import number_in
from fhir_server.resources.billing.payments import adjustment_of
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo, TokenIs, all_of, any_of

MOST = 10_000
PAYMENT = "PaymentReconciliation"
DETAIL = "detail:request"
INVOICE, CREDIT, PAID, MOVED = "invoice", "credit-note", "payment", "transfer"


@dataclass(frozen=True, slots=True)
class Movement:
    """`amount` is what it adds to what is owed: negative for payments and credits."""

    at: int
    date: str
    kind: str
    number: str
    document: str
    amount: Decimal
    due: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """The movements of an account in a period, and what was owed before and after."""

    currency: str
    opening: Decimal
    movements: tuple[Movement, ...]
    closing: Decimal
    open: tuple[Resource, ...]
    documents: tuple[Resource, ...]


async def statement_of(account: str, period: Interval, known: Known, services: Services) -> Statement | None:
    """The statement of an account for a period; None when nothing was ever invoiced or paid."""
    where = all_of(
        [RefersTo("account", "Account", account), any_of(TokenIs("status", None, s) for s in FINAL)]
    )
    invoices = [i for i in await known.find("Invoice", where, MOST) if not is_elsewhere(i)]
    payments = await _payments(account, invoices, known)
    if not invoices and not payments:
        return None
    currency = _currency(invoices, payments)
    zone, bases = services.settings.default_timezone, services.settings.local_bases
    targets = {f"Account/{account}", *(f"Invoice/{i['id']}" for i in invoices)}
    found: list[tuple[Movement, Resource]] = []
    for invoice in invoices:
        found += [(m, invoice) for m in _of_invoice(invoice, zone)]
    for payment in payments:
        movement = _of_payment(payment, targets, currency, zone, bases)
        if movement is not None:
            found.append((movement, payment))
    found.sort(key=lambda pair: (pair[0].at, pair[0].kind != INVOICE, pair[0].number, pair[0].document))
    before = [m.amount for m, _ in found if m.at < period[0]]
    inside = [(m, r) for m, r in found if period[0] <= m.at < period[1]]
    opening = money(sum_of((ZERO, *before)), currency)["value"]
    documents = {(r["resourceType"], r["id"]): r for _, r in inside}
    return Statement(
        currency,
        opening,
        tuple(m for m, _ in inside),
        sum_of((opening, *(m.amount for m, _ in inside))),
        tuple(i for i in invoices if open_of(i) != 0),
        tuple(documents.values()),
    )


async def _payments(account: str, invoices: Sequence[Resource], known: Known) -> list[Resource]:
    found = {p["id"]: p for p in await known.find(PAYMENT, RefersTo(DETAIL, "Account", account), MOST)}
    ids = [i["id"] for i in invoices]
    for start in range(0, len(ids), 100):
        where = any_of(RefersTo(DETAIL, "Invoice", id) for id in ids[start : start + 100])
        found |= {p["id"]: p for p in await known.find(PAYMENT, where, MOST)}
    return [p for p in found.values() if p.get("status") == "active"]


def _currency(invoices: Sequence[Resource], payments: Sequence[Resource]) -> str:
    currencies = {require_currency(i) for i in invoices}
    currencies |= {str(p["paymentAmount"].get("currency")) for p in payments}
    if len(currencies) > 1:
        raise BusinessRule(f"The account mixes the currencies {', '.join(sorted(currencies))}.", "Account")
    return next(iter(currencies))


def _of_invoice(invoice: Resource, zone: str) -> list[Movement]:
    """An invoice, and what of it was moved to another invoice."""
    date = str(invoice.get("date"))
    at = parse_interval(date, zone)[0]
    number = number_text(invoice)
    kind = CREDIT if is_credit_note(invoice) else INVOICE
    due = extension(invoice, DUE)
    own = f"Invoice/{invoice['id']}"
    found = [
        Movement(at, date, kind, number, own, gross_in(invoice), None if due is None else due["valueDate"])
    ]
    moved = sum_of((ZERO, *(amount for by, amount in settled_by(invoice) if by.startswith("Invoice/"))))
    if moved:
        found.append(Movement(at, date, MOVED, number, own, sum_of((ZERO, -moved))))
    return found


def settled_by(invoice: Resource) -> list[tuple[str, Decimal]]:
    """What settles an invoice: the reference of the payment, or of the invoice that it was moved to, and how much."""
    found = []
    for entry in invoice.get("extension", ()):
        if entry.get("url") == SETTLED:
            parts = {p.get("url"): p for p in entry.get("extension", ())}
            by = parts.get("by", {}).get("valueReference", {}).get("reference", "")
            found.append((str(by), amount_of(parts["amount"]["valueMoney"], "Invoice.extension:settled")))
    return found


def number_text(invoice: Resource) -> str:
    """The number as it is printed; `draft` without any."""
    numbered = number_in(invoice)
    return "draft" if numbered is None else numbered[0].text(numbered[1])


def _of_payment(
    payment: Resource, targets: set[str], currency: str, zone: str, bases: tuple[str, ...]
) -> Movement | None:
    """What of a payment concerns the account and its invoices."""
    parts = [ZERO]
    for detail in payment.get("detail", ()):
        named = parse_reference(str(detail.get("request", {}).get("reference", "")), bases)
        if f"{named.type}/{named.id}" in targets:
            parts.append(amount_of(detail.get("amount"), "PaymentReconciliation.detail.amount", currency))
    amount = sum_of(parts)
    if amount == 0:
        return None
    date = str(payment.get("paymentDate") or payment.get("created"))
    reference = payment.get("paymentIdentifier", {}).get("value", "")
    at = parse_interval(str(payment.get("created") or date), zone)[0]
    kind = adjustment_of(payment) or PAID
    return Movement(at, date, kind, str(reference), f"{PAYMENT}/{payment['id']}", sum_of((ZERO, -amount)))
