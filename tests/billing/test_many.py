"""What is large is read in one go: an invoice of many charges asks the store no more often than one of two."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fhir_server.interactions.writing import prepare
from fhir_server.resources.billing.invoicing import open_of
from fhir_server.resources.billing.payments import new_payment, with_detail
from tests.billing import cash
from tests.billing.office import build, call, charge, code, resources, send
from tests.conftest import Client
from tests.rest.resources import bundle, put

Resource = dict[str, Any]


@pytest.fixture
async def office(client: Client) -> Client:
    await build(client)
    return client


async def count(client: Client, address: str, **values: Any) -> tuple[int, Resource]:
    """How often an operation asks the store for resources by their ids, and its answer."""
    store: Any = client.app.services.store
    asked, times = store.read_many, 0

    async def counted(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        return await asked(*arguments)

    store.read_many = counted
    try:
        answer = await call(client, address, **values)
        return times, answer
    finally:
        store.read_many = asked


async def test_an_invoice_of_many_charges_is_made_and_issued_with_as_many_reads_as_one_of_two(
    office: Client,
) -> None:
    found: dict[int, tuple[int, int]] = {}
    for many in (2, 40):
        charges = [charge(f"c{many}-{n}") for n in range(many)]
        await send(office, "POST", "", bundle("transaction", *(put(c) for c in charges)))
        names = [f"ChargeItem/{c['id']}" for c in charges]
        made, drafts = await count(office, "Account/a1/$invoice", charge_item=names)
        (draft,) = resources(drafts)
        issued, _ = await count(office, f"Invoice/{draft['id']}/$issue")
        found[many] = made, issued
    assert found[2] == found[40]


async def test_many_events_are_captured_with_as_many_reads_as_two(office: Client) -> None:
    found = []
    for many in (2, 40):
        done = {"status": "completed", "code": code("visit"), "performedDateTime": "2026-03-02"}
        within = {"subject": {"reference": "Patient/p1"}, "encounter": {"reference": "Encounter/e1"}}
        events = [{"resourceType": "Procedure", "id": f"x{many}-{n}", **done, **within} for n in range(many)]
        await send(office, "POST", "", bundle("transaction", *(put(e) for e in events)))
        times, captured = await count(office, "Account/a1/$capture-charges")
        assert len(resources(captured)) == many
        found.append(times)
    assert found[0] == pytest.approx(found[1], abs=2)


async def test_money_is_allocated_of_an_account_with_more_than_a_thousand_deposits(client: Client) -> None:
    await cash.build(client, cash.invoice("i1", "0.05"))
    services, at = client.app.services, "2026-01-06T10:00:00Z"
    made = [
        with_detail(
            new_payment(f"d{n}", cash.euros("0.01"), at), "advance", "Account/a1", Decimal("0.01"), at
        )
        for n in range(1100)
    ]
    await services.store.transact([prepare(services, "PUT", p, p["id"]) for p in made])
    await cash.done(client, "Account/a1/$allocate", invoice="Invoice/i1")
    paid = await cash.read(client, "Invoice/i1")
    assert (paid["status"], open_of(paid)) == ("balanced", Decimal(0))
