"""Prices of lines and invoices: order of components, tax by rate, prices with the tax in them, credits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.errors import BusinessRule
from fhir_server.resources.billing.crediting import Credit, credit_lines, credits_in
from fhir_server.resources.billing.invoicing import (
    Line,
    amounts,
    check_sums,
    credited_of,
    open_of,
    with_credited,
)
from fhir_server.resources.billing.money import Rounding, digits_of, of_units, sum_of
from fhir_server.resources.billing.pricing import (
    Charge,
    Component,
    calculated,
    gross_of,
    lines_of,
    net_of,
    totals_of,
)
from fhir_server.resources.billing.settings import DEFAULT, BillingSettings, TaxGroup
from fhir_server.resources.billing.settlement import with_settlement
from tests.billing.cash import numbered

D = Decimal
VAT = Component("tax", factor=D("0.20"), code={"text": "VAT"})


def charge(amount: str, *taxes: Component, currency: str = "EUR", inclusive: bool = False) -> Charge:
    return Charge(currency, (Component("base", D(amount)),), taxes, (), inclusive)


def invoice(charges: list[Charge], rules: BillingSettings = DEFAULT, status: str = "issued") -> dict:
    lines = [Line(n + 1, {}, c) for n, c in enumerate(lines_of(charges, rules))]
    made = {
        "resourceType": "Invoice",
        "id": "i",
        "status": status,
        **amounts(lines, charges[0].currency),
    }
    return numbered(made)


def test_tax_of_the_sum_and_credits_of_each_line() -> None:
    made = invoice([charge(a, VAT) for a in ("68.33", "68.33", "57.50", "85.00")])
    assert str(made["totalNet"]["value"]) == "279.16"
    assert str(made["totalGross"]["value"]) == "334.99"
    check_sums(made)
    credited = []
    for line in range(1, 5):
        (credit,) = credit_lines(made, [Credit(line)], {})
        credited.append(credit.gross)
        made = with_credited(made, [(line, -credit.gross, D(1))])
    assert credited == [D("-82.00"), D("-81.99"), D("-69.00"), D("-102.00")]
    assert sum_of(credited) == D("-334.99")
    assert made["status"] == "cancelled"


def test_tax_of_each_line() -> None:
    made = invoice(
        [charge(a, VAT) for a in ("68.33", "68.33", "57.50", "85.00")], replace(DEFAULT, level="line")
    )
    assert str(made["totalGross"]["value"]) == "335.00"


def test_components_come_in_their_order() -> None:
    listed = [
        VAT,
        Component("discount", factor=D("0.1")),
        Component("surcharge", amount=D("5.00")),
        Component("base", D("10.00")),
        Component("informational", factor=D("0.5")),
    ]
    found = calculated(listed, D(3), DEFAULT, "EUR")
    assert [(c.type, str(c.amount)) for c in found.parts] == [
        ("base", "30.00"),
        ("surcharge", "15.00"),
        ("discount", "-3.00"),
    ]
    (line,) = lines_of([found], DEFAULT)
    assert (net_of(line), gross_of(line)) == (D("42.00"), D("50.40"))
    assert line[-1].amount == D("15.00")


def test_reductions_stop_at_nothing() -> None:
    listed = [
        Component("base", D("10.00")),
        Component("discount", D("-8.00")),
        Component("deduction", D("8.00")),
    ]
    found = calculated(listed, D(1), DEFAULT, "EUR")
    assert [str(c.amount) for c in found.parts] == ["10.00", "-8.00", "-2.00"]
    assert found.stated == 0


def test_prices_with_the_tax_in_them() -> None:
    rules = replace(DEFAULT, inclusive=True)
    charges = [charge("9.99", VAT, inclusive=True) for _ in range(3)]
    lines = lines_of(charges, rules)
    assert [gross_of(line) for line in lines] == [D("9.99")] * 3
    # 29.97 / 1.2 = 24.975
    assert sum_of(net_of(line) for line in lines) == D("24.98")
    assert [str(line[-1].amount) for line in lines] == ["1.67", "1.66", "1.66"]


def test_tax_groups_are_those_of_the_settings() -> None:
    rules = replace(DEFAULT, tax_groups={"care": TaxGroup("care", D("0.07"))})
    listed = [Component("base", D("10.00")), Component("tax", code={"coding": [{"code": "care"}]})]
    (line,) = lines_of([calculated(listed, D(1), rules, "EUR")], rules)
    assert gross_of(line) == D("10.70")
    with pytest.raises(BusinessRule, match="no tax group"):
        calculated(listed, D(1), DEFAULT, "EUR")


def test_taxes_are_totalled_by_rate() -> None:
    low = Component("tax", factor=D("0.07"), code={"text": "VAT"})
    totals = totals_of(lines_of([charge("10.00", VAT), charge("20.00", low), charge("5.00")], DEFAULT))
    assert [(c.type, str(c.amount)) for c in totals] == [("base", "35.00"), ("tax", "2.00"), ("tax", "1.40")]


@pytest.mark.parametrize(("currency", "price", "gross"), [("JPY", "105", "126"), ("KWD", "1.005", "1.206")])
def test_currencies_without_cents(currency: str, price: str, gross: str) -> None:
    made = invoice([charge(price, VAT, currency=currency)])
    assert str(made["totalGross"]["value"]) == gross


def test_currencies_are_not_mixed() -> None:
    with pytest.raises(BusinessRule, match="EUR, USD"):
        lines_of([charge("1.00"), charge("1.00", currency="USD")], DEFAULT)


def test_an_invoice_is_balanced_when_nothing_is_open() -> None:
    made = invoice([charge("100.00")])
    paid = with_settlement(made, "PaymentReconciliation/1", D("60.00"))
    assert (paid["status"], open_of(paid)) == ("issued", D("40.00"))
    credited = with_credited(paid, [(1, D("40.00"), D(0))])
    assert (credited["status"], open_of(credited)) == ("balanced", D("0.00"))
    assert with_settlement(credited, "PaymentReconciliation/1", D("0.00"))["status"] == "issued"


def test_credits_by_quantity_leave_nothing_over() -> None:
    made = invoice([charge("100.00", VAT)])
    credited = []
    for _ in range(3):
        (line,) = credit_lines(made, [Credit(1, quantity=D(1))], {1: D(3)})
        credited.append(-line.gross)
        made = with_credited(made, credits_in({**made, **amounts([line], "EUR")}))
    assert credited == [D("40.00")] * 3
    with pytest.raises(BusinessRule, match="left to credit"):
        credit_lines(made, [Credit(1, amount=D("0.01"))], {1: D(3)})


@pytest.mark.parametrize("amount", ["0", "120.01", "-1.00"])
def test_no_more_than_the_line_is_credited(amount: str) -> None:
    with pytest.raises(BusinessRule, match="left to credit"):
        credit_lines(invoice([charge("100.00", VAT)]), [Credit(1, amount=D(amount))], {})


def test_sums_that_do_not_close_are_told() -> None:
    made = invoice([charge("100.00", VAT)])
    with pytest.raises(BusinessRule, match=r"totalGross is 120.01; the lines sum to 120.00"):
        check_sums({**made, "totalGross": {"value": D("120.01"), "currency": "EUR"}})
    with pytest.raises(BusinessRule, match="totalPriceComponent"):
        check_sums({**made, "totalPriceComponent": made["totalPriceComponent"][:1]})


rates = st.sampled_from(["0", "0.05", "0.07", "0.10", "0.19", "0.20", "0.255"])
rules = st.builds(
    lambda mode, level, inclusive: replace(DEFAULT, rounding=mode, level=level, inclusive=inclusive),
    st.sampled_from(list(Rounding)),
    st.sampled_from(["line", "invoice"]),
    st.booleans(),
)


@st.composite
def charges(draw: st.DrawFn, rule: BillingSettings, currency: str) -> Charge:
    digits = digits_of(currency)
    listed = [Component("base", of_units(draw(st.integers(0, 10**6)), digits))]
    for kind in draw(st.lists(st.sampled_from(["surcharge", "discount", "deduction"]), max_size=3)):
        if draw(st.booleans()):
            listed.append(Component(kind, factor=draw(st.decimals(0, 2, places=3))))
        else:
            listed.append(Component(kind, of_units(draw(st.integers(0, 10**4)), digits)))
    for name in draw(st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2)):
        listed.append(Component("tax", factor=D(draw(rates)), code={"text": name}))
    return calculated(listed, draw(st.decimals(0, 100, places=2)), rule, currency)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_invoice_and_every_sequence_of_credits_closes(data: st.DataObject) -> None:
    rule, currency = data.draw(rules), data.draw(st.sampled_from(["EUR", "JPY", "KWD"]))
    made = invoice(data.draw(st.lists(charges(rule, currency), min_size=1, max_size=6)), rule)
    check_sums(made)
    digits = digits_of(currency)
    gross = made["totalGross"]["value"]
    credited: dict[tuple, list[Decimal]] = {}
    lines = {line["sequence"]: line for line in made["lineItem"]}
    left = {n: sum_of(c["amount"]["value"] for c in line["priceComponent"]) for n, line in lines.items()}
    for n in lines:
        while left[n] > 0:
            units = int(left[n].scaleb(digits))
            part = of_units(data.draw(st.one_of(st.just(units), st.integers(1, units))), digits)
            part = left[n] if data.draw(st.booleans()) else part
            (line,) = credit_lines(made, [Credit(n, part)], {})
            assert line.gross == -part
            for index, c in enumerate(line.components):
                credited.setdefault((n, index), []).append(c.value)
            made = with_credited(made, [(n, part, D(0))])
            left[n] = sum_of((left[n], -part))
    assert credited_of(made) == gross
    for (n, index), found in credited.items():
        assert sum_of(found) == -lines[n]["priceComponent"][index]["amount"]["value"]
