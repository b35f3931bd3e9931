"""What holds for beds and stays on every way to write: plain FHIR, without an operation."""

from __future__ import annotations

import pytest

from tests.beds.ward import (
    at,
    bed,
    build,
    concept,
    diagnostics,
    patient,
    place,
    read,
    rules,
    state,
    stay,
    tasks,
    years,
)
from tests.conftest import Client
from tests.rest.resources import bundle, put

OSLER = "https://osler.health/fhir/StructureDefinition/"


@pytest.fixture
async def ward(client: Client) -> Client:
    await build(client)
    return client


async def send(client: Client, resource: dict, expected: int) -> str:
    answer = await client.put_json(f"/{resource['resourceType']}/{resource['id']}", resource)
    assert answer.status_code == expected, answer.text
    return diagnostics(answer) if expected >= 400 else ""


async def test_a_bed_is_occupied_by_the_commit_that_puts_a_patient_into_it(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    assert await state(ward, "b1") == "O"


async def test_an_encounter_that_points_at_a_taken_bed_is_refused_with_the_holder(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    reason = await send(ward, stay("e2", "p2", at("b1")), 409)
    assert "Location/b1" in reason
    assert "Encounter/e1" in reason
    assert (await ward.get("/Encounter/e2")).status_code == 404


async def test_a_patient_has_one_inpatient_stay(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    assert "Patient/p1 is an inpatient already" in await send(ward, stay("e2", "p1", at("b2")), 409)
    assert await state(ward, "b2") is None


async def test_stays_of_other_houses_are_loaded_as_they_are(ward: Client) -> None:
    elsewhere = {"location": {"display": "Ward 9, bed 3"}, "status": "active"}
    foreign = {"location": {"reference": "https://other.example/fhir/Location/b1"}, "status": "active"}
    await send(ward, stay("e1", "p1", at("b1")), 201)
    await send(ward, stay("x1", "p1"), 201)
    await send(ward, stay("x2", "p1", elsewhere), 201)
    await send(ward, stay("x3", "p1", foreign), 201)
    await send(ward, stay("x1", "p1", at("w2")), 409)  # a ward of this house


async def test_a_stay_of_another_house_is_told_to_hold_nothing(ward: Client) -> None:
    answer = await ward.put_json("/Encounter/x1", stay("x1", "p1"), prefer="return=OperationOutcome")
    assert "another house" in answer.json()["issue"][0]["diagnostics"]
    answer = await ward.put_json(
        "/Encounter/e1", stay("e1", "p1", at("b1")), prefer="return=OperationOutcome"
    )
    assert [issue["severity"] for issue in answer.json()["issue"]] == ["information"]


async def test_who_is_on_leave_without_a_bed_has_one_stay_still(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    await send(ward, stay("e1", "p1", at("b1", "completed"), status="onleave"), 200)
    assert "Patient/p1 is an inpatient already" in await send(ward, stay("e2", "p1", at("b2")), 409)


async def test_a_patient_of_the_emergency_department_lies_in_one_bed_too(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1"), code="EMER"), 201)
    assert "Patient/p1 lies in a bed already" in await send(ward, stay("e2", "p1", at("b2")), 409)


async def test_a_stay_with_two_active_beds_is_refused(ward: Client) -> None:
    assert "one bed" in await send(ward, stay("e1", "p1", at("b1"), at("b2")), 422)


async def test_a_raw_put_that_frees_an_occupied_bed_is_refused(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    reason = await send(ward, bed("b1", "r1", "U"), 422)
    assert "Encounter/e1" in reason
    assert await state(ward, "b1") == "O"
    assert "occupied" in await send(ward, bed("b1", "r1", status="inactive"), 422)
    await send(ward, bed("b1", "r1", "O", name="New name"), 200)


async def test_a_raw_put_without_state_keeps_the_state_that_the_server_knows(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    await send(ward, bed("b1", "r1", name="New name"), 200)
    assert await state(ward, "b1") == "O"


async def test_nobody_occupies_a_bed_by_hand(ward: Client) -> None:
    assert "not by hand" in await send(ward, bed("b1", "r1", "O"), 422)


async def test_the_states_of_a_bed_follow_one_another(ward: Client) -> None:
    await send(ward, bed("b1", "r1", "K"), 200)
    assert "K (Contaminated)" in await send(ward, bed("b1", "r1", "U"), 422)
    await send(ward, bed("b1", "r1", "H"), 200)
    await send(ward, bed("b1", "r1", "U"), 200)
    assert await tasks(ward, "b1") == []
    assert [t["status"] for t in await tasks(ward, "b1", "completed")] == ["completed", "completed"]


async def test_a_bed_in_use_cannot_be_deleted_or_made_something_else(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    answer = await ward.delete("/Location/b1")
    assert answer.status_code == 422
    assert "Encounter/e1" in diagnostics(answer)
    await send(ward, place("b1", "ro", "r1"), 422)
    reserved = at("b2", "reserved", period={"start": "2999-01-01", "end": "2999-01-05"})
    await send(ward, stay("e2", "p2", reserved, status="planned"), 201)
    assert (await ward.delete("/Location/b2")).status_code == 422


async def test_a_live_encounter_cannot_be_deleted(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    answer = await ward.delete("/Encounter/e1")
    assert answer.status_code == 422
    assert "Location/b1" in diagnostics(answer)
    await send(ward, stay("e1", "p1", at("b1"), status="finished"), 200)
    assert (await ward.delete("/Encounter/e1")).status_code == 204


async def test_an_outpatient_encounter_is_kept_as_it_comes(client: Client) -> None:
    visit = stay("e1", "p1", at("anywhere"), code="AMB")
    await send(client, visit, 201)
    assert await read(client, "Encounter/e1") == visit
    assert (await client.delete("/Encounter/e1")).status_code == 204


async def test_a_bed_that_is_left_waits_for_housekeeping(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    await send(ward, stay("e1", "p1", at("b1"), status="finished"), 200)
    assert await state(ward, "b1") == "H"
    (task,) = await tasks(ward, "b1")
    assert task["code"]["coding"][0]["code"] == "housekeeping"
    assert "bed-not-ready" in (await ward.put_json("/Encounter/e2", stay("e2", "p2", at("b1")))).text
    await send(ward, {**task, "status": "completed"}, 200)
    assert await state(ward, "b1") == "U"
    await send(ward, stay("e2", "p2", at("b1")), 201)


async def test_a_stay_that_ends_completes_its_places_and_its_history(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1"), period={"start": "2026-01-01T10:00:00Z"}), 201)
    end = {"start": "2026-01-01T10:00:00Z", "end": "2026-01-03T09:00:00Z"}
    await send(ward, stay("e1", "p1", at("b1"), status="finished", period=end), 200)
    found = await read(ward, "Encounter/e1")
    assert found["location"][0]["status"] == "completed"
    assert found["location"][0]["period"]["end"] == "2026-01-03T09:00:00Z"
    (history,) = found["statusHistory"]
    assert history["status"] == "in-progress"
    assert history["period"]["start"] == "2026-01-01T10:00:00Z"


async def test_a_transfer_by_plain_put_moves_the_patient_in_one_commit(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    await send(ward, stay("e1", "p1", at("b1", "completed"), at("b2")), 200)
    assert (await state(ward, "b1"), await state(ward, "b2")) == ("H", "O")


async def test_two_patients_change_beds_in_one_transaction(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    await send(ward, stay("e2", "p2", at("b2")), 201)
    swap = [put(stay("e1", "p1", at("b2"))), put(stay("e2", "p2", at("b1")))]
    answer = await ward.post_json("", bundle("transaction", *swap))
    assert answer.status_code == 200, answer.text
    assert (await state(ward, "b1"), await state(ward, "b2")) == ("O", "O")
    assert await tasks(ward, "b1") == []


async def test_a_transaction_is_refused_as_a_whole_when_a_bed_is_taken(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1")), 201)
    both = [put(stay("e2", "p2", at("b2"))), put(stay("e3", "p3", at("b1")))]
    assert (await ward.post_json("", bundle("transaction", *both))).status_code == 409
    assert await state(ward, "b2") is None


@pytest.mark.parametrize(
    ("since", "to"), [("finished", "in-progress"), ("cancelled", "in-progress"), ("in-progress", "planned")]
)
async def test_an_inpatient_stay_does_not_go_back(ward: Client, since: str, to: str) -> None:
    await send(ward, stay("e1", "p1", status="in-progress"), 201)
    if since != "in-progress":
        await send(ward, stay("e1", "p1", status=since), 200)
    assert f"is {since}" in await send(ward, stay("e1", "p1", status=to), 422)


async def test_a_planned_stay_reserves_and_lies_nowhere(ward: Client) -> None:
    assert "reserved" in await send(ward, stay("e1", "p1", at("b1"), status="planned"), 422)
    week = {"start": "2999-01-04", "end": "2999-01-10"}
    await send(ward, stay("e1", "p1", at("b1", "reserved", period=week), status="planned"), 201)
    assert await state(ward, "b1") is None
    overlapping = {"start": "2999-01-10", "end": "2999-01-12"}
    await send(ward, stay("e2", "p2", at("b1", "reserved", period=overlapping), status="planned"), 409)
    after = {"start": "2999-01-11", "end": "2999-01-12"}
    await send(ward, stay("e2", "p2", at("b1", "reserved", period=after), status="planned"), 201)


async def test_a_bed_can_be_reserved_for_after_the_expected_discharge(ward: Client) -> None:
    leaves = {"url": OSLER + "expected-discharge", "valueDateTime": "2999-01-02T10:00:00Z"}
    await send(ward, stay("e1", "p1", at("b1"), extension=[leaves]), 201)
    early = {"start": "2999-01-02T08:00:00Z", "end": "2999-01-08"}
    await send(ward, stay("e2", "p2", at("b1", "reserved", period=early), status="planned"), 409)
    later = {"start": "2999-01-02T10:00:00Z", "end": "2999-01-08"}
    await send(ward, stay("e2", "p2", at("b1", "reserved", period=later), status="planned"), 201)
    await send(ward, stay("e2", "p2", at("b1")), 409)


async def test_a_reservation_whose_hold_has_expired_is_none(ward: Client) -> None:
    expired = {"url": OSLER + "hold-expires", "valueInstant": "2020-01-01T00:00:00Z"}
    await send(ward, stay("e1", "p1", at("b1", "reserved", extension=[expired]), status="planned"), 201)
    await send(ward, stay("e2", "p2", at("b1")), 201)


# Ward rules


async def test_a_ward_takes_one_gender(client: Client) -> None:
    await build(client, place("w1", "wa", "house", extension=[rules(gender="female")]))
    await send(client, stay("e1", "p1", at("b1")), 201)
    answer = await client.put_json("/Encounter/e2", stay("e2", "p2", at("b2")))
    assert answer.status_code == 422
    (issue,) = answer.json()["issue"]
    assert {"system": "https://osler.health/fhir/CodeSystem/ward-rule", "code": "gender-policy"} in issue[
        "details"
    ]["coding"]
    assert issue["expression"] == ["Encounter.location[0]"]


async def test_a_room_takes_the_gender_of_its_first_patient(client: Client) -> None:
    await build(client, place("w1", "wa", "house", extension=[rules(gender="by-room")]))
    await send(client, stay("e1", "p1", at("b1")), 201)
    assert "one gender" in await send(client, stay("e2", "p2", at("b2")), 422)
    await send(client, stay("e2", "p2", at("b4")), 201)
    await send(client, stay("e3", "p3", at("b2")), 201)


async def test_a_room_may_say_otherwise_than_its_ward(client: Client) -> None:
    mixed = place("r2", "ro", "w1", extension=[rules(gender="mixed")])
    await build(client, place("w1", "wa", "house", extension=[rules(gender="female")]), mixed)
    await send(client, stay("e2", "p2", at("b4")), 201)


async def test_a_ward_takes_ages(client: Client) -> None:
    paediatric = rules(maximum_age=years(16))
    await build(
        client, place("w1", "wa", "house", extension=[paediatric]), patient("child", born="2020-01-01")
    )
    assert "below the age of 16 years" in await send(client, stay("e1", "p1", at("b1")), 422)
    await send(client, stay("e2", "child", at("b1")), 201)


async def test_an_override_needs_a_reason_and_leaves_a_flag(client: Client) -> None:
    await build(client, place("w1", "wa", "house", extension=[rules(gender="female")]))
    without = {
        "url": OSLER + "ward-rule-override",
        "extension": [{"url": "rule", "valueCode": "gender-policy"}],
    }
    await send(client, stay("e2", "p2", at("b1", extension=[without])), 422)
    reason = {"url": "reason", "valueCodeableConcept": concept("No other bed in the house")}
    wrong = {**without, "extension": [{"url": "rule", "valueCode": "age-band"}, reason]}
    await send(client, stay("e2", "p2", at("b1", extension=[wrong])), 422)
    right = {**without, "extension": [*without["extension"], reason]}
    await send(client, stay("e2", "p2", at("b1", extension=[right])), 201)
    found = (await client.get("/Flag", params={"subject": "Patient/p2"})).json()
    (flag,) = [entry["resource"] for entry in found["entry"]]
    assert "No other bed in the house" in flag["code"]["text"]
    await send(client, stay("e2", "p2", at("b1", extension=[right]), priority=concept("urgent")), 200)
    assert (await client.get("/Flag")).json()["total"] == 1


async def test_a_closed_bed_is_taken_for_no_reason(ward: Client) -> None:
    await send(ward, bed("b1", "r1", "C"), 200)
    override = {
        "url": OSLER + "ward-rule-override",
        "extension": [{"url": "reason", "valueCodeableConcept": concept("Emergency")}],
    }
    assert "closed" in await send(ward, stay("e1", "p1", at("b1", extension=[override])), 422)
    await send(ward, bed("b2", "r1", "H"), 200)
    await send(ward, stay("e1", "p1", at("b2", extension=[override])), 201)
    assert await tasks(ward, "b2") == []


def isolated(kind: str, organism: str | None = None) -> dict:
    parts = [{"url": "isolation", "valueCode": kind}]
    if organism is not None:
        parts.append({"url": "organism", "valueCodeableConcept": concept(organism, organism)})
    return {"url": OSLER + "bed-requirements", "extension": parts}


async def test_airborne_isolation_needs_a_single_room(ward: Client) -> None:
    airborne = stay("e1", "p1", at("b1"), extension=[isolated("airborne")])
    assert "single room" in await send(ward, airborne, 422)
    await send(ward, stay("e1", "p1", at("b4"), extension=[isolated("airborne")]), 201)


async def test_the_beds_beside_an_isolated_patient_stay_empty_but_for_the_same_organism(ward: Client) -> None:
    await send(ward, stay("e1", "p1", at("b1"), extension=[isolated("contact", "mrsa")]), 201)
    assert [await state(ward, b) for b in ("b1", "b2", "b3")] == ["O", "I", "I"]
    assert "isolation" in await send(ward, stay("e2", "p2", at("b2")), 422)
    await send(ward, stay("e3", "p3", at("b2"), extension=[isolated("contact", "mrsa")]), 201)
    await send(
        ward, stay("e1", "p1", at("b1"), extension=[isolated("contact", "mrsa")], status="finished"), 200
    )
    assert [await state(ward, b) for b in ("b1", "b2", "b3")] == ["K", "O", "I"]
    await send(
        ward, stay("e3", "p3", at("b2"), extension=[isolated("contact", "mrsa")], status="finished"), 200
    )
    assert [await state(ward, b) for b in ("b1", "b2", "b3")] == ["K", "K", "U"]
    (task,) = await tasks(ward, "b1")
    await send(ward, {**task, "status": "completed"}, 200)
    assert await state(ward, "b1") == "H"
    assert [t["code"]["coding"][0]["code"] for t in await tasks(ward, "b1")] == ["housekeeping"]


# Order of arrival


async def test_stays_may_come_before_their_beds(client: Client) -> None:
    await send(client, stay("e1", "p1", at("b1")), 201)
    await send(client, stay("e2", "p2", at("b2")), 201)
    await send(client, bed("b1", "r1", "U"), 201)
    assert await state(client, "b1") == "O"
    assert (await read(client, "Encounter/e1"))["location"][0]["physicalType"]["coding"][0]["code"] == "bd"
    await send(client, stay("e3", "p3", at("b1")), 409)


async def test_a_place_with_two_patients_cannot_become_a_bed(client: Client) -> None:
    await send(client, place("hall", "ro"), 201)
    await send(client, stay("e1", "p1", at("hall")), 201)
    await send(client, stay("e2", "p2", at("hall")), 201)
    await send(client, bed("hall", "r1"), 409)


async def test_a_bed_that_says_it_is_occupied_by_nobody_comes_in_free(client: Client) -> None:
    await send(client, bed("b1", "r1", "O"), 201)
    assert await state(client, "b1") == "U"


async def test_beds_and_stays_may_come_in_one_transaction(client: Client) -> None:
    entries = [put(stay("e1", "p1", at("b1"))), put(bed("b1", "r1", "U")), put(patient("p1"))]
    answer = await client.post_json("", bundle("transaction", *entries))
    assert answer.status_code == 200, answer.text
    assert await state(client, "b1") == "O"
    await send(client, stay("e2", "p2", at("b1")), 409)
