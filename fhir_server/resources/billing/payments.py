"""PaymentReconciliations as payments: what came in or went out, and what it was used for.

https://hl7.org/fhir/R4/paymentreconciliation.html. A payment has details that add up to its amount: parts of Invoices, and what is kept
for an Account (or a Patient without one) until it is used. Money is moved by adding details, never by changing them: an
`adjustment` takes back, with `predecessor` naming the detail. What goes out again is a payment of its own with a negative amount
whose details name their predecessors. Pure. An invariant to keep: the details of a payment add up to its amount.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.references import parse_reference
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import OSLER
from fhir_server.resources.billing.money import ZERO, amount_of, currency_of, money

PAYMENT = "https://osler.health/fhir/payment"
PAYMENT_TYPE = "http://terminology.hl7.org/CodeSystem/payment-type"
REFUND = OSLER + "payment-refund"
METHOD = OSLER + "payment-method"
TENDERED = OSLER + "payment-tendered"
RETURNED = OSLER + "payment-returned"
PAYER = OSLER + "payment-payer"
REASON = OSLER + "payment-reason"
APPROVAL = OSLER + "payment-approval"
CHECKOUT = OSLER + "payment-checkout"
# nothing was paid: an amount of an Invoice is given up
ADJUSTMENT = OSLER + "payment-adjustment"
WRITE_OFF, DISCOUNT = "write-off", "discount"

HOLDERS = frozenset({"Account", "Patient"})
NAMES = {"payment": "Payment", "adjustment": "Adjustment", "advance": "Advance"}


@dataclass(frozen=True, slots=True)
class Detail:
    """A part of a payment: `invoice` is the id of the Invoice that it settles, `holder` the reference of who it is kept for;
    `predecessor` is (id of the payment, number of the detail) of what it takes back."""

    amount: Decimal
    invoice: str | None = None
    holder: str | None = None
    predecessor: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it stands; `refunded` are the amounts that went out again, by the reference of the payment out."""

    amount: Decimal
    currency: str
    details: tuple[Detail, ...]
    refunded: Mapping[str, Decimal]

    @property
    def used(self) -> dict[str, Decimal]:
        """What it settles, by the id of the Invoice; 0 where all was taken back."""
        found: dict[str, Decimal] = {}
        for detail in self.details:
            if detail.invoice is not None:
                found[detail.invoice] = found.get(detail.invoice, ZERO) + detail.amount
        return found

    @property
    def kept(self) -> Decimal:
        """What is neither used nor gone out again."""
        return self.amount - sum(self.used.values(), ZERO) - sum(self.refunded.values(), ZERO)

    def kept_for(self, holder: str) -> Decimal:
        """What of that is for an Account or Patient."""
        own = sum((d.amount for d in self.details if d.holder == holder), ZERO)
        return max(min(self.kept, own), ZERO)

    @property
    def source(self) -> str | None:
        """The id of the payment that a payment out takes back."""
        return next((d.predecessor[0] for d in self.details if d.predecessor is not None), None)

    @property
    def holder(self) -> str | None:
        """Who the rest is kept for, as the last detail says."""
        return next((d.holder for d in reversed(self.details) if d.holder is not None), None)


def is_payment(resource: Mapping[str, Any] | None, bases: Sequence[str] = ()) -> bool:
    """Whether it is money of this hospital that has come or gone, not a draft and not somebody else's record."""
    if resource is None or resource.get("status") != "active":
        return False
    return any(
        _target(d, bases) is not None or _predecessor(d) is not None for d in resource.get("detail", ())
    )


def adjustment_of(resource: Mapping[str, Any] | None) -> str | None:
    """Which kind of adjustment it is (`write-off`, `discount`); None for money. Raises BusinessRule for another kind."""
    for extension in () if resource is None else resource.get("extension", ()):
        if extension.get("url") == ADJUSTMENT:
            kinds = [p.get("valueCode") for p in extension.get("extension", ()) if p.get("url") == "kind"]
            if kinds not in ([WRITE_OFF], [DISCOUNT]):
                raise BusinessRule(
                    "An adjustment is a write-off or a discount.", "PaymentReconciliation.extension"
                )
            return str(kinds[0])
    return None


def adjustment_extension(kind: str, reason: Any, requester: Resource | None = None) -> Resource:
    """That an amount is given up, and why (CodeableConcept); who has asked for it."""
    parts: list[Resource] = [{"url": "kind", "valueCode": kind}]
    if reason is not None:
        parts.append({"url": "reason", "valueCodeableConcept": reason})
    if requester is not None:
        parts.append({"url": "requester", "valueReference": requester})
    return {"url": ADJUSTMENT, "extension": parts}


def payment_of(resource: Mapping[str, Any], bases: Sequence[str] = ()) -> Payment:
    """What a PaymentReconciliation says. Raises BusinessRule when its details do not make a payment."""
    place = "PaymentReconciliation"
    currency = currency_of(resource.get("paymentAmount"), f"{place}.paymentAmount")
    amount = amount_of(resource["paymentAmount"], f"{place}.paymentAmount", currency)
    details = tuple(
        _detail(d, currency, f"{place}.detail[{n}]", bases) for n, d in enumerate(resource.get("detail", ()))
    )
    total = sum((d.amount for d in details), ZERO)
    if total != amount:
        raise BusinessRule(
            f"The details add up to {total} {currency}; the payment is of {amount} {currency}.",
            f"{place}.detail",
        )
    return Payment(amount, currency, details, refunds_of(resource))


def _detail(detail: Mapping[str, Any], currency: str, place: str, bases: Sequence[str]) -> Detail:
    amount = amount_of(detail.get("amount"), f"{place}.amount", currency)
    target = _target(detail, bases)
    if target is None:
        raise BusinessRule(
            "A detail names an Invoice, Account or Patient of this server.", f"{place}.request"
        )
    type, id = target
    if type == "Invoice":
        return Detail(amount, invoice=id, predecessor=_predecessor(detail))
    return Detail(amount, holder=f"{type}/{id}", predecessor=_predecessor(detail))


def _target(detail: Mapping[str, Any], bases: Sequence[str]) -> tuple[str, str] | None:
    text = detail.get("request", {}).get("reference")
    if not isinstance(text, str):
        return None
    found = parse_reference(text, bases)
    if not found.local or found.type not in {"Invoice", *HOLDERS}:
        return None
    return found.type, found.id


def _predecessor(detail: Mapping[str, Any]) -> tuple[str, int] | None:
    identifier = detail.get("predecessor", {})
    id, _, number = str(identifier.get("value", "")).rpartition("#")
    if identifier.get("system") != PAYMENT or not id or not number.isascii() or not number.isdigit():
        return None
    return id, int(number[:6])


def refunds_of(resource: Mapping[str, Any]) -> dict[str, Decimal]:
    """What went out again of a payment, by the reference of the payment out."""
    found = {}
    for extension in resource.get("extension", ()):
        if extension.get("url") == REFUND:
            parts = {p.get("url"): p for p in extension.get("extension", ())}
            by = parts.get("by", {}).get("valueReference", {}).get("reference", "")
            value = parts.get("amount", {}).get("valueMoney")
            found[str(by)] = amount_of(value, "PaymentReconciliation.extension:payment-refund")
    return found


# What is written


def detail_of(
    payment: str,
    number: int,
    type: str,
    request: str,
    amount: Resource,
    date: str,
    predecessor: tuple[str, int] | None = None,
) -> Resource:
    """Detail `number` (from 1) of the payment with that id: an amount for the resource at `request`."""
    made: Resource = {"identifier": {"system": PAYMENT, "value": f"{payment}#{number}"}}
    if predecessor is not None:
        made["predecessor"] = {"system": PAYMENT, "value": f"{predecessor[0]}#{predecessor[1]}"}
    made["type"] = {"coding": [{"system": PAYMENT_TYPE, "code": type, "display": NAMES[type]}]}
    return {**made, "request": {"reference": request}, "date": date, "amount": amount}


def new_payment(id: str, amount: Resource, at: str, *extensions: Resource) -> Resource:
    """A payment without details yet; `at` is an instant."""
    made: Resource = {"resourceType": "PaymentReconciliation", "id": id}
    if extensions:
        made["extension"] = list(extensions)
    return {
        **made,
        "identifier": [{"system": PAYMENT, "value": id}],
        "status": "active",
        "created": at,
        "outcome": "complete",
        "paymentDate": at[:10],
        "paymentAmount": amount,
    }


def with_detail(
    payment: Resource,
    type: str,
    request: str,
    amount: Decimal,
    date: str,
    predecessor: tuple[str, int] | None = None,
) -> Resource:
    """The payment with one detail more."""
    details = list(payment.get("detail", ()))
    value = money(amount, payment["paymentAmount"]["currency"])
    details.append(detail_of(payment["id"], len(details) + 1, type, request, value, date[:10], predecessor))
    return {**payment, "detail": details}


def moved(
    payment: Resource, since: str, to: str, amount: Decimal, date: str, bases: Sequence[str] = ()
) -> Resource:
    """The payment with an amount taken from what it was used for and used for another; references of both."""
    number = next(
        n
        for n, d in reversed(list(enumerate(payment["detail"], 1)))
        if "/".join(_target(d, bases) or ()) == since and amount_of(d["amount"], "amount") > ZERO
    )
    taken = with_detail(payment, "adjustment", since, -amount, date, (payment["id"], number))
    return with_detail(taken, "payment" if to.startswith("Invoice/") else "advance", to, amount, date)


def with_refund(payment: Resource, by: str, amount: Decimal) -> Resource:
    """The payment with what the payment out at `by` takes of it."""
    return with_refunds(payment, {**refunds_of(payment), by: amount})


def with_refunds(payment: Resource, refunds: Mapping[str, Decimal]) -> Resource:
    """The payment with these amounts gone out again, by the reference of the payment out."""
    currency = payment.get("paymentAmount", {}).get("currency")
    kept = [e for e in payment.get("extension", ()) if e.get("url") != REFUND]
    for by, amount in refunds.items():
        parts = [
            {"url": "by", "valueReference": {"reference": by}},
            {"url": "amount", "valueMoney": money(amount, currency)},
        ]
        kept.append({"url": REFUND, "extension": parts})
    made = {k: v for k, v in payment.items() if k != "extension"}
    return {**made, "extension": kept} if kept else made
