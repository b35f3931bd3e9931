"""Many at once at the till, on each store: an invoice is paid once, a request is carried out once."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from fhir_server.interactions.consistency import inconsistencies
from fhir_server.operations.billing.books import verify
from fhir_server.resources.billing.invoicing import open_of
from tests.billing.cash import ask, build, done, invoice, payment, read, send
from tests.conftest import Client, on_each_store

pytestmark = on_each_store


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"), invoice("i2", "100.00"))
    return client


async def test_of_two_full_payments_one_is_made(till: Client) -> None:
    answers = await asyncio.gather(*(ask(till, "Invoice/i1/$pay", amount="100") for _ in range(2)))
    assert sorted(a.status_code for a in answers) == [200, 422]
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"


async def test_of_ten_partial_payments_as_many_are_made_as_fit(till: Client) -> None:
    answers = await asyncio.gather(*(ask(till, "Invoice/i1/$pay", amount="15") for _ in range(10)))
    assert Counter(a.status_code for a in answers) == {200: 6, 422: 4}
    assert open_of(await read(till, "Invoice/i1")) == Decimal("10.00")


async def test_of_two_puts_that_pay_all_one_is_made(till: Client) -> None:
    answers = await asyncio.gather(
        *(
            send(till, "PUT", f"PaymentReconciliation/x{n}", payment(f"x{n}", "100", ("Invoice/i1", "100")))
            for n in range(2)
        )
    )
    assert sorted(a.status_code for a in answers) == [201, 422]


async def test_the_same_request_at_once_is_one_payment(till: Client) -> None:
    answers = await asyncio.gather(
        *(ask(till, "Invoice/i1/$pay", amount="10", request_id="urn:same") for _ in range(5))
    )
    assert {a.status_code for a in answers} == {200}
    assert len({a.content for a in answers}) == 1
    assert open_of(await read(till, "Invoice/i1")) == Decimal("90.00")


async def test_a_deposit_is_used_or_goes_out_never_both(till: Client) -> None:
    kept = await done(till, "Account/a1/$deposit", amount="100")
    answers = await asyncio.gather(
        ask(till, "Account/a1/$allocate", invoice="Invoice/i1"),
        ask(till, "Account/a1/$allocate", invoice="Invoice/i2"),
        ask(till, f"PaymentReconciliation/{kept['id']}/$refund", amount="100", reason="x"),
    )
    assert Counter(a.status_code for a in answers) == {200: 1, 422: 2} or (
        # a deposit that was used first can still be given back: the invoice is open again
        Counter(a.status_code for a in answers) == {200: 2, 422: 1} and answers[2].status_code == 200
    )
    assert await inconsistencies(till.app.services) == []


async def test_ten_refunds_never_exceed_what_was_paid(till: Client) -> None:
    paid = await done(till, "Invoice/i1/$pay")
    address = f"PaymentReconciliation/{paid['id']}/$refund"
    answers = await asyncio.gather(*(ask(till, address, amount="30", reason="x") for _ in range(6)))
    assert Counter(a.status_code for a in answers) == {200: 3, 422: 3}
    assert open_of(await read(till, "Invoice/i1")) == Decimal("90.00")
    assert await inconsistencies(till.app.services) == []


async def test_of_a_full_payment_and_a_full_credit_one_is_made(till: Client) -> None:
    pay, credit = await asyncio.gather(
        ask(till, "Invoice/i1/$pay", amount="100"), ask(till, "Invoice/i1/$credit", reason="mistake")
    )
    assert sorted((pay.status_code, credit.status_code)) == [200, 422], (pay.text, credit.text)
    found = await read(till, "Invoice/i1")
    assert found["status"] == ("balanced" if pay.status_code == 200 else "cancelled")
    assert open_of(found) == 0


async def test_partial_payments_and_a_partial_credit_never_exceed_the_invoice(till: Client) -> None:
    paid = [ask(till, "Invoice/i1/$pay", amount="40") for _ in range(3)]
    answers = await asyncio.gather(*paid, ask(till, "Invoice/i1/$credit", reason="mistake"))
    assert answers[-1].status_code in (200, 422)
    assert open_of(await read(till, "Invoice/i1")) in (0, Decimal("20.00"))
    books = await verify(till.app.services)
    assert books.problems == []
    assert await inconsistencies(till.app.services) == []
