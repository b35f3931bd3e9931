"""What is offered can be had: nobody is refused a proposal that nobody else has taken."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduling.clinic import BERLIN, WEEKDAYS, found, furnish, starts
from tests.scheduling.desk import NOW, Desk, desk_at, ref, rules, schedule, store_of
from tests.store.making import Clock

DAY = "2026-03-03"


def working(start: str, end: str, **stated) -> list[dict]:
    weekly = {
        "url": "available-time",
        "extension": [
            *({"url": "days-of-week", "valueCode": day} for day in WEEKDAYS),
            {"url": "start", "valueTime": f"{start}:00"},
            {"url": "end", "valueTime": f"{end}:00"},
        ],
    }
    extension = rules(**stated) or [{"url": "", "extension": []}]
    extension[0]["extension"].append(weekly)
    return [*extension, BERLIN]


async def book(desk: Desk, proposal: dict) -> int:
    response = await desk.operate(
        "Appointment/$book",
        appointment_reference=ref(f"Appointment/{proposal['id']}"),
        patient_resource={"resourceType": "Patient", "name": [{"family": proposal["id"]}]},
    )
    return response.status_code


async def test_a_service_is_booked_by_the_rules_by_which_it_was_offered(desk: Desk):
    await furnish(desk)
    await desk.put_ok(
        *(
            {"resourceType": "HealthcareService", "id": id, "extension": rules(buffer_after=f"{after} min")}
            for id, after in (("short", 5), ("long", 30))
        )
    )
    role = await desk.read("PractitionerRole/ra")
    both = [ref("HealthcareService/short"), ref("HealthcareService/long")]
    await desk.put_ok({**role, "healthcareService": both})
    first = (await found(desk, DAY, DAY, service=both[1]))[0]
    assert await book(desk, first) == 200
    # half an hour from 9 and half an hour after it are taken
    assert starts(await found(desk, DAY, DAY, service=both[0]))[0] == f"{DAY}T10:00"


async def test_a_person_with_two_schedules_is_booked_by_the_one_that_was_offered(desk: Desk):
    await desk.put_ok(
        schedule("calm", "Practitioner/dc", extension=working("09:00", "12:00", buffer_after="30 min")),
        schedule("busy", "Practitioner/dc", extension=working("09:00", "12:00", capacity=1)),
    )
    proposals = await found(desk, DAY, DAY, schedule=ref("Schedule/busy"))
    assert [await book(desk, proposal) for proposal in proposals] == [200] * 6


stated = st.fixed_dictionaries(
    {},
    optional={
        "duration": st.sampled_from(["20 min", "30 min", "45 min"]),
        "step": st.sampled_from(["10 min", "15 min", "30 min"]),
        "buffer_before": st.sampled_from(["5 min", "15 min"]),
        "buffer_after": st.sampled_from(["10 min", "20 min"]),
        "shared_buffers": st.booleans(),
        "capacity": st.integers(1, 3),
    },
)


@given(stated, stated, st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
async def test_every_proposal_can_be_booked_until_nothing_is_left(one: dict, other: dict, chance: Random):
    clock = Clock(NOW)
    with tempfile.TemporaryDirectory() as folder:
        async with desk_at(store_of("memory", Path(folder), clock), clock) as desk:
            await desk.put_ok(
                schedule("one", "Practitioner/dr", extension=working("09:00", "11:00", **one)),
                schedule(
                    "other", "Practitioner/dr", "Location/room", extension=working("10:00", "12:00", **other)
                ),
            )
            for _ in range(40):
                proposals = await found(desk, DAY, DAY)
                if not proposals:
                    break
                proposal = chance.choice(proposals)
                assert await book(desk, proposal) == 200, (proposal["start"], proposal["participant"])
            else:
                raise AssertionError("there is always more to be had")
