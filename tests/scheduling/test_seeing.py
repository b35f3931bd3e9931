"""What an access policy hides is not offered, does not wait in a queue, stands in no calendar and cannot be moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.context import Actor, FhirRequest
from fhir_server.search.rewrite import Policy
from fhir_server.search.tree import Chain, Everything, IdIs, Not, TokenIs, negation
from tests.scheduling.clinic import actors, furnish
from tests.scheduling.desk import (
    NOW,
    Desk,
    appointment,
    at,
    desk_at,
    parameters,
    ref,
    schedule,
    slot,
    store_of,
)
from tests.store.making import Clock

OPEN = Not(TokenIs("_security", None, "secret"))
POLICY = Policy(
    {
        "Patient": OPEN,
        "Encounter": Chain("subject", "Patient", OPEN),
        "Appointment": Chain("patient", "Patient", OPEN),
        "Schedule": negation(IdIs(("sb",))),
        "Slot": negation(IdIs(("x2",))),
        "Practitioner": negation(IdIs(("db",))),
    },
    Everything(),
)
DAY = "2026-03-03"


def who(request: FhirRequest) -> Actor:
    if request.headers.get("x-actor") == "clerk":
        return Actor("clerk", policy=POLICY)
    return Actor("admin", administrator=True)


@pytest.fixture(params=["sqlite", "memory"])
async def clinic(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    clock = Clock(NOW)
    async with desk_at(store_of(request.param, tmp_path, clock), clock, actor_of=who) as desk:
        await furnish(desk)
        security = {"security": [{"system": "http://example.org/labels", "code": "secret"}]}
        await desk.put_ok(
            {"resourceType": "Patient", "id": "p1"},
            {"resourceType": "Patient", "id": "p2", "meta": security},
            {"resourceType": "HealthcareService", "id": "h1"},
        )
        yield desk


async def ask(desk: Desk, address: str, actor: str = "clerk", **values: Any) -> httpx.Response:
    return await desk.post_json(address, parameters(**values), x_actor=actor)


def listed(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [e["resource"] for e in answer.json().get("entry", ())]


async def test_only_the_time_of_those_who_may_be_seen_is_offered(clinic: Desk) -> None:
    async def who_has_time(actor: str, **more: Any) -> set[str]:
        answer = await ask(clinic, "Appointment/$find", actor, start=DAY, end=DAY, **more)
        return {a for one in listed(answer) for a in actors(one) if a.startswith("PractitionerRole")}

    named = {"schedule": [ref("Schedule/sa"), ref("Schedule/sb")]}
    assert await who_has_time("admin", **named) == {"PractitionerRole/ra", "PractitionerRole/rb"}
    assert await who_has_time("clerk") == {"PractitionerRole/ra"}
    assert await who_has_time("clerk", practitioner=[ref("Practitioner/da")]) == {"PractitionerRole/ra"}


async def test_what_is_hidden_is_not_there_to_be_asked_for(clinic: Desk) -> None:
    day = {"start": DAY, "end": DAY}
    unknown = {"identifier": {"system": "urn:n", "value": "db"}}
    for hidden in (
        {"schedule": ref("Schedule/sb")},
        {"practitioner": ref("Practitioner/db")},
        {"patient_reference": ref("Patient/p2")},
    ):
        assert (await ask(clinic, "Appointment/$find", **day, **hidden)).status_code == 404, hidden
    body = parameters(**day)
    body["parameter"].append({"name": "practitioner", "valueReference": unknown})
    assert (await clinic.post_json("Appointment/$find", body, x_actor="clerk")).status_code == 404
    assert (await clinic.post_json("Appointment/$find", body, x_actor="admin")).status_code == 200


async def test_slots_that_are_hidden_are_not_offered(clinic: Desk) -> None:
    await clinic.put_ok(schedule("bare", "Practitioner/dz"))
    await clinic.put_ok(
        slot("x1", schedule="bare"), slot("x2", 30, 60, schedule="bare"), slot("x3", 60, 90, schedule="bare")
    )
    asked = {"start": DAY, "end": DAY, "schedule": ref("Schedule/bare")}
    assert len(listed(await ask(clinic, "Appointment/$find", "admin", **asked))) == 3
    assert len(listed(await ask(clinic, "Appointment/$find", **asked))) == 2


async def test_a_queue_has_those_whose_visits_may_be_seen(clinic: Desk) -> None:
    for n in (1, 2):
        made = appointment("HealthcareService/h1", id=f"a{n}", start=30 * n, end=30 * n + 30)
        made["participant"][0]["actor"] = ref(f"Patient/p{n}")
        await clinic.put_ok(made)
    clinic.clock.now += 24 * 3_600_000_000
    for n in (1, 2):
        assert (await ask(clinic, f"Appointment/a{n}/$check-in", "admin")).status_code == 200
    asked = "HealthcareService/h1/$queue"
    whole = await clinic.get(asked, headers={"x-actor": "admin"})
    told = await clinic.get(asked, headers={"x-actor": "clerk"})
    assert [r["resourceType"] for r in listed(whole)] == ["Task", "Task", "Encounter", "Encounter"]
    assert [r["resourceType"] for r in listed(told)].count("Encounter") == 1
    for _ in range(2):
        assert (await ask(clinic, "HealthcareService/h1/$next-patient", "admin")).status_code == 200
    counted = []
    for actor in ("admin", "clerk"):
        answer = await clinic.get("HealthcareService/h1/$waiting-times", headers={"x-actor": actor})
        counted.append(answer.json()["group"][0]["measureScore"]["value"])
    assert counted == [2, 1]


async def test_an_appointment_that_is_hidden_is_not_moved_and_in_no_calendar(clinic: Desk) -> None:
    made = appointment("PractitionerRole/ra", id="a2", start=0, end=30)
    made["participant"][0]["actor"] = ref("Patient/p2")
    await clinic.put_ok(made)
    for name, given in (
        ("$cancel", {"reason": {"text": "-"}}),
        ("$reschedule", {"start": at(60)}),
        ("$confirm", {}),
    ):
        assert (await ask(clinic, f"Appointment/a2/{name}", **given)).status_code == 404, name
    sent = {**made, "status": "cancelled"}
    assert (await ask(clinic, "Appointment/$book", appointment_resource=sent)).status_code == 404
    feeds = [
        (await clinic.get("Practitioner/da/$calendar", headers={"x-actor": actor})).text
        for actor in ("admin", "clerk")
    ]
    assert ["BEGIN:VEVENT" in feed for feed in feeds] == [True, False]
