"""The rules of payments hold on every way to write: PATCH, batches, criteria, imports, and without what the server notes down."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fhir_server.bulk.files import Item
from fhir_server.bulk.imports import Loader
from fhir_server.interactions.consistency import inconsistencies
from fhir_server.interactions.writing import prepare
from fhir_server.resources.billing.invoicing import SETTLED, open_of, without_extensions
from tests.billing.cash import ask, build, done, invoice, payment, put, read, send
from tests.conftest import Client, on_each_store

pytestmark = on_each_store

D = Decimal
ALWAYS = (-(2**62), 2**62)


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"), invoice("i2", "50.00"))
    return client


async def test_what_is_open_is_claimed(till: Client) -> None:
    made = await done(till, "Invoice/i1/$pay", amount="60")
    await put(till, payment("x", "15.00", ("Invoice/i1", "10.00"), ("Account/a1", "5.00")))
    held = await till.app.services.store.claims(
        ["open:Invoice/i1", f"paid:PaymentReconciliation/{made['id']}"], ALWAYS
    )
    assert sorted(units for units, _, _ in held["open:Invoice/i1"]) == [D(10), D(60)]
    assert await inconsistencies(till.app.services) == []


async def test_the_claim_alone_refuses_to_pay_twice(till: Client) -> None:
    """Even where what the server has noted on the invoice is lost."""
    await done(till, "Invoice/i1/$pay")
    services = till.app.services
    lost = {**without_extensions(await read(till, "Invoice/i1"), SETTLED), "status": "issued"}
    await services.store.transact([prepare(services, "PUT", lost, "i1")])
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")
    answer = await send(till, "PUT", "PaymentReconciliation/x", payment("x", "0.01", ("Invoice/i1", "0.01")))
    assert answer.status_code == 409
    assert "open:Invoice/i1" in answer.json()["issue"][0]["diagnostics"]


async def test_a_patch_pays_no_more_than_is_open(till: Client) -> None:
    draft = payment("x", "120.00", ("Invoice/i1", "120.00"), status="draft")
    await put(till, draft)
    patch = [{"op": "replace", "path": "/status", "value": "active"}]
    headers = {"content-type": "application/json-patch+json"}
    assert (await till.patch("/PaymentReconciliation/x", json=patch, headers=headers)).status_code == 422
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")


async def test_a_patch_does_not_change_what_was_paid(till: Client) -> None:
    made = await done(till, "Invoice/i1/$pay", amount="10")
    patch = [{"op": "replace", "path": "/detail/0/amount/value", "value": 5}]
    headers = {"content-type": "application/json-patch+json"}
    answer = await till.patch(f"/PaymentReconciliation/{made['id']}", json=patch, headers=headers)
    assert answer.status_code == 422


async def test_payments_notices_and_invoices_are_not_deleted_by_criteria(till: Client) -> None:
    await done(till, "Invoice/i1/$pay")
    assert (await till.delete("/PaymentReconciliation?status=active")).status_code == 422
    assert (await till.delete("/PaymentNotice?request=Invoice/i1")).status_code == 422
    assert (await till.delete("/Invoice?status=balanced")).status_code == 422


async def test_entries_of_a_batch_are_judged_one_by_one(till: Client) -> None:
    made = [payment(f"b{n}", "60.00", ("Invoice/i1", "60.00")) for n in range(3)]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"PaymentReconciliation/{r['id']}"}} for r in made
    ]
    answer = await send(till, "POST", "", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert sorted(e["response"]["status"][:3] for e in answer.json()["entry"]) == ["201", "422", "422"]


async def test_an_import_is_refused_what_a_put_is_refused(till: Client) -> None:
    async def no_bundles(resource: dict) -> dict:
        raise AssertionError

    items = [
        Item("file", "1", payment("x", "70.00", ("Invoice/i1", "70.00"))),
        Item("file", "2", payment("y", "70.00", ("Invoice/i1", "70.00"))),
        Item("file", "3", payment("z", "30.00", ("Invoice/i1", "30.00"))),
    ]
    tally = await Loader(till.app.services, no_bundles).load(items)
    assert (tally.created, tally.refused) == (2, 1)
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"


async def test_what_the_server_notes_is_not_written_by_hand(till: Client) -> None:
    forged = {
        "url": SETTLED,
        "extension": [
            {"url": "by", "valueReference": {"reference": "PaymentReconciliation/none"}},
            {"url": "amount", "valueMoney": {"value": D("100.00"), "currency": "EUR"}},
        ],
    }
    answer = await send(till, "PUT", "Invoice/i3", invoice("i3", "100.00", extension=[forged]))
    assert answer.status_code == 422
    refunded = {**forged, "url": "https://osler.health/fhir/StructureDefinition/payment-refund"}
    await put(till, payment("x", "100.00", ("Account/a1", "100.00"), extension=[refunded]))
    assert "extension" not in await read(till, "PaymentReconciliation/x")
    await done(till, "PaymentReconciliation/x/$refund", reason="all of it")


async def test_an_old_version_of_a_payment_does_not_come_back(till: Client) -> None:
    kept = await done(till, "Account/a1/$deposit", amount="80")
    await done(till, "Account/a1/$allocate", invoice="Invoice/i2")
    answer = await send(till, "PUT", f"PaymentReconciliation/{kept['id']}", kept)
    assert answer.status_code == 422
    assert (await ask(till, "Account/a1/$allocate", invoice="Invoice/i1", amount="30.01")).status_code == 422
