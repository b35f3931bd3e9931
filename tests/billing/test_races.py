"""Many at once, on each store: numbers without gaps, charges billed and captured once, the same request once."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.billing.office import (
    build,
    call,
    charge,
    drafted,
    issued,
    number,
    parameters,
    read,
    resources,
    send,
    write,
)
from tests.billing.test_capturing import EVENTS
from tests.conftest import Client, on_each_store
from tests.rest.resources import bundle, put

pytestmark = on_each_store


async def drafts(client: Client, count: int) -> list[dict]:
    """So many drafts, each over a charge of its own."""
    charges = [charge(f"c{n}", occurrenceDateTime="2026-03-02") for n in range(count)]
    assert (
        await send(client, "POST", "", bundle("transaction", *(put(c) for c in charges)))
    ).status_code == 200
    return [await drafted(client, charge_item=f"ChargeItem/c{n}") for n in range(count)]


async def test_of_40_issues_10_are_rolled_back_and_30_are_numbered_without_a_gap(client: Client) -> None:
    await build(client, charge("taken", service=[{"reference": "Procedure/x"}]))
    made = await drafts(client, 40)

    async def rolled_back(draft: dict) -> int:
        """The number is taken, then the commit is refused for another write that is in it."""
        double = charge("double", service=[{"reference": "Procedure/x"}])
        entries = put({**draft, "status": "issued"}), put(double)
        return (await send(client, "POST", "", bundle("transaction", *entries))).status_code

    async def issue(draft: dict) -> int:
        asked = parameters(request_id=f"urn:issue:{draft['id']}")
        return (await send(client, "POST", f"/Invoice/{draft['id']}/$issue", asked)).status_code

    answers = await asyncio.gather(
        *((rolled_back if n % 4 == 0 else issue)(draft) for n, draft in enumerate(made))
    )
    assert Counter(answers) == {200: 30, 409: 10}
    report = await call(client, "Invoice/$verify-series")
    assert report["parameter"][0]["valueBoolean"] is True
    found = [await read(client, f"Invoice/{draft['id']}") for draft in made]
    numbers = sorted(number(i)[-6:] for i in found if i["status"] == "issued")
    assert numbers == [f"{n:06}" for n in range(1, 31)]
    assert [i["status"] for i in found].count("draft") == 10


async def test_plain_writes_that_issue_at_once_are_numbered_too(client: Client) -> None:
    await build(client)
    made = await drafts(client, 6)
    answers = await asyncio.gather(
        *(send(client, "PUT", f"/Invoice/{d['id']}", {**d, "status": "issued"}) for d in made)
    )
    assert {a.status_code for a in answers} == {200}
    numbers = sorted([number(await read(client, f"Invoice/{d['id']}")) for d in made])
    assert [n[-6:] for n in numbers] == [f"{n:06}" for n in range(1, 7)]


async def test_the_same_charges_are_invoiced_once(client: Client) -> None:
    await build(client, charge("c1"), charge("c2", "xray"))
    answers = await asyncio.gather(
        *(send(client, "POST", "/Account/a1/$invoice", parameters(request_id=f"urn:{n}")) for n in range(6))
    )
    assert Counter(a.status_code for a in answers) == {200: 1, 422: 5}
    assert (await client.get("/Invoice?_summary=count")).json()["total"] == 1


async def test_the_same_request_at_once_makes_one_invoice(client: Client) -> None:
    await build(client, charge("c1"))
    asked = parameters(request_id="urn:uuid:same")
    answers = await asyncio.gather(*(send(client, "POST", "/Account/a1/$invoice", asked) for _ in range(4)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.text for a in answers}) == 1
    assert (await client.get("/Invoice?_summary=count")).json()["total"] == 1


async def test_what_was_done_is_charged_once_however_many_ask(client: Client) -> None:
    await build(client, *EVENTS)
    answers = await asyncio.gather(*(call(client, "Account/a1/$capture-charges") for _ in range(4)))
    assert sum(len(resources(a)) for a in answers) == 4
    assert (await client.get("/ChargeItem?_summary=count")).json()["total"] == 4


async def test_of_two_full_credits_one_is_made(client: Client) -> None:
    await build(client)
    made = await issued(client, charge("c1"))
    address = f"/Invoice/{made['id']}/$credit"
    answers = await asyncio.gather(
        *(send(client, "POST", address, parameters(request_id=f"urn:{n}", reason="twice")) for n in range(2))
    )
    assert Counter(a.status_code for a in answers) == {200: 1, 422: 1}
    assert (await read(client, f"Invoice/{made['id']}"))["status"] == "cancelled"


async def test_a_draft_is_not_issued_and_dropped(client: Client) -> None:
    await build(client)
    await write(client, charge("c1"))
    draft = await drafted(client)
    address = f"/Invoice/{draft['id']}"
    issue, drop = await asyncio.gather(
        send(client, "POST", f"{address}/$issue", parameters(request_id="urn:1")), client.delete(address)
    )
    assert sorted([issue.status_code == 200, drop.status_code in (200, 204)]) == [False, True]
    status = (await read(client, "ChargeItem/c1"))["status"]
    assert status == ("billed" if issue.status_code == 200 else "billable")
