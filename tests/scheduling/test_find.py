"""Appointment/$find tells what can be had, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.scheduling.clinic import (
    BERLIN,
    CHECKUP,
    REQUIRED,
    SPECIALTY,
    WEEKDAYS,
    actors,
    find,
    found,
    furnish,
    location,
    minutes,
    starts,
)
from tests.scheduling.desk import MINUTE as MINUTE
from tests.scheduling.desk import NOW, Desk, appointment, hold, ref, rules, schedule, slot

# the desk's clock says Monday 2026-03-02T08:00Z
DAY = "2026-03-03"


@pytest.fixture
async def clinic(desk: Desk) -> Desk:
    await furnish(desk)
    return desk


async def book(desk: Desk, *actors: str, start: str, end: str, **more):
    body = appointment(*actors, **more) | {"start": start, "end": end}
    response = await desk.post_json("Appointment", body)
    assert response.status_code == 201, response.text
    return response.json()


async def test_the_hours_of_a_role_are_offered_in_its_zone(clinic: Desk):
    proposals = await found(clinic, DAY, DAY, schedule=ref("Schedule/sa"))
    assert starts(proposals) == [f"{DAY}T{t}" for t in ("09:00", "09:30", "10:00", "10:30", "11:00", "11:30")]
    first = proposals[0]
    assert first["start"] == f"{DAY}T09:00:00+01:00"
    assert first["end"] == f"{DAY}T09:30:00+01:00"
    assert first["status"] == "proposed"
    assert first["minutesDuration"] == 30
    assert first["serviceType"] == [CHECKUP]
    assert [(p["actor"]["reference"], p["required"]) for p in first["participant"]] == [
        ("PractitionerRole/ra", "required"),
        ("Location/room1", "information-only"),
    ]
    assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", first["id"])


async def test_the_same_question_has_the_same_answer_and_writes_nothing(clinic: Desk):
    before = (await clinic.get("_history?_count=1")).json()["entry"][0]["fullUrl"]
    first = await found(clinic, DAY, "2026-03-10")
    assert first == await found(clinic, DAY, "2026-03-10")
    assert len({p["id"] for p in first}) == len(first)
    assert (await clinic.get("_history?_count=1")).json()["entry"][0]["fullUrl"] == before


async def test_what_is_booked_or_held_is_not_offered_until_the_hold_expires(clinic: Desk):
    await book(clinic, "PractitionerRole/ra", start=f"{DAY}T09:00:00+01:00", end=f"{DAY}T09:30:00+01:00")
    held = hold("PractitionerRole/ra", expires=10 * MINUTE) | {
        "start": f"{DAY}T10:00:00+01:00",
        "end": f"{DAY}T10:30:00+01:00",
    }
    assert (await clinic.post_json("Appointment", held)).status_code == 201
    question = {"schedule": ref("Schedule/sa")}
    left = [f"{DAY}T{t}" for t in ("09:30", "10:00", "10:30", "11:00", "11:30")]
    assert starts(await found(clinic, DAY, DAY, **question)) == [t for t in left if "10:00" not in t]
    clinic.clock.now = NOW + 10 * MINUTE - 1000
    assert starts(await found(clinic, DAY, DAY, **question)) == [t for t in left if "10:00" not in t]
    clinic.clock.now = NOW + 10 * MINUTE
    assert starts(await found(clinic, DAY, DAY, **question)) == left


async def test_an_appointment_that_is_to_be_moved_is_not_in_its_own_way(clinic: Desk):
    booked = await book(
        clinic, "PractitionerRole/ra", start=f"{DAY}T09:00:00+01:00", end=f"{DAY}T09:30:00+01:00"
    )
    moving = ref(f"Appointment/{booked['id']}")
    proposals = await found(clinic, DAY, DAY, schedule=ref("Schedule/sa"), ignore_appointment=moving)
    assert f"{DAY}T09:00" in starts(proposals)


async def test_a_booking_of_the_practitioner_takes_the_time_of_the_role(clinic: Desk):
    await book(clinic, "Practitioner/da", start=f"{DAY}T09:00:00+01:00", end=f"{DAY}T11:30:00+01:00")
    assert starts(await found(clinic, DAY, DAY, practitioner=ref("Practitioner/da"))) == [f"{DAY}T11:30"]


async def test_practitioners_are_alternatives_in_order_of_preference(clinic: Desk):
    both = [ref("Practitioner/db"), {"valueReference": {"identifier": {"system": "urn:n", "value": "da"}}}]
    proposals = await found(clinic, DAY, DAY, practitioner=both)
    told = [(p["start"][11:16], actors(p)[0][-1]) for p in proposals]
    assert told[:5] == [("09:00", "a"), ("09:30", "a"), ("10:00", "b"), ("10:00", "a"), ("10:30", "b")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"specialty": f"{SPECIALTY}|394579002"}, {"PractitionerRole/ra"}),
        ({"specialty": "394579002"}, {"PractitionerRole/ra"}),
        ({"specialty": f"{SPECIALTY}|1"}, set()),
        ({"visit_type": "http://example.org/visits|checkup"}, {"PractitionerRole/ra"}),
        ({"location_reference": ref("Location/room1")}, {"PractitionerRole/ra", "Location/room1"}),
        (
            {"location_reference": ref("Location/house")},
            {"PractitionerRole/ra", "Location/room1", "Location/room2"},
        ),
        ({"location_string": "brem"}, {"PractitionerRole/ra", "Location/room1", "Location/room2"}),
        (
            {"organization": ref("Organization/hospital"), "practitioner": ref("Practitioner/da")},
            {"PractitionerRole/ra"},
        ),
        ({"organization": ref("Organization/none")}, set()),
    ],
)
async def test_criteria_choose_the_schedules(clinic: Desk, given: dict, expected: set):
    proposals = await found(clinic, DAY, DAY, **given)
    assert {actors(p)[0] for p in proposals} == expected


async def test_count_and_total_and_pages(clinic: Desk):
    query = f"Appointment/$find?start={DAY}&end={DAY}&schedule=Schedule/sa&_count=4"
    page = (await clinic.get(query)).json()
    assert (page["total"], len(page["entry"])) == (6, 4)
    (following,) = [link["url"] for link in page["link"] if link["relation"] == "next"]
    rest = (await clinic.get(following)).json()
    assert [len(rest["entry"]), [link["relation"] for link in rest["link"]]] == [2, ["self"]]
    told = [e["resource"]["start"][11:16] for e in (*page["entry"], *rest["entry"])]
    assert told == ["09:00", "09:30", "10:00", "10:30", "11:00", "11:30"]


async def test_joint_schedules_are_offered_where_all_are_free(clinic: Desk):
    await book(clinic, "Location/room2", start=f"{DAY}T09:15:00+01:00", end=f"{DAY}T10:15:00+01:00")
    proposals = await found(
        clinic, DAY, DAY, schedule=[ref("Schedule/sa"), ref("Schedule/s2")], joint=True, duration=60
    )
    assert starts(proposals) == [f"{DAY}T10:30", f"{DAY}T11:00"]
    assert actors(proposals[0]) == ["PractitionerRole/ra", "Location/room2"]
    alone = await found(clinic, DAY, DAY, schedule=[ref("Schedule/sa"), ref("Schedule/s2")], duration=60)
    assert {tuple(actors(p)) for p in alone} == {("PractitionerRole/ra",), ("Location/room2",)}


async def test_a_joint_question_takes_one_practitioner_and_one_place(clinic: Desk):
    await book(clinic, "Location/room1", start=f"{DAY}T09:00:00+01:00", end=f"{DAY}T10:00:00+01:00")
    rooms = [ref("Location/room1"), ref("Location/room2")]
    proposals = await found(
        clinic, DAY, DAY, practitioner=ref("Practitioner/da"), location_reference=rooms, joint=True
    )
    told = {p["start"][11:16]: actors(p)[1] for p in proposals}
    assert told["09:00"] == "Location/room2"
    assert told["10:00"] == "Location/room1"


async def test_what_is_required_besides_is_free_with_its_offset(clinic: Desk):
    await book(clinic, "Device/scanner", start=f"{DAY}T09:00:00+01:00", end=f"{DAY}T09:45:00+01:00")
    need = {
        "name": "required-resource",
        "part": [
            {"name": "type", "valueCode": "Device"},
            {"name": "offset", "valueUnsignedInt": 15},
            {"name": "duration", "valuePositiveInt": 10},
        ],
    }
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "start", "valueDateTime": DAY},
            {"name": "end", "valueDateTime": DAY},
            {"name": "schedule", "valueReference": ref("Schedule/sa")},
            need,
        ],
    }
    proposals = [e["resource"] for e in (await clinic.post_json("Appointment/$find", body)).json()["entry"]]
    assert starts(proposals)[0] == f"{DAY}T09:30"
    scanner = next(p for p in proposals[0]["participant"] if p["actor"]["reference"] == "Device/scanner")
    assert scanner["period"] == {"start": f"{DAY}T09:45:00+01:00", "end": f"{DAY}T09:55:00+01:00"}


async def test_a_service_brings_its_rules_and_what_it_requires(clinic: Desk):
    service = {
        "resourceType": "HealthcareService",
        "id": "echo",
        "extension": [
            *rules(duration="45 min", buffer_after="15 min"),
            {
                "url": REQUIRED,
                "extension": [
                    {"url": "type", "valueCode": "Location"},
                    *({"url": "schedule", "valueReference": ref(f"Schedule/s{n}")} for n in (1, 2)),
                    {"url": "count", "valuePositiveInt": 2},
                    {"url": "duration", "valueDuration": minutes(20)},
                ],
            },
        ],
    }
    role = await clinic.read("PractitionerRole/ra")
    await clinic.put_ok(service, {**role, "healthcareService": [ref("HealthcareService/echo")]})
    proposals = await found(clinic, DAY, DAY, service=ref("HealthcareService/echo"))
    assert starts(proposals) == [f"{DAY}T{t}" for t in ("09:00", "09:45", "10:30", "11:15")]
    assert actors(proposals[0]) == ["PractitionerRole/ra", "Location/room1", "Location/room2"]
    await book(clinic, "Location/room2", start=f"{DAY}T09:00:00+01:00", end=f"{DAY}T10:31:00+01:00")
    assert starts(await found(clinic, DAY, DAY, service=ref("HealthcareService/echo"))) == [f"{DAY}T11:15"]


async def test_published_slots_are_offered_where_nothing_states_hours(clinic: Desk):
    await clinic.put_ok(
        schedule("plain", "Practitioner/dp"),
        slot("p1", 0, 20, schedule="plain"),
        slot("p2", 20, 60, schedule="plain"),
        slot("p3", 60, 90, schedule="plain", status="busy"),
    )
    proposals = await found(clinic, DAY, DAY, practitioner=ref("Practitioner/dp"))
    assert [(p["slot"][0]["reference"], p["minutesDuration"]) for p in proposals] == [
        ("Slot/p1", 20),
        ("Slot/p2", 40),
    ]
    longer = await found(clinic, DAY, DAY, practitioner=ref("Practitioner/dp"), duration=30)
    assert [(p["slot"][0]["reference"], p["minutesDuration"]) for p in longer] == [("Slot/p2", 30)]
    held = hold("Practitioner/dp", expires=10 * MINUTE, slots=("p1",), end=20)
    assert (await clinic.post_json("Appointment", held)).status_code == 201
    assert len(await found(clinic, DAY, DAY, practitioner=ref("Practitioner/dp"))) == 1
    clinic.clock.now = NOW + 10 * MINUTE
    assert len(await found(clinic, DAY, DAY, practitioner=ref("Practitioner/dp"))) == 2


async def test_preferred_times_narrow_the_answer(clinic: Desk):
    async def told(**repeat):
        timing = {"valueTiming": {"repeat": repeat}}
        return starts(
            await found(clinic, DAY, "2026-03-06", schedule=ref("Schedule/sa"), timing=timing, duration=60)
        )

    assert await told(dayOfWeek=["wed"], timeOfDay=["10:00:00"]) == ["2026-03-04T10:00"]
    assert await told(dayOfWeek=["thu"], when=["MORN.late"]) == [
        f"2026-03-05T{t}" for t in ("09:00", "09:30", "10:00", "10:30", "11:00")
    ]
    assert await told(when=["AFT"]) == []
    bounds = {"start": "2026-03-06", "end": "2026-03-06"}
    assert {t[:10] for t in await told(boundsPeriod=bounds)} == {"2026-03-06"}
    refused = await find(clinic, DAY, DAY, timing={"valueTiming": {"repeat": {"count": 3}}})
    assert refused.status_code == 400


async def test_rules_of_the_schedule_are_kept(clinic: Desk):
    weekly = {
        "url": "available-time",
        "extension": [
            *({"url": "days-of-week", "valueCode": day} for day in WEEKDAYS),
            {"url": "start", "valueTime": "08:00:00"},
            {"url": "end", "valueTime": "12:00:00"},
        ],
    }
    extension = rules(duration="30 min", step="60 min", minimum_notice="3 h", furthest_ahead="2 d")
    extension[0]["extension"].append(weekly)
    await clinic.put_ok(schedule("own", "Practitioner/do", extension=[*extension, BERLIN]))
    # 08:00Z is 09:00 in Berlin; with three hours of notice nothing before 12:00
    proposals = await found(clinic, "2026-03-02", "2026-03-10", practitioner=ref("Practitioner/do"))
    assert starts(proposals) == [
        *(f"2026-03-03T{t}:00" for t in ("08", "09", "10", "11")),
        *(f"2026-03-04T{t}:00" for t in ("08", "09")),
    ]


async def test_patients_reasons_and_referral_go_into_the_proposals(clinic: Desk):
    proposals = await found(
        clinic,
        DAY,
        DAY,
        schedule=ref("Schedule/sa"),
        patient_reference=ref("Patient/p1"),
        patient_resource={"resourceType": "Patient", "name": [{"family": "Neu"}]},
        reason="http://snomed.info/sct|22298006",
        referral_identifier={"valueIdentifier": {"system": "urn:r", "value": "R1"}},
    )
    first = proposals[0]
    assert actors(first) == ["Patient/p1", "#patient1", "PractitionerRole/ra"]
    assert first["contained"] == [{"resourceType": "Patient", "name": [{"family": "Neu"}], "id": "patient1"}]
    assert first["reasonCode"] == [{"coding": [{"system": "http://snomed.info/sct", "code": "22298006"}]}]
    assert first["basedOn"][0]["identifier"] == {"system": "urn:r", "value": "R1"}


async def test_what_was_not_looked_at_is_told(clinic: Desk):
    response = await find(clinic, DAY, DAY, insurance_reference=ref("InsurancePlan/1"))
    (outcome,) = [e["resource"] for e in response.json()["entry"] if e["search"]["mode"] == "outcome"]
    assert outcome["issue"][0]["severity"] == "information"


@pytest.mark.parametrize(
    ("start", "end", "given", "status"),
    [
        ("2026-03-04", "2026-03-03", {}, 400),
        ("2026-03-04", "2028-03-03", {}, 400),
        ("soon", "later", {}, 400),
        (DAY, DAY, {"color": "red"}, 400),
        (DAY, DAY, {"practitioner": ref("Patient/1")}, 400),
        (DAY, DAY, {"practitioner": {"valueReference": {"display": "Dr X"}}}, 400),
        (DAY, DAY, {"practitioner": {"valueReference": {"identifier": {"value": "nobody"}}}}, 404),
        (DAY, DAY, {"duration": 0}, 400),
    ],
)
async def test_questions_that_make_no_sense_are_refused(clinic: Desk, start, end, given, status):
    response = await find(clinic, start, end, **given)
    assert response.status_code == status, response.text
    assert response.json()["resourceType"] == "OperationOutcome"


async def test_every_proposal_is_an_appointment_and_can_be_booked_as_it_is(clinic: Desk):
    proposals = await found(
        clinic, DAY, DAY, schedule=ref("Schedule/sa"), patient_reference=ref("Patient/p1")
    )
    for proposal in proposals:
        checked = await clinic.post_json("Appointment/$validate", proposal)
        assert [i for i in checked.json()["issue"] if i["severity"] in ("error", "fatal")] == []
        body = {k: v for k, v in proposal.items() if k != "id"} | {"status": "booked"}
        body["participant"] = [{**p, "status": "accepted"} for p in proposal["participant"]]
        assert (await clinic.post_json("Appointment", body)).status_code == 201
    assert await found(clinic, DAY, DAY, schedule=ref("Schedule/sa")) == []


async def test_a_place_that_is_closed_for_good_is_not_offered(clinic: Desk):
    await clinic.put_ok(location("room2", status="inactive", partOf=ref("Location/house")))
    assert {actors(p)[0] for p in await found(clinic, DAY, DAY, location_string="Bremen")} == {
        "PractitionerRole/ra",
        "Location/room1",
    }


async def test_what_was_found_before_is_forgotten_when_it_is_no_longer_so(clinic: Desk):
    async def told(**given):
        return [t[11:16] for t in starts(await found(clinic, DAY, DAY, schedule=ref("Schedule/sa"), **given))]

    assert await told() == await told() == ["09:00", "09:30", "10:00", "10:30", "11:00", "11:30"]
    first = await book(
        clinic, "PractitionerRole/ra", start=f"{DAY}T09:30:00+01:00", end=f"{DAY}T10:00:00+01:00"
    )
    assert await told() == ["09:00", "10:00", "10:30", "11:00", "11:30"]
    assert await told(duration=60) == ["10:00", "10:30", "11:00"]
    await clinic.put_ok(hold("PractitionerRole/ra", id="h", expires=10 * MINUTE, start=60, end=90))
    assert await told() == ["09:00", "10:00", "10:30", "11:30"]
    assert await told(patient_reference=ref("Patient/p1")) == await told()
    clinic.clock.now += 10 * MINUTE
    assert await told() == ["09:00", "10:00", "10:30", "11:00", "11:30"]
    assert (await clinic.set_status(first["id"], "cancelled")).status_code == 200
    assert len(await told()) == 6
    role = await clinic.read("PractitionerRole/ra")
    role["availableTime"][0]["availableEndTime"] = "10:00:00"
    await clinic.put_ok(role)
    assert await told() == ["09:00", "09:30"]
    clinic.clock.now += 24 * 60 * MINUTE + 15 * MINUTE  # Tuesday 08:25Z, 09:25 in Berlin
    assert await told() == ["09:30"]
    clinic.clock.now += 24 * 60 * MINUTE
    assert await told() == []
