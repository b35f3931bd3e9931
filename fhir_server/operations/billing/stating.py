"""Account/$statement and $ageing: what an account owes and how it came to that; what is open in the house, by its age."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import OPEN_LOW, format_instant, parse_interval, period_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.beds.looking_back import versions_at
from fhir_server.operations.billing.addressing import letterhead, person_of
from fhir_server.operations.billing.documenting import PDF
from fhir_server.operations.billing.movements import Statement, number_text, statement_of
from fhir_server.operations.billing.printing import StatementPaper, statement_pdf
from fhir_server.operations.billing.rendering import wants_pdf
from fhir_server.operations.billing.requesting import require
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.invoicing import (
    DUE,
    ISSUED,
    extension,
    is_credit_note,
    is_elsewhere,
    open_of,
    require_currency,
)
from fhir_server.resources.billing.money import ZERO, money, sum_of
from fhir_server.resources.billing.numbering import issuer_of
from fhir_server.resources.billing.settings import day_at
from fhir_server.search.tree import SearchQuery, TokenIs

STATEMENT = "https://osler.health/fhir/OperationDefinition/Account-statement"
AGEING = "https://osler.health/fhir/OperationDefinition/Account-ageing"
MEASURE = "https://osler.health/fhir/Measure/receivables-ageing"
CODES = "https://osler.health/fhir/CodeSystem/receivables-age"
BUCKETS = ((0, "not-due"), (30, "days-1-30"), (60, "days-31-60"), (90, "days-61-90"))
OLDER = "days-over-90"
ISO_4217 = "urn:iso:std:iso:4217"
PAGE = 1000


async def statement(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle: first Parameters with the movements and balances, then the documents; or a PDF when that is accepted."""
    asked = given(call, STATEMENT)
    known = Plan(services, ())
    account = await require(known, "Account", call.id)
    zone = services.settings.default_timezone
    asked_period = asked.one("period") or {}
    period = period_interval(asked_period.get("start"), asked_period.get("end"), zone)
    if period[0] >= period[1]:
        raise InvalidRequest("The period ends after it begins.", "period")
    period = period[0], min(period[1], known.now + 1)
    found = await statement_of(account["id"], period, known, services)
    days = (
        None if period[0] == OPEN_LOW else day_at(period[0], zone),
        day_at(period[1] - 1, zone),
    )
    if wants_pdf(call):
        paper = StatementPaper(
            await letterhead(account.get("owner"), known, services),
            await person_of(account, known, services),
            str(account.get("name", account["id"])),
            days,
            found,
            () if found is None else tuple(_listed(invoice) for invoice in found.open),
        )
        return FhirResponse(
            200,
            body=await asyncio.to_thread(statement_pdf, paper, services.settings.print_font),
            media_type=PDF,
        )
    return FhirResponse(200, resource=_bundle(call, account, days, found))


def _listed(invoice: Resource) -> tuple[str, str, Decimal]:
    """When an invoice is due, its number, and what is open of it."""
    due = extension(invoice, DUE)
    return "" if due is None else str(due["valueDate"]), number_text(invoice), open_of(invoice)


def _bundle(
    call: OperationCall, account: Resource, days: tuple[date | None, date], found: Statement | None
) -> Resource:
    period = {"end": days[1].isoformat()}
    if days[0] is not None:
        period = {"start": days[0].isoformat(), **period}
    parameters: list[Resource] = [
        {"name": "account", "valueReference": {"reference": f"Account/{account['id']}"}},
        {"name": "period", "valuePeriod": period},
    ]
    if found is not None:
        balance = found.opening
        parameters.append({"name": "opening", "valueMoney": money(found.opening, found.currency)})
        for m in found.movements:
            balance = sum_of((balance, m.amount))
            parts: list[Resource] = [
                {"name": "date", "valueDateTime": m.date},
                {"name": "kind", "valueCode": m.kind},
                *([{"name": "number", "valueString": m.number}] if m.number else []),
                {"name": "document", "valueReference": {"reference": m.document}},
                {"name": "amount", "valueMoney": money(m.amount, found.currency)},
                {"name": "balance", "valueMoney": money(balance, found.currency)},
            ]
            if m.due is not None:
                parts.append({"name": "due", "valueDate": m.due})
            parameters.append({"name": "entry", "part": parts})
        parameters.append({"name": "closing", "valueMoney": money(found.closing, found.currency)})
        parameters += [
            {
                "name": "open",
                "part": [
                    {"name": "invoice", "valueReference": {"reference": f"Invoice/{i['id']}"}},
                    {"name": "amount", "valueMoney": money(open_of(i), found.currency)},
                ],
            }
            for i in found.open
        ]
    base = call.request.base
    entries: list[Resource] = [{"resource": {"resourceType": "Parameters", "parameter": parameters}}]
    for resource in () if found is None else found.documents:
        address = f"{base}/{resource['resourceType']}/{resource['id']}"
        entries.append({"fullUrl": address, "resource": resource})
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


# Ageing


async def ageing(call: OperationCall, services: Services) -> FhirResponse:
    """A MeasureReport: for each currency and age the number of open invoices and what is open of them."""
    asked = given(call, AGEING)
    now = services.clock()
    told = asked.one("at")
    zone = services.settings.default_timezone
    at = now
    if told is not None:
        low, high = parse_interval(told, zone)
        at = low if "T" in told else high - 1
        if at > now and day_at(at, zone) > day_at(now, zone):
            raise InvalidRequest("at is not in the future: what will be open is not known.", "at")
        at = min(at, now)
    today = day_at(at, zone)
    found: dict[str, dict[str, list[Decimal]]] = {}
    async for invoice in _open_at(services, at, now):
        if not _wanted(asked, invoice):
            continue
        left = open_of(invoice)
        if left:
            by_age = found.setdefault(require_currency(invoice), {})
            by_age.setdefault(_age(invoice, today), []).append(left)
    return FhirResponse(200, resource=_report(found, at, today))


async def _open_at(services: Services, at: int, now: int) -> AsyncIterator[Resource]:
    """The invoices that were issued and not balanced at an instant."""
    if at >= now - 1_000_000:
        cursor = None
        while True:
            where = TokenIs("status", None, ISSUED)
            page = await services.store.search(SearchQuery(("Invoice",), where, count=PAGE, cursor=cursor))
            for stored in page.matches:
                yield decode_object(stored.body)
            cursor = page.next
            if cursor is None:
                return
    async for stored in versions_at(services, "Invoice", (at, at + 1)):
        invoice = None if stored.deleted else decode_object(stored.body)
        if invoice is not None and invoice.get("status") == ISSUED:
            yield invoice


def _wanted(asked: Given, invoice: Resource) -> bool:
    if is_credit_note(invoice) or is_elsewhere(invoice):
        return False
    issuer = asked.one("issuer")
    return issuer is None or issuer_of(invoice) == issuer_of({"issuer": issuer})


def _age(invoice: Resource, today: date) -> str:
    due = extension(invoice, DUE)
    late = 0 if due is None else (today - date.fromisoformat(due["valueDate"])).days
    return next((name for most, name in BUCKETS if late <= most), OLDER)


def _report(found: dict[str, dict[str, list[Decimal]]], at: int, today: date) -> Resource:
    groups = []
    for currency in sorted(found):
        for name in (*(name for _, name in BUCKETS), OLDER):
            amounts = found[currency].get(name, [])
            groups.append(_group(name, currency, amounts))
        groups.append(_group("total", currency, [a for ages in found[currency].values() for a in ages]))
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "summary",
        "measure": MEASURE,
        "date": format_instant(at),
        "period": {"start": today.isoformat(), "end": today.isoformat()},
        "group": groups,
    }


def _group(name: str, currency: str, amounts: list[Decimal]) -> Resource:
    code = {"coding": [{"system": CODES, "code": name}], "text": currency}
    value = money(sum_of((ZERO, *amounts)), currency)["value"]
    population = {
        "code": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/measure-population",
                    "code": "initial-population",
                }
            ]
        },
        "count": len(amounts),
    }
    score = {"value": value, "unit": currency, "system": ISO_4217, "code": currency}
    return {"code": code, "population": [population], "measureScore": score}
