"""Payments: what is open is paid, never more; what is beyond is refused or kept; a request is carried out once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fhir_server.resources.billing.invoicing import open_of
from tests.billing.cash import ask, build, diagnostics, done, euros, invoice, payment, put, read, send
from tests.conftest import Client

D = Decimal


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"), invoice("i2", "50.00"))
    return client


async def test_a_payment_of_all_balances_the_invoice(till: Client) -> None:
    made = await done(till, "Invoice/i1/$pay", method="card", reference="T-7")
    assert made["paymentAmount"] == euros("100.00")
    assert made["paymentIdentifier"] == {"value": "T-7"}
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"
    notices = (await till.get("/PaymentNotice?request=Invoice/i1")).json()
    assert notices["entry"][0]["resource"]["amount"] == {"value": 100.0, "currency": "EUR"}


async def test_partial_payments_leave_the_rest_open(till: Client) -> None:
    await done(till, "Invoice/i1/$pay", amount="33.34")
    found = await read(till, "Invoice/i1")
    assert (found["status"], open_of(found)) == ("issued", D("66.66"))
    await done(till, "Invoice/i1/$pay", amount="33.33")
    await done(till, "Invoice/i1/$pay", amount="33.33")
    found = await read(till, "Invoice/i1")
    assert (found["status"], open_of(found)) == ("balanced", D("0.00"))


async def test_change_is_given_of_cash(till: Client) -> None:
    made = await done(till, "Invoice/i1/$pay", method="cash", tendered="120")
    told = {e["url"].rpartition("/")[2]: e.get("valueMoney") for e in made["extension"]}
    assert (told["payment-tendered"], told["payment-returned"]) == (euros("120.00"), euros("20.00"))
    assert made["paymentAmount"] == euros("100.00")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"amount": "100.01"}, "100.00 EUR of Invoice/i1 are open"),
        ({"amount": euros("10", "USD")}, "in USD"),
        ({"amount": "10.001"}, "finer"),
        ({"amount": "-1"}, "above zero"),
        ({"amount": "0"}, "above zero"),
        ({"tendered": "50"}, "tendered"),
        ({"tendered": "200", "method": "card"}, "Only cash"),
    ],
)
async def test_what_is_no_payment_of_the_invoice_is_refused(till: Client, values: dict, words: str) -> None:
    answer = await ask(till, "Invoice/i1/$pay", **values)
    assert answer.status_code == 422, answer.text
    assert words in diagnostics(answer)
    assert (await till.get("/PaymentReconciliation?_summary=count")).json()["total"] == 0


async def test_a_request_needs_an_id(till: Client) -> None:
    answer = await send(till, "POST", "Invoice/i1/$pay", {"resourceType": "Parameters"})
    assert answer.status_code == 400


async def test_what_is_beyond_may_be_kept_as_a_deposit_and_used_later(till: Client) -> None:
    made = await done(till, "Invoice/i1/$pay", amount="130", overpay="deposit")
    assert [d["amount"]["value"] for d in made["detail"]] == [D("100.00"), D("30.00")]
    used = await done(till, "Account/a1/$allocate", invoice="Invoice/i2", amount="30")
    assert used["id"] == made["id"]
    assert open_of(await read(till, "Invoice/i2")) == D("20.00")
    answer = await ask(till, "Account/a1/$allocate", invoice="Invoice/i2")
    assert answer.status_code == 422
    assert "0.00 EUR are kept" in diagnostics(answer)


async def test_deposits_are_used_the_oldest_first(till: Client) -> None:
    first = await done(till, "Account/a1/$deposit", amount="40", method="cash", tendered="50")
    second = await done(till, "Account/a1/$deposit", amount="70")
    assert (await ask(till, "Account/a1/$allocate", invoice=["Invoice/i2", "Invoice/i1"])).status_code == 422
    await done(till, "Account/a1/$allocate", invoice="Invoice/i2")
    assert (await read(till, "Invoice/i2"))["status"] == "balanced"
    sums = [
        sum(
            d["amount"]["value"]
            for d in (await read(till, f"PaymentReconciliation/{p['id']}"))["detail"]
            if "Invoice" in d["request"]["reference"]
        )
        for p in (first, second)
    ]
    assert sums == [D("40.00"), D("10.00")]


async def test_money_that_is_kept_for_another_account_is_not_used(till: Client) -> None:
    await put(till, {"resourceType": "Account", "id": "a2", "status": "active"})
    await put(till, payment("x", "30.00", ("Account/a1", "10.00"), ("Account/a2", "20.00")))
    assert (await ask(till, "Account/a1/$allocate", invoice="Invoice/i1", amount="10.01")).status_code == 422
    await done(till, "Account/a1/$allocate", invoice="Invoice/i1", amount="10")
    assert (await ask(till, "Account/a1/$allocate", invoice="Invoice/i1", amount="1")).status_code == 422
    await done(till, "Account/a2/$allocate", invoice="Invoice/i1", amount="20")


async def test_the_same_request_pays_once_and_answers_the_same(till: Client) -> None:
    one = await ask(till, "Invoice/i1/$pay", amount="50", request_id="urn:r1")
    two = await ask(till, "Invoice/i1/$pay", amount="50", request_id="urn:r1")
    assert (one.status_code, two.status_code) == (200, 200)
    assert one.content == two.content
    assert open_of(await read(till, "Invoice/i1")) == D("50.00")
    other = await ask(till, "Invoice/i1/$pay", amount="40", request_id="urn:r1")
    assert other.status_code == 422


async def test_a_dry_run_pays_nothing(till: Client) -> None:
    await done(till, "Invoice/i1/$pay", dry_run=True)
    assert (await read(till, "Invoice/i1"))["status"] == "issued"


async def test_an_invoice_that_is_balanced_is_not_paid_again(till: Client) -> None:
    await done(till, "Invoice/i1/$pay")
    for values in ({}, {"amount": "1"}):
        assert (await ask(till, "Invoice/i1/$pay", **values)).status_code == 422


@pytest.mark.parametrize("status", ["draft", "cancelled", "entered-in-error"])
async def test_only_an_issued_invoice_is_paid(till: Client, status: str) -> None:
    draft = invoice("i3", "10.00", "draft")
    await put(till, draft)
    if status != "draft":
        await put(till, {**draft, "status": status}, (200, 422))
    answer = await ask(till, "Invoice/i3/$pay", amount="10")
    assert answer.status_code == 422


# Whoever writes


@pytest.mark.parametrize(
    "made",
    [
        payment("x", "100.01", ("Invoice/i1", "100.01")),
        payment("x", "50.00", ("Invoice/i1", "40.00")),
        payment("x", "10.00", ("Invoice/none", "10.00")),
        payment("x", "10.00", ("Invoice/i1", "20.00"), ("Account/a1", "-10.00")),
        payment("x", "0.00", ("Invoice/i1", "0.00")),
        payment("x", "-10.00", ("Invoice/i1", "-10.00")),
        payment("x", "10.00", ("Invoice/i1", "10.00"), paymentAmount=euros("10", "USD")),
    ],
)
async def test_a_put_is_refused_what_an_operation_is_refused(till: Client, made: dict) -> None:
    answer = await send(till, "PUT", "PaymentReconciliation/x", made)
    assert answer.status_code == 422, answer.text


async def test_a_put_pays_like_an_operation(till: Client) -> None:
    await put(till, payment("x", "100.00", ("Invoice/i1", "100.00")))
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"
    answer = await send(till, "PUT", "PaymentReconciliation/y", payment("y", "1.00", ("Invoice/i1", "1.00")))
    assert answer.status_code == 422


async def test_a_payment_that_was_made_stays(till: Client) -> None:
    made = await done(till, "Invoice/i1/$pay", amount="40")
    address = f"PaymentReconciliation/{made['id']}"
    for changed in (
        {**made, "status": "cancelled"},
        {**made, "status": "entered-in-error"},
        {**made, "paymentAmount": euros("30.00")},
        {**made, "detail": made["detail"] * 2},
        {**made, "paymentDate": "2020-01-01"},
    ):
        assert (await send(till, "PUT", address, changed)).status_code == 422
    answer = await send(till, "DELETE", address)
    assert answer.status_code == 422
    assert "$reverse" in diagnostics(answer)
    assert (await send(till, "PUT", address, made)).status_code == 200


async def test_a_draft_holds_nothing_until_it_is_active(till: Client) -> None:
    draft = payment("x", "100.00", ("Invoice/i1", "100.00"), status="draft")
    await put(till, draft)
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")
    await put(till, {**draft, "status": "active"})
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"


async def test_two_payments_in_one_bundle_are_judged_together(till: Client) -> None:
    def bundle(*parts: str) -> dict:
        entries = [
            {
                "resource": payment(f"b{n}", part, ("Invoice/i1", part)),
                "request": {"method": "PUT", "url": f"PaymentReconciliation/b{n}"},
            }
            for n, part in enumerate(parts)
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    assert (await send(till, "POST", "", bundle("60.00", "60.00"))).status_code == 422
    assert (await send(till, "POST", "", bundle("60.00", "40.00"))).status_code == 200
    found = await read(till, "Invoice/i1")
    assert (found["status"], open_of(found)) == ("balanced", D("0.00"))


async def test_payments_of_others_are_left_alone(till: Client) -> None:
    foreign = payment("x", "100.00", ("Claim/1", "70.00"))
    await put(till, foreign)
    await put(till, {**foreign, "paymentAmount": euros("90.00")})
    assert (await send(till, "DELETE", "PaymentReconciliation/x")).status_code in (200, 204)
