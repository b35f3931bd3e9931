"""Invoice/$split: what each coverage is to pay of a draft, and what is left to the patient.

The draft says so from then on, line by line; with `claim` a draft Claim to each payer is written too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import OSLER, collection, require_invoice
from fhir_server.operations.billing.requesting import reference_ids
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.claiming import claim_for
from fhir_server.resources.billing.covering import Covered, coverages_of, covered, line_amounts
from fhir_server.resources.billing.invoicing import DRAFT, Line, check_sums, lines_in, require_currency
from fhir_server.resources.billing.money import digits_of
from fhir_server.resources.billing.plans import Code, codes_of, why_not_in_force
from fhir_server.resources.billing.settings import SETTINGS_ID, day_at, settings_at
from fhir_server.resources.billing.shares import shares
from fhir_server.resources.billing.sharing import with_shares
from fhir_server.resources.change import Known

SPLIT = OSLER + "Invoice-split"


async def split(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the Invoice with its shares and, when they are asked for, the Claims."""
    asked = given(call, SPLIT)
    bases = services.settings.local_bases

    async def plan(known: Known) -> Sequence[Write]:
        invoice = await require_invoice(known, call.id)
        if invoice.get("status") != DRAFT:
            raise BusinessRule(
                f"Invoice/{call.id} is {invoice.get('status')}: a draft is shared, before it is issued.",
                "Invoice.status",
            )
        check_sums(invoice)
        day = day_at(known.now, services.settings.default_timezone)
        settings = settings_at(await known.current("Basic", SETTINGS_ID), day)
        currency = require_currency(invoice)
        lines = lines_in(invoice)
        codes = [await _codes(line, known, bases) for line in lines]
        served = _served(asked, day)
        covers = await _covers(asked, invoice, served, currency, known, services)
        amounts = line_amounts([line.gross for line in lines])
        terms = [c.plan.terms(codes, c.used) for c in covers]
        found = shares(amounts, terms, digits_of(currency), settings.rounding)
        shared = with_shares(invoice, [c.coverage for c in covers], found, [line.sequence for line in lines])
        writes = [Write(shared)]
        if asked.one("claim") is True:
            at = format_instant(known.now)
            for number, (cover, parts) in enumerate(zip(covers, found.parts, strict=True)):
                if sum(part.paid for part in parts):
                    earlier = [c.coverage for c in covers[:number]]
                    claim = claim_for(services.new_id(), shared, lines, codes, cover.coverage, earlier, at)
                    writes.append(Write(claim, "POST", True))
        return writes

    return await carry_out(call, services, asked, plan, collection)


def _served(asked: Given, today: date) -> date:
    """The parameter `date`, else today. Raises InvalidRequest for a month or a year."""
    text = asked.one("date")
    if text is not None and len(text) != 10:
        raise InvalidRequest(f"The parameter date is a day; found {text}.", "date")
    return today if text is None else date.fromisoformat(text)


async def _covers(
    asked: Given, invoice: Resource, day: date, currency: str, known: Known, services: Services
) -> list[Covered]:
    """The coverages that were named, else those of the patient that hold on the day, in their order."""
    patient = local_id(invoice.get("subject"), "Patient", services.settings.local_bases)
    if asked.all("coverage"):
        found = []
        for id in dict.fromkeys(reference_ids(asked, "coverage", "Coverage", services)):
            coverage = await known.current("Coverage", id)
            if coverage is None:
                raise BusinessRule(f"Coverage/{id} is not here.", "coverage")
            found.append(coverage)
    elif patient is None:
        raise BusinessRule(f"Invoice/{invoice['id']} is about no Patient of this server.", "Invoice.subject")
    else:
        found = [c for c in await coverages_of(known, patient) if why_not_in_force(c, day) is None]
    return [await covered(known, c, patient, day, currency, services) for c in found]


async def _codes(line: Line, known: Known, bases: Sequence[str]) -> tuple[Code, ...]:
    """By which codes plans know a line: those of its charge, or its own."""
    id = local_id(line.item.get("chargeItemReference"), "ChargeItem", bases)
    charge = None if id is None else await known.current("ChargeItem", id)
    concept = line.item.get("chargeItemCodeableConcept", {}) if charge is None else charge.get("code", {})
    return tuple(sorted(codes_of(concept)))
