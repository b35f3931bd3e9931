"""Many clients want the same time at once, over one server process and over two: one of them gets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.scenarios.test_races import at_once, fresh, statuses

START, END = "2091-03-05T09:00:00Z", "2091-03-05T09:30:00Z"


def appointment(*actors: str, slot: str | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Appointment",
        "status": "booked",
        "start": START,
        "end": END,
        "participant": [{"actor": {"reference": a}, "status": "accepted"} for a in ("Patient/p", *actors)],
        **more,
    }
    return made if slot is None else {**made, "slot": [{"reference": f"Slot/{slot}"}]}


async def manage(crowd: httpx.AsyncClient, *actors: str) -> str:
    """A Schedule of the actors; its id."""
    id = f"s-{fresh()}"
    resource = {"resourceType": "Schedule", "id": id, "actor": [{"reference": a} for a in actors]}
    assert (await crowd.put(f"Schedule/{id}", json=resource)).status_code == 201
    return id


async def open_slot(crowd: httpx.AsyncClient, schedule: str) -> str:
    id = f"slot-{fresh()}"
    resource = {
        "resourceType": "Slot",
        "id": id,
        "schedule": {"reference": f"Schedule/{schedule}"},
        "status": "free",
        "start": START,
        "end": END,
    }
    assert (await crowd.put(f"Slot/{id}", json=resource)).status_code == 201
    return id


async def live(crowd: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    found = (
        await crowd.get(f"Appointment?{query}&status=booked,pending,arrived,checked-in&_count=100")
    ).json()
    return [entry["resource"] for entry in found.get("entry", ())]


async def test_of_50_bookings_of_a_slot_one_gets_it(crowd: httpx.AsyncClient) -> None:
    doctor = f"Practitioner/d-{fresh()}"
    slot = await open_slot(crowd, await manage(crowd, doctor))
    responses = await at_once(crowd.post("Appointment", json=appointment(slot=slot)) for _ in range(50))
    assert statuses(responses) == {201: 1, 409: 49}
    found = await live(crowd, f"slot=Slot/{slot}")
    assert [a["id"] for a in found] == [r.json()["id"] for r in responses if r.status_code == 201]
    history = (await crowd.get(f"Slot/{slot}/_history")).json()
    assert [e["resource"]["status"] for e in history["entry"]] == ["busy", "free"]


async def test_of_50_bookings_of_a_doctor_without_slots_one_gets_the_time(crowd: httpx.AsyncClient) -> None:
    doctor = f"Practitioner/d-{fresh()}"
    await manage(crowd, doctor)
    responses = await at_once(crowd.post("Appointment", json=appointment(doctor)) for _ in range(50))
    assert statuses(responses) == {201: 1, 409: 49}


async def test_of_50_who_book_one_proposal_one_gets_it_and_the_others_leave_nothing(
    crowd: httpx.AsyncClient,
) -> None:
    mark = fresh()
    schedule = await manage(crowd, f"Practitioner/d-{mark}")
    await open_slot(crowd, schedule)
    day = START[:10]
    offered = (
        await crowd.get(f"Appointment/$find?start={day}&end={day}&schedule=Schedule/{schedule}")
    ).json()
    (proposal,) = offered["entry"]

    def asked(n: int) -> dict[str, Any]:
        reference = {"reference": f"Appointment/{proposal['resource']['id']}"}
        patient = {"resourceType": "Patient", "name": [{"family": f"P-{mark}-{n}"}]}
        given = [
            {"name": "appointment-reference", "valueReference": reference},
            {"name": "patient-resource", "resource": patient},
        ]
        return {"resourceType": "Parameters", "parameter": given}

    responses = await at_once(crowd.post("Appointment/$book", json=asked(n)) for n in range(50))
    assert statuses(responses) == {200: 1, 409: 49}
    assert (await crowd.get(f"Patient?family=P-{mark}&_summary=count")).json()["total"] == 1
    assert len(await live(crowd, f"actor=Practitioner/d-{mark}")) == 1


async def test_of_joint_bookings_that_share_the_room_one_wins_and_the_losers_hold_nothing(
    crowd: httpx.AsyncClient,
) -> None:
    room = f"Location/r-{fresh()}"
    await manage(crowd, room)
    doctors = [f"Practitioner/d-{fresh()}" for _ in range(12)]
    for doctor in doctors:
        await manage(crowd, doctor)
    responses = await at_once(crowd.post("Appointment", json=appointment(d, room)) for d in doctors)
    assert statuses(responses) == {201: 1, 409: 11}
    # whoever lost is free for something else at the same time; who won is not
    alone = await at_once(crowd.post("Appointment", json=appointment(d)) for d in doctors)
    assert [r.status_code for r in alone] == [409 if r.status_code == 201 else 201 for r in responses]


async def test_cancelling_and_booking_at_once_leaves_one_booking_and_a_slot_in_step(
    crowd: httpx.AsyncClient,
) -> None:
    slot = await open_slot(crowd, await manage(crowd, f"Practitioner/d-{fresh()}"))
    first = (await crowd.post("Appointment", json=appointment(slot=slot))).json()
    cancel = crowd.put(f"Appointment/{first['id']}", json={**first, "status": "cancelled"})
    responses = await at_once(
        [*(crowd.post("Appointment", json=appointment(slot=slot)) for _ in range(20)), cancel]
    )
    assert responses[-1].status_code == 200
    won = [r for r in responses[:-1] if r.status_code == 201]
    assert len(won) <= 1
    assert {r.status_code for r in responses[:-1]} <= {201, 409}
    found = await live(crowd, f"slot=Slot/{slot}")
    assert len(found) == len(won)
    state = (await crowd.get(f"Slot/{slot}")).json()["status"]
    assert state == ("busy" if won else "free")


async def test_two_appointments_never_swap_into_a_double_booking(crowd: httpx.AsyncClient) -> None:
    schedule = await manage(crowd, f"Practitioner/d-{fresh()}", f"Location/r-{fresh()}")
    one, other = await open_slot(crowd, schedule), f"slot-{fresh()}"
    later = {"start": END, "end": "2091-03-05T10:00:00Z"}
    resource = (await crowd.get(f"Slot/{one}")).json()
    await crowd.put(f"Slot/{other}", json={**resource, "id": other, **later})
    a = (await crowd.post("Appointment", json=appointment(slot=one))).json()
    b = (await crowd.post("Appointment", json=appointment(slot=other, **later))).json()
    responses = await at_once(
        [
            crowd.put(f"Appointment/{a['id']}", json={**a, **later, "slot": b["slot"]}),
            crowd.put(f"Appointment/{b['id']}", json={**b, "start": START, "end": END, "slot": a["slot"]}),
        ]
    )
    assert statuses(responses) == {409: 2}
    assert [len(await live(crowd, f"slot=Slot/{s}")) for s in (one, other)] == [1, 1]


async def test_a_hold_ends_at_one_instant_for_every_process(crowd: httpx.AsyncClient) -> None:
    slot = await open_slot(crowd, await manage(crowd, f"Practitioner/d-{fresh()}"))
    until = datetime.now(UTC) + timedelta(seconds=2)
    told = until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    expires = {"url": "https://osler.health/fhir/StructureDefinition/hold-expires", "valueInstant": told}
    held = appointment(slot=slot, extension=[expires]) | {"status": "pending"}
    first = await crowd.post("Appointment", json=held)
    assert first.status_code == 201
    answers: list[httpx.Response] = []
    # whoever comes asks again and again over all processes, until one of them is let in
    while all(answer.status_code != 201 for answer in answers):
        wanted = appointment(slot=slot)
        answers += await at_once(crowd.post("Appointment", json=wanted) for _ in range(8))
    (won,) = [answer for answer in answers if answer.status_code == 201]
    assert set(statuses(answers)) <= {201, 409}
    # nobody was let in before that instant, by the clock of the store
    assert datetime.fromisoformat(won.json()["meta"]["lastUpdated"]) >= until.replace(
        microsecond=until.microsecond // 1000 * 1000
    )
    booked = [a["id"] for a in await live(crowd, f"slot=Slot/{slot}") if a["status"] == "booked"]
    assert booked == [won.json()["id"]]
    # who held it has lost it, whether or not somebody has tidied up
    reference = {"reference": f"Appointment/{first.json()['id']}"}
    own = {
        "resourceType": "Parameters",
        "parameter": [{"name": "appointment-reference", "valueReference": reference}],
    }
    answers = await at_once(crowd.post("Appointment/$book", json=own) for _ in range(4))
    assert set(statuses(answers)) <= {409, 422}
