"""Bookings that recur, and offers that are made by hand."""

from __future__ import annotations

from typing import Any

from tests.scheduling.desk import Desk, appointment, at, ref, schedule, slot

DOCTOR = "Practitioner/d1"
DAY = 24 * 60


def starts(bundle: dict[str, Any]) -> list[str]:
    return [e["resource"]["start"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Appointment"]


async def weekly(desk: Desk, **given: Any) -> Any:
    made = appointment(DOCTOR, status="pending")
    return await desk.operate(
        "Appointment/$book", appointment_resource=made, recurrence="FREQ=WEEKLY;COUNT=4", **given
    )


async def test_a_weekly_booking_is_at_the_same_wall_time_over_a_change_of_the_clock(desk: Desk) -> None:
    zone = {"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "Europe/Berlin"}
    await desk.put_ok(schedule("d1", DOCTOR, extension=[zone]))
    made = {
        **appointment(DOCTOR, status="pending"),
        "start": "2026-03-16T09:00:00+01:00",
        "end": "2026-03-16T09:30:00+01:00",
    }
    response = await desk.operate(
        "Appointment/$book", appointment_resource=made, recurrence="FREQ=WEEKLY;COUNT=3"
    )
    assert response.status_code == 200, response.text
    assert starts(response.json()) == [
        "2026-03-16T08:00:00.000Z",
        "2026-03-23T08:00:00.000Z",
        "2026-03-30T07:00:00.000Z",
    ]


async def test_all_occurrences_are_booked_or_none(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1", start=14 * DAY, end=14 * DAY + 30))
    response = await weekly(desk)
    assert response.status_code == 409
    assert (await desk.read("Appointment?_summary=count"))["total"] == 1


async def test_each_occurrence_by_itself_tells_what_was_lost(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1", start=14 * DAY, end=14 * DAY + 30))
    response = await weekly(desk, recurrence_mode={"valueCode": "each"})
    bundle = response.json()
    assert starts(bundle) == [at(0), at(7 * DAY), at(21 * DAY)]
    (issue,) = bundle["entry"][-1]["resource"]["issue"]
    assert issue["diagnostics"].startswith("Occurrence 3:")


async def test_occurrences_take_the_slots_at_their_time(desk: Desk) -> None:
    await desk.put_ok(slot("s2", 7 * DAY, 7 * DAY + 30))
    made = appointment(slots=("s1",), status="pending")
    response = await desk.operate(
        "Appointment/$book", appointment_resource=made, recurrence="FREQ=WEEKLY;COUNT=2"
    )
    assert response.status_code == 200, response.text
    assert [await desk.slot_status(s) for s in ("s1", "s2")] == ["busy", "busy"]
    (one, other) = [e["resource"] for e in response.json()["entry"]]
    assert one["extension"] == other["extension"]


async def test_a_repeated_request_books_the_series_once(desk: Desk) -> None:
    for mode in ("all", "each"):
        given = {"request_id": {"valueUri": f"urn:x:{mode}"}, "recurrence_mode": {"valueCode": mode}}
        before = (await desk.read("Appointment?_summary=count"))["total"]
        if mode == "each":
            await desk.put_ok(schedule("d1", DOCTOR, active=False))
        first, again = await weekly(desk, **given), await weekly(desk, **given)
        assert starts(first.json()) == starts(again.json())
        assert (await desk.read("Appointment?_summary=count"))["total"] == before + 4


async def test_a_new_patient_of_a_series_is_one_patient(desk: Desk) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Cushing"}]}
    assert (await weekly(desk, patient_resource=patient)).status_code == 200
    assert (await desk.read("Patient?_summary=count"))["total"] == 1


async def test_rules_that_are_none_or_never_end_are_refused(desk: Desk) -> None:
    for rule, status in (("FREQ=SOMETIMES", 400), ("FREQ=DAILY", 422), ("FREQ=HOURLY;COUNT=2", 400)):
        made = appointment(DOCTOR, status="pending")
        response = await desk.operate("Appointment/$book", appointment_resource=made, recurrence=rule)
        assert response.status_code == status, rule


async def test_a_time_is_offered_by_hand(desk: Desk) -> None:
    waiting = appointment(DOCTOR, id="w1", status="waitlist")
    await desk.put_ok({k: v for k, v in waiting.items() if k not in ("start", "end")})
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    assert (await desk.operate("Appointment/a1/$waitlist-offer")).status_code == 409
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    response = await desk.operate("Appointment/a1/$waitlist-offer")
    offer = response.json()["entry"][0]["resource"]
    assert (offer["id"], offer["status"], offer["slot"]) == ("w1", "pending", [ref("Slot/s1")])
    assert (await desk.operate("Appointment/a1/$waitlist-offer")).status_code == 404
