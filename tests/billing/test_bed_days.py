"""Days of stays, charged as they pass: by the change feed, once a day, after a discharge; and taken back with what was a mistake."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_r4.temporal import DAY, format_instant
from fhir_server.subscriptions.charging import ChargeReactions
from tests.beds.ward import bed, place
from tests.billing.office import (
    base,
    build,
    call,
    definition,
    entry,
    hospital_settings,
    in_background,
    parameters,
    read,
    resources,
    send,
    stay,
    write,
)
from tests.billing.test_capturing import BED_DAY
from tests.conftest import Client, StartServer

Resource = dict[str, Any]
PRIVATE = {"coding": [{"system": "urn:test", "code": "private"}]}
# two prices: of a bed, and more in a private ward
DAILY = definition(
    "day",
    for_code=BED_DAY,
    propertyGroup=[
        {"priceComponent": [base("200.00")]},
        {
            "applicability": [{"expression": "%ward.type.coding.where(code = 'private').exists()"}],
            "priceComponent": [{"type": "surcharge", "factor": 0.5}],
        },
    ],
)
HOUSE = (
    place("w1", "wa"),
    place("w2", "wa", type=[PRIVATE]),
    bed("b1", "w1"),
    bed("b2", "w2"),
    DAILY,
)


def noon(days_ago: int) -> str:
    """Noon of the day so many days ago."""
    day = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    return day.strftime("%Y-%m-%dT%H:%M:%SZ")


def lying(days_ago: int, location: str = "b1", **more: Any) -> Resource:
    here = {
        "location": {"reference": f"Location/{location}"},
        "status": "active",
        "period": {"start": noon(days_ago)},
    }
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}
    return stay(**{"class": coding}, period={"start": noon(days_ago)}, location=[here], **more)


async def charged(client: Client) -> list[tuple[str, str, str]]:
    """Day, state and net of the bed days, by day; what was taken back first."""
    found = (await client.get("/ChargeItem?_count=100")).json()
    every = [e["resource"] for e in found.get("entry", ())]
    told = []
    for one in every:
        (price,) = [e for e in one["extension"] if e["url"].endswith("charge-price")]
        (net,) = [p["valueMoney"]["value"] for p in price["extension"] if p["url"] == "net"]
        told.append((one["occurrenceDateTime"], one["status"], f"{net:.2f}"))
    return sorted(told, key=lambda t: (t[0], t[1] == "billable"))


async def mistaken(client: Client, address: str) -> None:
    """Take back what was a mistake."""
    asked = parameters(request_id=f"urn:uuid:{uuid.uuid4()}")["parameter"]
    reason = {"name": "reason", "valueCodeableConcept": {"text": "was a mistake"}}
    answer = await send(
        client, "POST", f"/{address}", {"resourceType": "Parameters", "parameter": [*asked, reason]}
    )
    assert answer.status_code == 200, answer.text


def day(days_ago: int) -> str:
    return noon(days_ago)[:10]


@pytest.fixture
async def house(start_server: StartServer) -> Client:
    client = await start_server(charge_events=True)
    await build(client, *HOUSE, lying(2))
    return client


async def test_a_stay_that_goes_on_is_charged_for_the_nights_that_have_passed(house: Client) -> None:
    await in_background(house.app)
    assert await charged(house) == [(day(2), "billable", "200.00"), (day(1), "billable", "200.00")]
    assert resources(await call(house, "Account/a1/$capture-charges")) == []


async def test_each_day_is_charged_as_it_has_passed(house: Client) -> None:
    await in_background(house.app)
    services = house.app.services
    tomorrow = replace(services, clock=lambda: services.clock() + DAY)
    reactions = ChargeReactions(tomorrow)
    assert await reactions.count_days() == 1
    assert await reactions.count_days() == 0
    assert [d for d, _, _ in await charged(house)] == [day(2), day(1), day(0)]
    assert await ChargeReactions(tomorrow).count_days() == 0


async def test_a_discharge_charges_the_rest_and_its_cancellation_goes_on(house: Client) -> None:
    answer = await call(house, "Encounter/e1/$discharge")
    assert answer["status"] == "finished"
    await in_background(house.app)
    assert [d for d, _, _ in await charged(house)] == [day(2), day(1)]
    await write(house, {**await read(house, "Location/b1"), "operationalStatus": {"code": "U"}}, 200)
    await mistaken(house, "Encounter/e1/$cancel-discharge")
    await in_background(house.app)
    assert [s for _, s, _ in await charged(house)] == ["billable", "billable"]


async def test_a_stay_within_a_day_is_one_day_until_its_discharge_is_cancelled(
    start_server: StartServer,
) -> None:
    client = await start_server(charge_events=True)
    now = client.app.services.clock()
    came = format_instant(now - 1_000_000)
    here = {"location": {"reference": "Location/b1"}, "status": "active", "period": {"start": came}}
    await build(client, *HOUSE, {**lying(0), "period": {"start": came}, "location": [here]})
    await in_background(client.app)
    assert await charged(client) == []
    gone = await call(client, "Encounter/e1/$discharge")
    if gone["period"]["end"][:10] != came[:10]:
        pytest.skip("midnight has just passed")
    await in_background(client.app)
    assert [s for _, s, _ in await charged(client)] == ["billable"]
    await write(client, {**await read(client, "Location/b1"), "operationalStatus": {"code": "U"}}, 200)
    await mistaken(client, "Encounter/e1/$cancel-discharge")
    await in_background(client.app)
    assert [s for _, s, _ in await charged(client)] == ["entered-in-error"]
    await call(client, "Encounter/e1/$discharge")
    await in_background(client.app)
    assert [s for _, s, _ in await charged(client)] == ["entered-in-error", "billable"]


async def test_an_admission_that_is_cancelled_takes_its_days_back(house: Client) -> None:
    await in_background(house.app)
    await mistaken(house, "Encounter/e1/$cancel-admit")
    await in_background(house.app)
    assert [s for _, s, _ in await charged(house)] == ["entered-in-error"] * 2


async def test_a_transfer_that_is_told_late_is_priced_where_the_patient_lay(house: Client) -> None:
    await in_background(house.app)
    await call(house, "Encounter/e1/$transfer", bed="Location/b2", at=noon(1))
    await in_background(house.app)
    assert await charged(house) == [(day(2), "billable", "200.00"), (day(1), "billable", "300.00")]


async def test_a_day_that_is_billed_stays_and_is_told(house: Client) -> None:
    await in_background(house.app)
    await call(house, "Account/a1/$invoice")
    await mistaken(house, "Encounter/e1/$cancel-admit")
    await in_background(house.app)
    assert [s for _, s, _ in await charged(house)] == ["billed"] * 2
    answer = await call(house, "Account/a1/$capture-charges")
    assert "is billed by Invoice/" in str(answer)


async def test_the_rule_is_that_of_the_day_of_admission(house: Client) -> None:
    await in_background(house.app)
    rules = [entry(from_="2020-01-01"), entry(from_=day(1), bed_day_rule="started-24h")]
    await write(house, hospital_settings(*rules))
    assert resources(await call(house, "Account/a1/$capture-charges")) == []


async def test_a_server_that_charges_on_request_counts_no_days(client: Client) -> None:
    await build(client, *HOUSE, lying(2))
    await in_background(client.app)
    assert await charged(client) == []


async def test_races_of_servers_that_count_the_same_day_charge_it_once(client: Client) -> None:
    await build(client, *HOUSE, lying(2))
    services = client.app.services
    written = await asyncio.gather(*(ChargeReactions(services).count_days() for _ in range(4)))
    assert sum(written) >= 2
    assert await charged(client) == [(day(2), "billable", "200.00"), (day(1), "billable", "200.00")]
