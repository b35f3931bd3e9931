"""The price list and the settings: the version at the time of the service, conditions, overrides, tax, what stays."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.billing.office import (
    LIST,
    base,
    build,
    call,
    charge,
    code,
    definition,
    entry,
    hospital_settings,
    issued,
    money,
    number,
    read,
    send,
    tax,
    told,
    write,
)
from tests.conftest import Client, StartServer

D = Decimal
Resource = dict[str, Any]


@pytest.fixture
async def office(start_server: StartServer) -> Client:
    client = await start_server(default_timezone="Europe/Berlin")
    await build(client)
    return client


def price_parts(charge: Resource) -> dict[str, str]:
    """Net and gross of the price, and the amount of each component by its type."""
    (price,) = [e["extension"] for e in charge["extension"] if e["url"].endswith("/charge-price")]
    found = {p["url"]: str(p["valueMoney"]["value"]) for p in price if p["url"] in ("net", "gross")}
    for part in (p["extension"] for p in price if p["url"] == "component"):
        values = {p["url"]: p for p in part}
        if "amount" in values:
            found[values["type"]["valueCode"]] = str(values["amount"]["valueMoney"]["value"])
    return found


def _without(resource: Resource, *names: str) -> Resource:
    return {k: v for k, v in resource.items() if k not in names}


async def test_apply_prices_a_charge(office: Client) -> None:
    await write(office, _without(charge("c1", quantity={"value": 3}), "account", "definitionCanonical"))
    made = await call(
        office, "ChargeItemDefinition/visit-1/$apply", chargeItem="ChargeItem/c1", account="Account/a1"
    )
    assert price_parts(made) == {"base": "300.00", "net": "300.00", "gross": "360.00"}
    assert made["definitionCanonical"] == [LIST + "visit|1"]
    assert made["account"] == [{"reference": "Account/a1"}]
    assert (await read(office, "ChargeItem/c1"))["definitionCanonical"] == [LIST + "visit|1"]


async def test_the_price_is_that_of_the_time_of_the_service(office: Client) -> None:
    spring = {"start": "2026-01-01", "end": "2026-03-31"}
    await write(office, definition("scan", base("10.00"), effectivePeriod=spring))
    await write(
        office, definition("scan", base("11.00"), version="2", effectivePeriod={"start": "2026-04-01"})
    )
    cases = [
        # midnight by the clocks of the hospital
        ("2026-03-31T21:59:59Z", "10.00", "1"),
        ("2026-03-31T22:00:00Z", "11.00", "2"),
        ("2026-03-31", "10.00", "1"),
        ("2026-04-01", "11.00", "2"),
    ]
    for when, net, version in cases:
        asked = await call(office, "ChargeItemDefinition/scan-2/$price", occurrence=when)
        assert price_parts(asked)["net"] == net, when
        assert asked["definitionCanonical"] == [f"{LIST}scan|{version}"]
    before = await call(office, "ChargeItemDefinition/scan-2/$price", 422, occurrence="2025-12-31")
    assert "No version" in told(before)


async def test_a_retired_version_prices_what_was_done_in_its_time(office: Client) -> None:
    old = definition("scan", base("10.00"), effectivePeriod={"start": "2026-01-01", "end": "2026-03-31"})
    await write(office, old)
    await write(office, {**old, "status": "retired"}, 200)
    asked = await call(office, "ChargeItemDefinition/scan-1/$price", occurrence="2026-02-01")
    assert price_parts(asked)["net"] == "10.00"


async def test_versions_in_force_do_not_overlap(office: Client) -> None:
    await write(office, definition("scan", base("10.00"), effectivePeriod={"start": "2026-01-01"}))
    later = definition("scan", base("11.00"), version="2", effectivePeriod={"start": "2029-04-01"})
    answer = await send(office, "PUT", "/ChargeItemDefinition/scan-2", later)
    assert answer.status_code == 409
    assert "ChargeItemDefinition/scan-1" in answer.text


async def test_prices_in_force_stay(office: Client) -> None:
    changed = definition("visit", base("110.00"), tax("0.20"))
    answer = await send(office, "PUT", "/ChargeItemDefinition/visit-1", changed)
    assert answer.status_code == 422
    assert "another version" in answer.text
    ended = definition("visit", base("100.00"), tax("0.20"), effectivePeriod={"end": "2026-12-31"})
    assert (await send(office, "PUT", "/ChargeItemDefinition/visit-1", ended)).status_code == 200
    assert (
        await send(office, "PUT", "/ChargeItemDefinition/visit-1", {**ended, "status": "draft"})
    ).status_code == 422


@pytest.mark.parametrize(
    "bad",
    [
        {"propertyGroup": [{"priceComponent": [base("1.00"), base("2.00")]}]},
        {"propertyGroup": [{"priceComponent": [base("1.00"), base("2.00", "USD")]}]},
        {"propertyGroup": [{"priceComponent": [{"type": "base", "amount": {"value": 1}}]}]},
        {"propertyGroup": [{"priceComponent": [base("1.005")]}]},
    ],
)
async def test_a_price_list_that_cannot_be_calculated_is_refused(office: Client, bad: Resource) -> None:
    made = {**definition("bad", base("1.00")), **bad}
    assert (await send(office, "PUT", "/ChargeItemDefinition/bad-1", made)).status_code == 422


async def test_conditions_choose_the_groups_that_apply(office: Client) -> None:
    groups = [
        {"priceComponent": [base("100.00")]},
        {
            "applicability": [{"expression": "%encounter.class.code = 'AMB'"}],
            "priceComponent": [{"type": "discount", "factor": D("0.10"), "code": {"text": "day"}}],
        },
        {
            "applicability": [{"expression": "%patient.gender = 'male'"}],
            "priceComponent": [{"type": "surcharge", "amount": money("5.00")}],
        },
        {
            "applicability": [{"expression": "quantity.value > 1"}],
            "priceComponent": [{"type": "deduction", "amount": money("1.00")}],
        },
    ]
    await write(office, definition("scan", propertyGroup=groups))
    await write(office, charge("c1", "scan", quantity={"value": 2}))
    made = await call(office, "ChargeItemDefinition/scan-1/$apply", chargeItem="ChargeItem/c1")
    assert price_parts(made) == {
        "base": "200.00",
        "discount": "-20.00",
        "deduction": "-2.00",
        "net": "178.00",
        "gross": "178.00",
    }


async def test_a_definition_that_does_not_apply_prices_nothing(office: Client) -> None:
    await write(
        office, definition("scan", base("1.00"), applicability=[{"expression": "%patient.deceased.exists()"}])
    )
    await write(office, charge("c1", "scan"))
    answer = await call(office, "ChargeItemDefinition/scan-1/$apply", 422, chargeItem="ChargeItem/c1")
    assert "do not hold" in told(answer)


UNKNOWN = [
    {"expression": "[some CQL expression]", "language": "text/CQL"},
    {"expression": "code.where("},
    {"expression": "code.nothingLikeThis()"},
    {"description": "Once in a quarter"},
]


@pytest.mark.parametrize("condition", UNKNOWN)
@pytest.mark.parametrize("of_group", [False, True])
async def test_a_condition_that_cannot_be_judged_is_kept_and_prices_nothing(
    office: Client, condition: Resource, of_group: bool
) -> None:
    name = condition.get("expression") or condition["description"]
    groups = [{"priceComponent": [base("9.00")]}]
    made = (
        definition("scan", propertyGroup=[{**groups[0], "applicability": [condition]}])
        if of_group
        else definition("scan", applicability=[condition], propertyGroup=groups)
    )
    answer = await send(office, "PUT", "/ChargeItemDefinition/scan-1", made, prefer="return=OperationOutcome")
    assert answer.status_code == 201
    assert name in told(answer.json())
    assert await read(office, "ChargeItemDefinition/scan-1") == made
    await write(office, charge("c1", "scan"))
    refused = await call(office, "ChargeItemDefinition/scan-1/$apply", 422, chargeItem="ChargeItem/c1")
    assert repr(name) in told(refused)
    refused = await call(office, "ChargeItemDefinition/scan-1/$price", 422, charge_item=charge("c1", "scan"))
    assert repr(name) in told(refused)
    refused = await call(office, "Account/a1/$invoice", 422)
    assert repr(name) in told(refused)
    done = {"status": "completed", "code": code("scan"), "subject": {"reference": "Patient/p1"}}
    event = {"resourceType": "Procedure", "id": "x1", **done, "encounter": {"reference": "Encounter/e1"}}
    await write(office, {**event, "performedDateTime": "2026-03-02"})
    captured = await call(office, "Account/a1/$capture-charges")
    (outcome,) = [e["resource"] for e in captured["entry"]]
    assert repr(name) in told(outcome)
    assert "Procedure/x1 of 2026-03-02 was not charged" in told(outcome)


async def test_a_condition_is_not_needed_where_another_does_not_hold(office: Client) -> None:
    conditions = [*UNKNOWN, {"expression": "quantity.value > 5", "language": "text/FHIRPath"}]
    await write(office, definition("scan", base("1.00"), applicability=conditions))
    await write(office, charge("c1", "scan", quantity={"value": 2}))
    answer = await call(office, "ChargeItemDefinition/scan-1/$apply", 422, chargeItem="ChargeItem/c1")
    assert "do not hold" in told(answer)


async def test_overrides_take_the_place_of_list_prices(office: Client) -> None:
    await write(
        office,
        charge("c1", priceOverride=money("80.00"), overrideReason="agreed", quantity={"value": 3}),
    )
    made = await call(office, "ChargeItemDefinition/visit-1/$apply", chargeItem="ChargeItem/c1")
    assert price_parts(made) == {"base": "80.00", "net": "80.00", "gross": "96.00"}
    await write(office, charge("c2", factorOverride=D("1.5")))
    made = await call(office, "ChargeItemDefinition/visit-1/$apply", chargeItem="ChargeItem/c2")
    assert price_parts(made)["net"] == "150.00"
    answer = await send(office, "PUT", "/ChargeItem/c3", charge("c3", priceOverride=money("1.00")))
    assert "overrideReason" in answer.text


async def test_a_price_is_asked_for_without_writing(office: Client) -> None:
    made = await call(office, "ChargeItemDefinition/$price", code=code("xray"), quantity=D(2))
    assert price_parts(made)["gross"] == "138.00"
    assert (await office.get("/ChargeItem?_summary=count")).json()["total"] == 0
    answer = await call(office, "ChargeItemDefinition/$price", 422, code=code("nothing"))
    assert "0 definitions" in told(answer)


async def test_settings_hold_from_their_day(office: Client) -> None:
    rules = hospital_settings(
        entry(from_="2020-01-01", tax_group=("care", "0.07")),
        entry(from_="2026-07-01", tax_group=("care", "0.05"), prices_include_tax=True),
    )
    await write(office, rules)
    group = {"type": "tax", "code": {"coding": [{"code": "care"}]}}
    await write(office, definition("care", base("105.00"), group))
    first = await call(office, "ChargeItemDefinition/care-1/$price", occurrence="2026-06-30")
    assert (price_parts(first)["net"], price_parts(first)["gross"]) == ("105.00", "112.35")
    then = await call(office, "ChargeItemDefinition/care-1/$price", occurrence="2026-07-01")
    assert (price_parts(then)["net"], price_parts(then)["gross"]) == ("100.00", "105.00")


async def test_settings_that_have_begun_stay(office: Client) -> None:
    first = entry(from_="2020-01-01", payment_days=14)
    await write(office, hospital_settings(first))
    for changed in (
        hospital_settings(entry(from_="2020-01-01", payment_days=30)),
        _without(hospital_settings(), "extension"),
        hospital_settings(first, entry(from_="2021-01-01", payment_days=30)),
        hospital_settings(first, first),
    ):
        answer = await send(office, "PUT", "/Basic/hospital-settings", changed)
        assert answer.status_code == 422, answer.text
    assert (await office.delete("/Basic/hospital-settings")).status_code == 422
    added = hospital_settings(first, entry(from_="2999-01-01", payment_days=30))
    await write(office, added, 200)
    await write(office, hospital_settings(first), 200)


@pytest.mark.parametrize(
    "bad",
    [
        {"rounding_mode": "sometimes"},
        {"currency": "XYZ"},
        {"rounding_level": "page"},
        {"fiscal_year_start": "13-01"},
        {"invoice_series": "A/B"},
        {"payment_days": 100_000},
        {"tax_group": ("care", "20")},
        {"bed_day_rule": "noon"},
    ],
)
async def test_settings_that_are_none_are_refused(office: Client, bad: dict[str, Any]) -> None:
    made = hospital_settings(entry(from_="2020-01-01", **bad))
    assert (await send(office, "PUT", "/Basic/hospital-settings", made)).status_code == 422


async def test_years_of_numbers_begin_with_the_fiscal_year(office: Client) -> None:
    await write(office, hospital_settings(entry(from_="2020-01-01", fiscal_year_start="04-01")))
    first = await issued(office, charge("c1"), date="2026-03-31T21:59:59Z")
    second = await issued(office, charge("c2"), date="2026-03-31T22:00:00Z")
    assert [number(i) for i in (first, second)] == ["INV-2025-000001", "INV-2026-000001"]
