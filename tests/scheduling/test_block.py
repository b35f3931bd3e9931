"""Closing a Schedule for a time, and opening it again."""

from __future__ import annotations

import asyncio

import pytest

from tests.scheduling.clinic import found, furnish, starts
from tests.scheduling.desk import Desk, appointment, ref, slot

DAY = "2026-03-03"
NINE = [f"{DAY}T{t}" for t in ("09:00", "09:30", "10:00", "10:30", "11:00", "11:30")]


@pytest.fixture
async def clinic(desk: Desk) -> Desk:
    await furnish(desk)
    return desk


def berlin(low: str, high: str) -> dict:
    return {"valuePeriod": {"start": f"{DAY}T{low}:00+01:00", "end": f"{DAY}T{high}:00+01:00"}}


async def block(desk: Desk, schedule: str = "sa", **given):
    given.setdefault("reason", "ill")
    if "on_conflict" in given:
        given["on_conflict"] = {"valueCode": given["on_conflict"]}
    return await desk.operate(f"Schedule/{schedule}/$block", **given)


def told(response, name: str) -> list:
    assert response.status_code == 200, response.text
    return [
        p.get("resource", p.get("valueReference")) for p in response.json()["parameter"] if p["name"] == name
    ]


async def offered(desk: Desk, schedule: str = "sa") -> list[str]:
    return starts(await found(desk, DAY, DAY, schedule=ref(f"Schedule/{schedule}")))


async def book(desk: Desk, low: str, high: str, actor: str = "PractitionerRole/ra", **more) -> dict:
    times = {"start": f"{DAY}T{low}:00+01:00", "end": f"{DAY}T{high}:00+01:00"}
    response = await desk.post_json("Appointment", appointment(actor, **more) | times)
    return response.json() if response.status_code == 201 else {"refused": response.status_code}


async def test_blocked_time_is_neither_offered_nor_booked(clinic: Desk):
    (made,) = told(await block(clinic, period=berlin("09:30", "10:30")), "slot")
    assert (made["status"], made["comment"]) == ("busy-unavailable", "ill")
    assert await offered(clinic) == [NINE[0], *NINE[3:]]
    assert await book(clinic, "09:30", "10:00") == {"refused": 409}
    assert await book(clinic, "09:30", "10:00", actor="Practitioner/da") == {"refused": 409}
    assert "id" in await book(clinic, "09:00", "09:30")


async def test_a_day_is_blocked_as_a_whole_in_the_zone_of_the_schedule(clinic: Desk):
    (made,) = told(await block(clinic, period={"valuePeriod": {"start": DAY, "end": DAY}}), "slot")
    assert (made["start"], made["end"]) == ("2026-03-02T23:00:00.000Z", "2026-03-03T23:00:00.000Z")
    assert await offered(clinic) == []


async def test_a_block_over_bookings_is_refused_and_names_them(clinic: Desk):
    booked = await book(clinic, "10:00", "10:30")
    refused = await block(clinic, period=berlin("09:00", "12:00"))
    assert refused.status_code == 409
    assert f"Appointment/{booked['id']}" in refused.json()["issue"][0]["diagnostics"]
    assert len(await offered(clinic)) == 5


@pytest.mark.parametrize("manner", ["report", "reschedule"])
async def test_a_block_over_bookings_leaves_them_and_tells_which(clinic: Desk, manner: str):
    first = await book(clinic, "10:30", "11:00")
    second = await book(clinic, "10:00", "10:30", actor="Practitioner/da")
    await book(clinic, "11:30", "12:00")
    answer = await block(clinic, period=berlin("09:00", "11:30"), on_conflict=manner)
    hit = [f"Appointment/{second['id']}", f"Appointment/{first['id']}"]
    assert [r["reference"] for r in told(answer, "appointment")] == hit
    tasks = told(answer, "task")
    assert [t["focus"]["reference"] for t in tasks] == (hit if manner == "reschedule" else [])
    assert (await clinic.read(hit[0]))["status"] == "booked"
    assert await offered(clinic) == []
    # what stands may be written again, but nothing comes in
    assert (await clinic.set_status(first["id"], "arrived")).status_code == 200
    assert await book(clinic, "09:00", "09:30") == {"refused": 409}


async def test_a_booking_by_slot_alone_is_seen(clinic: Desk):
    await clinic.put_ok(slot("only", schedule="sa", start=-60, end=-30))
    times = {"slots": ("only",), "start": -60, "end": -30}
    made = await clinic.post_json("Appointment", appointment(**times))
    assert made.status_code == 201, made.text
    assert (await block(clinic, period=berlin("09:00", "09:30"))).status_code == 409


async def test_blocks_may_overlap(clinic: Desk):
    told(await block(clinic, period=berlin("09:00", "10:00")), "slot")
    told(await block(clinic, period=berlin("09:30", "11:00")), "slot")
    assert await offered(clinic) == NINE[4:]


async def test_a_block_of_one_schedule_closes_the_time_of_the_person(clinic: Desk):
    await clinic.put_ok(
        {
            "resourceType": "Schedule",
            "id": "other",
            "actor": [ref("Practitioner/da")],
        },
        slot("o1", schedule="other"),
    )
    assert len(await offered(clinic, "other")) == 1
    told(await block(clinic, period=berlin("09:00", "12:00")), "slot")
    assert await offered(clinic, "other") == []


async def test_a_timing_blocks_many_times_in_wall_time(clinic: Desk):
    timing = {
        "valueTiming": {
            "repeat": {
                "boundsPeriod": {"start": "2026-03-23", "end": "2026-04-05"},
                "dayOfWeek": ["mon"],
                "timeOfDay": ["09:00:00"],
                "duration": 2,
                "durationUnit": "h",
            }
        }
    }
    slots = told(await block(clinic, timing=timing), "slot")
    assert [(s["start"], s["end"]) for s in slots] == [
        ("2026-03-23T08:00:00.000Z", "2026-03-23T10:00:00.000Z"),
        ("2026-03-30T07:00:00.000Z", "2026-03-30T09:00:00.000Z"),
    ]


async def test_dry_run_writes_nothing_and_a_request_is_carried_out_once(clinic: Desk):
    period = berlin("09:00", "10:00")
    assert len(told(await block(clinic, period=period, dry_run=True), "slot")) == 1
    assert await offered(clinic) == NINE
    await book(clinic, "09:00", "09:30")
    once = {"period": period, "on_conflict": "report", "request_id": {"valueUri": "urn:uuid:1"}}
    first = await block(clinic, **once)
    again = await block(clinic, **once)
    assert first.json() == again.json()
    assert len(told(again, "appointment")) == 1
    blocks = await clinic.read("Slot?status=busy-unavailable")
    assert blocks["total"] == 1


async def test_unblocking_lifts_shortens_or_cuts_a_block(clinic: Desk):
    (made,) = told(await block(clinic, period=berlin("09:00", "12:00")), "slot")
    opened = await clinic.operate("Schedule/sa/$unblock", period=berlin("10:00", "11:00"))
    assert [(s["start"][11:16], s["end"][11:16]) for s in told(opened, "slot")] == [
        ("08:00", "09:00"),
        ("10:00", "11:00"),
    ]
    assert await offered(clinic) == NINE[2:4]
    lifted = await clinic.operate("Schedule/sa/$unblock", slot=ref(f"Slot/{made['id']}"))
    assert [s["status"] for s in told(lifted, "slot")] == ["entered-in-error"]
    assert await offered(clinic) == NINE[:4]
    again = await clinic.operate("Schedule/sa/$unblock", slot=ref(f"Slot/{made['id']}"))
    assert again.status_code == 404


async def test_a_block_and_a_booking_at_once_do_not_both_pass_unseen(clinic: Desk):
    blocked, booked = await asyncio.gather(
        block(clinic, period=berlin("09:00", "10:00")), book(clinic, "09:00", "09:30")
    )
    assert (blocked.status_code == 200) != ("id" in booked)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"period": {"valuePeriod": {"start": DAY}}},
        {"period": {"valuePeriod": {"start": DAY, "end": "2026-03-01"}}},
        {"period": berlin("09:00", "10:00"), "on_conflict": "ask"},
        {"period": berlin("09:00", "10:00"), "timing": {"valueTiming": {"repeat": {}}}},
        {"timing": {"valueTiming": {"repeat": {}}}},
        {"timing": {"valueTiming": {"repeat": {"count": 3}}}},
    ],
)
async def test_blocks_that_make_no_sense_are_refused(clinic: Desk, given: dict):
    assert (await block(clinic, **given)).status_code == 400


async def test_what_is_not_there_is_not_blocked(clinic: Desk):
    assert (await block(clinic, "nothing", period=berlin("09:00", "10:00"))).status_code == 404
    empty = await clinic.operate("Schedule/sa/$unblock", period=berlin("09:00", "10:00"))
    assert empty.status_code == 404
    assert (await clinic.operate("Schedule/sa/$unblock")).status_code == 400
