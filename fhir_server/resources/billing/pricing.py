"""What something costs: the components of a price list, calculated for a quantity, and the tax of lines.

https://hl7.org/fhir/R4/chargeitemdefinition.html, https://hl7.org/fhir/R4/valueset-invoice-priceComponentType.html. Pure.
The order is base x quantity, surcharges, deductions and discounts (never below nothing), tax by rate. Deductions and
discounts have negative amounts in what is calculated, so that the components of a line add up to its price, informational
ones aside. An invariant to keep: net and tax of a line sum to its gross, and the lines of each rate to the tax of that rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.money import (
    ZERO,
    amount_of,
    currency_of,
    digits_of,
    money,
    number_of,
    rounded,
    spread,
    sum_of,
)
from fhir_server.resources.billing.settings import BillingSettings, TaxGroup

BASE, SURCHARGE, DEDUCTION, DISCOUNT, TAX, INFORMATIONAL = (
    "base",
    "surcharge",
    "deduction",
    "discount",
    "tax",
    "informational",
)
KINDS = (BASE, SURCHARGE, DEDUCTION, DISCOUNT, TAX, INFORMATIONAL)
REDUCING = (DEDUCTION, DISCOUNT)


@dataclass(frozen=True, slots=True)
class Component:
    """A priceComponent: as a price list states it (amounts for one unit), or calculated (amounts of the line).

    `code` is the CodeableConcept; `amount` None where a list gives a factor alone.
    """

    type: str
    amount: Decimal | None = None
    factor: Decimal | None = None
    code: Resource | None = None

    @property
    def value(self) -> Decimal:
        return ZERO if self.amount is None else self.amount

    @property
    def group(self) -> str:
        """Which components are one: the code, or the text, or the type."""
        return group_of(self.code) or self.type


@dataclass(frozen=True, slots=True)
class Charge:
    """A price calculated for a quantity, before tax is added or taken out.

    `parts` are base, surcharges and reductions, rounded, in the terms of the price list: with the tax in them when
    `inclusive`. `taxes` have a factor (the rate), or an amount of the line. `informational` ones count nowhere.
    """

    currency: str
    parts: tuple[Component, ...]
    taxes: tuple[Component, ...] = ()
    informational: tuple[Component, ...] = ()
    inclusive: bool = False

    @property
    def stated(self) -> Decimal:
        """The sum of the parts."""
        return sum_of(part.value for part in self.parts)

    @property
    def rates(self) -> tuple[tuple[str, Decimal], ...]:
        """What makes charges one group of tax."""
        return tuple((tax.group, tax.factor) for tax in self.taxes if tax.factor is not None)

    @property
    def fixed(self) -> Decimal:
        """The taxes that are amounts."""
        return sum_of(tax.value for tax in self.taxes if tax.factor is None)


def group_of(code: Resource | None) -> str:
    """A name for a code: that of its first coding, else its text."""
    if code is None:
        return ""
    coding = next((c for c in code.get("coding", ()) if "code" in c), None)
    return str(code.get("text", "")) if coding is None else str(coding["code"])


def component_of(stated: Resource, place: str, currency: str | None = None) -> Component:
    """A priceComponent of a resource. Raises BusinessRule."""
    type = stated.get("type")
    if type not in KINDS:
        raise BusinessRule(f"{place}.type is one of {', '.join(KINDS)}.", place)
    factor = stated.get("factor")
    amount = stated.get("amount")
    return Component(
        str(type),
        None if amount is None else amount_of(amount, f"{place}.amount", currency),
        None if factor is None else number_of(factor, f"{place}.factor"),
        stated.get("code"),
    )


def as_fhir(component: Component, currency: str) -> Resource:
    """The priceComponent of a calculated component."""
    made: dict[str, Any] = {"type": component.type}
    if component.code is not None:
        made["code"] = component.code
    if component.factor is not None:
        made["factor"] = component.factor
    if component.amount is not None:
        made["amount"] = money(component.amount, currency)
    return made


def currency_among(components: Sequence[Resource], place: str) -> str | None:
    """The one currency of the amounts; None without any. Raises BusinessRule when there are two."""
    found = {currency_of(c["amount"], f"{place}.amount") for c in components if c.get("amount") is not None}
    if len(found) > 1:
        raise BusinessRule(f"{place} mixes the currencies {', '.join(sorted(found))}.", place)
    return next(iter(found), None)


def calculated(
    listed: Sequence[Component],
    quantity: Decimal,
    settings: BillingSettings,
    currency: str,
    factor: Decimal | None = None,
    override: Decimal | None = None,
) -> Charge:
    """The price of a quantity. `factor` is put in the place of that of the base, `override` of the whole price.

    Raises BusinessRule where the list has no base or two, a tax of an unknown group, or a component without a value.
    """
    digits, mode = digits_of(currency), settings.rounding
    bases = [c for c in listed if c.type == BASE]
    if override is not None:
        bases = [Component(BASE, override, None, bases[0].code if bases else None)]
        parts = [replace(bases[0], amount=override)]
    else:
        if len(bases) != 1 or bases[0].amount is None:
            found = "no base price applies" if not bases else "its base price is not one amount"
            raise BusinessRule(f"There is no price: {found}.", "priceComponent")
        base = bases[0]
        used = factor if factor is not None else base.factor
        exact = Fraction(base.value) * Fraction(quantity) * (1 if used is None else Fraction(used))
        parts = [Component(BASE, rounded(exact, digits, mode), used, base.code)]
        for c in listed:
            if c.type == SURCHARGE:
                parts.append(replace(c, amount=_amount(c, parts[0].value, quantity, settings, digits)))
        for c in listed:
            if c.type in REDUCING:
                wanted = abs(_amount(c, parts[0].value, quantity, settings, digits))
                taken = min(wanted, max(sum_of(p.value for p in parts), ZERO))
                parts.append(replace(c, amount=sum_of((ZERO, -taken))))
    informational = tuple(
        replace(c, amount=_amount(c, parts[0].value, quantity, settings, digits))
        for c in listed
        if c.type == INFORMATIONAL
    )
    taxes = tuple(_tax(c, quantity, settings, digits) for c in listed if c.type == TAX)
    return Charge(currency, tuple(parts), taxes, informational, settings.inclusive)


def _amount(
    c: Component, base: Decimal, quantity: Decimal, settings: BillingSettings, digits: int
) -> Decimal:
    """A factor is one of the base; an amount is one for each unit."""
    if c.amount is None and c.factor is None:
        raise BusinessRule(f"A {c.type} has a factor or an amount.", "priceComponent")
    exact = Fraction(c.value) * Fraction(quantity)
    if c.amount is None and c.factor is not None:
        exact = Fraction(base) * Fraction(c.factor)
    return rounded(exact, digits, settings.rounding)


def _tax(c: Component, quantity: Decimal, settings: BillingSettings, digits: int) -> Component:
    if c.factor is not None:
        return replace(c, amount=None)
    if c.amount is not None:
        return replace(c, amount=rounded(Fraction(c.value) * Fraction(quantity), digits, settings.rounding))
    group: TaxGroup | None = settings.tax_groups.get(c.group)
    if group is None:
        raise BusinessRule(f"The settings have no tax group {c.group[:40]!r}.", "priceComponent")
    return replace(c, factor=group.rate)


# Tax


def lines_of(charges: Sequence[Charge], settings: BillingSettings) -> tuple[tuple[Component, ...], ...]:
    """The components of each line, tax included: they add up to the line's gross.

    With the level `line` tax is rounded on each line, with `invoice` on the sum of each rate and spread over its lines.
    Raises BusinessRule for two currencies.
    """
    currencies = {charge.currency for charge in charges}
    if len(currencies) > 1:
        raise BusinessRule(f"The currencies {', '.join(sorted(currencies))} do not go on one invoice.")
    if settings.level == "line":
        return tuple(_together((charge,), settings)[0] for charge in charges)
    groups: dict[tuple[object, bool], list[int]] = {}
    for index, charge in enumerate(charges):
        groups.setdefault((charge.rates, charge.inclusive), []).append(index)
    found: dict[int, tuple[Component, ...]] = {}
    for indexes in groups.values():
        made = _together(tuple(charges[i] for i in indexes), settings)
        found.update(zip(indexes, made, strict=True))
    return tuple(found[i] for i in range(len(charges)))


def _together(charges: Sequence[Charge], settings: BillingSettings) -> list[tuple[Component, ...]]:
    """The lines of charges that have the same rates."""
    digits = digits_of(charges[0].currency)
    stated = [charge.stated for charge in charges]
    rates = [rate for _, rate in charges[0].rates]
    taxes: list[tuple[Decimal, ...]]
    if charges[0].inclusive:
        gross = sum_of(stated) - sum_of(charge.fixed for charge in charges)
        net = rounded(Fraction(gross) / (1 + sum(map(Fraction, rates))), digits, settings.rounding)
        each = spread(gross - net, rates, digits) if rates else ()
    else:
        exact = Fraction(sum_of(stated))
        each = tuple(rounded(exact * Fraction(rate), digits, settings.rounding) for rate in rates)
    taxes = [spread(tax, stated, digits) for tax in each]
    made = []
    for index, charge in enumerate(charges):
        of_rates = iter([tax[index] for tax in taxes])
        own = tuple(t if t.factor is None else replace(t, amount=next(of_rates)) for t in charge.taxes)
        parts = charge.parts
        if charge.inclusive:
            inside = stated[index] - sum_of(t.value for t in own)
            values = spread(inside, [p.value for p in parts], digits)
            parts = tuple(replace(p, amount=v) for p, v in zip(parts, values, strict=True))
        made.append((*parts, *own, *charge.informational))
    return made


def net_of(components: Sequence[Component]) -> Decimal:
    """What a line costs without tax."""
    return sum_of(c.value for c in components if c.type not in (TAX, INFORMATIONAL))


def gross_of(components: Sequence[Component]) -> Decimal:
    """What a line costs with tax."""
    return sum_of(c.value for c in components if c.type != INFORMATIONAL)


def totals_of(lines: Sequence[Sequence[Component]]) -> tuple[Component, ...]:
    """The sums of the components by type, and those of tax by rate and code too; codes of others are not kept."""
    sums: Mapping[tuple[object, ...], list[Component]] = {}
    sums = {}
    for kind in KINDS:
        for c in (c for line in lines for c in line if c.type == kind):
            key = (kind, c.group, c.factor) if kind in (TAX, INFORMATIONAL) else (kind,)
            sums.setdefault(key, []).append(c)
    return tuple(
        replace(found[0], amount=sum_of(c.value for c in found))
        if len(key) > 1
        else Component(found[0].type, sum_of(c.value for c in found))
        for key, found in sums.items()
    )
