"""What one patient may have, and how late a booking may be given up: on plain FHIR ways to a write and by operations."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fhir_server.interactions.consistency import inconsistencies
from tests.rest.resources import bundle, post, put
from tests.scheduling.desk import (
    MINUTE,
    NOW,
    OURS,
    Desk,
    appointment,
    at,
    desk_at,
    hold,
    ref,
    rules,
    schedule,
    store_of,
)
from tests.store.making import Clock

DOCTOR, OTHER = "Practitioner/d1", "Practitioner/d2"
REASON = {"url": OURS + "override-reason", "valueCodeableConcept": {"text": "ill"}}
OVERBOOKED = {"url": OURS + "overbooking-reason", "valueCodeableConcept": {"text": "urgent"}}
# the booking begins 25 hours after NOW
START = 25 * 60 * MINUTE


async def service_of_two_doctors(desk: Desk, **stated: Any) -> None:
    """Two doctors with Schedules for one service that states the rules."""
    service = {"resourceType": "HealthcareService", "id": "h", "active": True}
    await desk.put_ok({**service, "extension": rules(**stated)} if stated else service)
    for number in ("1", "2"):
        role = {
            "resourceType": "PractitionerRole",
            "id": f"r{number}",
            "healthcareService": [ref("HealthcareService/h")],
        }
        await desk.put_ok({**role, "practitioner": ref(f"Practitioner/d{number}")})
        await desk.put_ok(schedule(f"d{number}", f"PractitionerRole/r{number}"))


async def book(desk: Desk, resource: dict[str, Any]) -> int:
    return (await desk.post_json("Appointment", resource)).status_code


async def booked(desk: Desk, resource: dict[str, Any]) -> dict[str, Any]:
    response = await desk.post_json("Appointment", resource)
    assert response.status_code == 201, response.text
    return response.json()


def of(patient: str, resource: dict[str, Any]) -> dict[str, Any]:
    """The same Appointment for another patient."""
    return {
        **resource,
        "participant": [{**resource["participant"][0], "actor": ref(patient)}, *resource["participant"][1:]],
    }


# open bookings


async def test_a_patient_has_as_many_open_bookings_of_a_service_as_it_allows(desk: Desk) -> None:
    await service_of_two_doctors(desk, open_bookings=2)
    assert await book(desk, appointment("PractitionerRole/r1")) == 201
    assert await book(desk, appointment(OTHER, start=60, end=90)) == 201
    response = await desk.post_json("Appointment", appointment(OTHER, start=120, end=150))
    assert response.status_code == 409
    assert "HealthcareService/h" in response.json()["issue"][0]["diagnostics"]
    assert await book(desk, of("Patient/p2", appointment(OTHER, start=120, end=150))) == 201
    assert await book(desk, appointment("Practitioner/elsewhere", start=120, end=150)) == 201


async def test_a_booking_that_is_cancelled_or_over_is_not_open(desk: Desk) -> None:
    await service_of_two_doctors(desk, open_bookings=1)
    first = await booked(desk, appointment(DOCTOR))
    assert await book(desk, appointment(DOCTOR, start=60, end=90)) == 409
    assert (await desk.set_status(first["id"], "cancelled")).status_code == 200
    await booked(desk, appointment(DOCTOR, start=60, end=90))
    desk.clock.now = NOW + START + 90 * MINUTE
    assert await book(desk, appointment(DOCTOR, start=120, end=150)) == 201


async def test_a_limit_counts_what_was_booked_before_it_and_takes_nothing_away(desk: Desk) -> None:
    await service_of_two_doctors(desk)
    one = await booked(desk, appointment(DOCTOR))
    await booked(desk, appointment(DOCTOR, start=60, end=90))
    await service_of_two_doctors(desk, open_bookings=1)
    assert await book(desk, appointment(DOCTOR, start=120, end=150)) == 409
    moved = {**one, "start": at(30), "end": at(60)}
    assert (await desk.put_json(f"Appointment/{one['id']}", moved)).status_code == 200
    assert await inconsistencies(desk.app.services) == []


async def test_every_way_to_a_write_counts(desk: Desk) -> None:
    await service_of_two_doctors(desk, open_bookings=1)
    two = [appointment(DOCTOR), appointment(OTHER, start=60, end=90)]
    response = await desk.post_json("", bundle("transaction", *(post(a) for a in two)))
    assert response.status_code == 409
    assert (await desk.read("Appointment"))["total"] == 0
    await booked(desk, two[0])
    assert (await desk.put_json("Appointment/a", {**two[1], "id": "a"})).status_code == 409
    proposed = await booked(desk, appointment(OTHER, start=60, end=90, status="proposed"))
    assert (await desk.set_status(proposed["id"], "booked")).status_code == 409
    answer = await desk.operate("Appointment/$book", appointment_resource=two[1])
    assert answer.status_code == 409
    other = of("Patient/p2", two[1])
    response = await desk.post_json("", bundle("transaction", put({**other, "id": "b"})))
    assert response.status_code == 200
    response = await desk.put_json("Appointment/b", {**two[1], "id": "b"})
    assert response.status_code == 409, "another patient in the place of the one who booked"


async def test_bookings_at_once_do_not_pass_the_limit_together(desk: Desk) -> None:
    await service_of_two_doctors(desk, open_bookings=2)
    wanted = (appointment(DOCTOR, start=n * 30, end=n * 30 + 30) for n in range(8))
    statuses = await asyncio.gather(*(book(desk, a) for a in wanted))
    assert sorted(statuses) == [201, 201, *[409] * 6]


async def test_a_reason_lets_in_one_more_than_the_limit(desk: Desk) -> None:
    await service_of_two_doctors(desk, open_bookings=1)
    await booked(desk, appointment(DOCTOR))
    assert await book(desk, appointment(OTHER, start=60, end=90, extension=[OVERBOOKED])) == 201


async def test_a_limit_of_nothing_makes_no_sense(desk: Desk) -> None:
    resource = {"resourceType": "HealthcareService", "id": "h", "extension": rules(open_bookings=0)}
    assert (await desk.put_json("HealthcareService/h", resource)).status_code in (400, 422)


# holds


async def test_a_patient_holds_as_many_times_as_the_rules_allow(desk: Desk) -> None:
    await service_of_two_doctors(desk, open_holds=1)
    first = await booked(desk, hold(DOCTOR, expires=10 * MINUTE))
    assert await book(desk, hold(OTHER, start=60, end=90, expires=10 * MINUTE)) == 409
    assert await book(desk, appointment(OTHER, start=60, end=90)) == 201
    assert (await desk.operate(f"Appointment/{first['id']}/$confirm")).status_code == 200
    assert await book(desk, hold(OTHER, start=120, end=150, expires=10 * MINUTE)) == 201
    desk.clock.now = NOW + 10 * MINUTE
    assert await book(desk, hold(OTHER, start=180, end=210, expires=20 * MINUTE)) == 201


# the deadline


@pytest.mark.parametrize(("early", "status"), [(1, 200), (0, 200), (-1, 422)])
async def test_a_booking_is_cancelled_until_the_deadline(desk: Desk, early: int, status: int) -> None:
    await service_of_two_doctors(desk, cancellation_deadline="24 h")
    made = await booked(desk, appointment(DOCTOR))
    desk.clock.now = NOW + 60 * MINUTE - early
    assert (await desk.set_status(made["id"], "cancelled")).status_code == status


async def test_after_the_deadline_every_way_to_give_up_needs_a_reason(desk: Desk) -> None:
    await service_of_two_doctors(desk, cancellation_deadline="24 h")
    made = await booked(desk, appointment(DOCTOR))
    address = f"Appointment/{made['id']}"
    desk.clock.now = NOW + 61 * MINUTE
    moved = {**made, "start": at(30), "end": at(60)}
    assert (await desk.put_json(address, moved)).status_code == 422
    assert (await desk.delete(address)).status_code == 422
    assert (await desk.operate(f"{address}/$cancel", reason={"text": "x"})).status_code == 422
    patch = [{"op": "replace", "path": "/status", "value": "cancelled"}]
    response = await desk.patch(address, json=patch, headers={"content-type": "application/json-patch+json"})
    assert response.status_code == 422
    assert (await desk.put_json(address, {**moved, "extension": [REASON]})).status_code == 200
    answer = await desk.operate(f"{address}/$cancel", reason={"text": "x"}, override={"text": "ill"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"


async def test_a_reschedule_after_the_deadline_takes_a_reason(desk: Desk) -> None:
    await service_of_two_doctors(desk, cancellation_deadline="24 h")
    made = await booked(desk, appointment(DOCTOR))
    desk.clock.now = NOW + 61 * MINUTE
    address = f"Appointment/{made['id']}/$reschedule"
    assert (await desk.operate(address, start=at(300))).status_code == 422
    assert (await desk.operate(address, start=at(300), override={"text": "ill"})).status_code == 200


async def test_holds_are_let_go_and_mistakes_and_visits_noted_after_the_deadline(desk: Desk) -> None:
    await service_of_two_doctors(desk, cancellation_deadline="24 h")
    held = await booked(desk, hold(DOCTOR, expires=120 * MINUTE))
    wrong = await booked(desk, appointment(DOCTOR, start=60, end=90))
    seen = await booked(desk, appointment(DOCTOR, start=120, end=150))
    desk.clock.now = NOW + 61 * MINUTE
    assert (await desk.set_status(held["id"], "cancelled")).status_code == 200
    assert (await desk.set_status(wrong["id"], "entered-in-error")).status_code == 200
    assert (await desk.set_status(seen["id"], "arrived")).status_code == 200


# one place at a time


@pytest.fixture(params=["sqlite", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_patient_is_at_one_place_at_a_time_where_that_is_the_rule(kind: str, tmp_path: Path) -> None:
    clock = Clock(NOW)
    async with desk_at(store_of(kind, tmp_path, clock), clock, patient_overlap="refuse") as desk:
        first = await booked(desk, appointment(DOCTOR))
        assert await book(desk, appointment(OTHER, start=29, end=59)) == 409
        assert await book(desk, of("Patient/p2", appointment(OTHER, start=29, end=59))) == 201
        assert await book(desk, appointment(OTHER, start=30, end=60)) == 201
        assert await book(desk, appointment(OTHER, start=15, end=45, extension=[OVERBOOKED])) == 201
        informed = appointment(OTHER)
        informed["participant"][0]["required"] = "information-only"
        assert await book(desk, informed) == 201
        assert (await desk.set_status(first["id"], "cancelled")).status_code == 200
        assert await inconsistencies(desk.app.services) == []


async def test_an_overlap_is_told_where_that_is_the_rule(kind: str, tmp_path: Path) -> None:
    clock = Clock(NOW)
    async with desk_at(store_of(kind, tmp_path, clock), clock, patient_overlap="warn") as desk:
        first = await booked(desk, appointment(DOCTOR))
        prefer = {"prefer": "return=OperationOutcome"}
        response = await desk.post_json("Appointment", appointment(OTHER, start=29, end=59), **prefer)
        assert response.status_code == 201
        issue = response.json()["issue"][0]
        assert issue["severity"] == "warning"
        assert f"Appointment/{first['id']}" in issue["diagnostics"]
        answer = await desk.operate("Appointment/$book", appointment_resource=appointment(OTHER, start=5))
        outcomes = [e["resource"] for e in answer.json()["entry"] if e["search"]["mode"] == "outcome"]
        assert [len(o["issue"]) for o in outcomes] == [2]
        moved = await desk.operate(
            f"Appointment/{first['id']}/$reschedule", prefer, start={"valueInstant": at(10)}
        )
        assert [i["severity"] for i in moved.json()["issue"]] == ["warning", "warning", "information"]
        series = {"recurrence": "FREQ=DAILY;COUNT=2", "recurrence_mode": {"valueCode": "each"}}
        one = appointment(OTHER, start=200, end=210)
        answer = await desk.operate("Appointment/$book", prefer, appointment_resource=one, **series)
        assert [e["resource"]["resourceType"] for e in answer.json()["entry"]] == ["Appointment"] * 2
        response = await desk.post_json("Appointment", appointment(OTHER, start=90, end=95), **prefer)
        assert [i["severity"] for i in response.json()["issue"]] == ["information"]


async def test_overlaps_are_accepted_unless_the_setting_says_otherwise(desk: Desk) -> None:
    assert await book(desk, appointment(DOCTOR)) == 201
    assert await book(desk, appointment(OTHER)) == 201


async def test_what_is_found_for_a_patient_leaves_out_when_the_patient_is_elsewhere(desk: Desk) -> None:
    async def total(patient: str) -> int:
        given = {"start": at(0)[:10], "end": at(0)[:10], "schedule": ref("Schedule/d1")}
        answer = await desk.operate("Appointment/$find", **given, patient_reference=ref(patient))
        return answer.json()["total"]

    await desk.put_ok({"resourceType": "Patient", "id": "p1"}, {"resourceType": "Patient", "id": "p2"})
    assert [await total("Patient/p1"), await total("Patient/p2")] == [1, 1]
    await booked(desk, appointment("Practitioner/elsewhere"))
    assert [await total("Patient/p1"), await total("Patient/p2")] == [0, 1]
