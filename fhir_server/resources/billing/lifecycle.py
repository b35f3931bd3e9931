"""Which states follow which for ChargeItems and Invoices, and what stays as it was issued (docs/billing.md). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.jsonio import encode
from fhir_server.context import Resource
from fhir_server.resources.billing.charges import BILLED_BY
from fhir_server.resources.billing.invoicing import (
    DIGEST,
    DRAFT,
    ERROR,
    FINAL,
    ISSUED,
    KEPT,
    without_extensions,
)

CHARGES: Mapping[str, frozenset[str]] = {
    "planned": frozenset({"billable", "not-billable", "aborted", ERROR}),
    "billable": frozenset({"planned", "not-billable", "aborted", ERROR}),
    "not-billable": frozenset({"planned", "billable", ERROR}),
    "aborted": frozenset({ERROR}),
    "billed": frozenset(),
    ERROR: frozenset(),
    "unknown": frozenset({"planned", "billable", "not-billable", "aborted", ERROR}),
}
INVOICES: Mapping[str, frozenset[str]] = {
    DRAFT: frozenset({ISSUED, ERROR}),
    ERROR: frozenset(),
}


def check_charge(before: Resource | None, after: Resource) -> None:
    """Raise BusinessRule for a state of a ChargeItem that somebody may not give it."""
    was, now = None if before is None else before.get("status"), after.get("status")
    if was == "billed":
        if now == "billed":
            return
        raise BusinessRule(
            f"The charge is billed by {billed_by(before)}; a credit note makes it billable again: Invoice/[id]/$credit.",
            "ChargeItem.status",
        )
    if now == "billed":
        raise BusinessRule(
            "A charge is billed by the invoice that lists it: Account/[id]/$invoice, or an Invoice whose lineItem refers to it.",
            "ChargeItem.status",
        )
    if was is not None and now != was and now not in CHARGES[str(was)]:
        raise BusinessRule(f"A ChargeItem does not go from {was} to {now}.", "ChargeItem.status")


def billed_by(charge: Resource | None) -> str | None:
    """The reference of the invoice that bills a charge."""
    for extension in () if charge is None else charge.get("extension", ()):
        if extension.get("url") == BILLED_BY:
            return str(extension["valueReference"].get("reference"))
    return None


def check_invoice(before: Resource | None, after: Resource) -> None:
    """Raise BusinessRule for a state of an Invoice that somebody may not give it."""
    was, now = None if before is None else str(before.get("status")), str(after.get("status"))
    if was in FINAL:
        if now != was:
            raise BusinessRule(
                f"The invoice is {was}, which follows from what is paid and credited: Invoice/[id]/$pay and $credit change"
                " that; a mistake is corrected by a credit note and a new invoice.",
                "Invoice.status",
            )
        return
    if now in ("balanced", "cancelled"):
        raise BusinessRule(
            f"An invoice is not made {now}: it is {now} when it is issued and everything is"
            f" {'paid' if now == 'balanced' else 'credited'}.",
            "Invoice.status",
        )
    if was is not None and now != was and now not in INVOICES[was]:
        raise BusinessRule(f"An Invoice does not go from {was} to {now}.", "Invoice.status")


def frozen(resource: Resource, *changing: str) -> Resource:
    """The part of a resource that stays as it is once it was issued or billed; `changing` are urls of extensions."""
    kept = without_extensions(resource, *changing)
    return {k: v for k, v in kept.items() if k not in ("meta", "status")}


def require_frozen(before: Resource, after: Resource, instead: str, *changing: str) -> None:
    """Raise BusinessRule when what was issued is changed, naming the members and what to do `instead`."""
    one, other = frozen(before, *changing), frozen(after, *changing)
    changed = sorted(k for k in one.keys() | other.keys() if one.get(k) != other.get(k))
    if changed:
        type, id = before["resourceType"], before["id"]
        raise BusinessRule(
            f"{type}/{id} is {before.get('status')}, so {', '.join(changed)} cannot be changed. {instead}",
            *(f"{type}.{name}" for name in changed),
        )


def digest_of(invoice: Resource) -> str:
    """The SHA-256 of what was issued, whatever the order of members."""
    return hashlib.sha256(encode(_ordered(frozen(invoice, *KEPT, DIGEST)))).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _ordered(value[k]) for k in sorted(value)}
    return [_ordered(v) for v in value] if isinstance(value, list) else value
