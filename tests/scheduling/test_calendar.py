"""Appointments as iCalendar files, and feeds of bookings and blocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from icalendar import Calendar

from tests.scheduling.clinic import furnish
from tests.scheduling.desk import Desk, appointment, at


@pytest.fixture(autouse=True)
async def doctor(desk: Desk) -> None:
    await desk.put_ok({"resourceType": "Practitioner", "id": "d1", "name": [{"text": "Dr One"}]})


async def events(desk: Desk, address: str) -> list:
    response = await desk.get(address, headers={"accept": "text/calendar"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/calendar; charset=utf-8"
    return list(Calendar.from_ical(response.content).walk("VEVENT"))


def named(event, *names: str) -> list[str]:
    return [str(event.get(name)) for name in names]


async def make(desk: Desk, *actors: str, **more) -> dict:
    made = await desk.post_json("Appointment", appointment(*actors, **more))
    assert made.status_code == 201, made.text
    return made.json()


async def test_an_appointment_is_an_event(desk: Desk):
    made = await make(desk, "Practitioner/d1", description="Echo, please; come early")
    (event,) = await events(desk, f"Appointment/{made['id']}/$calendar")
    assert named(event, "uid", "summary", "status", "sequence") == [
        f"Appointment-{made['id']}@osler.test",
        "Echo, please; come early",
        "CONFIRMED",
        "0",
    ]
    assert event["dtstart"].dt == datetime(2026, 3, 3, 9, tzinfo=UTC)
    assert event["dtend"].dt == datetime(2026, 3, 3, 9, 30, tzinfo=UTC)


async def test_a_cancelled_appointment_replaces_the_event(desk: Desk):
    made = await make(desk, "Practitioner/d1")
    reason = {
        "coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason", "code": "pat"}
        ]
    }
    assert (await desk.set_status(made["id"], "cancelled", cancelationReason=reason)).status_code == 200
    (event,) = await events(desk, f"Appointment/{made['id']}/$calendar")
    assert named(event, "uid", "status", "sequence") == [
        f"Appointment-{made['id']}@osler.test",
        "CANCELLED",
        "1",
    ]


async def test_a_feed_tells_when_and_not_who_unless_it_is_asked(desk: Desk):
    await make(desk, "Practitioner/d1", description="Secret")
    await make(desk, "Practitioner/d1", start=60, end=90, status="cancelled")
    (event,) = await events(desk, "Practitioner/d1/$calendar")
    assert named(event, "summary", "description") == ["Busy", "None"]
    (event,) = await events(desk, "Practitioner/d1/$calendar?detail=full")
    assert named(event, "summary") == ["Secret"]


async def test_a_feed_has_the_bookings_of_all_roles_and_the_blocks(desk: Desk):
    await furnish(desk)
    await make(desk, "PractitionerRole/ra")
    await make(desk, "Practitioner/da", start=60, end=90)
    period = {"valuePeriod": {"start": at(120), "end": at(180)}}
    assert (await desk.operate("Schedule/sa/$block", period=period, reason="leave")).status_code == 200
    for address in ("Practitioner/da", "PractitionerRole/ra", "Schedule/sa"):
        found = await events(desk, f"{address}/$calendar?detail=full")
        assert sorted(str(e["summary"]) for e in found) == ["Appointment", "Appointment", "leave"]


async def test_a_feed_has_bounds(desk: Desk):
    await make(desk, "Practitioner/d1")
    assert await events(desk, "Practitioner/d1/$calendar?start=2026-03-04") == []
    assert len(await events(desk, "Practitioner/d1/$calendar?start=2026-03-03&end=2026-03-03")) == 1


async def test_calendars_of_what_is_not_there_or_has_no_time_are_refused(desk: Desk):
    assert (await desk.get("Appointment/none/$calendar")).status_code == 404
    assert (await desk.get("Practitioner/none/$calendar")).status_code == 404
    assert (await desk.get("Practitioner/d1/$calendar?detail=all")).status_code == 400
    waiting = {
        "resourceType": "Appointment",
        "status": "waitlist",
        "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
    }
    made = await desk.post_json("Appointment", waiting)
    assert made.status_code == 201, made.text
    assert (await desk.get(f"Appointment/{made.json()['id']}/$calendar")).status_code == 422
