"""What is done with an Appointment after it is booked, by operations."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fhir_r4.temporal import format_instant
from tests.scheduling.desk import MINUTE, NOW, OURS, Desk, appointment, at, hold, ref, schedule, slot

DOCTOR, SERVICE = "Practitioner/d1", "HealthcareService/clinic"
DAY = 24 * 60 * MINUTE
NINE = NOW + 25 * 60 * MINUTE


def entries(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [entry["resource"] for entry in response.json()["entry"]]


async def test_confirm_books_a_hold(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    response = await desk.operate("Appointment/h1/$confirm")
    assert (response.status_code, response.json()["status"]) == (200, "booked")
    assert "extension" not in response.json()
    assert response.headers["etag"] == 'W/"2"'
    assert (await desk.operate("Appointment/h1/$confirm")).status_code == 422


async def test_confirm_of_a_hold_that_somebody_took_is_refused(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    desk.clock.now += 10 * MINUTE
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    assert (await desk.operate("Appointment/h1/$confirm")).status_code == 409


async def test_cancel_keeps_the_reason_and_frees_the_time(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    assert (await desk.operate("Appointment/a1/$cancel")).status_code == 400
    response = await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"}, notify=True)
    assert response.json()["cancelationReason"] == {"text": "weather"}
    assert await desk.slot_status() == "free"
    (entry,) = (await desk.read("CommunicationRequest?recipient=Patient/p1"))["entry"]
    assert entry["resource"]["about"] == [ref("Appointment/a1")]
    assert "cancelled" in entry["resource"]["payload"][0]["contentString"]
    assert (await desk.operate("Appointment/a1/$cancel", reason={"text": "again"})).status_code == 200


async def test_operations_on_nothing_are_not_found(desk: Desk) -> None:
    for name in ("confirm", "fulfil", "no-show", "check-in"):
        assert (await desk.operate(f"Appointment/none/${name}")).status_code == 404


async def test_a_stale_version_is_refused(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"))
    response = await desk.operate("Appointment/a1/$cancel", {"if_match": 'W/"7"'}, reason={"text": "weather"})
    assert response.status_code == 412
    assert await desk.slot_status() == "busy"


async def test_reschedule_moves_into_the_next_slot(desk: Desk) -> None:
    await desk.put_ok(slot("s2", 30, 60), appointment(slots=("s1",), id="a1"))
    response = await desk.operate("Appointment/a1/$reschedule", start={"valueInstant": at(30)})
    found = response.json()
    assert (found["id"], found["start"], found["end"]) == ("a1", at(30), at(60))
    assert found["slot"] == [ref("Slot/s2")]
    assert [await desk.slot_status(s) for s in ("s1", "s2")] == ["free", "busy"]


async def test_reschedule_may_overlap_the_old_time(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    response = await desk.operate("Appointment/a1/$reschedule", start={"valueInstant": at(10)})
    assert (response.status_code, response.json()["end"]) == (200, at(40))


async def test_reschedule_onto_another_booking_changes_nothing(desk: Desk) -> None:
    await desk.put_ok(slot("s2", 30, 60), appointment(slots=("s1",), id="a1"))
    await desk.put_ok(appointment(slots=("s2",), id="a2", start=30, end=60))
    response = await desk.operate("Appointment/a1/$reschedule", start={"valueInstant": at(30)})
    assert response.status_code == 409
    assert (await desk.read("Appointment/a1"))["start"] == at(0)
    assert [await desk.slot_status(s) for s in ("s1", "s2")] == ["busy", "busy"]


async def test_reschedule_to_another_schedule_changes_who_takes_part(desk: Desk) -> None:
    await desk.put_ok(schedule("d2", "Practitioner/d2"), appointment(DOCTOR, id="a1"))
    response = await desk.operate(
        "Appointment/a1/$reschedule", start={"valueInstant": at(0)}, schedule=ref("Schedule/d2")
    )
    actors = [p["actor"]["reference"] for p in response.json()["participant"]]
    assert actors == ["Patient/p1", "Practitioner/d2"]
    assert (await desk.post_json("Appointment", appointment(DOCTOR))).status_code == 201
    assert (await desk.post_json("Appointment", appointment("Practitioner/d2"))).status_code == 409


async def test_reschedule_needs_a_time_to_come(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    assert (await desk.operate("Appointment/a1/$reschedule")).status_code == 400
    past = await desk.operate("Appointment/a1/$reschedule", start={"valueInstant": "2026-03-01T09:00:00Z"})
    assert past.status_code == 422
    await desk.set_status("a1", "arrived")
    response = await desk.operate("Appointment/a1/$reschedule", start={"valueInstant": at(60)})
    assert response.status_code == 422


async def test_respond_is_the_same_as_a_response_that_is_posted(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    response = await desk.operate(
        "Appointment/a1/$respond",
        actor=ref(DOCTOR),
        participantStatus={"valueCode": "declined"},
        comment="ill",
    )
    answer, changed = entries(response)
    assert (answer["comment"], changed["status"]) == ("ill", "pending")
    assert (await desk.read("Task?focus=Appointment/a1"))["total"] == 1
    assert (await desk.post_json("Appointment", appointment(DOCTOR))).status_code == 201


async def test_no_show_waits_for_the_grace_period(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    desk.clock.now = NINE + 15 * MINUTE - 1000
    assert (await desk.operate("Appointment/a1/$no-show")).status_code == 422
    desk.clock.now += 1000
    assert (await desk.operate("Appointment/a1/$no-show")).json()["status"] == "noshow"


async def test_who_was_missed_checks_in_with_a_reason(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1", status="noshow"))
    desk.clock.now = NINE + 20 * MINUTE
    assert (await desk.operate("Appointment/a1/$check-in")).status_code == 422
    response = await desk.operate("Appointment/a1/$check-in", override={"text": "late train"})
    assert entries(response)[0]["status"] == "arrived"


async def checked_in(desk: Desk, id: str, start: int = 0, **given: Any) -> list[dict[str, Any]]:
    await desk.put_ok(appointment(SERVICE, id=id, start=start, end=start + 30))
    return entries(await desk.operate(f"Appointment/{id}/$check-in", **given))


@pytest.fixture
async def clinic(desk: Desk) -> Desk:
    """The desk in the morning, with a service to wait for."""
    await desk.put_ok({"resourceType": "HealthcareService", "id": "clinic"})
    desk.clock.now = NINE - 10 * MINUTE
    return desk


async def test_check_in_begins_a_visit_and_a_place_in_the_queue(clinic: Desk) -> None:
    arrived, visit, task = await checked_in(clinic, "a1")
    assert (arrived["status"], visit["status"], task["status"]) == ("arrived", "arrived", "requested")
    assert visit["appointment"] == [ref("Appointment/a1")]
    assert visit["class"]["code"] == "AMB"
    assert (task["owner"], task["encounter"]) == (ref(SERVICE), ref(f"Encounter/{visit['id']}"))
    assert (await clinic.operate("Appointment/a1/$check-in")).status_code == 422
    assert (await clinic.read("Encounter?_summary=count"))["total"] == 1


async def test_check_in_is_on_the_day(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"), appointment(DOCTOR, id="night", start=-480, end=-450))
    for id, minute, status in (
        ("a1", -541, 422),
        ("a1", -540, 200),
        ("night", -841, 422),
        ("night", -840, 200),
    ):
        desk.clock.now = NINE + minute * MINUTE
        assert (await desk.operate(f"Appointment/{id}/$check-in", dry_run=True)).status_code == status, minute


async def test_check_in_at_once_with_cancel_leaves_one_of_them(clinic: Desk) -> None:
    await clinic.put_ok(appointment(SERVICE, id="a1"))
    one, other = await asyncio.gather(
        clinic.operate("Appointment/a1/$check-in"),
        clinic.operate("Appointment/a1/$cancel", reason={"text": "weather"}),
    )
    assert sorted([one.status_code, other.status_code]) == [200, 422]


async def test_the_queue_is_by_priority_then_by_arrival(clinic: Desk) -> None:
    await checked_in(clinic, "a1")
    clinic.clock.now += MINUTE
    await checked_in(clinic, "a2", 30)
    clinic.clock.now += MINUTE
    await checked_in(clinic, "a3", 60, priority={"valueCode": "urgent"})
    bundle = await clinic.read(f"{SERVICE}/$queue")
    visits = {e["resource"]["id"]: e["resource"] for e in bundle["entry"] if e["search"]["mode"] == "include"}
    order = [
        visits[e["resource"]["encounter"]["reference"].removeprefix("Encounter/")]["appointment"][0][
            "reference"
        ]
        for e in bundle["entry"]
        if e["search"]["mode"] == "match"
    ]
    assert order == ["Appointment/a3", "Appointment/a1", "Appointment/a2"]


async def test_two_who_call_at_once_get_two_patients(clinic: Desk) -> None:
    for n in range(5):
        await checked_in(clinic, f"a{n}", 30 * n)
    answers = await asyncio.gather(*(clinic.operate(f"{SERVICE}/$next-patient") for _ in range(6)))
    assert sorted(a.status_code for a in answers) == [200] * 5 + [404]
    called = {entries(a)[1]["id"] for a in answers if a.status_code == 200}
    assert len(called) == 5
    assert (await clinic.read(f"{SERVICE}/$queue"))["total"] == 0


async def test_waiting_times_are_from_arrival_to_the_call(clinic: Desk) -> None:
    for n in range(10):
        await checked_in(clinic, f"a{n}", 30 * n)
    for _ in range(10):
        clinic.clock.now += 2 * MINUTE
        await clinic.operate(f"{SERVICE}/$next-patient")
    report = await clinic.read(f"{SERVICE}/$waiting-times")
    scores = {g["code"]["coding"][0]["code"]: g["measureScore"]["value"] for g in report["group"]}
    assert scores == {"waited": 10, "waiting-median": 10, "waiting-p90": 18}
    until = {"valuePeriod": {"end": "2026-03-02"}}
    early = (await clinic.operate(f"{SERVICE}/$waiting-times", period=until)).json()
    assert early["group"][0]["measureScore"]["value"] == 0


async def test_fulfil_finishes_the_visit_and_the_place_in_the_queue(clinic: Desk) -> None:
    _, visit, task = await checked_in(clinic, "a1")
    clinic.clock.now += 5 * MINUTE
    await clinic.operate(f"{SERVICE}/$next-patient")
    clinic.clock.now += 20 * MINUTE
    done, *_ = entries(await clinic.operate("Appointment/a1/$fulfil"))
    assert done["status"] == "fulfilled"
    seen = await clinic.read(f"Encounter/{visit['id']}")
    end = format_instant(clinic.clock.now)
    assert (seen["status"], seen["period"]["end"]) == ("finished", end)
    assert [h["status"] for h in seen["statusHistory"]] == ["arrived", "in-progress"]
    assert seen["statusHistory"][1]["period"]["end"] == end
    assert (await clinic.read(f"Task/{task['id']}"))["status"] == "completed"


async def test_what_is_booked_is_not_fulfilled_before_the_patient_came(clinic: Desk) -> None:
    await clinic.put_ok(appointment(SERVICE, id="a1"))
    assert (await clinic.operate("Appointment/a1/$fulfil")).status_code == 422


async def test_a_late_arrival_carries_its_reason(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1", status="noshow"))
    desk.clock.now = NINE + 30 * MINUTE
    response = await desk.operate("Appointment/a1/$check-in", override={"text": "late train"})
    urls = [e["url"] for e in entries(response)[0]["extension"]]
    assert urls == [OURS + "override-reason"]
