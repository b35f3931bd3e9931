"""The shares of an Invoice: what each coverage is to pay and what is left to the patient, as the Invoice says it. Pure.

One extension for each coverage in their order, and one for the patient. An invariant to keep: shares add up to totalGross when the
Invoice is issued, and stay as they are from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import OSLER, gross_in
from fhir_server.resources.billing.money import ZERO, amount_of, currency_of, money, sum_of
from fhir_server.resources.billing.shares import Shares

SHARE = OSLER + "invoice-share"
_PLACE = "Invoice.extension:invoice-share"


@dataclass(frozen=True, slots=True)
class Share:
    """What one is to pay of an invoice: `coverage` and `payer` are references, '' for the patient; `lines` are amounts by sequence."""

    amount: Decimal
    coverage: str = ""
    payer: str = ""
    lines: tuple[tuple[int, Decimal], ...] = ()


def shares_of(invoice: Mapping[str, Any]) -> tuple[Share, ...]:
    """The shares of an Invoice, the coverages in their order, then the patient. Raises BusinessRule."""
    return tuple(_share(e) for e in invoice.get("extension", ()) if e.get("url") == SHARE)


def _share(extension: Mapping[str, Any]) -> Share:
    parts = {p.get("url"): p for p in extension.get("extension", ())}
    amount = amount_of(parts.get("amount", {}).get("valueMoney"), _PLACE)
    coverage = parts.get("coverage", {}).get("valueReference", {}).get("reference", "")
    payer = parts.get("payer", {}).get("valueReference", {}).get("reference", "")
    lines = tuple(_line(p) for p in extension.get("extension", ()) if p.get("url") == "of-line")
    return Share(amount, str(coverage), str(payer), lines)


def _line(part: Mapping[str, Any]) -> tuple[int, Decimal]:
    inner = {i.get("url"): i for i in part.get("extension", ())}
    sequence = inner.get("line", {}).get("valuePositiveInt")
    if not isinstance(sequence, int):
        raise BusinessRule("A part of a share says of which line it is.", _PLACE)
    return sequence, amount_of(inner.get("amount", {}).get("valueMoney"), _PLACE)


def with_shares(
    invoice: Resource, coverages: Sequence[Resource], found: Shares, sequences: Sequence[int]
) -> Resource:
    """The Invoice with the shares that were found, in the place of those it has."""
    currency = currency_of(invoice.get("totalGross"), "Invoice.totalGross")
    kept = [e for e in invoice.get("extension", ()) if e.get("url") != SHARE]
    for coverage, parts in zip(coverages, found.parts, strict=True):
        by_line = [(s, p.paid) for s, p in zip(sequences, parts, strict=True)]
        payer = coverage["payor"][0]
        told: list[Resource] = [
            {"url": "coverage", "valueReference": {"reference": f"Coverage/{coverage['id']}"}},
            {"url": "payer", "valueReference": payer},
        ]
        kept.append(_as_fhir(told, by_line, currency))
    kept.append(_as_fhir([], list(zip(sequences, found.patient, strict=True)), currency))
    return {**{k: v for k, v in invoice.items() if k != "extension"}, "extension": kept}


def _as_fhir(told: list[Resource], by_line: Sequence[tuple[int, Decimal]], currency: str) -> Resource:
    parts = [*told, {"url": "amount", "valueMoney": money(sum_of(a for _, a in by_line), currency)}]
    for sequence, amount in by_line:
        if amount != ZERO:
            inner = [
                {"url": "line", "valuePositiveInt": sequence},
                {"url": "amount", "valueMoney": money(amount, currency)},
            ]
            parts.append({"url": "of-line", "extension": inner})
    return {"url": SHARE, "extension": parts}


def check_shares(invoice: Resource) -> None:
    """Raise BusinessRule unless the shares of an Invoice, if it has any, add up to what it comes to."""
    found = shares_of(invoice)
    total = sum_of(share.amount for share in found)
    if found and total != gross_in(invoice):
        raise BusinessRule(
            f"The shares add up to {total}, the invoice comes to {gross_in(invoice)}: Invoice/[id]/$split shares it anew.",
            _PLACE,
        )
