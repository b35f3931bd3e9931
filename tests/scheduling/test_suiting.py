"""Who may be booked with whom: ages, new and existing patients, and the qualifications of those who see them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rest.resources import bundle, post
from tests.scheduling.desk import MINUTE, OURS, RULES, Desk, appointment, parameters, ref, schedule

DOCTOR = "Practitioner/d1"
# appointments are on 2026-03-03
LICENCE = {"coding": [{"system": "urn:licence", "code": "cardiology"}]}


def stated(**parts: Any) -> list[dict[str, Any]]:
    kinds = {"patients": "valueCode", "qualification": "valueCodeableConcept"}
    made = [{"url": n.replace("_", "-"), kinds.get(n, "valueAge"): value} for n, value in parts.items()]
    return [{"url": RULES, "extension": made}]


def age(value: int, code: str = "a") -> dict[str, Any]:
    return {"value": value, "code": code, "system": "http://unitsofmeasure.org"}


async def book(desk: Desk, **more: Any) -> int:
    return (await desk.post_json("Appointment", appointment(DOCTOR, **more))).status_code


@pytest.mark.parametrize(
    ("born", "accepted"),
    [("2008-03-03", True), ("2008-03-04", False), ("1961-03-04", True), ("1961-03-03", False), (None, False)],
)
async def test_patients_are_of_the_age_that_the_schedule_is_for(
    desk: Desk, born: str | None, accepted: bool
) -> None:
    await desk.put_ok(
        schedule("d1", DOCTOR, extension=stated(minimum_age=age(18), maximum_age=age(65))),
        {"resourceType": "Patient", "id": "p1"} | ({} if born is None else {"birthDate": born}),
    )
    assert await book(desk) == (201 if accepted else 422)
    entries = bundle("transaction", post(appointment(DOCTOR, start=60, end=90)))
    assert (await desk.post_json("", entries)).status_code == (200 if accepted else 422)
    reason = [{"url": OURS + "override-reason", "valueCodeableConcept": {"text": "emergency"}}]
    assert await book(desk, start=120, end=150, extension=reason) == 201


async def test_new_patients_and_existing_ones_are_told_apart(desk: Desk) -> None:
    await desk.put_ok(
        schedule("d1", DOCTOR, extension=stated(patients="existing")),
        schedule("d2", "Practitioner/d2", extension=stated(patients="new")),
        appointment("Practitioner/d3", id="other", status="fulfilled", start=-300, end=-270),
    )
    new = appointment("Practitioner/d2", id="first")
    assert await book(desk) == 422
    assert (await desk.put_json("Appointment/first", new)).status_code == 201
    await desk.put_ok(appointment(DOCTOR, id="seen", status="fulfilled", start=-300, end=-270))
    assert await book(desk, start=60, end=90) == 201
    again = appointment("Practitioner/d2", start=60, end=90)
    assert (await desk.post_json("Appointment", again)).status_code == 201
    # who has come for the first time is not new any more, and keeps what was booked
    desk.clock.now += 25 * 60 * MINUTE
    assert (await desk.set_status("first", "arrived")).status_code == 200
    later = appointment("Practitioner/d2", start=120, end=150)
    assert (await desk.post_json("Appointment", later)).status_code == 422


async def test_who_sees_patients_is_qualified_at_that_time(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, extension=stated(qualification=LICENCE)))
    assert await book(desk) == 422
    for period, status in ({"end": "2026-03-02"}, 422), ({"start": "2020", "end": "2026-03-03"}, 201):
        held = [{"code": LICENCE, "period": period}]
        await desk.put_ok({"resourceType": "Practitioner", "id": "d1", "qualification": held})
        assert await book(desk) == status
    # a role is of the practitioner behind it
    await desk.put_ok(
        {"resourceType": "PractitionerRole", "id": "r9", "practitioner": ref("Practitioner/d9")},
        schedule("r9", "PractitionerRole/r9", extension=stated(qualification=LICENCE)),
    )
    made = appointment("PractitionerRole/r9")
    assert (await desk.post_json("Appointment", made)).status_code == 422
    given = parameters(appointment_resource=made)
    assert (await desk.post_json("Appointment/$book", given)).status_code == 422


@pytest.mark.parametrize("wrong", [{"patients": "old"}, {"minimum_age": {"value": 3, "code": "min"}}])
async def test_rules_that_make_no_sense_are_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    answer = await desk.put_json("Schedule/x", schedule("x", DOCTOR, extension=stated(**wrong)))
    assert answer.status_code == 422
