"""Discounts of a draft: components of its lines beyond those of the price list, which above a limit a second person approves.

An invariant to keep: whatever way a draft was made cheaper than its charges, above the limit it is not issued by one person alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.approvals import DISCOUNT, limit_of, require_approval
from fhir_server.resources.billing.charges import price_of
from fhir_server.resources.billing.invoicing import Line, amounts, lines_in, require_currency
from fhir_server.resources.billing.money import ZERO, digits_of, rounded, spread, sum_of
from fhir_server.resources.billing.pricing import DISCOUNT as REDUCTION
from fhir_server.resources.billing.pricing import (
    INFORMATIONAL,
    TAX,
    Charge,
    Component,
    lines_of,
)
from fhir_server.resources.billing.settings import BillingSettings
from fhir_server.resources.change import Known

OSLER = "https://osler.health/fhir/StructureDefinition/"
# on an Invoice that was discounted as a draft: how much, why, and who has asked for it
INVOICE_DISCOUNT = OSLER + "invoice-discount"


def base_of(lines: Sequence[Line], inclusive: bool) -> Decimal:
    """What a discount of the lines is a part of: list prices with the tax in them are discounted with it."""
    return sum_of(line.gross if inclusive else line.net for line in lines)


def discounted(
    invoice: Resource,
    lines: Sequence[Line],
    amount: Decimal,
    reason: Resource,
    factor: Decimal | None,
    settings: BillingSettings,
) -> Resource:
    """The draft with `amount` off these lines of it, spread by what they cost, and the tax that follows.

    Raises BusinessRule for more than the lines cost.
    """
    currency = require_currency(invoice)
    digits = digits_of(currency)
    whole = base_of(lines, settings.inclusive)
    if not ZERO < amount <= whole:
        raise BusinessRule(f"A discount is above nothing and at the most {whole} {currency}.", "amount")
    weights = [line.gross if settings.inclusive else line.net for line in lines]
    off = {line.sequence: part for line, part in zip(lines, spread(amount, weights, digits), strict=True)}
    every = lines_in(invoice)
    charges = []
    for line in every:
        price = _as_charge(line, currency, settings.inclusive)
        part = off.get(line.sequence, ZERO)
        if part != ZERO:
            less = Component(REDUCTION, sum_of((ZERO, -part)), factor, reason)
            price = replace(price, parts=(*price.parts, less))
        charges.append(price)
    made = [replace(line, components=c) for line, c in zip(every, lines_of(charges, settings), strict=True)]
    return {**invoice, **amounts(made, currency)}


def percent_of(lines: Sequence[Line], percent: Decimal, currency: str, settings: BillingSettings) -> Decimal:
    """So many percent of what the lines cost."""
    exact = Fraction(base_of(lines, settings.inclusive)) * Fraction(percent) * Fraction(1, 100)
    return rounded(exact, digits_of(currency), settings.rounding)


def _as_charge(line: Line, currency: str, inclusive: bool) -> Charge:
    """The line before its tax is calculated: taxes of a rate are calculated anew, those of an amount stay."""
    parts = [c for c in line.components if c.type not in (TAX, INFORMATIONAL)]
    taxes = [c for c in line.components if c.type == TAX]
    if inclusive and parts:
        values = spread(line.gross, [p.value for p in parts], digits_of(currency))
        parts = [replace(p, amount=v) for p, v in zip(parts, values, strict=True)]
    return Charge(
        currency,
        tuple(parts),
        tuple(t if t.factor is None else replace(t, amount=None) for t in taxes),
        tuple(c for c in line.components if c.type == INFORMATIONAL),
        inclusive,
    )


def discount_extension(amount: Resource, reason: Resource, requester: Resource | None) -> Resource:
    parts: list[Resource] = [
        {"url": "amount", "valueMoney": amount},
        {"url": "reason", "valueCodeableConcept": reason},
    ]
    if requester is not None:
        parts.append({"url": "requester", "valueReference": requester})
    return {"url": INVOICE_DISCOUNT, "extension": parts}


async def reduced_by(invoice: Resource, known: Known, services: Services) -> Decimal:
    """How much less the lines cost than the prices of their charges, discounts of the price list aside."""
    bases = services.settings.local_bases
    found = []
    for line in lines_in(invoice):
        id = local_id(line.item.get("chargeItemReference"), "ChargeItem", bases)
        charge = None if id is None else await known.current("ChargeItem", id)
        price = None if charge is None else price_of(charge)
        if price is None:
            less = sum_of((ZERO, *(-c.value for c in line.components if c.type == REDUCTION)))
        else:
            now = line.gross if price.inclusive else line.net
            less = sum_of((price.stated, -now))
        found.append(max(less, ZERO))
    return sum_of(found)


async def require_discount_approved(invoice: Resource, known: Known, services: Services) -> None:
    """Raise BusinessRule when an Invoice that is issued was made cheaper than the limit allows, and nobody has approved it."""
    if await limit_of(DISCOUNT, known, services) is None:
        return
    less = await reduced_by(invoice, known, services)
    if less > ZERO:
        currency = require_currency(invoice)
        await require_approval(DISCOUNT, invoice, invoice["id"], less, ZERO, currency, known, services)


def lines_named(invoice: Resource, sequences: Sequence[int]) -> tuple[Line, ...]:
    """The lines with these sequences; all that cost something without any. Raises BusinessRule."""
    by_sequence: Mapping[int, Line] = {line.sequence: line for line in lines_in(invoice)}
    if not sequences:
        return tuple(line for line in by_sequence.values() if line.net > 0)
    for sequence in sequences:
        if sequence not in by_sequence:
            raise BusinessRule(f"The invoice has no line {sequence}.", "line")
    return tuple(by_sequence[s] for s in dict.fromkeys(sequences))
