"""Invoice/$verify-series: whether numbers run from 1 without gap or double, dates never back, and nothing was changed since."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fhir_r4.errors import BusinessRule
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.given import given
from fhir_server.resources.billing.invoicing import DIGEST, check_sums, extension
from fhir_server.resources.billing.lifecycle import digest_of
from fhir_server.resources.billing.numbering import (
    NUMBER_SYSTEM,
    Series,
    counter_in,
    issuer_of,
    number_in,
)
from fhir_server.search.tree import Expression, SearchQuery, TokenIs

VERIFY = "https://osler.health/fhir/OperationDefinition/Invoice-verify-series"
PAGE = 1000


@dataclass(slots=True)
class Found:
    """What was found of a series: the date and the id of each number, and what is wrong."""

    numbers: dict[int, tuple[str, str]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


async def verify_series(call: OperationCall, services: Services) -> FhirResponse:
    """Parameters: `valid`, and for each series its numbers and problems (`gap`, `duplicate`, `date`, `content`, `sum`, `counter`)."""
    asked = given(call, VERIFY)
    issuer = asked.one("issuer")
    wanted = None if issuer is None else issuer_of({"issuer": issuer})
    found: dict[Series, Found] = {}
    async for invoice in _invoices(services, TokenIs("identifier", NUMBER_SYSTEM, None)):
        numbered = number_in(invoice)
        if numbered is None:
            continue
        series, number = numbered
        if wanted not in (None, series.issuer) or asked.one("series") not in (None, series.name):
            continue
        if asked.one("year") in (None, series.year):
            _take(found.setdefault(series, Found()), number, invoice)
    for series, one in found.items():
        await _judge(series, one, services)
    return FhirResponse(200, resource=_answer(found))


async def _invoices(services: Services, where: Expression) -> AsyncIterator[Resource]:
    cursor = None
    while True:
        page = await services.store.search(SearchQuery(("Invoice",), where, count=PAGE, cursor=cursor))
        for stored in page.matches:
            yield decode_object(stored.body)
        cursor = page.next
        if cursor is None:
            return


def _take(found: Found, number: int, invoice: Resource) -> None:
    if number in found.numbers:
        found.problems.append(
            ("duplicate", f"{number} is on Invoice/{found.numbers[number][1]} and Invoice/{invoice['id']}.")
        )
    found.numbers[number] = (str(invoice.get("date")), str(invoice["id"]))
    told = extension(invoice, DIGEST)
    if told is None or told.get("valueString") != digest_of(invoice):
        found.problems.append(("content", f"Invoice/{invoice['id']} is not what was issued."))
    try:
        check_sums(invoice)
    except BusinessRule as problem:
        found.problems.append(("sum", f"Invoice/{invoice['id']}: {problem}"))


async def _judge(series: Series, found: Found, services: Services) -> None:
    last = max(found.numbers)
    for number in range(1, last + 1):
        if number not in found.numbers:
            found.problems.append(("gap", f"{series.text(number)} is missing."))
    zone = services.settings.default_timezone
    before: tuple[int, int] | None = None
    for number in sorted(found.numbers):
        at, end = parse_interval(found.numbers[number][0], zone)
        if before is not None and end <= before[1]:
            found.problems.append(
                ("date", f"{series.text(number)} is dated before {series.text(before[0])}.")
            )
        if before is None or at >= before[1]:
            before = number, at
    stored = await services.store.read("Basic", series.id)
    kept = None if stored is None or stored.deleted else counter_in(decode_object(stored.body), series).last
    if kept != last:
        found.problems.append(("counter", f"The counter is at {kept}; the last number is {last}."))


def _answer(found: dict[Series, Found]) -> Resource:
    valid = not any(one.problems for one in found.values())
    parameters: list[Resource] = [{"name": "valid", "valueBoolean": valid}]
    for series in sorted(found, key=lambda s: (s.issuer, s.name, s.year)):
        one = found[series]
        parts: list[Resource] = [
            {"name": "issuer", "valueString": series.issuer},
            {"name": "series", "valueString": series.name},
            {"name": "year", "valueInteger": series.year},
            {"name": "count", "valueInteger": len(one.numbers)},
            {"name": "last", "valueInteger": max(one.numbers)},
        ]
        parts += [
            {
                "name": "problem",
                "part": [{"name": "code", "valueCode": code}, {"name": "text", "valueString": text}],
            }
            for code, text in one.problems
        ]
        parameters.append({"name": "series", "part": parts})
    return {"resourceType": "Parameters", "parameter": parameters}
