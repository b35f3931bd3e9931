"""Online payments: an order has one checkout, only what is signed is believed, and money that has come is booked once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from fhir_server.operations.billing.books import verify
from fhir_server.operations.billing.providers import signed
from fhir_server.resources.billing.invoicing import open_of
from tests.billing.cash import ask, build, done, euros, invoice, put, read
from tests.billing.stand_in import StandIn, standing_in
from tests.conftest import Client, StartServer, on_each_store

D = Decimal
SECRET = "a secret of the test"
HOOK = "http://osler.test/payments/checkout"


@pytest.fixture
def provider() -> Iterator[StandIn]:
    def answer(path: str, body: dict) -> tuple[int, object]:
        return 201, {"id": f"co_{body['reference'][-8:]}", "url": f"https://pay.test/{body['reference']}"}

    with standing_in(answer) as found:
        yield found


@pytest.fixture
async def till(
    kind_of_store: str, request: pytest.FixtureRequest, start_server: StartServer, provider: StandIn
) -> Client:
    more = {"store": request.getfixturevalue("mongo_emptied")} if kind_of_store == "mongo" else {}
    client = await start_server(
        checkout_url=provider.url,
        checkout_key="key",
        checkout_secret=SECRET,
        checkout_return="https://house.test/{invoice}",
        **more,
    )
    await build(client, invoice("i1", "100.00"))
    return client


async def tell(
    client: Client, payment: dict[str, Any], amount: str = "100.00", kind: str = "checkout.paid", **more: Any
) -> httpx.Response:
    data = {
        "id": payment["paymentIdentifier"]["value"],
        "reference": payment["id"],
        "amount": amount,
        "currency": more.pop("currency", "EUR"),
    }
    body = json.dumps({"id": "evt", "type": kind, "data": data}).encode()
    at = str(more.pop("at", int(time.time())))
    signature = more.pop("signature", f"t={at},v1={signed(SECRET.encode(), at, body)}")
    return await client.post(more.pop("url", HOOK), content=body, headers={"checkout-signature": signature})


@on_each_store
async def test_a_checkout_is_begun_once_for_a_request(till: Client, provider: StandIn) -> None:
    draft = await done(till, "Invoice/i1/$checkout", request_id="urn:r")
    again = await done(till, "Invoice/i1/$checkout", request_id="urn:r")
    assert (draft["status"], again["id"]) == ("draft", draft["id"])
    path, headers, body = provider.asked[0]
    assert (path, headers["authorization"], headers["idempotency-key"]) == (
        "/checkouts",
        "Bearer key",
        draft["id"],
    )
    assert (body["amount"], body["currency"], body["return_url"]) == (
        "100.00",
        "EUR",
        "https://house.test/i1",
    )
    assert "INV-" in body["description"]
    pages = [p["valueUrl"] for e in draft["extension"] for p in e.get("extension", ()) if p["url"] == "page"]
    assert pages == [f"https://pay.test/{draft['id']}"]
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")


@on_each_store
async def test_what_the_provider_tells_is_booked_once(till: Client) -> None:
    draft = await done(till, "Invoice/i1/$checkout")
    answers = await asyncio.gather(*(tell(till, draft) for _ in range(4)))
    assert {a.status_code for a in answers} == {200}
    assert sorted(a.json()["status"] for a in answers) == ["known", "known", "known", "paid"]
    traces = (await till.get(f"/Provenance?target=PaymentReconciliation/{draft['id']}")).json()["entry"]
    done_ = sorted(e["resource"]["activity"]["coding"][0]["code"] for e in traces)
    assert done_ == ["checkout", "checkout-paid"]
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"
    assert (await verify(till.app.services)).problems == []


async def test_money_that_comes_too_late_is_kept(till: Client) -> None:
    draft = await done(till, "Invoice/i1/$checkout")
    await done(till, "Invoice/i1/$pay", amount="60")
    assert (await tell(till, draft)).status_code == 200
    made = await read(till, f"PaymentReconciliation/{draft['id']}")
    assert [d["amount"]["value"] for d in made["detail"]] == [D("40.00"), D("60.00")]
    back = await done(till, f"PaymentReconciliation/{draft['id']}/$refund", reason="paid twice")
    assert back["paymentAmount"] == euros("-60.00")


async def test_a_checkout_that_expired_may_be_paid_after_all(till: Client) -> None:
    draft = await done(till, "Invoice/i1/$checkout")
    assert (await tell(till, draft, kind="checkout.expired")).json() == {"status": "expired"}
    assert (await tell(till, draft, kind="checkout.expired")).json() == {"status": "known"}
    assert (await read(till, f"PaymentReconciliation/{draft['id']}"))["status"] == "cancelled"
    assert (await tell(till, draft)).json() == {"status": "paid"}
    assert (await tell(till, draft, kind="checkout.expired")).json() == {"status": "known"}
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"signature": ""}, 403),
        ({"signature": "t=1,v1=00"}, 403),
        ({"at": int(time.time()) - 3600}, 403),
        ({"at": "²"}, 403),
        ({"url": "http://osler.test/payments/other"}, 404),
        ({"currency": "USD"}, 422),
        ({"amount": "1.001"}, 422),
        ({"amount": "much"}, 400),
        ({"kind": "checkout.opened"}, 200),
    ],
)
async def test_what_is_not_to_be_believed_books_nothing(till: Client, more: dict, status: int) -> None:
    draft = await done(till, "Invoice/i1/$checkout")
    if more.get("at") == "²":
        more = {"signature": "t=²,v1=é".encode()}
    assert (await tell(till, draft, **more)).status_code == status
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")


async def test_a_checkout_of_somebody_else_is_not_found(till: Client) -> None:
    draft = await done(till, "Invoice/i1/$checkout")
    assert (await tell(till, {**draft, "id": "other"})).status_code == 404
    assert (await tell(till, {**draft, "paymentIdentifier": {"value": "other"}})).status_code == 404


async def test_nothing_is_begun_for_what_is_not_open(till: Client, provider: StandIn) -> None:
    await put(till, invoice("i2", "10.00", "draft"))
    for address, values in (("i1", {"amount": "100.01"}), ("i2", {})):
        assert (await ask(till, f"Invoice/{address}/$checkout", **values)).status_code == 422
    assert provider.asked == []


async def test_a_provider_that_does_not_answer_is_a_fault_of_a_dependency(start_server: StartServer) -> None:
    with standing_in(lambda path, body: (500, {})) as broken:
        client = await start_server(checkout_url=broken.url, checkout_secret=SECRET)
        await build(client, invoice("i1", "100.00"))
        assert (await ask(client, "Invoice/i1/$checkout")).status_code == 503
    assert (await ask(client, "Invoice/i1/$checkout")).status_code == 503
    assert (await client.get("/PaymentReconciliation?_summary=count")).json()["total"] == 0


async def test_without_a_provider_there_is_no_checkout(start_server: StartServer) -> None:
    client = await start_server()
    await build(client, invoice("i1", "100.00"))
    assert (await ask(client, "Invoice/i1/$checkout")).status_code == 400
    assert (await client.post(HOOK, content=b"{}")).status_code == 404
