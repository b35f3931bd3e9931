"""What an Appointment takes, on the plain FHIR ways to a write: nobody and nothing is booked twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rest.resources import bundle, post, put
from tests.scheduling.desk import (
    MINUTE,
    OURS,
    Desk,
    appointment,
    at,
    hold,
    ref,
    rules,
    schedule,
    slot,
)

DOCTOR, ROOM = "Practitioner/d1", "Location/r1"


async def book(desk: Desk, resource: dict[str, Any]) -> int:
    return (await desk.post_json("Appointment", resource)).status_code


async def test_a_second_booking_of_a_doctor_at_the_same_time_is_refused(desk: Desk) -> None:
    assert await book(desk, appointment(DOCTOR)) == 201
    response = await desk.post_json("Appointment", appointment(DOCTOR, start=29, end=59))
    assert response.status_code == 409
    assert response.json()["issue"][0]["code"] == "conflict"
    assert await book(desk, appointment(DOCTOR, start=30, end=60)) == 201


async def test_actors_without_a_schedule_may_be_booked_twice(desk: Desk) -> None:
    assert await book(desk, appointment("Practitioner/x")) == 201
    assert await book(desk, appointment("Practitioner/x")) == 201


async def test_bookings_from_before_a_schedule_count_when_it_comes(desk: Desk) -> None:
    assert await book(desk, appointment("Practitioner/x")) == 201
    await desk.put_ok(schedule("x", "Practitioner/x"))
    assert await book(desk, appointment("Practitioner/x")) == 409


async def test_an_inactive_schedule_manages_nobodys_time(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, active=False))
    assert await book(desk, appointment(DOCTOR)) == 201
    assert await book(desk, appointment(DOCTOR)) == 201
    assert await book(desk, appointment(slots=("s1",))) == 422


async def test_two_bookings_that_share_only_the_room_exclude_each_other(desk: Desk) -> None:
    await desk.put_ok(schedule("d2", "Practitioner/d2"))
    assert await book(desk, appointment(DOCTOR, ROOM)) == 201
    assert await book(desk, appointment("Practitioner/d2", ROOM)) == 409
    assert await book(desk, appointment("Practitioner/d2")) == 201


async def test_a_partner_that_names_only_the_slot_takes_the_doctors_time(desk: Desk) -> None:
    assert await book(desk, appointment(slots=("s1",))) == 201
    assert await book(desk, appointment(DOCTOR)) == 409
    assert await book(desk, appointment(slots=("s1",))) == 409


async def test_a_role_and_its_practitioner_are_one_person(desk: Desk) -> None:
    await desk.put_ok({"resourceType": "PractitionerRole", "id": "o1", "practitioner": ref(DOCTOR)})
    await desk.put_ok(schedule("o1", "PractitionerRole/o1"))
    assert await book(desk, appointment("PractitionerRole/o1")) == 201
    assert await book(desk, appointment(DOCTOR)) == 409
    assert await book(desk, appointment(DOCTOR, start=60, end=90)) == 201
    assert await book(desk, appointment("PractitionerRole/o1", start=60, end=90)) == 409


async def test_the_schedule_of_a_role_manages_the_practitioner(desk: Desk) -> None:
    role = {"resourceType": "PractitionerRole", "id": "o2", "practitioner": ref("Practitioner/x")}
    await desk.put_ok(role, schedule("o2", "PractitionerRole/o2"))
    assert await book(desk, appointment("Practitioner/x")) == 201
    assert await book(desk, appointment("Practitioner/x")) == 409


@pytest.mark.parametrize(
    ("participant", "second"),
    [
        ({"required": "information-only", "status": "accepted"}, 201),
        ({"required": "optional", "status": "tentative"}, 201),
        ({"required": "optional", "status": "accepted"}, 409),
        ({"required": "required", "status": "declined"}, 201),
        ({"required": "required", "status": "needs-action"}, 409),
        ({"status": "tentative"}, 409),
    ],
)
async def test_only_those_who_take_part_give_their_time(
    desk: Desk, participant: dict[str, str], second: int
) -> None:
    first = appointment()
    first["participant"].append({"actor": ref(DOCTOR), **participant})
    assert await book(desk, first) == 201
    assert await book(desk, appointment(DOCTOR)) == second


async def test_buffers_keep_a_distance(desk: Desk) -> None:
    await desk.put_ok(
        schedule("d1", DOCTOR, extension=rules(buffer_before="5 min", buffer_after="10 min")),
    )
    assert await book(desk, appointment(DOCTOR, start=100, end=130)) == 201
    assert await book(desk, appointment(DOCTOR, start=144, end=150)) == 409
    assert await book(desk, appointment(DOCTOR, start=145, end=150)) == 201
    assert await book(desk, appointment(DOCTOR, start=70, end=86)) == 409
    assert await book(desk, appointment(DOCTOR, start=70, end=85)) == 201


async def test_a_group_takes_as_many_as_the_schedule_has_room_for(desk: Desk) -> None:
    await desk.put_ok(
        schedule("g", "HealthcareService/g", extension=rules(capacity=3)), slot("g1", schedule="g")
    )
    assert [await book(desk, appointment(slots=("g1",))) for _ in range(4)] == [201, 201, 201, 409]
    found = await desk.read("Slot/g1")
    assert (found["status"], found.get("overbooked")) == ("busy", None)


async def test_a_group_slot_stays_free_while_there_is_room(desk: Desk) -> None:
    await desk.put_ok(
        schedule("g", "HealthcareService/g", extension=rules(capacity=2)), slot("g1", schedule="g")
    )
    assert await book(desk, appointment(slots=("g1",), id="a1")) == 201
    assert await desk.slot_status("g1") == "free"
    assert await book(desk, appointment(slots=("g1",))) == 201
    assert await desk.slot_status("g1") == "busy"


async def test_overbooking_needs_a_reason_and_room_for_it(desk: Desk) -> None:
    reason = [{"url": OURS + "overbooking-reason", "valueCodeableConcept": {"text": "urgent"}}]
    assert await book(desk, appointment(slots=("s1",))) == 201
    assert await book(desk, appointment(slots=("s1",), extension=reason)) == 409
    await desk.put_ok(schedule("d1", DOCTOR, extension=rules(overbooking=1)))
    assert await book(desk, appointment(slots=("s1",))) == 409
    assert await book(desk, appointment(slots=("s1",), extension=reason)) == 201
    assert (await desk.read("Slot/s1"))["overbooked"] is True
    assert await book(desk, appointment(slots=("s1",), extension=reason)) == 409


async def test_who_was_booked_before_an_overbooking_can_check_in(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, extension=rules(overbooking=1)))
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    reason = [{"url": OURS + "overbooking-reason", "valueCodeableConcept": {"text": "urgent"}}]
    await desk.put_ok(appointment(slots=("s1",), id="a2", extension=reason))
    assert (await desk.set_status("a1", "arrived")).status_code == 200
    assert (await desk.set_status("a2", "cancelled")).status_code == 200
    found = await desk.read("Slot/s1")
    assert (found["status"], found["overbooked"]) == ("busy", False)


async def test_walk_ins_use_the_reserve(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, extension=rules(overbooking=1)))
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    walk_in = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0276", "code": "WALKIN"}]}
    assert await book(desk, appointment(DOCTOR, appointmentType=walk_in)) == 201
    assert await book(desk, appointment(DOCTOR, appointmentType=walk_in)) == 409


async def test_what_is_over_takes_nothing(desk: Desk) -> None:
    past = {"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T09:30:00Z"}
    assert await book(desk, {**appointment(DOCTOR), **past}) == 201
    assert await book(desk, {**appointment(DOCTOR), **past}) == 201


@pytest.mark.parametrize(
    "status", ["proposed", "waitlist", "cancelled", "noshow", "fulfilled", "entered-in-error"]
)
async def test_what_is_not_live_takes_nothing(desk: Desk, status: str) -> None:
    assert await book(desk, appointment(DOCTOR, slots=("s1",), status=status)) == 201
    assert await desk.slot_status() == "free"
    assert await book(desk, appointment(DOCTOR, slots=("s1",))) == 201


async def test_moving_an_appointment_into_its_own_old_time_works(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    await desk.put_ok(appointment(DOCTOR, id="a1", start=15, end=45))
    assert await book(desk, appointment(DOCTOR, start=0, end=15)) == 201
    assert await book(desk, appointment(DOCTOR, start=30, end=60)) == 409


async def test_two_appointments_change_places_in_one_transaction(desk: Desk) -> None:
    await desk.put_ok(slot("s2", 30, 60))
    await desk.put_ok(
        appointment(slots=("s1",), id="a1"), appointment(slots=("s2",), id="a2", start=30, end=60)
    )
    swap = bundle(
        "transaction",
        put(appointment(slots=("s2",), id="a1", start=30, end=60)),
        put(appointment(slots=("s1",), id="a2")),
    )
    response = await desk.post_json("", swap)
    assert response.status_code == 200, response.text
    assert [await desk.slot_status(s) for s in ("s1", "s2")] == ["busy", "busy"]


async def test_a_transaction_with_two_bookings_of_a_slot_writes_neither(desk: Desk) -> None:
    double = bundle("transaction", post(appointment(slots=("s1",))), post(appointment(slots=("s1",))))
    assert (await desk.post_json("", double)).status_code == 409
    assert (await desk.read("Appointment?_summary=count"))["total"] == 0
    assert await desk.slot_status() == "free"


async def test_a_patch_cannot_move_an_appointment_onto_another(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"), appointment(DOCTOR, id="a2", start=30, end=60))
    patch = [
        {"op": "replace", "path": "/start", "value": at(0)},
        {"op": "replace", "path": "/end", "value": at(30)},
    ]
    response = await desk.patch(
        "Appointment/a2", json=patch, headers={"content-type": "application/json-patch+json"}
    )
    assert response.status_code == 409


async def test_a_hold_that_has_expired_is_nobodys(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    assert await desk.slot_status() == "busy-tentative"
    assert await book(desk, appointment(slots=("s1",))) == 409
    desk.clock.now += 10 * MINUTE
    assert await book(desk, appointment(slots=("s1",))) == 201
    assert await desk.slot_status() == "busy"
    assert (await desk.set_status("h1", "booked")).status_code == 409


@pytest.mark.parametrize(("offset", "other"), [(-1000, 409), (0, 201), (1000, 201)])
async def test_a_hold_ends_at_its_very_instant(desk: Desk, offset: int, other: int) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    desk.clock.now += 10 * MINUTE + offset
    assert await book(desk, appointment(slots=("s1",))) == other
    mine = await desk.set_status("h1", "booked")
    assert mine.status_code == (200 if other == 409 else 409)


async def test_a_hold_that_nobody_else_took_can_still_be_booked(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    desk.clock.now += 11 * MINUTE
    assert (await desk.set_status("h1", "booked")).status_code == 200
    found = await desk.read("Appointment/h1")
    assert "extension" not in found
    desk.clock.now += 60 * MINUTE
    assert await book(desk, appointment(slots=("s1",))) == 409


async def test_who_takes_part_for_a_time_of_their_own_gives_that_time(desk: Desk) -> None:
    joint = appointment(DOCTOR, ROOM, start=0, end=60)
    joint["participant"][1]["period"] = {"start": at(20), "end": at(40)}
    assert await book(desk, joint) == 201
    assert await book(desk, appointment(DOCTOR, start=0, end=20)) == 201
    assert await book(desk, appointment(DOCTOR, start=40, end=60)) == 201
    assert await book(desk, appointment(DOCTOR, start=39, end=40)) == 409
    assert await book(desk, appointment(ROOM, start=0, end=20)) == 409
