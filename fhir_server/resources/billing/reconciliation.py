"""The manner of PaymentReconciliation: what a payment settles, what is kept, what goes out again.

Invariants to keep, whoever writes: an Invoice is never paid beyond what is open; a payment is never used and given back beyond its
amount; a payment that was made is neither changed nor deleted, money is moved by details that are added and given back by a payment
out; the Invoice says what settles it, and the ledger what was posted, from the same commit on.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.approvals import (
    REFUND,
    WRITE_OFF,
    approval_claims,
    require_approval,
)
from fhir_server.resources.billing.invoicing import (
    BALANCED,
    ISSUED,
    credited_of,
    gross_in,
    is_credit_note,
    open_of,
    require_currency,
    require_own,
)
from fhir_server.resources.billing.ledger import ledger_entry
from fhir_server.resources.billing.money import ZERO, sum_of
from fhir_server.resources.billing.payments import (
    Payment,
    adjustment_of,
    is_payment,
    payment_of,
    refunds_of,
    with_refund,
    with_refunds,
)
from fhir_server.resources.billing.settlement import settled_by, settlements, with_settlement
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.store.records import Claim

TYPE = "PaymentReconciliation"
# what may differ between two states of a payment that was made, besides details that are added
_FREE = frozenset({"meta", "text", "detail", "processNote", "extension"})


async def judge_payment(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of a PaymentReconciliation. Raises BusinessRule, also for one that was made and would be lost."""
    return await Judgement(change, known, services).made()


class Judgement:
    """One change of a payment, and what follows from it."""

    def __init__(self, change: Change, known: Known, services: Services) -> None:
        self.change = change
        self.known = known
        self.services = services
        self.bases = services.settings.local_bases
        self.claims: list[Claim] = []
        self.writes: list[Resource] = []

    async def made(self) -> Consequence:
        before, after = self.change.before, self.change.after
        was_made = is_payment(before, self.bases)
        if after is None:
            if was_made:
                raise BusinessRule(
                    f"{TYPE}/{self.change.id} was made and stays: $reverse takes it back by a payment out.",
                    TYPE,
                )
            return NOTHING
        if was_made and before is not None:
            _require_unchanged(before, after)
        resource = await self._with_true_refunds(after)
        if is_payment(resource, self.bases):
            payment = payment_of(resource, self.bases)
            if payment.amount > ZERO:
                await self._incoming(payment)
                if adjustment_of(resource) is not None:
                    await self._given_up(payment, resource, new=not was_made)
            else:
                await self._outgoing(payment, resource, new=not was_made)
        final = Change(
            self.change.type, self.change.id, self.change.method, before, resource, self.change.derived
        )
        self.writes += ledger_entry(final, self.known.now, self.bases)
        return Consequence(tuple(self.claims), None if resource is after else resource, tuple(self.writes))

    async def _with_true_refunds(self, after: Resource) -> Resource:
        """What went out again is known by the payments out, whatever was sent."""
        true = _refunds(self.change.before)
        for by, amount in _refunds(after).items():
            type, _, id = by.partition("/")
            out = await self.known.current(type, id) if type == TYPE else None
            if out is not None and is_payment(out, self.bases):
                found = payment_of(out, self.bases)
                if found.source == self.change.id and -found.amount == amount:
                    true[by] = amount
        return after if true == _refunds(after) else with_refunds(after, true)

    async def _incoming(self, payment: Payment) -> None:
        for number, detail in enumerate(payment.details):
            source = detail.predecessor
            if detail.amount == ZERO or (source is not None and source[0] != self.change.id):
                raise BusinessRule("A detail moves an amount of its own payment.", f"{TYPE}.detail[{number}]")
        if payment.kept < ZERO:
            raise BusinessRule(
                f"{payment.amount - payment.kept} {payment.currency} of {payment.amount} would be used or given back.",
                f"{TYPE}.detail",
            )
        used = payment.used
        for id, amount in used.items():
            await self._settle(id, amount, payment.currency)
        total = sum_of(used.values())
        if total > ZERO:
            self.claims.append(Claim(f"paid:{TYPE}/{self.change.id}", total, payment.amount))

    async def _given_up(self, payment: Payment, resource: Resource, *, new: bool) -> None:
        """An adjustment is of one Invoice, and nothing of it is ever kept for anybody: it is no money."""
        place, used = f"{TYPE}.detail", payment.used
        if len(used) != 1 or payment.kept != ZERO:
            raise BusinessRule(
                "A write-off or discount is of one Invoice; what is taken back of it goes out in the same commit:"
                " PaymentReconciliation/[id]/$reverse.",
                place,
            )
        self.claims += approval_claims(resource, self.services)
        if new:
            ((id, amount),) = used.items()
            before = await self._given_up_before(id)
            await require_approval(
                WRITE_OFF, resource, id, amount, before, payment.currency, self.known, self.services
            )

    async def _given_up_before(self, id: str) -> Decimal:
        """What other adjustments have given up of an Invoice."""
        invoice = await self.known.current("Invoice", id)
        found = ZERO
        for settlement in () if invoice is None else settlements(invoice):
            type, _, by = settlement.by.partition("/")
            if type == TYPE and by != self.change.id:
                other = await self.known.current(TYPE, by)
                found += settlement.amount if adjustment_of(other) is not None else ZERO
        return found

    async def _settle(self, id: str, amount: Decimal, currency: str) -> None:
        invoice = await self.known.current("Invoice", id)
        place = f"{TYPE}.detail"
        if invoice is None:
            raise BusinessRule(f"Invoice/{id} is not here.", place)
        own = f"{TYPE}/{self.change.id}"
        settled = settled_by(invoice, own)
        if amount < ZERO:
            raise BusinessRule(f"More would be taken back from Invoice/{id} than was paid.", place)
        if amount > settled:
            _require_payable(invoice, currency, amount - settled)
        if amount > ZERO:
            capacity = sum_of((gross_in(invoice), -credited_of(invoice)))
            self.claims.append(Claim(f"open:Invoice/{id}", amount, capacity))
        if amount != settled:
            self.writes.append(with_settlement(invoice, own, amount))

    async def _outgoing(self, payment: Payment, resource: Resource, *, new: bool) -> None:
        sources = {None if d.predecessor is None else d.predecessor[0] for d in payment.details}
        id = payment.source
        if id is None or len(sources) > 1 or any(d.amount >= ZERO or d.invoice for d in payment.details):
            raise BusinessRule(
                "What goes out takes back what one payment has kept: each detail has a predecessor of that payment, "
                "an Account or Patient, and an amount below zero.",
                f"{TYPE}.detail",
            )
        source = await self.known.current(TYPE, id)
        if source is None or not is_payment(source, self.bases):
            raise BusinessRule(f"{TYPE}/{id} is no payment that was made.", f"{TYPE}.detail.predecessor")
        paid, amount = payment_of(source, self.bases), -payment.amount
        if paid.amount <= ZERO or paid.currency != payment.currency:
            raise BusinessRule(
                f"{TYPE}/{id} is no payment in {payment.currency} to this house.", f"{TYPE}.paymentAmount"
            )
        own = f"{TYPE}/{self.change.id}"
        left = paid.kept + paid.refunded.get(own, ZERO)
        if amount > left:
            raise BusinessRule(
                f"{amount} {payment.currency} cannot go out: {left} of {TYPE}/{id} is neither used nor gone out.",
                f"{TYPE}.paymentAmount",
            )
        if amount == ZERO:
            raise BusinessRule("A payment has an amount.", f"{TYPE}.paymentAmount")
        self.claims.append(Claim(f"paid:{TYPE}/{id}", amount, paid.amount))
        if adjustment_of(source) != adjustment_of(resource):
            raise BusinessRule(
                f"{TYPE}/{id} is {adjustment_of(source) or 'money'}, and so is what takes it back.",
                f"{TYPE}.extension",
            )
        self.claims += approval_claims(resource, self.services)
        if new and adjustment_of(resource) is None:
            gone = sum_of(a for by, a in paid.refunded.items() if by != own)
            await require_approval(
                REFUND, resource, id, amount, gone, payment.currency, self.known, self.services
            )
        self.writes.append(with_refund(source, own, amount))


def _require_payable(invoice: Resource, currency: str, more: Decimal) -> None:
    id, place = require_own(invoice)["id"], f"{TYPE}.detail"
    if invoice.get("status") not in (ISSUED, BALANCED) or is_credit_note(invoice):
        what = "a credit note" if is_credit_note(invoice) else str(invoice.get("status"))
        raise BusinessRule(f"Invoice/{id} is {what}: only an invoice that is issued is paid.", place)
    own = require_currency(invoice)
    if own != currency:
        raise BusinessRule(f"Invoice/{id} is in {own}; the payment is in {currency}.", place)
    if more > open_of(invoice):
        raise BusinessRule(
            f"{open_of(invoice)} {own} of Invoice/{id} are open; {more} more would be too much.", place
        )


def _require_unchanged(before: Resource, after: Resource) -> None:
    kept = len(before.get("detail", ()))
    same = after.get("detail", [])[:kept] == before.get("detail", [])
    changed = [k for k in {*before, *after} - _FREE if before.get(k) != after.get(k)]
    if _without_refunds(before) != _without_refunds(after):
        changed.append("extension")
    if changed or not same:
        what = min(changed, default="detail")
        raise BusinessRule(
            f"{TYPE}/{before['id']} was made and stays as it is: details may be added ($allocate), $refund and $reverse "
            f"give back; {what} differs.",
            f"{TYPE}.{what}",
        )


def _without_refunds(resource: Resource) -> list[Any]:
    return list(with_refunds(resource, {}).get("extension", ()))


def _refunds(resource: Mapping[str, Any] | None) -> dict[str, Decimal]:
    return {} if resource is None else refunds_of(resource)


# after Invoice: what a client has sent of one is judged before it is settled
PAYMENT = Manners(judge_payment, first=5)
