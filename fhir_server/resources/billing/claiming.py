"""Claims for the share of a payer, and invoices for what a payer did not pay. Pure. https://hl7.org/fhir/R4/claim.html"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import OSLER, TYPE_SYSTEM, Line, require_currency
from fhir_server.resources.billing.money import money, sum_of
from fhir_server.resources.billing.numbering import number_in
from fhir_server.resources.billing.plans import Code
from fhir_server.resources.billing.transfer import MOVED

INVOICE = OSLER + "claim-invoice"
SHARE = "share"
# what the posting of a ClaimResponse may write, under the same id
POSTED = ("PaymentReconciliation", "Invoice", "ExplanationOfBenefit")


def claim_for(
    id: str,
    invoice: Resource,
    lines: Sequence[Line],
    codes: Sequence[Sequence[Code]],
    coverage: Resource,
    earlier: Sequence[Resource],
    at: str,
) -> Resource:
    """A draft Claim of an Invoice's lines to the payer of a Coverage; `earlier` are the coverages before it."""
    currency = require_currency(invoice)
    insurance = [
        {"sequence": n, "focal": one is coverage, "coverage": {"reference": f"Coverage/{one['id']}"}}
        for n, one in enumerate((*earlier, coverage), 1)
    ]
    return {
        "resourceType": "Claim",
        "id": id,
        "extension": [{"url": INVOICE, "valueReference": {"reference": f"Invoice/{invoice['id']}"}}],
        "status": "draft",
        "type": _coded("http://terminology.hl7.org/CodeSystem/claim-type", "institutional"),
        "use": "claim",
        "patient": invoice["subject"],
        "created": at,
        "insurer": coverage["payor"][0],
        "provider": invoice.get("issuer", {"display": "the issuer of the invoice"}),
        "priority": _coded("http://terminology.hl7.org/CodeSystem/processpriority", "normal"),
        "insurance": insurance,
        "item": [
            {
                "sequence": line.sequence,
                "productOrService": _product(line, known),
                "net": money(line.gross, currency),
            }
            for line, known in zip(lines, codes, strict=True)
        ],
        "total": money(sum_of(line.gross for line in lines), currency),
    }


def _coded(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def _product(line: Line, codes: Sequence[Code]) -> Resource:
    if codes:
        return {"coding": [({"system": s} if s else {}) | {"code": c} for s, c in codes]}
    concept: Resource = line.item.get("chargeItemCodeableConcept", {"text": f"Line {line.sequence}"})
    return concept


def posted_id(response: str) -> str:
    """The id of what the posting of a ClaimResponse writes: the same each time."""
    return "posted-" + hashlib.sha256(response.encode()).hexdigest()[:40]


def share_invoice(id: str, origin: Resource, amount: Decimal, payer: str) -> Resource:
    """The Invoice by which the patient takes over what a payer did not pay of another."""
    value = money(amount, require_currency(origin))
    numbered = number_in(origin)
    name = f"Invoice/{origin['id']}" if numbered is None else numbered[0].text(numbered[1])
    made: Resource = {
        "resourceType": "Invoice",
        "id": id,
        "extension": [{"url": MOVED, "valueReference": {"reference": f"Invoice/{origin['id']}"}}],
        "status": "issued",
        "type": _coded(TYPE_SYSTEM, SHARE),
    }
    for member in ("subject", "issuer", "account"):
        if member in origin:
            made[member] = origin[member]
    if "subject" in origin:
        made["recipient"] = origin["subject"]
    text = f"Share of {name} that {payer} did not pay"
    return {
        **made,
        "lineItem": [
            {
                "sequence": 1,
                "chargeItemCodeableConcept": {"text": text},
                "priceComponent": [{"type": "base", "amount": value}],
            }
        ],
        "totalNet": value,
        "totalGross": value,
    }
