"""Invoice/$render: the invoice as a PDF that a hospital sends, with what Organization, Patient and ChargeItems say."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from decimal import Decimal

from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.addressing import letterhead, name_of, recipient_of, referred
from fhir_server.operations.billing.documenting import PDF, document_id, documents_of
from fhir_server.operations.billing.movements import number_text, settled_by
from fhir_server.operations.billing.printing import NAMES, InvoicePaper, PaperLine, PaperTax, invoice_pdf
from fhir_server.operations.billing.requesting import require
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import given
from fhir_server.operations.seeing import require_seen
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
from fhir_server.resources.billing.pricing import BASE, INFORMATIONAL, TAX, Component, component_of, group_of
from fhir_server.resources.billing.sharing import shares_of
from fhir_server.resources.change import Known

RENDER = "https://osler.health/fhir/OperationDefinition/Invoice-render"


async def render(call: OperationCall, services: Services) -> FhirResponse:
    """The invoice as PDF: raw when `Accept: application/pdf` asks for it, else as a Binary.

    What was issued is printed once, and kept. A draft, and a `copy` that says what was paid since, are printed as they are asked for.
    """
    asked = given(call, RENDER)
    known = Plan(services, ())
    invoice = require_own(await require(known, "Invoice", call.id))
    if asked.one("copy") is True or invoice.get("status") in (DRAFT, ERROR):
        await require_seen(call, services, asked)
        paper = await paper_of(invoice, known, services, now=True)
        return _answered(call, await _printed(paper, services))
    id = document_id(invoice)
    kept = await known.current("Binary", id)
    if kept is None:
        paper = await paper_of(invoice, known, services)
        content = await _printed(paper, services)

        async def plan(known: Known) -> Sequence[Write]:
            if await known.current("Binary", id) is not None:
                return []
            at = format_instant(known.now)
            document, binary = documents_of(invoice, id, content, paper.title, at)
            return [Write(binary), Write(document)]

        await carry_out(call, services, asked, plan, lambda written: written[0] if written else invoice)
        kept = await Plan(services, ()).current("Binary", id)
        assert kept is not None
    else:
        await require_seen(call, services, asked)
    return _answered(call, base64.b64decode(kept["data"]))


async def _printed(paper: InvoicePaper, services: Services) -> bytes:
    return await asyncio.to_thread(invoice_pdf, paper, services.settings.print_font)


def _answered(call: OperationCall, content: bytes) -> FhirResponse:
    if wants_pdf(call):
        return FhirResponse(200, body=content, media_type=PDF)
    binary = {"resourceType": "Binary", "contentType": PDF, "data": base64.b64encode(content).decode()}
    return FhirResponse(200, resource=binary)


def wants_pdf(call: OperationCall) -> bool:
    return PDF in call.request.headers.get("accept", "")


async def paper_of(invoice: Resource, known: Known, services: Services, *, now: bool = False) -> InvoicePaper:
    """What stands on the paper: what was issued, or with `now` what has become of it. Raises BusinessRule for an invoice without amounts."""
    currency = require_currency(invoice)
    every = lines_in(invoice)
    lines = [await _line(line, known, services) for line in every]
    number, draft = number_text(invoice), invoice.get("status") in (DRAFT, ERROR)
    note = is_credit_note(invoice)
    title = f"{'Credit note' if note else 'Invoice'} {number}" if not draft else "Invoice"
    due = extension(invoice, DUE)
    facts = [
        ("Date", str(invoice.get("date", ""))[:10]),
        ("Patient", await name_of(invoice.get("subject"), known, services)),
    ]
    facts.append(("Account", str(invoice.get("account", {}).get("reference", "")).partition("/")[2]))
    if due is not None:
        facts.append(("Due", due["valueDate"]))
    credits = extension(invoice, CREDITS)
    if credits is not None:
        original = await referred(credits.get("valueReference"), known, services)
        facts.append(("Credits invoice", "" if original is None else number_text(original)))
    sums, due_now = await _sums(invoice, known, services, now)
    return InvoicePaper(
        head=await letterhead(invoice.get("issuer"), known, services),
        recipient=await recipient_of(invoice, known, services),
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
        taxes=taxes_of(every, currency),
        until="" if due is None else str(due["valueDate"]),
        mark="" if draft or not now else "COPY",
    )


def taxes_of(lines: Sequence[Line], currency: str) -> tuple[PaperTax, ...]:
    """What is taxed by each rate; nothing where there is but one."""
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for line in lines:
        for name, amount in _taxes(line) or [("none", ZERO)]:
            net, tax = sums.get(name, (ZERO, ZERO))
            sums[name] = (sum_of((net, line.net)), sum_of((tax, amount)))
    if len(sums) < 2:
        return ()
    return tuple(PaperTax(name, net, money(tax, currency)["value"]) for name, (net, tax) in sums.items())


def _taxes(line: Line) -> list[tuple[str, Decimal]]:
    return [(tax_name(c), c.value) for c in line.components if c.type == TAX]


def tax_name(tax: Component) -> str:
    """The name of a tax with its rate: `VAT 20 %`."""
    return f"{_text(tax.code or {}) or 'Tax'} {rate_of(tax)}".strip()


def rate_of(tax: Component) -> str:
    return "" if tax.factor is None else f"{(tax.factor * 100).normalize():f} %"


async def _line(line: Line, known: Known, services: Services) -> PaperLine:
    charge = await referred(line.item.get("chargeItemReference"), known, services)
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
        ", ".join(rate_of(c) for c in line.components if c.type == TAX),
    )


async def _sums(
    invoice: Resource, known: Known, services: Services, now: bool
) -> tuple[tuple[tuple[str, Decimal], ...], Decimal]:
    """Net, each tax, the total, what is credited, paid or borne by others, what is open; and what the recipient is to pay."""
    found = [("Net", amount_of(invoice.get("totalNet"), "Invoice.totalNet"))]
    for n, stated in enumerate(invoice.get("totalPriceComponent", ())):
        if stated.get("type") == TAX:
            tax = component_of(stated, f"Invoice.totalPriceComponent[{n}]")
            found.append((tax_name(tax), tax.value))
    gross = gross_in(invoice)
    found.append(("Total", gross))
    if not now:
        return await _sums_as_issued(invoice, tuple(found), known, services)
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


async def _sums_as_issued(
    invoice: Resource, found: tuple[tuple[str, Decimal], ...], known: Known, services: Services
) -> tuple[tuple[tuple[str, Decimal], ...], Decimal]:
    """The sums with the shares of payers, as the invoice went out; whatever was paid since stands on a copy."""
    gross = gross_in(invoice)
    if is_credit_note(invoice):
        return (*found[:-1], ("Credited to you", gross)), ZERO
    payers = [share for share in shares_of(invoice) if share.payer and share.amount]
    told = [(f"from {await name_of({'reference': s.payer}, known, services)}", s.amount) for s in payers]
    due = max(sum_of((gross, *(-s.amount for s in payers))), ZERO)
    return (*found, *told, ("To be paid", due)), due


async def _of_payers(invoice: Resource, known: Known, services: Services) -> list[tuple[str, Decimal]]:
    """What is still to come from the payers that have a share: their share less what they paid and what was moved from them."""
    currency = require_currency(invoice)
    paid: dict[str, Decimal] = {}
    moved = ZERO
    for by, amount in settled_by(invoice):
        if by.startswith("Invoice/"):
            moved = sum_of((moved, amount))
            continue
        payment = await referred({"reference": by}, known, services)
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
            payer = await name_of({"reference": share.payer}, known, services)
            found.append((payer, money(left, currency)["value"]))
    return found


async def _settler(by: str, known: Known, services: Services) -> str:
    """Who bears a part: a payment, or the payer to whom it was moved."""
    if not by.startswith("Invoice/"):
        payment = await referred({"reference": by}, known, services)
        kind = adjustment_of(payment)
        return "Paid" if kind is None else NAMES[kind]
    other = await referred({"reference": by}, known, services)
    if other is None:
        return "Borne by another payer"
    payer = await name_of(other.get("recipient"), known, services)
    return f"Borne by {payer or 'another payer'} ({number_text(other)})"


def _text(concept: Resource) -> str:
    coding: Resource = next((c for c in concept.get("coding", ()) if "display" in c or "code" in c), {})
    return str(concept.get("text") or coding.get("display") or coding.get("code") or "")
