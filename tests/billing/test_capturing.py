"""Charges of what was done, each once: by the operation, as things happen, and by hand; bed days by their rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.temporal import DAY, MINUTE, format_instant, parse_interval
from fhir_server.resources.billing.bed_days import bed_days
from fhir_server.resources.billing.settings import DEFAULT, day_at
from tests.beds.ward import bed, place
from tests.billing.office import (
    base,
    build,
    call,
    charge,
    code,
    definition,
    entry,
    hospital_settings,
    in_background,
    read,
    resources,
    send,
    stay,
    tax,
    told,
    write,
)
from tests.conftest import Client, StartServer

Resource = dict[str, Any]
BED_DAY = {"coding": [{"system": "https://osler.health/fhir/CodeSystem/charge-event", "code": "bed-day"}]}


def event(type: str, id: str, **more: Any) -> Resource:
    return {"resourceType": type, "id": id, "subject": {"reference": "Patient/p1"}, **more}


IN_E1 = {"reference": "Encounter/e1"}
PROCEDURE = event(
    "Procedure", "x1", status="completed", code=code("xray"), encounter=IN_E1, performedDateTime="2026-03-02"
)
OBSERVATION = event(
    "Observation", "o1", status="final", code=code("lab"), encounter=IN_E1, effectiveDateTime="2026-03-02"
)
DISPENSE = event(
    "MedicationDispense",
    "d1",
    status="completed",
    medicationReference={"reference": "Medication/m1"},
    context=IN_E1,
    whenHandedOver="2026-03-03T12:00:00Z",
    quantity={"value": 20, "unit": "tablet"},
)
SUPPLY = {
    "resourceType": "SupplyDelivery",
    "id": "s1",
    "status": "completed",
    "patient": {"reference": "Patient/p1"},
    "suppliedItem": {"itemCodeableConcept": code("crutch"), "quantity": {"value": 2}},
    "occurrenceDateTime": "2026-03-04",
}
EVENTS = (
    definition("lab", base("4.20")),
    definition("tablet", base("0.05")),
    definition("crutch", base("12.00")),
    {"resourceType": "Medication", "id": "m1", "code": code("tablet")},
    PROCEDURE,
    OBSERVATION,
    DISPENSE,
    SUPPLY,
)


def prices(charges: list[Resource]) -> dict[str, str]:
    """The net price of each charge by its code."""
    found = {}
    for one in charges:
        (price,) = [e for e in one["extension"] if e["url"].endswith("charge-price")]
        (net,) = [p["valueMoney"]["value"] for p in price["extension"] if p["url"] == "net"]
        found[one["code"].get("text", "bed-day")] = str(net)
    return found


@pytest.fixture
async def office(client: Client) -> Client:
    await build(client, *EVENTS)
    return client


async def test_everything_that_was_done_is_charged_once(office: Client) -> None:
    made = resources(await call(office, "Account/a1/$capture-charges"))
    assert prices(made) == {"Xray": "57.50", "Lab": "4.20", "Tablet": "1.00", "Crutch": "24.00"}
    by_code = {c["code"]["text"]: c for c in made}
    assert by_code["Xray"]["service"] == [{"reference": "Procedure/x1"}]
    assert by_code["Xray"]["definitionCanonical"] == ["https://hospital.test/ChargeItemDefinition/xray|1"]
    assert by_code["Lab"]["context"] == IN_E1
    assert by_code["Tablet"]["account"] == [{"reference": "Account/a1"}]
    assert resources(await call(office, "Account/a1/$capture-charges")) == []
    assert (await office.get("/ChargeItem?_summary=count")).json()["total"] == 4


async def test_a_visit_is_charged_when_it_is_over(office: Client) -> None:
    await call(office, "Account/a1/$capture-charges")
    await write(office, stay(status="finished", type=[code("visit")]), 200)
    (made,) = resources(await call(office, "Account/a1/$capture-charges"))
    assert made["code"]["text"] == "Visit"
    assert "service" not in made


async def test_what_was_not_done_is_not_charged(office: Client) -> None:
    await write(office, {**PROCEDURE, "status": "in-progress"}, 200)
    await write(office, {**OBSERVATION, "status": "cancelled"}, 200)
    made = resources(await call(office, "Account/a1/$capture-charges", encounter="Encounter/e1"))
    assert {c["code"]["text"] for c in made} == {"Tablet", "Crutch"}


async def test_only_what_was_done_until_then_is_charged(office: Client) -> None:
    made = resources(await call(office, "Account/a1/$capture-charges", until="2026-03-02"))
    assert {c["code"]["text"] for c in made} == {"Xray", "Lab"}


async def test_an_encounter_of_another_account_is_refused(office: Client) -> None:
    await write(office, stay("e9", account="a9"))
    answer = await call(office, "Account/a1/$capture-charges", 422, encounter="Encounter/e9")
    assert "not on Account/a1" in told(answer)


async def test_what_was_charged_by_hand_is_not_charged_again(office: Client) -> None:
    await write(office, charge("c1", "xray", service=[{"reference": "Procedure/x1"}]))
    made = resources(await call(office, "Account/a1/$capture-charges"))
    assert "Xray" not in prices(made)
    answer = await send(
        office, "PUT", "/ChargeItem/c2", charge("c2", "xray", service=[{"reference": "Procedure/x1"}])
    )
    assert answer.status_code == 409
    assert "ChargeItem/c1" in answer.text


async def test_a_charge_that_was_an_error_frees_its_event(office: Client) -> None:
    await write(office, charge("c1", "xray", service=[{"reference": "Procedure/x1"}]))
    await write(
        office,
        charge("c1", "xray", "entered-in-error", service=[{"reference": "Procedure/x1"}]),
        200,
    )
    made = resources(await call(office, "Account/a1/$capture-charges"))
    assert "Xray" in prices(made)


async def test_what_is_charged_and_was_not_done_is_taken_back(office: Client) -> None:
    await call(office, "Account/a1/$capture-charges")
    await write(office, {**PROCEDURE, "status": "entered-in-error"}, 200)
    (back,) = resources(await call(office, "Account/a1/$capture-charges"))
    assert (back["code"]["text"], back["status"]) == ("Xray", "entered-in-error")
    assert back["note"][0]["text"] == "Taken back: it is entered-in-error."
    assert resources(await call(office, "Account/a1/$capture-charges")) == []


async def test_what_was_corrected_is_charged_on_its_day_alone(office: Client) -> None:
    await call(office, "Account/a1/$capture-charges")
    await write(office, {**PROCEDURE, "performedDateTime": "2026-03-03"}, 200)
    found = resources(await call(office, "Account/a1/$capture-charges"))
    assert [(c["occurrenceDateTime"], c["status"]) for c in found] == [
        ("2026-03-03", "billable"),
        ("2026-03-02", "entered-in-error"),
    ]
    await write(office, PROCEDURE, 200)
    found = resources(await call(office, "Account/a1/$capture-charges"))
    assert [(c["occurrenceDateTime"], c["status"]) for c in found] == [
        ("2026-03-02", "billable"),
        ("2026-03-03", "entered-in-error"),
    ]


@pytest.mark.parametrize("by_hand", [True, False])
async def test_what_people_must_decide_is_told(office: Client, by_hand: bool) -> None:
    if by_hand:
        await write(office, charge("c1", "xray", service=[{"reference": "Procedure/x1"}]))
    else:
        await call(office, "Account/a1/$capture-charges")
        await call(office, "Account/a1/$invoice")
    await write(office, {**PROCEDURE, "status": "entered-in-error"}, 200)
    answer = await call(office, "Account/a1/$capture-charges")
    assert "Procedure/x1 is charged, and it is entered-in-error" in str(answer)
    assert ("is billed by Invoice/" in str(answer)) is not by_hand
    assert all(c["status"] == "billable" for c in resources(answer))


async def test_what_has_no_price_is_told(office: Client) -> None:
    await write(office, {**PROCEDURE, "id": "x0", "performedDateTime": "2026-03-02", "code": code("dear")})
    await write(office, definition("dear", tax("0.2")))
    answer = await call(office, "Account/a1/$capture-charges")
    problems = [e["resource"] for e in answer["entry"] if e["resource"]["resourceType"] == "OperationOutcome"]
    assert "Procedure/x0" in told(problems[0])
    assert "no base price" in told(problems[0])


async def test_things_are_charged_as_they_are_done(start_server: StartServer) -> None:
    client = await start_server(charge_events=True)
    await build(client, *EVENTS)
    await in_background(client.app)
    found = (await client.get("/ChargeItem")).json()
    assert {e["resource"]["code"]["text"] for e in found["entry"]} == {"Xray", "Lab", "Tablet"}
    await write(client, {**PROCEDURE, "note": [{"text": "again"}]}, 200)
    await in_background(client.app)
    assert (await client.get("/ChargeItem?_summary=count")).json()["total"] == 3
    made = resources(await call(client, "Account/a1/$capture-charges"))
    assert prices(made) == {"Crutch": "24.00"}


async def test_what_cannot_be_charged_as_it_is_done_does_not_stop_the_rest(start_server: StartServer) -> None:
    client = await start_server(charge_events=True)
    by_hand = {
        "url": "https://osler.health/fhir/StructureDefinition/charge-event",
        "extension": [
            {"url": "event", "valueReference": {"reference": "Procedure/x1"}},
            {"url": "day", "valueDate": "2026-03-02"},
        ],
    }
    hidden = charge("c1", "xray", extension=[by_hand])
    del hidden["context"], hidden["account"]
    dear = {**OBSERVATION, "id": "o2", "code": code("dear")}
    await build(client, *EVENTS, hidden, definition("dear", base("1.00", "USD")), dear)
    await in_background(client.app)
    found = (await client.get("/ChargeItem")).json()
    assert {e["resource"]["code"]["text"] for e in found["entry"]} == {"Xray", "Lab", "Tablet"}
    assert set(prices(resources(await call(client, "Account/a1/$capture-charges")))) == {"Crutch"}


async def test_currencies_that_differ_are_told(office: Client) -> None:
    await write(office, definition("dear", base("1.00", "USD")))
    await write(office, {**OBSERVATION, "id": "o2", "code": code("dear")})
    answer = await call(office, "Account/a1/$capture-charges")
    assert "it costs USD, and Account/a1 is in EUR" in str(answer)
    assert len(resources(answer)) == 4


async def test_things_are_charged_on_request_alone_unless_it_is_set(office: Client) -> None:
    await in_background(office.app)
    assert (await office.get("/ChargeItem?_summary=count")).json()["total"] == 0


# Bed days


def lying(start: str, end: str | None = None, *places: Resource, **more: Any) -> Resource:
    period = {"start": start} if end is None else {"start": start, "end": end}
    return stay(
        status="in-progress" if end is None else "finished",
        **{"class": {"code": "IMP"}},
        period=period,
        location=list(places),
        **more,
    )


def at(location: str, start: str, end: str | None = None) -> Resource:
    period = {"start": start} if end is None else {"start": start, "end": end}
    state = "active" if end is None else "completed"
    return {"location": {"reference": f"Location/{location}"}, "status": state, "period": period}


UNTIL = parse_interval("2026-12-31")[1]
BERLIN = "Europe/Berlin"


def days(encounter: Resource, until: int = UNTIL, zone: str = "UTC", **rules: Any) -> list[tuple[int, Any]]:
    return [(d.day.day, d.location) for d in bed_days(encounter, replace(DEFAULT, **rules), until, zone)]


def test_each_midnight_is_a_day_of_the_ward_then() -> None:
    moved = lying(
        "2026-03-01T10:00:00Z",
        "2026-03-04T09:00:00Z",
        at("b1", "2026-03-01T10:00:00Z", "2026-03-02T15:00:00Z"),
        at("b2", "2026-03-02T15:00:00Z", "2026-03-04T09:00:00Z"),
    )
    assert days(moved) == [(1, "b1"), (2, "b2"), (3, "b2")]
    assert days(moved, discharge_day=True)[-1] == (4, "b2")


def test_a_stay_within_a_day_is_one_day_if_so_set() -> None:
    short = lying("2026-03-01T10:00:00Z", "2026-03-01T20:00:00Z", at("b1", "2026-03-01T10:00:00Z"))
    assert [d for d, _ in days(short)] == [1]
    assert days(short, same_day=False) == []
    assert [d for d, _ in days(short, discharge_day=True)] == [1]


def test_midnights_are_those_of_the_place() -> None:
    late = lying("2026-03-28T22:30:00Z", "2026-03-29T22:30:00Z")
    assert [d for d, _ in days(late, zone=BERLIN)] == [28, 29]
    assert [d for d, _ in days(late)] == [28]


def test_started_days_of_24_hours() -> None:
    stayed = lying("2026-10-24T10:00:00Z", "2026-10-26T10:00:01Z")
    assert [d for d, _ in days(stayed, zone=BERLIN, bed_day="started-24h")] == [24, 25, 26]
    assert [
        d for d, _ in days(lying("2026-10-24T10:00:00Z", "2026-10-24T10:01:00Z"), bed_day="started-24h")
    ] == [24]


@given(
    st.integers(0, 400 * 24 * 60),
    st.lists(st.integers(1, 5 * 24 * 60), min_size=1, max_size=5),
    st.sampled_from([BERLIN, "UTC", "America/St_Johns", "Asia/Kathmandu"]),
    st.sampled_from(["midnight", "started-24h"]),
    st.booleans(),
)
@settings(max_examples=150)
def test_each_day_of_a_stay_is_counted_once_wherever_the_patient_lay(
    begin: int, moves: list[int], zone: str, rule: str, discharge: bool
) -> None:
    began = parse_interval("2026-01-01T00:00:00Z")[0] + begin * MINUTE
    marks = [began, *accumulate(moves, lambda at, minutes: at + minutes * MINUTE, initial=began)][1:]
    places = [
        at(f"b{n}", format_instant(low), format_instant(high))
        for n, (low, high) in enumerate(pairwise(marks))
    ]
    stayed = lying(format_instant(began), format_instant(marks[-1]), *places)
    found = bed_days(stayed, replace(DEFAULT, bed_day=rule, discharge_day=discharge), marks[-1] + DAY, zone)
    counted = [one.day for one in found]
    assert counted == sorted(set(counted))
    assert all(one.location is not None for one in found)
    nights = (day_at(marks[-1], zone) - day_at(began, zone)).days
    if rule == "midnight":
        assert len(counted) == (nights + 1 if discharge else max(nights, 1))
    elif not discharge:
        assert len(counted) == -((began - marks[-1]) // DAY)


def test_days_on_leave_are_not_charged_unless_set() -> None:
    history = [
        {"status": "in-progress", "period": {"end": "2026-03-02T08:00:00Z"}},
        {"status": "onleave", "period": {"start": "2026-03-02T08:00:00Z", "end": "2026-03-03T20:00:00Z"}},
    ]
    away = lying("2026-03-01T10:00:00Z", "2026-03-05T09:00:00Z", statusHistory=history)
    assert [d for d, _ in days(away)] == [1, 3, 4]
    assert [d for d, _ in days(away, leave_days=True)] == [1, 2, 3, 4]


def test_a_stay_that_goes_on_is_charged_until_now() -> None:
    goes_on = lying("2026-03-01T10:00:00Z")
    assert [d for d, _ in days(goes_on, parse_interval("2026-03-03T00:00:00Z")[0])] == [1, 2]
    assert days(goes_on, parse_interval("2026-03-01T12:00:00Z")[0]) == []


def test_only_inpatients_have_bed_days() -> None:
    assert days({**lying("2026-03-01T10:00:00Z"), "class": {"code": "AMB"}}) == []
    assert days({**lying("2026-03-01T10:00:00Z"), "status": "cancelled"}) == []


async def test_bed_days_are_priced_by_the_ward_of_each_night(client: Client) -> None:
    private = {"coding": [{"system": "urn:test", "code": "private"}]}
    groups = [
        {"priceComponent": [base("200.00")]},
        {
            "applicability": [{"expression": "%ward.type.coding.where(code = 'private').exists()"}],
            "priceComponent": [{"type": "surcharge", "factor": 0.5}],
        },
    ]
    await build(
        client,
        place("w1", "wa"),
        place("w2", "wa", type=[private]),
        bed("b1", "w1"),
        bed("b2", "w2"),
        definition("day", for_code=BED_DAY, propertyGroup=groups),
        hospital_settings(entry(from_="2020-01-01", bed_day_discharge_day=True)),
        lying(
            "2026-03-01T10:00:00Z",
            "2026-03-03T09:00:00Z",
            at("b1", "2026-03-01T10:00:00Z", "2026-03-02T15:00:00Z"),
            at("b2", "2026-03-02T15:00:00Z", "2026-03-03T09:00:00Z"),
        ),
    )
    made = resources(await call(client, "Account/a1/$capture-charges"))
    nets = [
        (c["occurrenceDateTime"], str(p["valueMoney"]["value"]))
        for c in made
        for e in c["extension"]
        for p in e.get("extension", ())
        if p["url"] == "net"
    ]
    assert nets == [("2026-03-01", "200.00"), ("2026-03-02", "300.00"), ("2026-03-03", "300.00")]
    assert resources(await call(client, "Account/a1/$capture-charges")) == []
    encounter = await read(client, "Encounter/e1")
    await write(client, {**encounter, "period": {**encounter["period"], "end": "2026-03-02T09:00:00Z"}}, 200)
    (back, cheaper) = resources(await call(client, "Account/a1/$capture-charges"))
    assert (back["occurrenceDateTime"], back["status"]) == ("2026-03-03", "entered-in-error")
    assert (cheaper["occurrenceDateTime"], cheaper["status"]) == ("2026-03-02", "billable")
    assert back["note"][0]["text"] == "Taken back: 2026-03-03 is no day of the stay."
    assert (await read(client, f"ChargeItem/{made[0]['id']}"))["status"] == "billable"
    assert resources(await call(client, "Account/a1/$capture-charges")) == []
