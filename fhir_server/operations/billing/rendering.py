"""Invoice/$render: the invoice as a PDF that a hospital sends, with what Organization, Patient and ChargeItems say."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fhir_r4.references import local_id, parse_reference
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.billing.movements import number_text, settled_by
from fhir_server.operations.billing.printing import NAMES, InvoicePaper, Letterhead, PaperLine, invoice_pdf
from fhir_server.operations.billing.requesting import require
from fhir_server.operations.given import given
from fhir_server.resources.beds.surroundings import local_bases
from fhir_server.resources.billing.charges import quantity_of, service_time
from fhir_server.resources.billing.invoicing import (
    BALANCED,
    CREDITS,
    DRAFT,
    DUE,
    ERROR,
    ISSUED,
    Line,
    credited_of,
    extension,
    gross_in,
    is_credit_note,
    lines_in,
    open_of,
    require_currency,
    require_own,
)
from fhir_server.resources.billing.money import ZERO, amount_of, money, sum_of
from fhir_server.resources.billing.payments import adjustment_of
from fhir_server.resources.billing.pricing import BASE, INFORMATIONAL, TAX, component_of, group_of
from fhir_server.resources.billing.sharing import shares_of
from fhir_server.resources.change import Known

RENDER = "https://osler.health/fhir/OperationDefinition/Invoice-render"
PDF = "application/pdf"
IBAN, BIC = "urn:iso:std:iso:13616", "urn:iso:std:iso:9362"


async def render(call: OperationCall, services: Services) -> FhirResponse:
    """The invoice as PDF: raw when `Accept: application/pdf` asks for it, else as a Binary."""
    given(call, RENDER)
    known = Plan(services, ())
    invoice = require_own(await require(known, "Invoice", call.id))
    paper = await paper_of(invoice, known, services)
    content = await asyncio.to_thread(invoice_pdf, paper, services.settings.print_font)
    if wants_pdf(call):
        return FhirResponse(200, body=content, media_type=PDF)
    binary = {"resourceType": "Binary", "contentType": PDF, "data": base64.b64encode(content).decode()}
    return FhirResponse(200, resource=binary)


def wants_pdf(call: OperationCall) -> bool:
    return PDF in call.request.headers.get("accept", "")


async def paper_of(invoice: Resource, known: Known, services: Services) -> InvoicePaper:
    """What stands on the paper. Raises BusinessRule for an invoice without amounts."""
    currency = require_currency(invoice)
    lines = [await _line(line, known, services) for line in lines_in(invoice)]
    number, draft = number_text(invoice), invoice.get("status") in (DRAFT, ERROR)
    note = is_credit_note(invoice)
    title = f"{'Credit note' if note else 'Invoice'} {number}" if not draft else "Invoice"
    due = extension(invoice, DUE)
    facts = [
        ("Date", str(invoice.get("date", ""))[:10]),
        ("Patient", await _name(invoice.get("subject"), known, services)),
    ]
    facts.append(("Account", str(invoice.get("account", {}).get("reference", "")).partition("/")[2]))
    if due is not None:
        facts.append(("Due", due["valueDate"]))
    credits = extension(invoice, CREDITS)
    if credits is not None:
        original = await _referred(credits.get("valueReference"), known, services)
        facts.append(("Credits invoice", "" if original is None else number_text(original)))
    sums, due_now = await _sums(invoice, known, services)
    return InvoicePaper(
        head=await letterhead(invoice.get("issuer"), known, services),
        recipient=await _recipient(invoice, known, services),
        title=title,
        facts=tuple((name, value) for name, value in facts if value),
        lines=tuple(lines),
        sums=sums,
        currency=currency,
        notes=tuple(str(n["text"]) for n in invoice.get("note", ()))
        + ((str(invoice["paymentTerms"]),) if "paymentTerms" in invoice else ()),
        reference=number,
        due=due_now,
        draft=draft,
    )


async def _line(line: Line, known: Known, services: Services) -> PaperLine:
    charge = await _referred(line.item.get("chargeItemReference"), known, services)
    concept = line.item.get("chargeItemCodeableConcept")
    text = None if concept is None else _text(concept)
    day, quantity = "", ""
    if charge is not None:
        text = _text(charge.get("code", {}))
        day = (service_time(charge) or "")[:10]
        value = charge.get("quantity", {})
        unit = value.get("unit") or value.get("code") or ""
        quantity = f"{quantity_of(charge)} {unit}".strip()
    display = line.item.get("chargeItemReference", {}).get("display")
    details = [c for c in line.components if c.type not in (BASE, TAX, INFORMATIONAL)]
    return PaperLine(
        line.sequence,
        day,
        text or display or "Service",
        quantity,
        line.net,
        tuple((f"of which {c.type} {group_of(c.code)}".strip(), c.value) for c in details),
    )


async def _sums(
    invoice: Resource, known: Known, services: Services
) -> tuple[tuple[tuple[str, Decimal], ...], Decimal]:
    """Net, each tax, the total, what is credited, paid or borne by others, what is open; and what the recipient is to pay."""
    found = [("Net", amount_of(invoice.get("totalNet"), "Invoice.totalNet"))]
    for n, stated in enumerate(invoice.get("totalPriceComponent", ())):
        if stated.get("type") == TAX:
            tax = component_of(stated, f"Invoice.totalPriceComponent[{n}]")
            rate = "" if tax.factor is None else f" {(tax.factor * 100).normalize():f} %"
            found.append((f"{_text(tax.code or {}) or 'Tax'}{rate}", tax.value))
    gross = gross_in(invoice)
    found.append(("Total", gross))
    credited = credited_of(invoice)
    if credited:
        found.append(("Credited", sum_of((ZERO, -credited))))
    for by, amount in settled_by(invoice):
        if amount:
            found.append((await _settler(by, known, services), sum_of((ZERO, -amount))))
    left = open_of(invoice)
    if invoice.get("status") not in (ISSUED, BALANCED) or is_credit_note(invoice):
        return tuple(found), left
    waiting = await _of_payers(invoice, known, services)
    if waiting:
        found.append(("Open", left))
        found += [(f"from {payer}", amount) for payer, amount in waiting]
    due = max(sum_of((left, *(-amount for _, amount in waiting))), ZERO)
    return (*found, ("To be paid", due)), due


async def _of_payers(invoice: Resource, known: Known, services: Services) -> list[tuple[str, Decimal]]:
    """What is still to come from the payers that have a share: their share less what they paid and what was moved from them."""
    currency = require_currency(invoice)
    paid: dict[str, Decimal] = {}
    moved = ZERO
    for by, amount in settled_by(invoice):
        if by.startswith("Invoice/"):
            moved = sum_of((moved, amount))
            continue
        payment = await _referred({"reference": by}, known, services)
        issuer = {} if payment is None else payment.get("paymentIssuer", {})
        name = str(issuer.get("reference", ""))
        paid[name] = sum_of((paid.get(name, ZERO), amount))
    found = []
    for share in shares_of(invoice):
        if not share.payer:
            continue
        left = sum_of((share.amount, -paid.pop(share.payer, ZERO)))
        taken = min(max(left, ZERO), moved)
        moved, left = sum_of((moved, -taken)), sum_of((left, -taken))
        if left > 0:
            payer = await _name({"reference": share.payer}, known, services)
            found.append((payer, money(left, currency)["value"]))
    return found


async def _settler(by: str, known: Known, services: Services) -> str:
    """Who bears a part: a payment, or the payer to whom it was moved."""
    if not by.startswith("Invoice/"):
        payment = await _referred({"reference": by}, known, services)
        kind = adjustment_of(payment)
        return "Paid" if kind is None else NAMES[kind]
    other = await _referred({"reference": by}, known, services)
    if other is None:
        return "Borne by another payer"
    payer = await _name(other.get("recipient"), known, services)
    return f"Borne by {payer or 'another payer'} ({number_text(other)})"


# People and organizations


async def letterhead(reference: Any, known: Known, services: Services) -> Letterhead:
    """The letterhead of an Organization."""
    organization = await _referred(reference, known, services)
    if organization is None:
        return Letterhead(str((reference or {}).get("display") or ""))
    identifiers = {i.get("system"): i.get("value") for i in organization.get("identifier", ())}
    tax = next((i.get("value") for i in organization.get("identifier", ()) if _is_tax(i)), None)
    contacts = [
        str(t["value"])
        for t in organization.get("telecom", ())
        if t.get("value") and t.get("system") in ("phone", "email", "url")
    ]
    return Letterhead(
        str(organization.get("name", "")),
        _address(organization),
        tuple(contacts[:3]),
        tax,
        identifiers.get(IBAN),
        identifiers.get(BIC),
    )


def _is_tax(identifier: Resource) -> bool:
    return any(c.get("code") == "TAX" for c in identifier.get("type", {}).get("coding", ()))


async def _recipient(invoice: Resource, known: Known, services: Services) -> tuple[str, ...]:
    reference = invoice.get("recipient") or invoice.get("subject")
    return await _addressed(reference, known, services)


async def person_of(account: Resource, known: Known, services: Services) -> tuple[str, ...]:
    """Name and address of who gets the statement of an account: the guarantor, else the patient."""
    guarantor = next((g["party"] for g in account.get("guarantor", ()) if not g.get("onHold", False)), None)
    return await _addressed(guarantor or next(iter(account.get("subject", ())), None), known, services)


async def _addressed(reference: Any, known: Known, services: Services) -> tuple[str, ...]:
    found = await _referred(reference, known, services)
    name = await _name(reference, known, services)
    lines = () if found is None else _address(found)
    return tuple(line for line in (name, *lines) if line)


async def _name(reference: Any, known: Known, services: Services) -> str:
    if reference is None:
        return ""
    found = await _referred(reference, known, services)
    if found is None:
        return str(reference.get("display") or reference.get("reference") or "")
    name = found.get("name", "")
    if isinstance(name, str):
        return name
    official: Sequence[Resource] = [n for n in name if n.get("use") != "old"] or [{}]
    first = official[0]
    return str(
        first.get("text")
        or " ".join((*first.get("prefix", ()), *first.get("given", ()), first.get("family", "")))
    )


def _address(resource: Resource) -> tuple[str, ...]:
    given_address = resource.get("address", [])
    found = given_address if isinstance(given_address, list) else [given_address]
    usable = [a for a in found if a.get("use") not in ("old", "temp")]
    if not usable:
        return ()
    address = next((a for a in usable if a.get("use") == "billing"), usable[0])
    if not address.get("line") and not address.get("city"):
        return tuple(str(address.get("text", "")).splitlines())
    town = " ".join(str(address[k]) for k in ("postalCode", "city") if k in address)
    lines = (*address.get("line", ()), town, address.get("country", ""))
    return tuple(line for line in lines if line)


async def _referred(reference: Any, known: Known, services: Services) -> Resource | None:
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    found = parse_reference(text, local_bases(services))
    if not found.local or local_id(reference, found.type, local_bases(services)) is None:
        return None
    return await known.current(found.type, found.id)


def _text(concept: Resource) -> str:
    coding: Resource = next((c for c in concept.get("coding", ()) if "display" in c or "code" in c), {})
    return str(concept.get("text") or coding.get("display") or coding.get("code") or "")
