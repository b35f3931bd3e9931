"""The states of an Appointment, and the Slots that follow them, on the plain FHIR ways to a write."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from fhir_server.resources.scheduling.lifecycle import TRANSITIONS
from tests.rest.resources import bundle, post, put
from tests.scheduling.desk import MINUTE, OURS, Desk, appointment, at, hold, ref, schedule, slot

DOCTOR = "Practitioner/d1"
STATES = tuple(TRANSITIONS)
# the states and the ways between them, as the hospital's rules tell them
ALLOWED = {
    "proposed": "pending booked waitlist cancelled",
    "waitlist": "proposed pending booked cancelled",
    "pending": "booked waitlist proposed cancelled",
    "booked": "pending arrived checked-in cancelled noshow",
    "checked-in": "arrived fulfilled",
    "arrived": "checked-in fulfilled",
    "noshow": "arrived checked-in",
    "fulfilled": "",
    "cancelled": "",
}


@pytest.mark.parametrize(("before", "after"), [p for p in product(STATES, STATES) if p[0] != p[1]])
async def test_only_the_ways_of_the_lifecycle_are_open(desk: Desk, before: str, after: str) -> None:
    override = [{"url": OURS + "override-reason", "valueCodeableConcept": {"text": "late train"}}]
    await desk.put_ok(appointment(DOCTOR, id="a1", status=before, extension=override))
    open = before != "entered-in-error" and (after == "entered-in-error" or after in ALLOWED[before].split())
    response = await desk.set_status("a1", after)
    assert response.status_code == (200 if open else 422), response.text


async def test_who_was_missed_is_let_in_only_with_a_reason_and_on_the_day(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1", status="noshow"))
    assert (await desk.set_status("a1", "arrived")).status_code == 422
    override = [{"url": OURS + "override-reason", "valueCodeableConcept": {"text": "late train"}}]
    desk.clock.now += 60 * 25 * MINUTE + 24 * 60 * MINUTE
    assert (await desk.set_status("a1", "arrived", extension=override)).status_code == 422


@pytest.mark.parametrize("status", ["pending", "booked", "arrived", "checked-in", "fulfilled", "noshow"])
async def test_these_states_need_times(desk: Desk, status: str) -> None:
    timeless = {k: v for k, v in appointment(status=status).items() if k not in ("start", "end")}
    assert (await desk.post_json("Appointment", timeless)).status_code == 422
    backwards = appointment(status=status, start=30, end=0)
    assert (await desk.post_json("Appointment", backwards)).status_code == 422
    nothing = appointment(status=status, start=30, end=30)
    assert (await desk.post_json("Appointment", nothing)).status_code == 422


@pytest.mark.parametrize("status", ["proposed", "waitlist", "cancelled"])
async def test_these_states_need_no_times(desk: Desk, status: str) -> None:
    timeless = {k: v for k, v in appointment(status=status).items() if k not in ("start", "end")}
    assert (await desk.post_json("Appointment", timeless)).status_code == 201


async def test_a_slot_follows_its_appointment(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1", status="proposed"))
    seen = [await desk.slot_status()]
    for status in ("pending", "booked", "pending", "booked", "arrived", "checked-in"):
        assert (await desk.set_status("a1", status)).status_code == 200
        seen.append(await desk.slot_status())
    assert seen == ["free", "busy-tentative", "busy", "busy-tentative", "busy", "busy", "busy"]


@pytest.mark.parametrize("status", ["cancelled", "noshow", "entered-in-error"])
async def test_a_slot_is_free_again(desk: Desk, status: str) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    assert (await desk.set_status("a1", status)).status_code == 200
    assert await desk.slot_status() == "free"


async def test_a_deleted_appointment_frees_its_slot(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    assert (await desk.delete("Appointment/a1")).status_code == 204
    assert await desk.slot_status() == "free"
    assert (await desk.post_json("Appointment", appointment(DOCTOR))).status_code == 201


async def test_a_slot_that_has_begun_stays_as_it_was(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    desk.clock.now += (25 * 60 + 5) * MINUTE
    for status in ("arrived", "fulfilled"):
        assert (await desk.set_status("a1", status)).status_code == 200
    assert await desk.slot_status() == "busy"


async def test_moving_to_another_slot_frees_the_one_and_takes_the_other(desk: Desk) -> None:
    await desk.put_ok(slot("s2", 30, 60), appointment(slots=("s1",), id="a1"))
    await desk.put_ok(appointment(slots=("s2",), id="a1", start=30, end=60))
    assert [await desk.slot_status(s) for s in ("s1", "s2")] == ["free", "busy"]
    history = await desk.read("Slot/s1/_history")
    assert [e["resource"]["status"] for e in history["entry"]] == ["free", "busy", "free"]


async def test_slot_and_appointment_may_come_in_one_transaction(desk: Desk) -> None:
    address = "urn:uuid:0a4b6b38-1f2e-4f8a-9d2c-111111111111"
    new = slot("x", 60, 90)
    del new["id"]
    booking = {**appointment(start=60, end=90), "slot": [ref(address)]}
    response = await desk.post_json("", bundle("transaction", post(new, address), post(booking)))
    assert response.status_code == 200, response.text
    found = await desk.read(f"Slot?start={at(60)}")
    assert found["entry"][0]["resource"]["status"] == "busy"


@pytest.mark.parametrize("member", [{"status": "free"}, {"end": at(60)}, {"status": "entered-in-error"}])
async def test_a_slot_that_is_taken_cannot_be_written_otherwise(desk: Desk, member: dict[str, Any]) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    response = await desk.put_json("Slot/s1", {**slot(status="busy"), **member})
    assert response.status_code == 422
    assert "Appointment/a1" in response.json()["issue"][0]["diagnostics"]
    assert (await desk.delete("Slot/s1")).status_code == 422
    assert await desk.slot_status() == "busy"


async def test_the_more_exact_state_of_a_taken_slot_wins(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1", status="pending"))
    await desk.put_ok(slot(status="busy", comment="from the portal"))
    found = await desk.read("Slot/s1")
    assert (found["status"], found["comment"]) == ("busy-tentative", "from the portal")


async def test_a_partner_may_set_the_slot_busy_before_it_books(desk: Desk) -> None:
    await desk.put_ok(slot(status="busy"), appointment(slots=("s1",), id="a1"))
    assert (await desk.set_status("a1", "cancelled")).status_code == 200
    assert await desk.slot_status() == "free"


async def test_a_cancelled_appointment_leaves_a_slot_alone_that_others_have_set(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1", status="cancelled"), slot(status="busy"))
    await desk.put_ok(appointment(slots=("s1",), id="a1", status="cancelled", comment="called back"))
    assert await desk.slot_status() == "busy"


async def test_cancel_and_free_may_come_in_one_transaction(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    both = bundle("transaction", put(slot()), put(appointment(slots=("s1",), id="a1", status="cancelled")))
    assert (await desk.post_json("", both)).status_code == 200


async def test_a_slot_is_free_to_write_when_its_hold_has_expired(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=MINUTE, slots=("s1",)))
    assert (await desk.put_json("Slot/s1", slot())).status_code == 422
    desk.clock.now += MINUTE
    assert (await desk.put_json("Slot/s1", slot())).status_code == 200


@pytest.mark.parametrize("status", ["busy-unavailable", "entered-in-error"])
async def test_a_closed_slot_cannot_be_booked(desk: Desk, status: str) -> None:
    await desk.put_ok(slot(status=status))
    assert (await desk.post_json("Appointment", appointment(slots=("s1",)))).status_code == 409
    expected = 409 if status == "busy-unavailable" else 201
    assert (await desk.post_json("Appointment", appointment(DOCTOR))).status_code == expected


async def test_a_block_is_refused_over_a_booking_and_keeps_bookings_out(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    assert (await desk.put_json("Slot/b1", slot("b1", 0, 120, status="busy-unavailable"))).status_code == 409
    assert (await desk.put_json("Slot/b2", slot("b2", 30, 120, status="busy-unavailable"))).status_code == 201
    assert (await desk.post_json("Appointment", appointment(DOCTOR, start=60, end=90))).status_code == 409
    assert (await desk.delete("Slot/b2")).status_code == 204
    assert (await desk.post_json("Appointment", appointment(DOCTOR, start=60, end=90))).status_code == 201


async def test_a_slot_ends_after_it_begins(desk: Desk) -> None:
    assert (await desk.put_json("Slot/x", slot("x", 30, 0))).status_code == 422


async def test_a_schedule_stays_while_its_slots_are_taken(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    assert (await desk.delete("Schedule/d1")).status_code == 422
    assert (await desk.set_status("a1", "cancelled")).status_code == 200
    assert (await desk.delete("Schedule/d1")).status_code == 204


async def test_a_schedule_with_rules_that_make_no_sense_is_refused(desk: Desk) -> None:
    zone = [{"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "Mars/Olympus"}]
    assert (await desk.put_json("Schedule/x", schedule("x", DOCTOR, extension=zone))).status_code == 422


def charge(id: str, about: str, status: str = "planned") -> dict[str, Any]:
    code = {"coding": [{"system": "urn:charges", "code": "visit"}]}
    information = [ref(f"Appointment/{about}")]
    more = {"subject": ref("Patient/p1"), "supportingInformation": information}
    return {"resourceType": "ChargeItem", "id": id, "status": status, "code": code, **more}


async def test_the_planned_charges_of_what_is_cancelled_are_aborted(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"), appointment(DOCTOR, id="a2", start=60, end=90))
    await desk.put_ok(charge("c1", "a1"), charge("c2", "a1", "billable"), charge("c3", "a2"))
    assert (await desk.set_status("a1", "cancelled")).status_code == 200
    seen = [(await desk.read(f"ChargeItem/c{n}"))["status"] for n in (1, 2, 3)]
    assert seen == ["aborted", "billable", "planned"]
    reason = {"text": "ill"}
    assert (await desk.operate("Appointment/a2/$cancel", reason=reason)).status_code == 200
    assert (await desk.read("ChargeItem/c3"))["status"] == "aborted"


def answer(actor: str, status: str, id: str = "a1") -> dict[str, Any]:
    return {
        "resourceType": "AppointmentResponse",
        "appointment": ref(f"Appointment/{id}"),
        "actor": ref(actor),
        "participantStatus": status,
    }


async def asked(desk: Desk, *statuses: str, status: str = "pending") -> None:
    made = appointment(DOCTOR, slots=("s1",), id="a1", status=status)
    for participant, answered in zip(made["participant"], statuses, strict=True):
        participant["status"] = answered
    await desk.put_ok(made)


async def test_an_appointment_is_booked_when_all_who_are_required_have_accepted(desk: Desk) -> None:
    await asked(desk, "needs-action", "needs-action")
    assert (await desk.post_json("AppointmentResponse", answer(DOCTOR, "accepted"))).status_code == 201
    assert (await desk.read("Appointment/a1"))["status"] == "pending"
    assert (await desk.post_json("AppointmentResponse", answer("Patient/p1", "accepted"))).status_code == 201
    assert (await desk.read("Appointment/a1"))["status"] == "booked"
    assert await desk.slot_status() == "busy"


async def test_who_declines_is_free_and_the_appointment_is_pending_with_a_task(desk: Desk) -> None:
    await asked(desk, "accepted", "accepted", status="booked")
    await desk.put_ok(appointment("Location/r1", id="a2", start=60, end=90))
    response = await desk.post_json("AppointmentResponse", answer(DOCTOR, "declined"))
    assert response.status_code == 201
    found = await desk.read("Appointment/a1")
    assert (found["status"], found["participant"][1]["status"]) == ("pending", "declined")
    (entry,) = (await desk.read("Task?focus=Appointment/a1"))["entry"]
    assert entry["resource"]["for"] == ref("Patient/p1")
    assert await desk.slot_status() == "free"
    assert (await desk.post_json("Appointment", appointment(DOCTOR))).status_code == 201


async def test_an_answer_of_a_stranger_is_kept_without_effect_and_that_is_told(desk: Desk) -> None:
    await asked(desk, "accepted", "needs-action")
    stranger = answer("Practitioner/nobody", "accepted")
    response = await desk.post_json("AppointmentResponse", stranger, prefer="return=OperationOutcome")
    assert response.status_code == 201
    (issue, _) = response.json()["issue"]
    assert (issue["severity"], "nobody who takes part" in issue["diagnostics"]) == ("warning", True)
    assert (await desk.read("Appointment/a1"))["meta"]["versionId"] == "1"


async def test_an_actor_without_a_reference_is_nobody_of_those_without_one(desk: Desk) -> None:
    made = appointment(DOCTOR, id="a1", status="pending")
    made["participant"] += [{"actor": {"display": "By telephone"}, "status": "needs-action"}]
    await desk.put_ok(made)
    response = await desk.post_json(
        "AppointmentResponse", {**answer(DOCTOR, "accepted"), "actor": {"display": "Somebody"}}
    )
    assert response.status_code == 201, response.text
    assert (await desk.read("Appointment/a1"))["meta"]["versionId"] == "1"


async def test_an_answer_by_identifier_is_of_who_takes_part_by_it(desk: Desk) -> None:
    made = appointment(DOCTOR, id="a1", status="pending")
    one = {"identifier": {"system": "urn:staff", "value": "7"}}
    made["participant"] += [{"actor": one, "status": "needs-action"}]
    await desk.put_ok(made)
    response = await desk.post_json("AppointmentResponse", {**answer(DOCTOR, "accepted"), "actor": one})
    assert response.status_code == 201, response.text
    assert (await desk.read("Appointment/a1"))["participant"][-1]["status"] == "accepted"


@pytest.mark.parametrize("status", ["cancelled", "fulfilled"])
async def test_an_answer_to_what_is_over_is_a_record(desk: Desk, status: str) -> None:
    await asked(desk, "accepted", "needs-action", status=status)
    assert (await desk.post_json("AppointmentResponse", answer(DOCTOR, "accepted"))).status_code == 201
    assert (await desk.read("Appointment/a1"))["meta"]["versionId"] == "1"
