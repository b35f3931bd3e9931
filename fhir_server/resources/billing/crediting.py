"""Credits: which lines a credit note has, so that all credits of a line together are the line.

Pure. An invariant to keep: what has been credited of a line never exceeds it, and the last credit of a line leaves nothing over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import (
    CREDITS_LINE,
    Line,
    credited_lines,
    lines_in,
    require_currency,
)
from fhir_server.resources.billing.money import (
    ZERO,
    Rounding,
    digits_of,
    number_of,
    of_units,
    rounded,
    spread,
    sum_of,
)
from fhir_server.resources.billing.pricing import INFORMATIONAL, Component


@dataclass(frozen=True, slots=True)
class Credit:
    """What is to be credited of a line: an amount (gross), a quantity of what it has, or all that is left (neither)."""

    line: int
    amount: Decimal | None = None
    quantity: Decimal | None = None


def credit_lines(
    invoice: Resource, asked: Sequence[Credit], quantities: Mapping[int, Decimal]
) -> tuple[Line, ...]:
    """The lines of a credit note, negative; `quantities` is what each line of the Invoice has. Raises BusinessRule.

    Each component is credited in the proportion of the line, such that all credits of a line together are the line.
    """
    currency = require_currency(invoice)
    by_sequence = {line.sequence: line for line in lines_in(invoice)}
    done = credited_lines(invoice)
    made: list[Line] = []
    if len({credit.line for credit in asked}) != len(asked):
        raise BusinessRule("A line is credited once in a credit note.", "line")
    for credit in asked:
        line = by_sequence.get(credit.line)
        if line is None:
            raise BusinessRule(f"The invoice has no line {credit.line}.", "line")
        before, quantity_before = done.get(credit.line, (ZERO, ZERO))
        has = quantities.get(credit.line, Decimal(1))
        amount, quantity = _wanted(credit, line, before, quantity_before, has, digits_of(currency))
        components = _credited(line, before, amount, digits_of(currency))
        parts: list[Resource] = [{"url": "line", "valuePositiveInt": credit.line}]
        if quantity:
            parts.append({"url": "quantity", "valueDecimal": quantity})
        extension = {"url": CREDITS_LINE, "extension": parts}
        made.append(Line(len(made) + 1, line.item, components, (extension,)))
    return tuple(made)


def _wanted(
    credit: Credit, line: Line, before: Decimal, quantity_before: Decimal, has: Decimal, digits: int
) -> tuple[Decimal, Decimal]:
    """How much, positive, of the line's gross, and how many."""
    left, number_left = sum_of((line.gross, -before)), sum_of((has, -quantity_before))
    if credit.quantity is not None:
        if not 0 < credit.quantity <= number_left:
            raise BusinessRule(
                f"Line {credit.line} has {number_left} left to credit; asked for are {credit.quantity}.",
                "line",
            )
        if credit.quantity == number_left:
            return left, credit.quantity
        exact = Fraction(line.gross) * Fraction(sum_of((quantity_before, credit.quantity))) / Fraction(has)
        amount = sum_of((rounded(exact, digits, Rounding.HALF_UP), -before))
        amount = min(max(amount, ZERO), left) if left >= 0 else amount
        return amount, credit.quantity
    amount = left if credit.amount is None else credit.amount
    if amount == 0 or abs(amount) > abs(left) or (amount < 0) != (left < 0):
        raise BusinessRule(f"Line {credit.line} has {left} left to credit; asked for are {amount}.", "line")
    return amount, number_left if amount == left else ZERO


def _credited(line: Line, before: Decimal, amount: Decimal, digits: int) -> tuple[Component, ...]:
    """The components of a credit: the share of all credits up to this one, less the share of those before."""
    counted = [c for c in line.components if c.type != INFORMATIONAL]
    weights = [c.value for c in counted]
    until = spread(sum_of((before, amount)), weights, digits)
    already = spread(before, weights, digits)
    return tuple(
        replace(c, amount=sum_of((b, -u)).quantize(of_units(1, digits)))
        for c, u, b in zip(counted, until, already, strict=True)
    )


def credits_in(note: Resource) -> tuple[tuple[int, Decimal, Decimal], ...]:
    """What a credit note credits: line of the Invoice, amount (gross, positive), quantity. Raises BusinessRule."""
    found = []
    for line in lines_in(note):
        parts = {
            p.get("url"): p
            for e in line.extension
            if e.get("url") == CREDITS_LINE
            for p in e.get("extension", ())
        }
        if "line" not in parts:
            raise BusinessRule(
                "Each line of a credit note names the line that it credits (extension credits-line).",
                "Invoice.lineItem.extension",
            )
        quantity = number_of(parts.get("quantity", {}).get("valueDecimal", 0), "credits-line.quantity")
        found.append((parts["line"]["valuePositiveInt"], sum_of((ZERO, -line.gross)), quantity))
    return tuple(found)
