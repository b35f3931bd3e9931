"""Invoices of other houses are kept as records; they are in no book of this house, and no way leads from one to an own invoice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fhir_r4.jsonio import decode_object, encode
from fhir_server.interactions.consistency import inconsistencies
from fhir_server.operations.billing.books import verify
from tests.billing.cash import ask, build, diagnostics, invoice, payment, put, read, send
from tests.conftest import Client

D = Decimal
Resource = dict[str, Any]
CLINIC = {"identifier": {"system": "https://clinics.test/id", "value": "OTHER"}}
AWAY = {"reference": "https://other.test/fhir/Organization/1"}


def record(id: str = "r1", issuer: Resource = CLINIC, lines: bool = False, **more: Any) -> Resource:
    """An invoice of another clinic, as its own number names it."""
    made = invoice(id, "48.00", issuer=issuer, **more)
    made.setdefault("identifier", [{"system": "https://clinics.test/invoices", "value": "654321"}])
    return made if lines else {k: v for k, v in made.items() if k != "lineItem"}


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"))
    return client


def plain(resource: Resource) -> Resource:
    return {k: v for k, v in resource.items() if k != "meta"}


@pytest.mark.parametrize("issuer", [CLINIC, AWAY])
@pytest.mark.parametrize("status", ["issued", "balanced", "cancelled"])
@pytest.mark.parametrize("lines", [False, True])
async def test_a_record_is_kept_as_it_was_sent(
    till: Client, issuer: Resource, status: str, lines: bool
) -> None:
    sent = record(issuer=issuer, lines=lines, status=status)
    names = {"content-type": "application/fhir+json", "prefer": "return=OperationOutcome"}
    answer = await till.put("/Invoice/r1", content=encode(sent), headers=names)
    assert answer.status_code == 201, answer.text
    assert "issued by another house and is kept as a record" in diagnostics(answer)
    assert plain(await read(till, "Invoice/r1")) == sent


async def test_a_record_is_in_no_book(till: Client) -> None:
    await put(till, record())
    books = await verify(till.app.services)
    assert (books.problems, books.documents) == ([], 1)
    assert books.balances["receivable", "EUR"] == D("100.00")
    report = decode_object((await send(till, "GET", "Invoice/$verify-series")).content)
    assert report["parameter"][0] == {"name": "valid", "valueBoolean": True}
    (series,) = report["parameter"][1:]
    assert {"name": "count", "valueInteger": 1} in series["part"]
    ages = decode_object((await send(till, "GET", "Account/$ageing")).content)
    totals = [g["measureScore"]["value"] for g in ages["group"] if g["code"]["coding"][0]["code"] == "total"]
    assert totals == [D("100.00")]
    statement = decode_object((await send(till, "GET", "Account/a1/$statement")).content)
    told = [e["resource"]["id"] for e in statement["entry"] if e["resource"]["resourceType"] == "Invoice"]
    assert told == ["i1"]
    assert await inconsistencies(till.app.services) == []


async def test_a_record_takes_no_part_in_payments_and_credits(till: Client) -> None:
    await put(till, record(lines=True))
    for operation in ("$pay", "$credit"):
        more = {"reason": "x"} if operation == "$credit" else {}
        answer = await ask(till, f"Invoice/r1/{operation}", **more)
        assert answer.status_code == 422, answer.text
        assert "Invoice/r1 is the record of an invoice that another house has issued" in diagnostics(answer)
    await ask(till, "Account/a1/$deposit", amount="48.00", method="cash")
    allocated = await ask(till, "Account/a1/$allocate", invoice="Invoice/r1")
    assert (allocated.status_code, "another house" in diagnostics(allocated)) == (422, True)
    paid = await send(till, "PUT", "PaymentReconciliation/x", payment("x", "48.00", ("Invoice/r1", "48.00")))
    assert (paid.status_code, "another house" in diagnostics(paid)) == (422, True)
    printed = await send(till, "POST", "Invoice/r1/$render")
    assert (printed.status_code, "another house" in diagnostics(printed)) == (422, True)


async def test_a_record_follows_what_its_house_says(till: Client) -> None:
    await put(till, record())
    newer = record(lines=True, status="balanced", note=[{"text": "paid there"}])
    await put(till, newer)
    assert plain(await read(till, "Invoice/r1")) == newer
    await put(till, {**newer, "status": "entered-in-error"})
    assert (await send(till, "PUT", "Invoice/r1", newer)).status_code == 422
    assert (await send(till, "DELETE", "Invoice/r1")).status_code == 204


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "draft"},
        {"issuer": {"reference": "Organization/house"}},
        {"issuer": {}},
        {"issuer": {**CLINIC, "reference": "Organization/house"}},
    ],
)
async def test_a_record_never_becomes_an_invoice_of_the_house(till: Client, changed: Resource) -> None:
    await put(till, record(lines=True))
    made = {k: v for k, v in {**record(lines=True), **changed}.items() if v}
    refused = await send(till, "PUT", "Invoice/r1", made)
    assert refused.status_code == 422, refused.text
    assert "stays one" in diagnostics(refused)
    assert plain(await read(till, "Invoice/r1")) == record(lines=True)


async def test_a_record_takes_no_charge_of_the_house(till: Client) -> None:
    await put(till, record())
    charge = {"resourceType": "ChargeItem", "id": "c1", "status": "billable", "code": {"text": "x"}}
    await put(till, {**charge, "subject": {"reference": "Patient/p1"}})
    line = {"sequence": 1, "chargeItemReference": {"reference": "ChargeItem/c1"}}
    refused = await send(till, "PUT", "Invoice/r1", {**record(), "lineItem": [line]})
    assert (refused.status_code, "stays one" in diagnostics(refused)) == (422, True)
    assert (await read(till, "ChargeItem/c1"))["status"] == "billable"


async def test_an_invoice_of_the_house_does_not_become_a_record(till: Client) -> None:
    await put(till, invoice("d1", "10.00", "draft"))
    for id in ("i1", "d1"):
        refused = await send(till, "PUT", f"Invoice/{id}", record(id))
        assert refused.status_code == 422, refused.text


async def test_what_may_be_of_the_house_is_judged_as_such(till: Client) -> None:
    """An organization of the house by whatever name, one that is not here yet, nobody, and numbers of the house."""
    named = {"system": "https://house.test/id", "value": "H"}
    await put(till, {"resourceType": "Organization", "id": "house", "identifier": [named]})
    ours = {"system": "https://osler.health/fhir/sid/invoice-number", "value": "INV-2026-000001"}
    for more in (
        {"issuer": {"identifier": named}},
        {"issuer": {"reference": "Organization/house"}},
        {"issuer": {"reference": "http://osler.test/fhir/Organization/house"}},
        {"issuer": {"reference": "Organization/later"}},
        {"issuer": {**AWAY, "identifier": named}},
        {"issuer": {"display": "somebody"}},
        {"identifier": [ours]},
    ):
        refused = await send(till, "PUT", "Invoice/r1", {**record(), **more})
        assert refused.status_code == 422, (more, refused.text)


async def test_who_is_numbered_here_by_an_identifier_is_of_the_house(till: Client) -> None:
    draft = {k: v for k, v in invoice("d1", "10.00", "draft", issuer=CLINIC).items() if k != "date"}
    await put(till, draft)
    await put(till, {**draft, "status": "issued"})
    refused = await send(till, "PUT", "Invoice/r1", record())
    assert (refused.status_code, "has lines" in diagnostics(refused)) == (422, True)
