"""Money that goes out again: never more than came in, never without a trace, above a limit never by one person alone."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fhir_server.resources.billing.invoicing import open_of
from tests.billing.cash import ask, build, diagnostics, done, euros, invoice, payment, put, read, send
from tests.conftest import Client, on_each_store

D = Decimal
OSLER = "https://osler.health/fhir/StructureDefinition/"


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"), invoice("i2", "50.00"))
    return client


def out(id: str, amount: str, source: str, number: int = 1, **more: object) -> dict:
    made = payment(id, amount, ("Account/a1", amount), **more)
    predecessor = {"system": "https://osler.health/fhir/payment", "value": f"{source}#{number}"}
    return {**made, "detail": [{**made["detail"][0], "predecessor": predecessor}]}


def limited(amount: str) -> dict:
    parts = [
        {"url": "from", "valueDate": "2020-01-01"},
        {"url": "approval-limit", "valueMoney": euros(amount)},
    ]
    return {
        "resourceType": "Basic",
        "id": "hospital-settings",
        "code": {
            "coding": [
                {"system": "https://osler.health/fhir/CodeSystem/billing", "code": "hospital-settings"}
            ]
        },
        "extension": [{"url": OSLER + "hospital-settings", "extension": parts}],
    }


async def test_a_refund_opens_the_invoice_again(till: Client) -> None:
    paid = await done(till, "Invoice/i1/$pay")
    back = await done(till, f"PaymentReconciliation/{paid['id']}/$refund", amount="30", reason="mistake")
    assert back["paymentAmount"] == euros("-30.00")
    assert back["detail"][0]["predecessor"]["value"].startswith(f"{paid['id']}#")
    found = await read(till, "Invoice/i1")
    assert (found["status"], open_of(found)) == ("issued", D("30.00"))


async def test_what_is_not_used_goes_out_first(till: Client) -> None:
    paid = await done(till, "Invoice/i1/$pay", amount="130", overpay="deposit")
    await done(till, f"PaymentReconciliation/{paid['id']}/$refund", reason="overpaid")
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"
    answer = await ask(till, "Account/a1/$allocate", invoice="Invoice/i2", amount="1")
    assert answer.status_code == 422


async def test_a_reversal_takes_all_of_a_payment_back(till: Client) -> None:
    paid = await done(till, "Invoice/i1/$pay")
    address = f"PaymentReconciliation/{paid['id']}"
    await done(till, f"{address}/$refund", amount="30", reason="mistake")
    back = await done(till, f"{address}/$reverse", reason="not honoured")
    assert back["paymentAmount"] == euros("-70.00")
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")
    for operation in ("$refund", "$reverse"):
        answer = await ask(till, f"{address}/{operation}", reason="again")
        assert answer.status_code == 422
    await done(till, "Invoice/i1/$pay")


@pytest.mark.parametrize("amount", ["100.01", "-5", "0"])
async def test_no_more_goes_out_than_came_in(till: Client, amount: str) -> None:
    paid = await done(till, "Invoice/i1/$pay")
    answer = await ask(till, f"PaymentReconciliation/{paid['id']}/$refund", amount=amount, reason="x")
    assert answer.status_code == 422


async def test_a_put_is_refused_what_a_refund_is_refused(till: Client) -> None:
    kept = await done(till, "Account/a1/$deposit", amount="40")
    used = await done(till, "Invoice/i1/$pay")
    for made in (
        out("x", "-40.01", kept["id"]),
        out("x", "-1.00", used["id"]),
        out("x", "-1.00", "nothing"),
        payment("x", "-1.00", ("Account/a1", "-1.00")),
    ):
        answer = await send(till, "PUT", "PaymentReconciliation/x", made)
        assert answer.status_code == 422, answer.text
    await put(till, out("x", "-25.00", kept["id"]))
    answer = await send(till, "PUT", "PaymentReconciliation/y", out("y", "-25.00", kept["id"]))
    assert answer.status_code == 422
    assert "15.00" in diagnostics(answer)


async def test_what_has_gone_out_cannot_be_written_away(till: Client) -> None:
    kept = await done(till, "Account/a1/$deposit", amount="40")
    await done(till, f"PaymentReconciliation/{kept['id']}/$refund", amount="40", reason="x")
    await put(till, kept)
    answer = await ask(till, f"PaymentReconciliation/{kept['id']}/$refund", amount="1", reason="x")
    assert answer.status_code == 422


@on_each_store
async def test_a_refund_and_its_payment_may_come_in_any_order_in_a_bundle(till: Client) -> None:
    made = [out("b2", "-25.00", "b1"), payment("b1", "40.00", ("Account/a1", "40.00"))]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"PaymentReconciliation/{r['id']}"}} for r in made
    ]
    answer = await send(till, "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200, answer.text
    refused = await ask(till, "PaymentReconciliation/b1/$refund", amount="15.01", reason="x")
    assert refused.status_code == 422
    await done(till, "PaymentReconciliation/b1/$refund", amount="15", reason="x")


# Four eyes


async def test_above_the_limit_a_second_person_approves(till: Client) -> None:
    await put(till, limited("50.00"))
    paid = await done(till, "Invoice/i1/$pay")
    address = f"PaymentReconciliation/{paid['id']}/$refund"
    assert (await ask(till, address, amount="50.01", reason="large")).status_code == 422
    await done(till, address, amount="30", reason="small")
    assert (await ask(till, address, amount="20.01", reason="in parts")).status_code == 422
    await done(till, address, amount="20", reason="up to the limit")


async def approved(till: Client, task: dict, owner: str = "Practitioner/two") -> dict:
    done_ = {**task, "status": "completed", "owner": {"reference": owner}}
    await put(till, done_)
    return done_


async def test_a_refund_waits_for_its_task(till: Client) -> None:
    await put(till, limited("50.00"))
    paid = await done(till, "Invoice/i1/$pay")
    address = f"PaymentReconciliation/{paid['id']}/$refund"
    task = await done(till, address, amount="80", reason="large", requester="Practitioner/one")
    assert (task["resourceType"], task["status"]) == ("Task", "requested")
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"
    approval = f"Task/{task['id']}"
    early = await ask(till, address, amount="80", reason="large", approval=approval)
    assert early.status_code == 422
    own = {**task, "status": "completed", "owner": {"reference": "Practitioner/one"}}
    assert (await send(till, "PUT", approval, own)).status_code == 422
    more = {
        **task,
        "status": "completed",
        "owner": {"reference": "Practitioner/two"},
        "input": [{"type": {"text": "Amount"}, "valueMoney": euros("100")}],
    }
    assert (await send(till, "PUT", approval, more)).status_code == 422
    await approved(till, task)
    assert (await ask(till, address, amount="80.01", reason="large", approval=approval)).status_code == 422
    made = await done(till, address, amount="80", reason="large", approval=approval)
    assert made["paymentAmount"] == euros("-80.00")
    assert (await send(till, "DELETE", approval)).status_code == 422


async def test_an_approval_is_used_once(till: Client) -> None:
    await put(till, limited("10.00"))
    paid = await done(till, "Invoice/i1/$pay")
    address = f"PaymentReconciliation/{paid['id']}/$refund"
    task = await done(till, address, amount="20", reason="large", requester="Practitioner/one")
    await approved(till, task)
    await done(till, address, amount="20", reason="large", approval=f"Task/{task['id']}")
    again = await ask(till, address, amount="20", reason="large", approval=f"Task/{task['id']}")
    assert again.status_code == 409


async def test_a_put_above_the_limit_needs_an_approval_too(till: Client) -> None:
    await put(till, limited("10.00"))
    kept = await done(till, "Account/a1/$deposit", amount="40")
    answer = await send(till, "PUT", "PaymentReconciliation/x", out("x", "-20.00", kept["id"]))
    assert answer.status_code == 422
    codes = [c["code"] for c in answer.json()["issue"][0]["details"]["coding"]]
    assert "approval-needed" in codes
    forged = {
        "resourceType": "Task",
        "id": "t",
        "status": "completed",
        "intent": "order",
        "code": {
            "coding": [
                {"system": "https://osler.health/fhir/CodeSystem/billing-task", "code": "approve-refund"}
            ]
        },
    }
    assert (await send(till, "PUT", "Task/t", forged)).status_code == 422
