"""The ledger says what the documents say, adds up to nothing, and is not changed by anybody."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fhir_server.resources.billing.ledger import postings_of
from tests.billing.cash import ask, build, done, invoice, put, read, send
from tests.conftest import Client, on_each_store

pytestmark = on_each_store

D = Decimal


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"), invoice("i2", "50.00", "draft"))
    return client


async def entries(client: Client) -> list[dict]:
    page = await client.get("/Basic?code=https://osler.health/fhir/CodeSystem/ledger|entry&_count=100")
    from fhir_r4.jsonio import decode

    return [e["resource"] for e in decode(page.content).get("entry", ())]


async def balances(client: Client) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for entry in await entries(client):
        posted = postings_of(entry)
        assert sum(p.amount for p in posted) == 0
        for p in posted:
            sums[p.account] = sums.get(p.account, D(0)) + p.amount
    assert sum(sums.values()) == 0
    return {account: amount for account, amount in sums.items() if amount}


async def test_an_issued_invoice_is_owed_and_a_draft_is_not(till: Client) -> None:
    assert await balances(till) == {"receivable": D("100.00"), "revenue": D("-100.00")}


async def test_tax_is_no_revenue(till: Client) -> None:
    line = {
        "sequence": 1,
        "chargeItemCodeableConcept": {"text": "Care"},
        "priceComponent": [
            {"type": "base", "amount": {"value": D("100.00"), "currency": "EUR"}},
            {"type": "tax", "factor": D("0.2"), "amount": {"value": D("20.00"), "currency": "EUR"}},
        ],
    }
    await put(
        till, invoice("i3", "120.00", lineItem=[line], totalNet={"value": D("100.00"), "currency": "EUR"})
    )
    assert await balances(till) == {"receivable": D("220.00"), "revenue": D("-200.00"), "tax": D("-20.00")}


async def test_payments_deposits_and_refunds_are_posted(till: Client) -> None:
    paid = await done(till, "Invoice/i1/$pay", amount="60", method="cash")
    await done(till, "Account/a1/$deposit", amount="30", method="transfer")
    assert await balances(till) == {
        "receivable": D("40.00"),
        "revenue": D("-100.00"),
        "cash": D("60.00"),
        "bank": D("30.00"),
        "deposits": D("-30.00"),
    }
    await done(till, "Account/a1/$allocate", invoice="Invoice/i1", amount="10")
    await done(till, f"PaymentReconciliation/{paid['id']}/$reverse", method="cash", reason="x")
    assert await balances(till) == {
        "receivable": D("90.00"),
        "revenue": D("-100.00"),
        "bank": D("30.00"),
        "deposits": D("-20.00"),
    }


async def test_entries_are_neither_changed_nor_deleted_nor_made_by_hand(till: Client) -> None:
    (entry,) = await entries(till)
    address = f"Basic/{entry['id']}"
    assert (await send(till, "DELETE", address)).status_code == 422
    changed = {**entry, "created": "2020-01-01"}
    assert (await send(till, "PUT", address, changed)).status_code == 422
    assert (await send(till, "PUT", "Basic/own", {**entry, "id": "own"})).status_code == 422
    plain = {"resourceType": "Basic", "id": entry["id"], "code": {"text": "nothing"}}
    assert (await send(till, "PUT", address, plain)).status_code == 422
    assert (await send(till, "PUT", address, entry)).status_code == 200
    assert await balances(till) == {"receivable": D("100.00"), "revenue": D("-100.00")}


async def test_what_is_refused_posts_nothing(till: Client) -> None:
    await ask(till, "Invoice/i1/$pay", amount="101")
    await done(till, "Invoice/i1/$pay", dry_run=True)
    assert len(await entries(till)) == 1


async def test_an_invoice_that_is_paid_in_the_bundle_that_issues_it_has_one_number(till: Client) -> None:
    from tests.billing.cash import payment

    made = [payment("b1", "30.00", ("Invoice/i9", "30.00")), invoice("i9", "70.00")]
    listed = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}} for r in made
    ]
    answer = await send(till, "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": listed})
    assert answer.status_code == 200, answer.text
    numbers = [
        next(i["value"][-6:] for i in (await read(till, f"Invoice/{id}"))["identifier"])
        for id in ("i1", "i9")
    ]
    assert numbers == ["000001", "000002"]
    await put(till, invoice("i10", "1.00"))
    assert (await read(till, "Invoice/i10"))["identifier"][0]["value"].endswith("000003")
    assert await balances(till) == {"receivable": D("141.00"), "revenue": D("-171.00"), "bank": D("30.00")}


async def test_the_books_agree_with_the_documents(till: Client) -> None:
    from fhir_server.operations.billing.books import verify

    await done(till, "Invoice/i1/$pay", amount="60", method="cash")
    await done(till, "Account/a1/$deposit", amount="30")
    books = await verify(till.app.services)
    assert (books.problems, books.documents) == ([], 3)
    assert sum(books.balances.values()) == 0
    assert await verify(till.app.services, together=1) == books


async def test_a_document_that_was_changed_behind_the_server_is_found(till: Client) -> None:
    from fhir_server.interactions.writing import prepare
    from fhir_server.operations.billing.books import verify

    services = till.app.services
    found = await read(till, "Invoice/i1")
    forged = {**found, "totalGross": {"value": D("90.00"), "currency": "EUR"}}
    await services.store.transact([prepare(services, "PUT", forged, "i1")])
    for together in (1, 1000):
        problems = (await verify(services, together)).problems
        assert problems
        assert "Invoice/i1 is posted as" in problems[0]
