"""Whatever is paid, moved, credited and given back, in whatever order: every sum closes exactly and the books balance."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.resources.billing.invoicing import (
    CREDIT_NOTE,
    CREDITS,
    TYPE_SYSTEM,
    credited_of,
    open_of,
    with_credited,
    with_extension,
)
from fhir_server.resources.billing.ledger import Posting, difference, postings
from fhir_server.resources.billing.money import money, of_units
from fhir_server.resources.billing.payments import (
    moved,
    new_payment,
    payment_of,
    refunds_of,
    with_detail,
    with_refund,
)
from fhir_server.resources.billing.settlement import settlements, with_settlement
from tests.billing.cash import Resource, invoice, numbered

D = Decimal
AT = "2026-01-06T10:00:00Z"
CURRENCIES = [("JPY", 0), ("EUR", 2), ("KWD", 3)]
Draw = Callable[[Any], Any]


class Till:
    """Invoices and payments as the rules leave them behind, without a server."""

    def __init__(self, currency: str, digits: int, grosses: list[int]) -> None:
        self.currency, self.digits = currency, digits
        self.invoices = {
            f"i{n}": numbered(invoice(f"i{n}", str(of_units(g, digits)), currency=currency), n + 1)
            for n, g in enumerate(grosses)
        }
        self.payments: dict[str, Resource] = {}
        self.notes: list[Resource] = []

    def settle(self, id: str) -> None:
        """What the manner of a payment writes."""
        for target, amount in payment_of(self.payments[id]).used.items():
            self.invoices[target] = with_settlement(
                self.invoices[target], f"PaymentReconciliation/{id}", amount
            )

    def pay(self, target: str, amount: Decimal, beyond: Decimal) -> None:
        id = f"p{len(self.payments)}"
        made = new_payment(id, money(amount + beyond, self.currency), AT)
        if amount:
            made = with_detail(made, "payment", f"Invoice/{target}", amount, AT)
        if beyond:
            made = with_detail(made, "advance", "Account/a1", beyond, AT)
        self.payments[id] = made
        self.settle(id)

    def move(self, id: str, since: str, to: str, amount: Decimal) -> None:
        self.payments[id] = moved(self.payments[id], since, to, amount, AT)
        self.settle(id)

    def refund(self, id: str, amount: Decimal) -> None:
        out = f"p{len(self.payments)}"
        made = new_payment(out, money(-amount, self.currency), AT)
        self.payments[out] = with_detail(made, "adjustment", "Account/a1", -amount, AT, (id, 1))
        self.payments[id] = with_refund(self.payments[id], f"PaymentReconciliation/{out}", amount)

    def credit(self, target: str, amount: Decimal) -> None:
        """What a credit note of a part of the one line writes."""
        self.invoices[target] = with_credited(self.invoices[target], [(1, amount, D(0))])
        note = numbered(invoice(f"c{len(self.notes)}", str(-amount), currency=self.currency))
        origin = {"url": CREDITS, "valueReference": {"reference": f"Invoice/{target}"}}
        kind = {"coding": [{"system": TYPE_SYSTEM, "code": CREDIT_NOTE}]}
        self.notes.append(with_extension({**note, "type": kind}, origin))

    @property
    def ledger(self) -> dict[tuple[str, str], Decimal]:
        sums: dict[tuple[str, str], Decimal] = {}
        for document in (*self.invoices.values(), *self.notes, *self.payments.values()):
            for p in postings(document):
                sums[p.account, p.party] = sums.get((p.account, p.party), D(0)) + p.amount
        return sums


def part(draw: Draw, most: Decimal, digits: int) -> Decimal:
    units = int(most.scaleb(digits))
    return of_units(draw(st.integers(1, units)), digits) if units else of_units(0, digits)


def step(draw: Draw, till: Till) -> None:
    """One thing that happens at a till."""
    targets = {id: i for id, i in till.invoices.items() if open_of(i) > 0}
    paid = {id: payment_of(p) for id, p in till.payments.items() if payment_of(p).amount > 0}
    what = draw(st.sampled_from(["pay", "use", "free", "refund", "credit"]))
    if what == "pay" and targets:
        id = draw(st.sampled_from(sorted(targets)))
        beyond = of_units(draw(st.integers(0, 500)), till.digits)
        till.pay(id, part(draw, open_of(targets[id]), till.digits), beyond)
    if what == "credit" and targets:
        id = draw(st.sampled_from(sorted(targets)))
        till.credit(id, part(draw, open_of(targets[id]), till.digits))
    if what == "use" and targets:
        kept = sorted(id for id, p in paid.items() if p.kept > 0)
        if kept:
            id, to = draw(st.sampled_from(kept)), draw(st.sampled_from(sorted(targets)))
            amount = part(draw, min(paid[id].kept, open_of(targets[to])), till.digits)
            till.move(id, "Account/a1", f"Invoice/{to}", amount)
    if what == "free":
        used = sorted((id, to) for id, p in paid.items() for to, a in p.used.items() if a > 0)
        if used:
            id, since = draw(st.sampled_from(used))
            amount = part(draw, paid[id].used[since], till.digits)
            till.move(id, f"Invoice/{since}", "Account/a1", amount)
    if what == "refund":
        kept = sorted(id for id, p in paid.items() if p.kept > 0)
        if kept:
            id = draw(st.sampled_from(kept))
            till.refund(id, part(draw, paid[id].kept, till.digits))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sums_close_after_anything(data: st.DataObject) -> None:
    currency, digits = data.draw(st.sampled_from(CURRENCIES))
    till = Till(currency, digits, data.draw(st.lists(st.integers(1, 10**7), min_size=1, max_size=3)))
    for _ in range(data.draw(st.integers(0, 10))):
        step(data.draw, till)
        for id, made in till.invoices.items():
            settled = sum((s.amount for s in settlements(made)), D(0))
            credited = credited_of(made)
            if made["status"] == "cancelled":
                assert (credited, settled) == (made["totalGross"]["value"], 0)
            else:
                assert 0 <= open_of(made) == made["totalGross"]["value"] - settled - credited
                assert (made["status"] == "balanced") == (open_of(made) == 0)
            assert till.ledger.get(("receivable", f"Invoice/{id}"), D(0)) == open_of(made)
        for made in till.payments.values():
            found = payment_of(made)
            assert found.kept >= 0 or found.amount < 0
            assert sum(d.amount for d in found.details) == found.amount
            assert all(type(d.amount) is Decimal for d in found.details)
        kept = sum((payment_of(p).kept for p in till.payments.values() if payment_of(p).amount > 0), D(0))
        books = till.ledger
        assert -books.get(("deposits", "Account/a1"), D(0)) == kept
        assert books.get(("bank", ""), D(0)) == sum(
            (p["paymentAmount"]["value"] for p in till.payments.values()), D(0)
        )
        assert sum(books.values()) == 0


def test_a_refund_that_is_judged_twice_counts_once() -> None:
    till = Till("EUR", 2, [10000])
    till.pay("i0", D("50.00"), D("10.00"))
    till.refund("p0", D("10.00"))
    again = with_refund(till.payments["p0"], "PaymentReconciliation/p1", D("10.00"))
    assert refunds_of(again) == {"PaymentReconciliation/p1": D("10.00")}


amounts = st.integers(-(10**6), 10**6).map(lambda n: of_units(n, 2))
posted = st.lists(
    st.builds(
        Posting,
        st.sampled_from(["a", "b"]),
        amounts,
        st.sampled_from(["EUR", "JPY"]),
        st.sampled_from(["", "x"]),
    ),
    max_size=6,
)


@given(posted, posted)
def test_what_is_posted_leads_from_one_state_to_the_other(
    before: list[Posting], after: list[Posting]
) -> None:
    assert difference((), [*before, *difference(before, after)]) == difference((), after)
    assert difference(after, after) == ()
