"""What `$find` offers to whom: nothing that a booking would be refused for the patient or for who sees them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.scheduling.clinic import BERLIN, find, found, starts
from tests.scheduling.desk import Desk, appointment, at, ref, rules, schedule
from tests.scheduling.test_suiting import DOCTOR, LICENCE, age, stated

DAY = "2026-03-03"
OPEN = "2026-03-03T09:00", "2026-03-03T11:00"


def with_hours(stated: list[dict[str, Any]], duration: int = 30) -> list[dict[str, Any]]:
    """The rules, and hours from 9 to 11 UTC on every day."""
    weekly = {
        "url": "available-time",
        "extension": [
            *({"url": "days-of-week", "valueCode": day} for day in ("mon", "tue", "wed", "thu", "fri")),
            {"url": "start", "valueTime": "09:00:00"},
            {"url": "end", "valueTime": "11:00:00"},
        ],
    }
    (extension,) = stated
    length = rules(duration=f"{duration} min")[0]["extension"]
    return [{**extension, "extension": [*extension["extension"], *length, weekly]}]


def patient(id: str = "p1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **more}


async def offered(desk: Desk, day: str = DAY, **given: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The proposals, and what is told beside them."""
    proposals = await found(desk, day, day, **given)
    entries = (await find(desk, day, day, **given)).json().get("entry", ())
    told = [e["resource"] for e in entries if e["search"]["mode"] == "outcome"]
    return proposals, [issue["diagnostics"] for outcome in told for issue in outcome["issue"]]


async def book(desk: Desk, proposal: dict[str, Any], who: str = "p1") -> int:
    given = {"appointment_reference": ref(f"Appointment/{proposal['id']}"), "patient_resource": patient(who)}
    return (await desk.operate("Appointment/$book", **given)).status_code


@pytest.mark.parametrize(
    ("born", "accepted"), [("2008-03-03", True), ("2008-03-04", False), ("1961-03-03", False), (None, False)]
)
async def test_a_patient_is_offered_the_schedules_of_their_age(
    desk: Desk, born: str | None, accepted: bool
) -> None:
    who = patient() | ({} if born is None else {"birthDate": born})
    extension = with_hours(stated(minimum_age=age(18), maximum_age=age(65)))
    await desk.put_ok(schedule("d1", DOCTOR, extension=extension), who)
    for asked in {"patient_reference": ref("Patient/p1")}, {"patient_resource": who}:
        proposals, told = await offered(desk, schedule=ref("Schedule/d1"), **asked)
        assert len(proposals) == (4 if accepted else 0)
        assert ("age" in "".join(told)) is not accepted
    # without a patient the times are told
    assert len(await found(desk, DAY, DAY, schedule=ref("Schedule/d1"))) == 4


async def test_who_comes_of_age_in_between_is_offered_the_times_from_then_on(desk: Desk) -> None:
    extension = [*with_hours(stated(minimum_age=age(18))), BERLIN]
    await desk.put_ok(schedule("d1", DOCTOR, extension=extension), patient(birthDate="2008-03-05"))
    proposals = await found(
        desk, "2026-03-03", "2026-03-06", schedule=ref("Schedule/d1"), patient_reference=ref("Patient/p1")
    )
    assert starts(proposals)[0] == "2026-03-05T09:00"
    assert len(proposals) == 8
    assert [await book(desk, p) for p in proposals[:1]] == [200]


async def test_new_and_existing_patients_are_offered_what_is_for_them(desk: Desk) -> None:
    visited = {"id": "seen", "status": "fulfilled", "start": at(-3000), "end": at(-2970)}
    role = {"resourceType": "PractitionerRole", "id": "r1", "practitioner": ref("Practitioner/d2")}
    await desk.put_ok(
        role,
        patient(),
        patient("p2"),
        schedule("d1", DOCTOR, extension=with_hours(stated(patients="existing"))),
        schedule("d2", "PractitionerRole/r1", extension=with_hours(stated(patients="new"))),
        # a visit by the name of the person, where the Schedule is of the role
        appointment("Practitioner/d2") | visited,
    )
    for who, one, expected in (("p1", "d1", 0), ("p1", "d2", 0), ("p2", "d1", 0), ("p2", "d2", 4)):
        given = {"schedule": ref(f"Schedule/{one}"), "patient_reference": ref(f"Patient/{who}")}
        proposals, told = await offered(desk, **given)
        assert (len(proposals), len(told)) == (expected, 0 if expected else 1), (who, one)
        anybody = await found(desk, DAY, DAY, schedule=ref(f"Schedule/{one}"))
        # what is not offered is refused
        status = await book(desk, anybody[0], who)
        assert status == (200 if expected else 422), (who, one)


async def test_a_new_patient_is_offered_what_is_for_new_ones(desk: Desk) -> None:
    sent = {"resourceType": "Patient", "name": [{"family": "New"}]}
    for kind, expected in ("new", 4), ("existing", 0):
        await desk.put_ok(schedule("d1", DOCTOR, extension=with_hours(stated(patients=kind))))
        proposals, _ = await offered(desk, schedule=ref("Schedule/d1"), patient_resource=sent)
        assert len(proposals) == expected


async def test_only_the_times_of_who_is_qualified_are_offered(desk: Desk) -> None:
    extension = with_hours(stated(qualification=LICENCE))
    until = {"end": "2026-03-03"}
    held = [{"code": LICENCE, "period": until}]
    await desk.put_ok(
        schedule("d1", DOCTOR, extension=extension),
        {"resourceType": "Practitioner", "id": "d1", "qualification": held},
    )
    assert len(await found(desk, "2026-03-02", "2026-03-06", schedule=ref("Schedule/d1"))) == 8
    proposals, (told,) = await offered(desk, "2026-03-04", schedule=ref("Schedule/d1"))
    assert (proposals, "not qualified" in told) == ([], True)


async def test_who_has_as_many_bookings_as_are_allowed_is_offered_no_more(desk: Desk) -> None:
    extension = with_hours([{**rules(open_bookings=1)[0]}])
    await desk.put_ok(patient(), schedule("d1", DOCTOR, extension=extension), appointment(DOCTOR, id="a1"))
    given = {"schedule": ref("Schedule/d1"), "patient_reference": ref("Patient/p1")}
    proposals, (told,) = await offered(desk, **given)
    assert (proposals, "1 open bookings" in told) == ([], True)
    # who moves the one is offered the others
    moving = await found(desk, DAY, DAY, **given, ignore_appointment=ref("Appointment/a1"))
    assert len(moving) == 4


async def test_an_empty_answer_says_why(desk: Desk) -> None:
    await desk.put_ok(schedule("d1", DOCTOR, extension=with_hours(rules(capacity=1))))
    proposals, (told,) = await offered(desk, specialty="urn:s|none")
    assert (proposals, "meets the criteria" in told) == ([], True)
    proposals, (told,) = await offered(desk, "2026-03-07", schedule=ref("Schedule/d1"))
    assert (proposals, "closed, taken" in told) == ([], True)
    need = {"part": [{"name": "type", "valueCode": "Device"}]}
    proposals, (told,) = await offered(desk, schedule=ref("Schedule/d1"), required_resource=need)
    assert (proposals, "requirement 1" in told) == ([], True)
    assert (await offered(desk, schedule=ref("Schedule/d1")))[1] == []


RULES = (
    {},
    {"minimum_age": age(18)},
    {"maximum_age": age(18)},
    {"patients": "new"},
    {"patients": "existing"},
    {"qualification": LICENCE},
)


@pytest.mark.parametrize(("first", "second"), list(product(RULES, RULES)))
async def test_what_is_offered_of_two_together_is_what_can_be_booked(
    desk: Desk, first: dict[str, Any], second: dict[str, Any]
) -> None:
    held = [{"code": LICENCE}]
    await desk.put_ok(
        patient(birthDate="2008-03-05"),
        {"resourceType": "Practitioner", "id": "d1", "qualification": held},
        *(
            schedule(
                id,
                f"Practitioner/{id}",
                extension=with_hours(stated(**stating) if stating else rules(capacity=1), 120),
            )
            for id, stating in (("d1", first), ("d2", second))
        ),
        appointment("Practitioner/d2", id="seen", status="fulfilled", start=-3000, end=-2970),
    )
    together = {"schedule": [ref("Schedule/d1"), ref("Schedule/d2")], "joint": True}
    days = "2026-03-03", "2026-03-06"
    anybody = await found(desk, *days, **together)
    for_whom = await found(desk, *days, **together, patient_reference=ref("Patient/p1"))
    can = [p["start"] for p in anybody if await book(desk, p) == 200]
    assert can == starts_of(for_whom)


def starts_of(proposals: list[dict[str, Any]]) -> list[str]:
    return [p["start"] for p in proposals]
