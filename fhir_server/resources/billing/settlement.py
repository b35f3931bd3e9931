"""What settles an invoice: payments, and invoices to which a share was moved, each with its amount. Pure.

An issued Invoice lists them in an extension that is the server's own. The entry of each is replaced as a whole, so that judging a
change twice is harmless. An invariant to keep: no other code writes these entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import SETTLED, require_currency, with_state
from fhir_server.resources.billing.money import ZERO, amount_of, money


@dataclass(frozen=True, slots=True)
class Settlement:
    """`by` is the reference of the resource that settles a part of an invoice."""

    by: str
    amount: Decimal


def settlements(invoice: Mapping[str, Any]) -> tuple[Settlement, ...]:
    """What settles an Invoice, in the order in which it came."""
    return tuple(_settlement(e) for e in invoice.get("extension", ()) if e.get("url") == SETTLED)


def _settlement(extension: Mapping[str, Any]) -> Settlement:
    parts = {p["url"]: p for p in extension["extension"]}
    amount = amount_of(parts["amount"]["valueMoney"], "Invoice.extension:settled")
    return Settlement(parts["by"]["valueReference"]["reference"], amount)


def _by(extension: Mapping[str, Any]) -> str:
    parts = (p for p in extension["extension"] if p["url"] == "by")
    return next((str(p["valueReference"]["reference"]) for p in parts), "")


def settled_by(invoice: Mapping[str, Any], by: str) -> Decimal:
    """How much of the Invoice the resource at the reference settles."""
    found = (e for e in invoice.get("extension", ()) if e.get("url") == SETTLED and _by(e) == by)
    return next((_settlement(e).amount for e in found), ZERO)


def with_settlement(invoice: Resource, by: str, amount: Decimal) -> Resource:
    """The Invoice with what the resource at `by` settles of it, 0 for nothing any more, in the state that follows."""
    money_ = money(amount, require_currency(invoice))
    entry = {
        "url": SETTLED,
        "extension": [
            {"url": "by", "valueReference": {"reference": by}},
            {"url": "amount", "valueMoney": money_},
        ],
    }
    kept = list(invoice.get("extension", ()))
    place = next((n for n, e in enumerate(kept) if e.get("url") == SETTLED and _by(e) == by), None)
    if place is not None:
        kept[place : place + 1] = [entry] if amount != ZERO else []
    elif amount != ZERO:
        kept.append(entry)
    made = {k: v for k, v in invoice.items() if k != "extension"}
    return with_state({**made, "extension": kept} if kept else made)
