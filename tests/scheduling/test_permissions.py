"""Who may do what: holds are of those who made them, and exceptions need a permission on every way to a write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.context import Actor, FhirRequest
from tests.rest.resources import bundle, put
from tests.scheduling.desk import (
    MINUTE,
    NOW,
    OURS,
    Desk,
    appointment,
    desk_at,
    hold,
    parameters,
    ref,
    rules,
    schedule,
    slot,
    store_of,
)
from tests.store.making import Clock

DOCTOR = "Practitioner/d1"
PERMISSIONS = {"desk": {"overbook", "override", "take-hold"}, "ann": set(), "bob": set()}
REASON = {"url": OURS + "overbooking-reason", "valueCodeableConcept": {"text": "emergency"}}


def who(request: FhirRequest) -> Actor:
    name = request.headers.get("x-actor", "")
    return Actor(name, permissions=frozenset(PERMISSIONS[name])) if name else Actor()


@pytest.fixture(params=["sqlite", "memory"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    clock = Clock(NOW)
    async with desk_at(store_of(request.param, tmp_path, clock), clock, actor_of=who, most_holds=2) as made:
        await made.put_ok(
            schedule("d1", DOCTOR, extension=rules(overbooking=5, cancellation_deadline="48 h")),
            schedule("r1", "Location/r1"),
            slot(),
        )
        yield made


async def ask(desk: Desk, actor: str, address: str, **values: Any) -> httpx.Response:
    return await desk.post_json(address, parameters(**values), x_actor=actor)


async def held(desk: Desk, actor: str = "ann", **more: Any) -> str:
    made = {k: v for k, v in appointment(DOCTOR, status="proposed", **more).items() if k != "id"}
    answer = await ask(desk, actor, "Appointment/$hold", appointment_resource=made)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["entry"][0]["resource"]["id"])


async def test_a_hold_is_booked_and_prolonged_by_who_has_it(desk: Desk) -> None:
    reference = ref(f"Appointment/{await held(desk)}")
    assert (await ask(desk, "bob", "Appointment/$hold", appointment_reference=reference)).status_code == 403
    assert (await ask(desk, "bob", "Appointment/$book", appointment_reference=reference)).status_code == 403
    assert (await ask(desk, "ann", "Appointment/$hold", appointment_reference=reference)).status_code == 200
    answer = await ask(desk, "ann", "Appointment/$book", appointment_reference=reference)
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()["entry"]
    assert "extension" not in entry["resource"]


async def test_nobody_else_changes_or_ends_a_hold_by_plain_writes(desk: Desk) -> None:
    id = await held(desk)
    kept = await desk.read(f"Appointment/{id}")
    for change in ({"status": "booked"}, {"status": "cancelled"}, {"end": kept["start"][:11] + "10:00:00Z"}):
        answer = await desk.put_json(f"Appointment/{id}", {**kept, **change}, x_actor="bob")
        assert answer.status_code == 403, answer.text
    entries = bundle("transaction", put({**kept, "status": "booked"}))
    assert (await desk.post_json("", entries, x_actor="bob")).status_code == 403
    assert (await desk.delete(f"Appointment/{id}", headers={"x-actor": "bob"})).status_code == 403
    bare = {k: v for k, v in kept.items() if k != "extension"}
    assert (await desk.put_json(f"Appointment/{id}", bare)).status_code == 403
    assert (await desk.read(f"Appointment/{id}"))["meta"]["versionId"] == "1"


async def test_the_holder_is_the_servers_to_say(desk: Desk) -> None:
    made = hold(DOCTOR, id="a1", expires=10 * MINUTE)
    made["extension"].append({"url": OURS + "held-by", "valueString": "bob"})
    assert (await desk.put_json("Appointment/a1", made, x_actor="ann")).status_code == 201
    assert (await desk.put_json("Appointment/a1", made, x_actor="bob")).status_code == 403
    taken = {**made, "extension": made["extension"][:1]}
    assert (await desk.put_json("Appointment/a1", taken, x_actor="ann")).status_code == 200
    told = {e["url"]: e for e in (await desk.read("Appointment/a1"))["extension"]}
    assert told[OURS + "held-by"]["valueString"] == "ann"


async def test_a_hold_that_has_expired_or_is_of_nobody_known_is_anybodys(desk: Desk) -> None:
    await desk.put_ok(hold(DOCTOR, id="a1", expires=10 * MINUTE))
    answer = await ask(desk, "bob", "Appointment/$book", appointment_reference=ref("Appointment/a1"))
    assert answer.status_code == 200, answer.text
    id = await held(desk, start=60, end=90)
    desk.clock.now += 10 * MINUTE
    answer = await ask(desk, "bob", "Appointment/$book", appointment_reference=ref(f"Appointment/{id}"))
    assert answer.status_code == 200, answer.text


async def test_reception_may_take_a_hold_and_participants_may_answer(desk: Desk) -> None:
    first, second = await held(desk), await held(desk, start=60, end=90)
    assert (await ask(desk, "desk", f"Appointment/{first}/$confirm")).status_code == 200
    told = {
        "resourceType": "AppointmentResponse",
        "appointment": ref(f"Appointment/{second}"),
        "actor": ref(DOCTOR),
        "participantStatus": "tentative",
    }
    answer = await desk.post_json("AppointmentResponse", told, x_actor="bob")
    assert answer.status_code == 201, answer.text


async def test_a_user_holds_so_many_times_at_once(desk: Desk) -> None:
    first = await held(desk)
    await held(desk, start=30, end=60)
    made = appointment(DOCTOR, status="proposed", start=60, end=90)
    answer = await ask(desk, "ann", "Appointment/$hold", appointment_resource=made)
    assert answer.status_code == 409
    await held(desk, "bob", start=60, end=90)
    assert (
        await ask(desk, "ann", f"Appointment/{first}/$cancel", reason={"text": "other plans"})
    ).status_code == 200
    await held(desk, start=120, end=150)


@pytest.mark.parametrize("exception", [{"extension": [REASON]}, {"walk-in": True}])
async def test_overbooking_needs_the_permission_on_every_way(desk: Desk, exception: dict[str, Any]) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    if "walk-in" in exception:
        exception = {"appointmentType": {"coding": [{"code": "WALKIN"}]}}
    over = appointment(DOCTOR, id="a2", **exception)
    assert (await desk.put_json("Appointment/a2", over, x_actor="ann")).status_code == 403
    assert (await desk.post_json("", bundle("transaction", put(over)), x_actor="ann")).status_code == 403
    assert (await desk.put_json("Appointment/a2", over, x_actor="desk")).status_code == 201
    # who has been let in stays, whoever writes
    assert (
        await desk.put_json("Appointment/a2", {**over, "comment": "came"}, x_actor="ann")
    ).status_code == 200
    made = {k: v for k, v in appointment(DOCTOR).items() if k != "id"}
    given = {"appointment_resource": made, "override": {"text": "emergency"}}
    assert (await ask(desk, "ann", "Appointment/$book", **given)).status_code == 403
    assert (await ask(desk, "desk", "Appointment/$book", **given)).status_code == 200


async def test_an_exception_leaves_one_trace_of_who_made_it_and_why(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    over = appointment(DOCTOR, id="a2", extension=[REASON])
    for _ in range(2):
        assert (await desk.put_json("Appointment/a2", over, x_actor="desk")).status_code < 300
    (entry,) = (await desk.read("Provenance?target=Appointment/a2"))["entry"]
    trace = entry["resource"]
    assert trace["agent"][0]["who"]["identifier"]["value"] == "desk"
    assert trace["reason"] == [{"text": "emergency"}]
    assert trace["activity"]["coding"][0]["code"] == "overbooked"
    refused = appointment(DOCTOR, id="a3", extension=[REASON])
    assert (await desk.put_json("Appointment/a3", refused, x_actor="ann")).status_code == 403
    assert (await desk.read("Provenance?_summary=count"))["total"] == 1


async def test_a_deadline_is_set_aside_with_the_permission_alone(desk: Desk) -> None:
    await desk.put_ok(appointment(DOCTOR, id="a1"))
    kept = await desk.read("Appointment/a1")
    reason = [{"url": OURS + "override-reason", "valueCodeableConcept": {"text": "ill"}}]
    late = {**kept, "status": "cancelled", "extension": reason}
    assert (await desk.put_json("Appointment/a1", late, x_actor="ann")).status_code == 403
    given = {"reason": {"text": "ill"}, "override": {"text": "ill"}}
    assert (await ask(desk, "ann", "Appointment/a1/$cancel", **given)).status_code == 403
    assert (await desk.put_json("Appointment/a1", late, x_actor="desk")).status_code == 200
