"""What everybody may know: free and taken times of published Schedules, as SMART Scheduling Links has them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scheduling.clinic import BERLIN, CHECKUP, WEEKDAYS, furnish
from tests.scheduling.desk import NOW, Desk, appointment, desk_at, ref, rules, schedule, slot, store_of
from tests.store.making import Clock

WEEK = "2026-03-02"
LINK = "http://fhir-registry.smarthealthit.org/StructureDefinition/booking-deep-link"
CAPACITY = "http://fhir-registry.smarthealthit.org/StructureDefinition/slot-capacity"


def published(**stated) -> list[dict]:
    extension = rules(**stated)
    extension[0]["extension"].append({"url": "published", "valueBoolean": True})
    return extension


async def lines(desk: Desk, address: str) -> list[dict]:
    response = await desk.get(address)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/fhir+ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def publish(desk: Desk) -> None:
    await furnish(desk)
    await desk.put_ok(schedule("sa", "PractitionerRole/ra", serviceType=[CHECKUP], extension=published()))


async def test_the_manifest_leads_to_every_file(desk: Desk):
    await publish(desk)
    response = await desk.get("$bulk-publish?_since=2026-01-01T00:00:00Z")
    assert response.headers["content-type"] == "application/json"
    manifest = response.json()
    assert manifest["transactionTime"] == "2026-03-02T08:00:00.000Z"
    assert manifest["request"].endswith("/fhir/$bulk-publish")
    assert [o["type"] for o in manifest["output"]] == ["Location", "Schedule", *["Slot"] * 5]
    told = {line["resourceType"] for o in manifest["output"] for line in await lines(desk, o["url"])}
    assert told == {"Location", "Schedule", "Slot"}


async def test_only_published_schedules_are_told_with_their_place(desk: Desk):
    await publish(desk)
    assert await lines(desk, "$bulk-publish?output=Schedule") == [
        {
            "resourceType": "Schedule",
            "id": "sa",
            "serviceType": [CHECKUP],
            "actor": [{"reference": "Location/room1"}],
        }
    ]
    (place,) = await lines(desk, "$bulk-publish?output=Location")
    assert (place["id"], place["address"]["city"]) == ("room1", "Bremen")


async def test_slots_are_free_or_busy_and_nothing_else_is_told(desk: Desk):
    await publish(desk)
    times = {"start": "2026-03-03T09:30:00+01:00", "end": "2026-03-03T10:00:00+01:00"}
    assert (
        await desk.post_json("Appointment", appointment("PractitionerRole/ra") | times)
    ).status_code == 201
    slots = await lines(desk, f"$bulk-publish?output=Slot&week={WEEK}")
    tuesday = [(s["start"], s["status"]) for s in slots if s["start"].startswith("2026-03-03")]
    assert tuesday[:3] == [
        ("2026-03-03T09:00:00+01:00", "free"),
        ("2026-03-03T09:30:00+01:00", "busy"),
        ("2026-03-03T10:00:00+01:00", "free"),
    ]
    assert set(slots[0]) == {"resourceType", "id", "schedule", "status", "start", "end"}
    assert len({s["id"] for s in slots}) == len(slots)
    # the clinic of Monday began at 09:00 in Berlin, which is the clock's time
    assert slots[0]["start"] == "2026-03-02T09:00:00+01:00"


async def test_a_published_slot_can_be_booked_by_its_id(desk: Desk):
    await publish(desk)
    free = next(
        s for s in await lines(desk, f"$bulk-publish?output=Slot&week={WEEK}") if s["status"] == "free"
    )
    response = await desk.operate("Appointment/$hold", appointment_reference=ref(f"Appointment/{free['id']}"))
    assert response.status_code == 200, response.text
    held = response.json()["entry"][0]["resource"]
    assert (held["status"], held["start"]) == ("pending", free["start"])
    after = {s["id"]: s["status"] for s in await lines(desk, f"$bulk-publish?output=Slot&week={WEEK}")}
    assert after[free["id"]] == "busy"


async def test_a_group_tells_how_many_places_are_left(desk: Desk):
    weekly = {
        "url": "available-time",
        "extension": [
            *({"url": "days-of-week", "valueCode": day} for day in WEEKDAYS),
            {"url": "start", "valueTime": "10:00:00"},
            {"url": "end", "valueTime": "11:00:00"},
        ],
    }
    extension = published(capacity=3, duration="60 min")
    extension[0]["extension"].append(weekly)
    await desk.put_ok(schedule("g", "Practitioner/dg", extension=[*extension, BERLIN]))
    times = {"start": "2026-03-03T10:00:00+01:00", "end": "2026-03-03T11:00:00+01:00"}
    for left in (2, 1, 0):
        response = await desk.post_json("Appointment", appointment("Practitioner/dg") | times)
        assert response.status_code == 201
        slots = await lines(desk, f"$bulk-publish?output=Slot&week={WEEK}")
        group = next(s for s in slots if s["start"].startswith("2026-03-03"))
        assert group["extension"] == [{"url": CAPACITY, "valueInteger": left}]
        assert group["status"] == ("free" if left else "busy")


async def test_free_slots_lead_to_the_page_where_they_are_booked(tmp_path: Path):
    clock = Clock(NOW)
    link = "https://hospital.example/book?slot={slot}"
    async with desk_at(store_of("memory", tmp_path, clock), clock, booking_link=link) as desk:
        await desk.put_ok(
            schedule("plain", "Practitioner/dp", extension=published()), slot("p1", schedule="plain")
        )
        (told,) = await lines(desk, f"$bulk-publish?output=Slot&week={WEEK}")
        assert told["id"] == "p1"
        assert told["extension"] == [{"url": LINK, "valueUrl": "https://hospital.example/book?slot=p1"}]


async def test_files_that_are_not_there_are_refused(desk: Desk):
    for query in ("output=Patient", "output=Slot", "output=Slot&week=soon", "other=1"):
        assert (await desk.get(f"$bulk-publish?{query}")).status_code == 400
