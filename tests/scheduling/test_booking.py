"""$hold and $book: what IHE clients call, and what they get."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from fhir_r4.temporal import format_instant
from tests.rest.resources import bundle, post
from tests.scheduling.desk import MINUTE, NOW, OURS, Desk, appointment, at, hold, ref, rules, schedule, slot

DOCTOR = "Practitioner/d1"
PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "http://clinic.test/number", "value": "77"}],
    "name": [{"family": "Cushing"}],
}


def only(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    bundle = response.json()
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    return bundle["entry"][0]["resource"]


async def test_a_hold_takes_the_time_for_ten_minutes(desk: Desk) -> None:
    proposed = appointment(slots=("s1",), status="proposed")
    held = only(await desk.operate("Appointment/$hold", appointment_resource=proposed))
    assert held["status"] == "pending"
    expected = {"url": OURS + "hold-expires", "valueInstant": format_instant(NOW + 10 * MINUTE)}
    assert held["extension"] == [expected]
    assert await desk.read(f"Appointment/{held['id']}") == held
    assert await desk.slot_status() == "busy-tentative"


async def test_a_hold_lasts_as_long_as_was_asked(desk: Desk) -> None:
    proposed = appointment(slots=("s1",), status="proposed")
    quarter = {
        "valueDuration": {"value": 15, "unit": "min", "system": "http://unitsofmeasure.org", "code": "min"}
    }
    held = only(await desk.operate("Appointment/$hold", appointment_resource=proposed, hold_for=quarter))
    assert held["extension"][0]["valueInstant"] == format_instant(NOW + 15 * MINUTE)
    days = {"valueDuration": {"value": 3, "unit": "d", "system": "http://unitsofmeasure.org", "code": "d"}}
    response = await desk.operate("Appointment/$hold", appointment_resource=proposed, hold_for=days)
    assert response.status_code == 400


async def test_a_hold_becomes_a_booking_under_the_same_id(desk: Desk) -> None:
    held = only(
        await desk.operate(
            "Appointment/$hold", appointment_resource=appointment(slots=("s1",), status="proposed")
        )
    )
    booked = only(
        await desk.operate("Appointment/$book", appointment_reference=ref(f"Appointment/{held['id']}"))
    )
    assert (booked["id"], booked["status"], booked["meta"]["versionId"]) == (held["id"], "booked", "2")
    assert "extension" not in booked
    assert await desk.slot_status() == "busy"


async def test_what_is_lost_is_told_in_a_searchset(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    for name in ("$hold", "$book"):
        response = await desk.operate(
            f"Appointment/{name}", appointment_resource=appointment(slots=("s1",), status="proposed")
        )
        assert response.status_code == 409
        bundle = response.json()
        assert (bundle["resourceType"], bundle["type"], bundle["total"]) == ("Bundle", "searchset", 0)
        (issue,) = bundle["entry"][0]["resource"]["issue"]
        assert (issue["severity"], issue["code"]) == ("fatal", "not-found")
        assert bundle["entry"][0]["search"] == {"mode": "outcome"}


async def test_of_50_bookings_of_a_slot_one_wins(desk: Desk) -> None:
    async def one() -> int:
        response = await desk.operate(
            "Appointment/$book", appointment_resource=appointment(slots=("s1",), status="pending")
        )
        return response.status_code

    assert Counter(await asyncio.gather(*(one() for _ in range(50)))) == {200: 1, 409: 49}
    assert (await desk.read("Appointment?slot=Slot/s1&_summary=count"))["total"] == 1


@pytest.mark.parametrize(("offset", "other"), [(-1000, 409), (0, 200), (1000, 200)])
async def test_booking_against_a_hold_that_ends(desk: Desk, offset: int, other: int) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    desk.clock.now = NOW + 10 * MINUTE + offset
    response = await desk.operate(
        "Appointment/$book", appointment_resource=appointment(slots=("s1",), status="pending")
    )
    assert response.status_code == other
    mine = await desk.operate("Appointment/$book", appointment_reference=ref("Appointment/h1"))
    assert mine.status_code == (200 if other == 409 else 409)


async def test_a_new_patient_is_created_with_the_booking_and_known_the_next_time(desk: Desk) -> None:
    bare = {
        **appointment(slots=("s1",), status="pending"),
        "participant": [{"actor": ref(DOCTOR), "status": "accepted"}],
    }
    booked = only(
        await desk.operate("Appointment/$book", appointment_resource=bare, patient_resource=PATIENT), 200
    )
    address = booked["participant"][0]["actor"]["reference"]
    assert (await desk.read(address))["name"] == PATIENT["name"]
    later = {**bare, "start": at(30), "end": at(60), "slot": []}
    del later["slot"]
    again = await desk.operate("Appointment/$book", appointment_resource=later, patient_resource=PATIENT)
    assert only(again)["participant"][0]["actor"]["reference"] == address
    assert (await desk.read("Patient?_summary=count"))["total"] == 1


async def test_a_patient_of_whom_nothing_is_said_is_not_made(desk: Desk) -> None:
    made = appointment(slots=("s1",), status="pending")
    nobody = {"resourceType": "Patient", "id": "misspelt"}
    answer = await desk.operate("Appointment/$book", appointment_resource=made, patient_resource=nobody)
    assert (answer.status_code, "Patient/misspelt is not here" in answer.text) == (422, True)
    assert (await desk.read("Patient?_summary=count"))["total"] == 0


async def test_a_booking_that_is_refused_leaves_no_patient(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    response = await desk.operate(
        "Appointment/$book",
        appointment_resource=appointment(slots=("s1",), status="pending"),
        patient_resource=PATIENT,
    )
    assert response.status_code == 409
    assert (await desk.read("Patient?_summary=count"))["total"] == 0


async def test_two_bookings_with_the_same_new_patient_make_one(desk: Desk) -> None:
    async def one(n: int) -> int:
        made = appointment(status="pending", start=n * 30, end=n * 30 + 30)
        response = await desk.operate(
            "Appointment/$book", appointment_resource=made, patient_resource=PATIENT
        )
        return response.status_code

    assert await asyncio.gather(*(one(n) for n in range(8))) == [200] * 8
    assert (await desk.read("Patient?_summary=count"))["total"] == 1


async def test_a_doctor_whose_record_asks_for_it_has_to_accept(desk: Desk) -> None:
    asks = [{"url": OURS + "needs-acceptance", "valueBoolean": True}]
    await desk.put_ok({"resourceType": "Practitioner", "id": "d1", "extension": asks})
    made = appointment(DOCTOR, status="pending")
    made["participant"][1]["status"] = "needs-action"
    booked = only(await desk.operate("Appointment/$book", appointment_resource=made))
    assert (booked["status"], booked["participant"][1]["status"]) == ("pending", "needs-action")
    accepted = {"valueCode": "accepted"}
    address = f"Appointment/{booked['id']}/$respond"
    stranger = await desk.operate(address, actor=ref("Practitioner/d9"), participantStatus=accepted)
    assert stranger.status_code == 422, stranger.text
    response = await desk.operate(address, actor=ref(DOCTOR), participantStatus=accepted)
    assert only(response)["resourceType"] == "AppointmentResponse"
    assert response.json()["entry"][1]["resource"]["status"] == "booked"


async def test_others_accept_with_the_booking(desk: Desk) -> None:
    made = appointment(DOCTOR, status="pending")
    made["participant"][1]["status"] = "needs-action"
    booked = only(await desk.operate("Appointment/$book", appointment_resource=made))
    assert (booked["status"], booked["participant"][1]["status"]) == ("booked", "accepted")


async def test_book_changes_and_cancels_what_is_booked(desk: Desk) -> None:
    booked = only(
        await desk.operate("Appointment/$book", appointment_resource=appointment(DOCTOR, status="pending"))
    )
    moved = {**booked, "start": at(15), "end": at(45)}
    changed = only(await desk.operate("Appointment/$book", appointment_resource=moved))
    assert (changed["id"], changed["status"], changed["start"]) == (booked["id"], "booked", at(15))
    gone = only(
        await desk.operate("Appointment/$book", appointment_resource={**changed, "status": "cancelled"})
    )
    assert (gone["id"], gone["status"]) == (booked["id"], "cancelled")
    assert (await desk.post_json("Appointment", appointment(DOCTOR))).status_code == 201


async def test_one_appointment_is_given_up_for_another_in_one_step(desk: Desk) -> None:
    await desk.put_ok(slot("s2", 30, 60), appointment(slots=("s1",), id="a1"))
    response = await desk.operate(
        "Appointment/$book",
        appointment_resource=appointment(slots=("s2",), status="pending", start=30, end=60),
        cancelled_appointment=ref("Appointment/a1"),
    )
    assert only(response)["status"] == "booked"
    assert [await desk.slot_status(s) for s in ("s1", "s2")] == ["free", "busy"]


async def test_override_books_beyond_the_capacity_with_a_reason(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, extension=rules(overbooking=1)))
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    more = appointment(slots=("s1",), status="pending")
    assert (await desk.operate("Appointment/$book", appointment_resource=more)).status_code == 409
    booked = only(
        await desk.operate("Appointment/$book", appointment_resource=more, override={"text": "urgent"})
    )
    assert booked["extension"][0]["valueCodeableConcept"] == {"text": "urgent"}
    assert (await desk.read("Slot/s1"))["overbooked"] is True


async def test_notice_and_horizon_are_asked_of_bookings(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, extension=rules(minimum_notice="2 d")))
    response = await desk.operate(
        "Appointment/$book", appointment_resource=appointment(DOCTOR, status="pending")
    )
    assert response.status_code == 422
    past = {
        **appointment(DOCTOR, status="pending"),
        "start": "2026-03-01T09:00:00Z",
        "end": "2026-03-01T09:30:00Z",
    }
    assert (await desk.operate("Appointment/$book", appointment_resource=past)).status_code == 422


async def test_notice_and_horizon_hold_on_every_way_to_a_write(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="early", start=300, end=330))
    # 25 hours from now is nearer than two days, and further than one
    for stated in {"minimum_notice": "2 d"}, {"furthest_ahead": "1 d"}:
        await desk.put_ok(schedule("d1", DOCTOR, extension=rules(**stated)))
        for status in ("pending", "booked"):
            made = appointment(DOCTOR, status=status)
            assert (await desk.post_json("Appointment", made)).status_code == 422
            assert (await desk.post_json("", bundle("transaction", post(made)))).status_code == 422
            assert (await desk.put_json("Appointment/new", {**made, "id": "new"})).status_code == 422
        waiting = appointment(DOCTOR, id="waits", status="proposed")
        await desk.put_ok(waiting)
        assert (await desk.set_status("waits", "booked")).status_code == 422
        # what is booked keeps its time, and takes no other
        assert (await desk.set_status("early", "booked", comment="as it was")).status_code == 200
        moved = {"start": at(60), "end": at(90)}
        assert (await desk.set_status("early", "booked", **moved)).status_code == 422
        await desk.put_ok(appointment(DOCTOR, id="ill", start=-1600, end=-1570, status="arrived"))
        reason = [{"url": OURS + "override-reason", "valueCodeableConcept": {"text": "urgent"}}]
        excepted = appointment(DOCTOR, id="excepted", extension=reason)
        await desk.put_ok(excepted, {**excepted, "status": "cancelled"})
        assert (await desk.delete("Appointment/excepted")).status_code == 204


async def test_a_comment_is_kept(desk: Desk) -> None:
    made = appointment(DOCTOR, status="pending", comment="by phone")
    booked = only(
        await desk.operate("Appointment/$book", appointment_resource=made, comment="needs a wheelchair")
    )
    assert booked["comment"] == "by phone\nneeds a wheelchair"


async def test_dry_run_books_nothing(desk: Desk) -> None:
    made = appointment(slots=("s1",), status="pending")
    assert (
        only(await desk.operate("Appointment/$book", appointment_resource=made, dry_run=True))["status"]
        == "booked"
    )
    assert (await desk.read("Appointment?_summary=count"))["total"] == 0
    assert await desk.slot_status() == "free"


async def test_a_repeated_request_is_answered_and_not_carried_out_again(desk: Desk) -> None:
    made = appointment(slots=("s1",), status="pending")
    given = {"appointment_resource": made, "request_id": {"valueUri": "urn:uuid:5c9e"}}
    first = await desk.operate("Appointment/$book", **given)
    again = await desk.operate("Appointment/$book", **given)
    assert only(first) == only(again)
    assert (await desk.read("Appointment?_summary=count"))["total"] == 1


@pytest.mark.parametrize("name", ["$hold", "$book"])
async def test_one_of_reference_and_resource_is_needed(desk: Desk, name: str) -> None:
    assert (await desk.operate(f"Appointment/{name}")).status_code == 400
    nothing = await desk.operate(f"Appointment/{name}", appointment_reference=ref("Appointment/none"))
    assert nothing.status_code == 404


@pytest.mark.parametrize("status", ["booked", "arrived", "fulfilled", "cancelled", "noshow"])
async def test_what_is_past_booking_is_not_booked_again(desk: Desk, status: str) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1", status=status))
    for name in ("$hold", "$book"):
        response = await desk.operate(f"Appointment/{name}", appointment_reference=ref("Appointment/a1"))
        assert response.status_code == 422
