"""Invoices as sums: their lines and totals, what is credited and settled of them, and what is open.

https://hl7.org/fhir/R4/invoice.html. Pure. The amounts of a line's components add up to its gross, the lines to the totals,
and `open_of` is gross - credited - settled: the state of an invoice that is issued follows from it. An invariant to keep:
gross, net and the lines of an invoice that was issued say the same to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.money import (
    ZERO,
    amount_of,
    money,
    number_of,
    sum_of,
)
from fhir_server.resources.billing.pricing import (
    INFORMATIONAL,
    Component,
    as_fhir,
    component_of,
    currency_among,
    gross_of,
    net_of,
    totals_of,
)

OSLER = "https://osler.health/fhir/StructureDefinition/"
# on an Invoice that was issued: its number, its due date, and the digest of what was issued
NUMBER = OSLER + "invoice-number"
DUE = OSLER + "payment-due"
DIGEST = OSLER + "content-digest"
# on a credit note: the Invoice that it credits, and on each line which line of that and how many of it
CREDITS = OSLER + "credits"
CREDITS_LINE = OSLER + "credits-line"
# on an Invoice, kept by the server: what was credited of each line, and how much has been paid
CREDITED = OSLER + "credited"
SETTLED = OSLER + "settled"
# what changes on an invoice that is issued, and by the server alone
KEPT = (CREDITED, SETTLED)

TYPE_SYSTEM = "https://osler.health/fhir/CodeSystem/invoice-type"
CREDIT_NOTE = "credit-note"

DRAFT, ISSUED, BALANCED, CANCELLED, ERROR = "draft", "issued", "balanced", "cancelled", "entered-in-error"
# in which states an invoice holds its charges
LIVE = (DRAFT, ISSUED, BALANCED)
# in which it has been issued
FINAL = (ISSUED, BALANCED, CANCELLED)


@dataclass(frozen=True, slots=True)
class Line:
    """A lineItem: `item` has chargeItemReference or chargeItemCodeableConcept; `extension` what else it says."""

    sequence: int
    item: Resource
    components: tuple[Component, ...]
    extension: tuple[Resource, ...] = ()

    @property
    def net(self) -> Decimal:
        return net_of(self.components)

    @property
    def gross(self) -> Decimal:
        return gross_of(self.components)


def currency_in(invoice: Resource) -> str | None:
    """The one currency of an Invoice; None where it has no amount. Raises BusinessRule when it mixes them."""
    components = [c for line in invoice.get("lineItem", ()) for c in line.get("priceComponent", ())]
    components += invoice.get("totalPriceComponent", ())
    totals = [{"amount": invoice[name]} for name in ("totalNet", "totalGross") if name in invoice]
    return currency_among([*components, *totals], "Invoice")


def require_currency(invoice: Resource) -> str:
    """The currency of an Invoice that has amounts. Raises BusinessRule."""
    found = currency_in(invoice)
    if found is None:
        raise BusinessRule("The invoice has no amount.", "Invoice.totalGross")
    return found


def lines_in(invoice: Resource) -> tuple[Line, ...]:
    """The lines; a sequence that is not given is the position. Raises BusinessRule."""
    currency = currency_in(invoice)
    found = []
    for index, line in enumerate(invoice.get("lineItem", ())):
        place = f"Invoice.lineItem[{index}]"
        components = tuple(
            component_of(c, f"{place}.priceComponent[{n}]", currency)
            for n, c in enumerate(line.get("priceComponent", ()))
        )
        item = {
            k: line[k]
            for k in ("chargeItemReference", "chargeItemCodeableConcept", "_chargeItemReference")
            if k in line
        }
        sequence = line.get("sequence", index + 1)
        found.append(Line(int(sequence), item, components, tuple(line.get("extension", ()))))
    sequences = [line.sequence for line in found]
    if len(set(sequences)) != len(sequences):
        raise BusinessRule("Two lines of the invoice have the same sequence.", "Invoice.lineItem.sequence")
    return tuple(found)


def gross_in(invoice: Resource) -> Decimal:
    """totalGross. Raises BusinessRule when there is none."""
    return amount_of(invoice.get("totalGross"), "Invoice.totalGross")


def amounts(lines: Sequence[Line], currency: str) -> Resource:
    """The members of an Invoice that follow from its lines."""
    components = [line.components for line in lines]
    net, gross = sum_of(line.net for line in lines), sum_of(line.gross for line in lines)
    return {
        "lineItem": [_line(line, currency) for line in lines],
        "totalPriceComponent": [as_fhir(c, currency) for c in totals_of(components)],
        "totalNet": money(net, currency),
        "totalGross": money(gross, currency),
    }


def _line(line: Line, currency: str) -> Resource:
    made: dict[str, Any] = {"extension": list(line.extension)} if line.extension else {}
    made |= {"sequence": line.sequence, **line.item}
    if line.components:
        made["priceComponent"] = [as_fhir(c, currency) for c in line.components]
    return made


def check_sums(invoice: Resource) -> None:
    """Raise BusinessRule unless lines, components and totals of an Invoice say the same to the last digit."""
    lines = lines_in(invoice)
    if not lines:
        raise BusinessRule("An invoice that is issued has lines.", "Invoice.lineItem")
    for name in ("totalNet", "totalGross"):
        stated = amount_of(invoice.get(name), f"Invoice.{name}")
        found = sum_of(line.net if name == "totalNet" else line.gross for line in lines)
        if stated != found:
            raise BusinessRule(f"Invoice.{name} is {stated}; the lines sum to {found}.", f"Invoice.{name}")
    totals = [
        component_of(c, f"Invoice.totalPriceComponent[{n}]")
        for n, c in enumerate(invoice.get("totalPriceComponent", ()))
    ]
    if totals and _by_type(totals) != _by_type([c for line in lines for c in line.components]):
        raise BusinessRule(
            "Invoice.totalPriceComponent does not say what the components of the lines sum to.",
            "Invoice.totalPriceComponent",
        )


def _by_type(components: Sequence[Component]) -> Mapping[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for c in components:
        if c.type != INFORMATIONAL:
            sums[c.type] = sum_of((sums.get(c.type, ZERO), c.value))
    return {kind: value for kind, value in sums.items() if value != 0}


# What becomes of an invoice that is issued


def extension(resource: Resource | None, url: str) -> Resource | None:
    """The first extension with `url`."""
    found = () if resource is None else resource.get("extension", ())
    return next((e for e in found if e.get("url") == url), None)


def without_extensions(resource: Resource, *urls: str) -> Resource:
    """The resource without its extensions of `urls`."""
    kept = [e for e in resource.get("extension", ()) if e.get("url") not in urls]
    made = {k: v for k, v in resource.items() if k != "extension"}
    return {**made, "extension": kept} if kept else made


def with_extension(resource: Resource, *added: Resource) -> Resource:
    """The resource with the extensions, in the place of those with the same url."""
    kept = without_extensions(resource, *(e["url"] for e in added))
    return {**kept, "extension": [*kept.get("extension", ()), *added]}


def is_credit_note(invoice: Resource) -> bool:
    codings = invoice.get("type", {}).get("coding", ())
    return any(c.get("system") == TYPE_SYSTEM and c.get("code") == CREDIT_NOTE for c in codings)


def is_elsewhere(invoice: Mapping[str, Any]) -> bool:
    """Whether it is the record of an invoice that another house has issued: what this house has issued has a number."""
    if invoice.get("status") not in FINAL:
        return False
    numbers = (e for e in invoice.get("extension", ()) if e.get("url") == NUMBER)
    return not any(p.get("url") == "number" for e in numbers for p in e.get("extension", ()))


def require_own(invoice: Resource) -> Resource:
    """The Invoice. Raises BusinessRule for a record of another house."""
    if is_elsewhere(invoice):
        raise BusinessRule(
            f"Invoice/{invoice['id']} is the record of an invoice that another house has issued: it is neither paid, credited nor"
            " printed here.",
            "Invoice",
        )
    return invoice


def credited_lines(invoice: Resource) -> Mapping[int, tuple[Decimal, Decimal]]:
    """What has been credited of each line: amount (gross) and quantity."""
    found: dict[int, tuple[Decimal, Decimal]] = {}
    for e in invoice.get("extension", ()):
        if e.get("url") == CREDITED:
            parts = {p["url"]: p for p in e.get("extension", ())}
            amount = amount_of(parts["amount"]["valueMoney"], "Invoice.extension:credited")
            quantity = number_of(parts.get("quantity", {}).get("valueDecimal", 0), "credited.quantity")
            found[parts["line"]["valuePositiveInt"]] = (amount, quantity)
    return found


def credited_of(invoice: Resource) -> Decimal:
    return sum_of(amount for amount, _ in credited_lines(invoice).values())


def settled_of(invoice: Resource) -> Decimal:
    """How much has been paid of an Invoice or moved to another, less what was taken back."""
    found = [e for e in invoice.get("extension", ()) if e.get("url") == SETTLED]
    parts = [p for e in found for p in e.get("extension", ()) if p.get("url") == "amount"]
    return sum_of(amount_of(p["valueMoney"], "Invoice.extension:settled") for p in parts)


def open_of(invoice: Resource) -> Decimal:
    """What is still to be paid of an Invoice that is issued here; nothing of any other, nor of a credit note."""
    if invoice.get("status") not in (ISSUED, BALANCED) or is_credit_note(invoice) or is_elsewhere(invoice):
        return ZERO
    return sum_of((gross_in(invoice), -credited_of(invoice), -settled_of(invoice)))


def with_credited(invoice: Resource, credits: Sequence[tuple[int, Decimal, Decimal]]) -> Resource:
    """The Invoice with more credited: line, amount (gross, positive), quantity; and in the state that follows."""
    currency = require_currency(invoice)
    sums = dict(credited_lines(invoice))
    for line, amount, quantity in credits:
        before = sums.get(line, (ZERO, ZERO))
        sums[line] = (sum_of((before[0], amount)), sum_of((before[1], quantity)))
    kept = without_extensions(invoice, CREDITED)
    added = [
        {
            "url": CREDITED,
            "extension": [
                {"url": "line", "valuePositiveInt": line},
                {"url": "amount", "valueMoney": money(amount, currency)},
                *([{"url": "quantity", "valueDecimal": quantity}] if quantity else []),
            ],
        }
        for line, (amount, quantity) in sorted(sums.items())
    ]
    return with_state({**kept, "extension": [*kept.get("extension", ()), *added]})


def with_state(invoice: Resource) -> Resource:
    """An Invoice that is issued, in the state that follows: cancelled when all is credited, balanced when nothing is open."""
    if invoice.get("status") not in FINAL or is_credit_note(invoice):
        return invoice
    gross = gross_in(invoice)
    if sum_of((gross, -credited_of(invoice))) == 0 and gross != 0:
        state = CANCELLED
    elif open_of({**invoice, "status": ISSUED}) == 0:
        state = BALANCED
    else:
        state = ISSUED
    return {**invoice, "status": state}


def fully_credited(invoice: Resource, line: Line) -> bool:
    """Whether nothing is left of a line."""
    credited = credited_lines(invoice).get(line.sequence)
    return credited is not None and credited[0] == line.gross
