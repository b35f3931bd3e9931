"""$verify-series finds what must never happen: it is brought about behind the server's back, in the store itself."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.interactions.writing import deletion, prepare
from tests.billing.office import build, call, charge, issued, money, read
from tests.conftest import Client, StartServer

Resource = dict[str, Any]


@pytest.fixture
async def office(start_server: StartServer) -> Client:
    client = await start_server()
    await build(client)
    return client


async def behind_the_back(client: Client, resource: Resource) -> None:
    """Write to the store without the rules."""
    services = client.app.services
    await services.store.transact([prepare(services, "PUT", resource, resource["id"])])


async def problems(client: Client) -> set[str]:
    report = await call(client, "Invoice/$verify-series")
    found = {
        part["valueCode"]
        for p in report["parameter"]
        if p["name"] == "series"
        for problem in p["part"]
        if problem["name"] == "problem"
        for part in problem["part"]
        if part["name"] == "code"
    }
    assert report["parameter"][0]["valueBoolean"] is (not found)
    return found


async def three(client: Client) -> list[Resource]:
    return [await issued(client, charge(f"c{n}"), date=f"2026-03-1{n}T10:00:00Z") for n in range(3)]


async def test_a_series_as_it_was_issued_is_valid(office: Client) -> None:
    await three(office)
    assert await problems(office) == set()


async def test_an_invoice_that_is_gone_is_a_gap(office: Client) -> None:
    made = await three(office)
    await office.app.services.store.transact([deletion("Invoice", made[1]["id"])])
    assert await problems(office) == {"gap"}


async def test_a_last_invoice_that_is_gone_is_known_from_the_counter(office: Client) -> None:
    made = await three(office)
    await office.app.services.store.transact([deletion("Invoice", made[2]["id"])])
    assert await problems(office) == {"counter"}


async def test_a_changed_amount_is_found(office: Client) -> None:
    made = await three(office)
    await behind_the_back(
        office, {**await read(office, f"Invoice/{made[0]['id']}"), "totalGross": money("1.00")}
    )
    assert await problems(office) == {"content", "sum"}


async def test_a_number_that_is_there_twice_is_found(office: Client) -> None:
    made = await three(office)
    copy = {**await read(office, f"Invoice/{made[0]['id']}"), "id": "copy"}
    # the claim on the number is left out as well
    await behind_the_back(office, copy)
    assert "duplicate" in await problems(office)


async def test_a_date_that_runs_back_is_found(office: Client) -> None:
    made = await three(office)
    late = {**await read(office, f"Invoice/{made[0]['id']}"), "date": "2026-05-01"}
    await behind_the_back(office, late)
    assert await problems(office) == {"content", "date"}


async def test_a_series_is_looked_at_alone(office: Client) -> None:
    await three(office)
    await issued(office, charge("d1"), series="LAB")
    report = await call(office, "Invoice/$verify-series", series="LAB", issuer="Organization/h1")
    assert [p["name"] for p in report["parameter"]] == ["valid", "series"]
    report = await call(office, "Invoice/$verify-series", year=1999)
    assert [p["name"] for p in report["parameter"]] == ["valid"]
