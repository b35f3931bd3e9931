"""Invoices to which a share of another was moved: what an insurer did not pay becomes the patient's, by a line of a new invoice.

Such an Invoice says whose share it takes over in an extension. It brings no revenue and no tax: what is owed moves from one Invoice to
another, which it settles by its amount when it is issued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.references import parse_reference
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import (
    BALANCED,
    FINAL,
    ISSUED,
    OSLER,
    credited_of,
    gross_in,
    is_credit_note,
    open_of,
    require_currency,
    require_own,
)
from fhir_server.resources.billing.money import sum_of
from fhir_server.resources.billing.settlement import settled_by, with_settlement
from fhir_server.resources.change import Known
from fhir_server.store.records import Claim

MOVED = OSLER + "share-moved-from"


def moved_from(invoice: Mapping[str, Any] | None, bases: Sequence[str] = ()) -> str | None:
    """The id of the Invoice whose share this one takes over; None for invoices of what was done."""
    for extension in () if invoice is None else invoice.get("extension", ()):
        if extension.get("url") == MOVED:
            text = extension.get("valueReference", {}).get("reference")
            found = parse_reference(text, bases) if isinstance(text, str) else None
            if found is not None and found.local and found.type == "Invoice":
                return found.id
    return None


async def share_moved(
    invoice: Resource, known: Known, bases: Sequence[str]
) -> tuple[tuple[Claim, ...], tuple[Resource, ...]]:
    """What an Invoice that takes over a share claims of the other, and that one as it is then. Raises BusinessRule."""
    id = moved_from(invoice, bases)
    if id is None or invoice.get("status") not in FINAL or is_credit_note(invoice):
        return (), ()
    origin = await known.current("Invoice", id)
    if origin is None:
        raise BusinessRule(f"Invoice/{id}, whose share is taken over, is not here.", "Invoice.extension")
    own, amount = f"Invoice/{invoice['id']}", gross_in(invoice)
    settled = settled_by(origin, own)
    if amount != settled:
        _require_open(origin, invoice, amount - settled)
    capacity = sum_of((gross_in(origin), -credited_of(origin)))
    claims = (Claim(f"open:Invoice/{id}", amount, capacity),) if amount > 0 else ()
    return claims, () if amount == settled else (with_settlement(origin, own, amount),)


def _require_open(origin: Resource, invoice: Resource, more: Any) -> None:
    id = require_own(origin)["id"]
    if id == invoice["id"] or origin.get("status") not in (ISSUED, BALANCED) or is_credit_note(origin):
        raise BusinessRule(
            f"Invoice/{id} is {origin.get('status')}: only of an invoice that is issued a share is taken over.",
            "Invoice.extension",
        )
    if require_currency(origin) != require_currency(invoice):
        raise BusinessRule(f"Invoice/{id} is in {require_currency(origin)}.", "Invoice.totalGross")
    if more > open_of(origin):
        raise BusinessRule(
            f"{open_of(origin)} of Invoice/{id} are open; {more} cannot be taken over.", "Invoice.totalGross"
        )
