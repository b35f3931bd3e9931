"""The settings of a day, and settings that are tried before they hold."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_r4.jsonio import decode
from fhir_server.resources.billing.settings import _PARTS
from tests.billing.office import entry, hospital_settings, money, send, told, write
from tests.conftest import Client


def by_name(parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        p["name"]: p.get("part") or next(v for k, v in p.items() if k.startswith("value"))
        for p in parameters["parameter"]
    }


async def ask(client: Client, query: str = "") -> dict[str, Any]:
    answer = await client.get(f"/Basic/$settings{query}")
    assert answer.status_code == 200, answer.text
    return by_name(decode(answer.content))


EVERYTHING = entry(
    from_="2026-01-01",
    approval_limit=money("50.00"),
    credit_limit=money("10.00"),
    tax_group=("care", "0.07"),
    currency="CHF",
)


async def test_the_rules_of_a_day_are_told(client: Client) -> None:
    assert (await ask(client))["currency"] == "EUR"
    await write(client, hospital_settings(EVERYTHING))
    found = await ask(client, "?date=2026-06-01")
    assert (found["currency"], found["from"]) == ("CHF", "2026-01-01")
    assert found["credit-limit"] == money("10.00")
    assert found["write-off-limit"] == money("50.00")
    assert found.keys() == {*_PARTS, "tax-group"}
    assert "from" not in await ask(client, "?date=2025-12-31")


async def test_settings_are_tried_before_they_hold(client: Client) -> None:
    await write(client, hospital_settings(EVERYTHING))
    later = hospital_settings(EVERYTHING, entry(from_="2099-01-01", currency="JPY"))
    sent = {
        "resourceType": "Parameters",
        "parameter": [{"name": "date", "valueDate": "2099-02-01"}, {"name": "resource", "resource": later}],
    }
    answer = await send(client, "POST", "/Basic/$settings", sent)
    assert by_name(decode(answer.content))["currency"] == "JPY"
    assert (await ask(client, "?date=2099-02-01"))["currency"] == "CHF"


@pytest.mark.parametrize("wrong", [entry(from_="2026-01-01"), entry(from_="2020-01-01", currency="XYZ")])
async def test_settings_that_would_be_refused_are_told(client: Client, wrong: dict[str, Any]) -> None:
    await write(client, hospital_settings(EVERYTHING))
    sent = {
        "resourceType": "Parameters",
        "parameter": [{"name": "resource", "resource": hospital_settings(wrong)}],
    }
    answer = await send(client, "POST", "/Basic/$settings", sent)
    assert answer.status_code == 422
    assert told(decode(answer.content))
    assert (await client.get("/Basic/hospital-settings/_history?_summary=count")).json()["total"] == 1


@pytest.mark.parametrize("query", ["?date=2026", "?day=2026-01-01"])
async def test_what_is_no_day_is_refused(client: Client, query: str) -> None:
    assert (await client.get(f"/Basic/$settings{query}")).status_code == 400
