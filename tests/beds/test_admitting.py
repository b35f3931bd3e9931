"""$admit, $transfer, $swap-beds, $leave, $return, $discharge and what takes them back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.beds.ward import (
    OSLER,
    at,
    bed,
    build,
    call,
    concept,
    diagnostics,
    parameters,
    patient,
    place,
    read,
    rules,
    state,
    stay,
    tasks,
)
from tests.conftest import Client


@pytest.fixture
async def ward(client: Client) -> Client:
    await build(client)
    return client


async def admit(client: Client, n: int, bed_id: str, expected: int = 200, **more: Any) -> dict[str, Any]:
    return await call(
        client, "Encounter/$admit", expected, patient=f"Patient/p{n}", bed=f"Location/{bed_id}", **more
    )


def bed_of(encounter: dict[str, Any]) -> str | None:
    found = [e["location"]["reference"] for e in encounter.get("location", ()) if e["status"] == "active"]
    return found[0].removeprefix("Location/") if found else None


async def test_admitting_makes_the_stay_its_account_and_occupies_the_bed(ward: Client) -> None:
    made = await admit(
        ward, 1, "b1", reason=concept("Pneumonia"), admit_source=concept("Home"), attending="Practitioner/d1"
    )
    assert (made["status"], bed_of(made), await state(ward, "b1")) == ("in-progress", "b1", "O")
    assert made["hospitalization"]["admitSource"] == concept("Home")
    assert made["participant"][0]["individual"] == {"reference": "Practitioner/d1"}
    account = await read(ward, made["account"][0]["reference"])
    assert account["subject"] == [{"reference": "Patient/p1"}]


async def test_the_same_request_again_is_not_carried_out_again(ward: Client) -> None:
    first = await admit(ward, 1, "b1", request_id="urn:uuid:1")
    assert await admit(ward, 1, "b1", request_id="urn:uuid:1") == first
    refused = await admit(ward, 2, "b2", 422, request_id="urn:uuid:1")
    assert "another request" in refused["issue"][0]["diagnostics"]


async def test_a_request_id_is_needed(ward: Client) -> None:
    asked = parameters(patient="Patient/p1", bed="Location/b1")
    answer = await ward.post_json("/Encounter/$admit", asked)
    assert answer.status_code == 400
    assert "request-id" in diagnostics(answer)


async def test_a_dry_run_writes_nothing(ward: Client) -> None:
    made = await admit(ward, 1, "b1", dry_run=True)
    assert bed_of(made) == "b1"
    assert await state(ward, "b1") is None
    await admit(ward, 1, "b1")
    await admit(ward, 2, "b1", 409, dry_run=True)


async def test_a_taken_bed_is_refused_with_its_holder(ward: Client) -> None:
    first = await admit(ward, 1, "b1")
    refused = await admit(ward, 2, "b1", 409)
    assert f"Encounter/{first['id']}" in refused["issue"][0]["diagnostics"]


async def test_the_dead_and_the_unknown_are_not_admitted(ward: Client) -> None:
    await ward.put_json("/Patient/p1", patient("p1") | {"deceasedBoolean": True})
    await admit(ward, 1, "b1", 422)
    await admit(ward, 99, "b1", 422)


async def test_a_ward_gives_its_best_bed_and_says_why_it_has_none(ward: Client) -> None:
    for n in range(1, 5):
        await call(ward, "Encounter/$admit", patient=f"Patient/p{n}", ward="Location/w1")
    unknown = await call(ward, "Encounter/$admit", 422, patient="Patient/p5", ward="Location/w9")
    assert unknown["issue"][0]["diagnostics"] == "There is no Location/w9."
    refused = await call(ward, "Encounter/$admit", 422, patient="Patient/p5", ward="Location/w1")
    assert "4 bed-occupied" in refused["issue"][0]["diagnostics"]
    made = await call(ward, "Encounter/$admit", patient="Patient/p5", ward=["Location/w1", "Location/w2"])
    assert bed_of(made) in ("b5", "b6")


async def test_isolation_is_flagged_and_finds_a_single_room(ward: Client) -> None:
    made = await call(
        ward, "Encounter/$admit", patient="Patient/p1", ward="Location/w1", isolation="airborne"
    )
    assert bed_of(made) == "b4"
    found = (await ward.get("/Flag", params={"encounter": f"Encounter/{made['id']}"})).json()
    assert found["entry"][0]["resource"]["code"]["coding"][0]["code"] == "airborne"


async def test_a_rule_is_overridden_with_a_reason(client: Client) -> None:
    await build(client, place("w1", "wa", "house", extension=[rules(gender="male")]))
    refused = await admit(client, 1, "b1", 422)
    assert refused["issue"][0]["details"]["coding"][1]["code"] == "gender-policy"
    await admit(client, 1, "b1", override=concept("No other bed"))
    assert (await client.get("/Flag")).json()["total"] == 1


async def test_a_planned_stay_reserves_its_bed_and_is_admitted_into_it(ward: Client) -> None:
    planned = await admit(ward, 1, "b1", planned_start="2999-01-04T08:00:00Z")
    assert planned["status"] == "planned"
    assert planned["location"][0]["status"] == "reserved"
    assert await state(ward, "b1") is None
    made = await call(ward, f"Encounter/{planned['id']}/$admit")
    assert (made["id"], made["status"], bed_of(made)) == (planned["id"], "in-progress", "b1")
    assert len(made["location"]) == 1
    assert await state(ward, "b1") == "O"


async def test_somebody_of_the_emergency_department_becomes_an_inpatient(ward: Client) -> None:
    hall = place("hall", "ro", "house")
    await ward.put_json("/Location/hall", hall)
    arrived = stay("e1", "p1", at("hall"), code="EMER", period={"start": "2026-01-01T08:00:00Z"})
    await ward.put_json("/Encounter/e1", arrived)
    made = await call(ward, "Encounter/e1/$admit", bed="Location/b1")
    assert made["class"]["code"] == "IMP"
    assert made["period"] == {"start": "2026-01-01T08:00:00Z"}
    assert [e["status"] for e in made["location"]] == ["completed", "active"]


async def test_a_transfer_leaves_the_old_bed_to_housekeeping(ward: Client) -> None:
    made = await admit(ward, 1, "b1", at="2026-01-01T10:00:00Z")
    moved = await call(
        ward,
        f"Encounter/{made['id']}/$transfer",
        bed="Location/b5",
        at="2026-01-02T10:00:00Z",
        reason=concept("Surgery"),
    )
    assert [(e["status"], e["period"]) for e in moved["location"]] == [
        ("completed", {"start": "2026-01-01T10:00:00Z", "end": "2026-01-02T10:00:00Z"}),
        ("active", {"start": "2026-01-02T10:00:00Z"}),
    ]
    assert (await state(ward, "b1"), await state(ward, "b5")) == ("H", "O")
    assert len(await tasks(ward, "b1")) == 1


@pytest.mark.parametrize(
    ("when", "expected"), [("2025-12-31T10:00:00Z", 422), ("2999-01-01T10:00:00Z", 422), ("2026-01-02", 400)]
)
async def test_a_transfer_happens_after_the_admission_and_not_in_the_future(
    ward: Client, when: str, expected: int
) -> None:
    made = await admit(ward, 1, "b1", at="2026-01-01T10:00:00Z")
    await call(ward, f"Encounter/{made['id']}/$transfer", expected, bed="Location/b5", at=when)


async def test_a_transfer_with_a_stale_version_is_refused(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    asked = parameters(bed="Location/b2", request_id="urn:uuid:2")
    answer = await ward.post_json(f"/Encounter/{made['id']}/$transfer", asked, if_match='W/"7"')
    assert answer.status_code == 412


async def test_two_patients_swap_beds_in_one_commit(ward: Client) -> None:
    one, other = await admit(ward, 1, "b1"), await admit(ward, 2, "b5")
    answer = await call(
        ward, "Encounter/$swap-beds", first=f"Encounter/{one['id']}", second=f"Encounter/{other['id']}"
    )
    assert [bed_of(e["resource"]) for e in answer["entry"]] == ["b5", "b1"]
    assert (await state(ward, "b1"), await state(ward, "b5")) == ("O", "O")


async def test_the_bed_of_somebody_on_leave_is_kept_or_given_away(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    away = await call(ward, f"Encounter/{made['id']}/$leave")
    assert (away["status"], await state(ward, "b1")) == ("onleave", "O")
    back = await call(ward, f"Encounter/{made['id']}/$return")
    assert (back["status"], bed_of(back)) == ("in-progress", "b1")
    assert [h["status"] for h in back["statusHistory"]] == ["in-progress", "onleave"]
    await call(ward, f"Encounter/{made['id']}/$leave", keep_bed=False)
    assert await state(ward, "b1") == "H"
    await call(ward, f"Encounter/{made['id']}/$return", 422)
    back = await call(ward, f"Encounter/{made['id']}/$return", ward="Location/w1")
    assert bed_of(back) in ("b2", "b3", "b4")


async def test_a_discharge_ends_the_stay_and_frees_the_patient(ward: Client) -> None:
    made = await admit(ward, 1, "b1", at="2026-01-01T10:00:00Z")
    gone = await call(
        ward,
        f"Encounter/{made['id']}/$discharge",
        at="2026-01-03T09:00:00Z",
        disposition=concept("Home"),
        diagnosis="Condition/c1",
    )
    assert (gone["status"], gone["period"]["end"]) == ("finished", "2026-01-03T09:00:00Z")
    assert gone["length"]["value"] == 47 * 60
    assert gone["location"][0]["period"]["end"] == "2026-01-03T09:00:00Z"
    assert gone["hospitalization"]["dischargeDisposition"] == concept("Home")
    assert gone["diagnosis"][0]["use"]["coding"][0]["code"] == "DD"
    assert await state(ward, "b1") == "H"
    await admit(ward, 1, "b2")


async def test_a_discharge_may_wait_for_bills_and_signatures(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    reference = {"reference": f"Encounter/{made['id']}"}
    charge = {
        "resourceType": "ChargeItem",
        "id": "c1",
        "status": "billable",
        "code": {"text": "Day"},
        "subject": {"reference": "Patient/p1"},
        "context": reference,
    }
    await ward.put_json("/ChargeItem/c1", charge)
    address = f"Encounter/{made['id']}/$discharge"
    assert "ChargeItem/c1" in str(await call(ward, address, 422, require_settled=True))
    await ward.put_json("/ChargeItem/c1", charge | {"status": "not-billable"})
    note = {
        "resourceType": "Composition",
        "id": "n1",
        "status": "preliminary",
        "type": {"text": "Letter"},
        "date": "2026-01-01",
        "author": [{"reference": "Practitioner/d1"}],
        "title": "Letter",
        "encounter": reference,
    }
    assert (await ward.put_json("/Composition/n1", note)).status_code == 201
    assert "Composition/n1" in str(await call(ward, address, 422, require_signed=True, require_settled=True))
    await ward.put_json(f"/Encounter/{made['id']}", {**made, "account": [{"reference": "Account/a1"}]})
    other = {
        "resourceType": "Invoice",
        "id": "i1",
        "status": "issued",
        "issuer": {"identifier": {"system": "https://clinics.test/id", "value": "OTHER"}},
        "account": {"reference": "Account/a1"},
        "totalGross": {"value": 48, "currency": "EUR"},
    }
    assert (await ward.put_json("/Invoice/i1", other)).status_code == 201
    await call(ward, address, require_settled=True)


async def test_an_admission_is_cancelled(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    gone = await call(ward, f"Encounter/{made['id']}/$cancel-admit", reason=concept("Wrong patient"))
    assert (gone["status"], bed_of(gone), await state(ward, "b1")) == ("cancelled", None, "H")
    (note,) = [e for e in gone["extension"] if e["url"] == OSLER + "encounter-reversal"]
    assert {"url": "reason", "valueCodeableConcept": concept("Wrong patient")} in note["extension"]
    await admit(ward, 1, "b2")


async def test_a_discharge_is_taken_back_into_the_same_bed(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    await call(ward, f"Encounter/{made['id']}/$discharge", disposition=concept("Home"))
    back = await call(ward, f"Encounter/{made['id']}/$cancel-discharge", reason=concept("Mistake"))
    assert (back["status"], bed_of(back), await state(ward, "b1")) == ("in-progress", "b1", "O")
    assert "end" not in back["period"]
    assert "hospitalization" not in back
    assert await tasks(ward, "b1") == []
    assert [t["status"] for t in await tasks(ward, "b1", "cancelled")] == ["cancelled"]


async def test_a_discharge_is_taken_back_into_another_bed_when_the_last_is_taken(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    await call(ward, f"Encounter/{made['id']}/$discharge")
    await call(ward, "Location/b1/$bed-status", status="U")
    await admit(ward, 2, "b1")
    address = f"Encounter/{made['id']}/$cancel-discharge"
    refused = await call(ward, address, 422, reason=concept("Mistake"))
    assert "Location/b1 is taken" in refused["issue"][0]["diagnostics"]
    back = await call(ward, address, reason=concept("Mistake"), bed="Location/b2")
    assert bed_of(back) == "b2"


async def test_what_a_stay_is_not_in_is_refused(ward: Client) -> None:
    made = await admit(ward, 1, "b1")
    for name in ("return", "cancel-discharge", "admit"):
        more = {"reason": concept("x")} if name == "cancel-discharge" else {}
        await call(ward, f"Encounter/{made['id']}/${name}", 422, **more)
    await call(ward, "Encounter/nobody/$discharge", 404)
    await call(ward, f"Encounter/{made['id']}/$transfer", 422, bed="Location/r1")


async def test_bed_states_are_set_with_a_reason(ward: Client) -> None:
    closed = await call(
        ward, "Location/b1/$bed-status", status="C", reason=concept("Broken"), until="2999-01-01"
    )
    assert closed["operationalStatus"]["code"] == "C"
    assert "Broken" in str(closed["extension"])
    await admit(ward, 1, "b1", 422)
    opened = await call(ward, "Location/b1/$bed-status", status="U")
    assert "extension" not in opened
    await call(ward, "Location/b1/$bed-status", 422, status="O")
    await call(ward, "Location/b1/$bed-status", 400, status="X")


async def test_a_bed_is_reserved_evicted_and_released(ward: Client) -> None:
    week = {"start": "2999-01-04T08:00:00Z", "end": "2999-01-10T08:00:00Z"}
    kept = await call(ward, "Location/b1/$reserve", patient="Patient/p1", period=week)
    assert (kept["status"], kept["location"][0]["status"]) == ("planned", "reserved")
    await call(ward, "Location/b1/$reserve", 409, patient="Patient/p2", period=week)
    urgent = await call(
        ward, "Location/b1/$reserve", patient="Patient/p2", period=week, evict=concept("Emergency")
    )
    assert "location" not in await read(ward, f"Encounter/{kept['id']}")
    found = (await ward.get("/Task", params={"focus": f"Encounter/{kept['id']}"})).json()
    assert found["entry"][0]["resource"]["code"]["coding"][0]["code"] == "rebed"
    await call(ward, "Location/b1/$release", patient="Patient/p2", cancel=True)
    assert (await read(ward, f"Encounter/{urgent['id']}"))["status"] == "cancelled"
    await call(ward, "Location/b1/$release", 422)


async def test_an_admission_into_a_bed_that_somebody_reserved_is_refused(ward: Client) -> None:
    await call(ward, "Location/b1/$reserve", patient="Patient/p1")
    await admit(ward, 2, "b1", 409)
    await ward.put_json("/Location/b1", bed("b1", "r1"))


# Finding a bed


async def found_beds(client: Client, **asked: Any) -> tuple[list[str], dict[str, list[str]]]:
    answer = await call(client, "Location/$find-bed", **asked)
    suiting, reasons = [], {}
    for entry in answer.get("entry", ()):
        if entry["search"]["mode"] == "match":
            suiting.append(entry["resource"]["id"])
            continue
        for issue in entry["resource"]["issue"]:
            reasons.setdefault(issue["expression"][0], []).append(issue["details"]["coding"][0]["code"])
    return suiting, reasons


async def test_finding_a_bed_ranks_those_that_suit_and_tells_why_others_do_not(client: Client) -> None:
    await build(
        client,
        place("w1", "wa", "house", extension=[rules(gender="by-room")]),
        place("w2", "wa", "house", extension=[rules(specialty=concept("Children", "child"))]),
    )
    await admit(client, 1, "b1")
    await call(client, "Location/b3/$bed-status", status="C")
    suiting, reasons = await found_beds(client, patient="Patient/p3", specialty=concept("Heart", "heart"))
    assert suiting == ["b2", "b4"]
    assert reasons == {
        "Location/b1": ["bed-occupied"],
        "Location/b3": ["bed-closed"],
        "Location/b5": ["specialty"],
        "Location/b6": ["specialty"],
    }
    suiting, reasons = await found_beds(client, gender="male", birth_date="1980-01-01", ward="Location/w1")
    assert suiting == ["b4"]
    assert reasons["Location/b2"] == ["gender-policy"]


async def test_what_is_found_follows_every_write(ward: Client) -> None:
    assert (await found_beds(ward, ward="Location/r2"))[0] == ["b4"]
    await ward.put_json("/Encounter/e1", stay("e1", "p1", at("b4")))
    assert (await found_beds(ward, ward="Location/r2"))[0] == []
    await ward.put_json("/Encounter/e1", stay("e1", "p1", at("b4"), status="finished"))
    assert (await found_beds(ward, ward="Location/r2")) == ([], {"Location/b4": ["bed-not-ready"]})
    (task,) = await tasks(ward, "b4")
    await ward.put_json(f"/Task/{task['id']}", task | {"status": "completed"})
    assert (await found_beds(ward, ward="Location/r2"))[0] == ["b4"]
    await call(ward, "Location/b4/$reserve", patient="Patient/p2", hold_until="2020-01-01T00:00:00Z")
    assert (await found_beds(ward, ward="Location/r2"))[0] == ["b4"]
    await call(ward, "Location/b4/$reserve", patient="Patient/p3")
    assert (await found_beds(ward, ward="Location/r2"))[1] == {"Location/b4": ["bed-reserved"]}


async def test_a_bed_is_found_for_later(ward: Client) -> None:
    await admit(ward, 1, "b4", expected_discharge="2999-01-04T10:00:00Z")
    assert (await found_beds(ward, ward="Location/r2", from_="2999-01-04T09:00:00Z"))[0] == []
    assert (await found_beds(ward, ward="Location/r2", from_="2999-01-04T10:00:00Z"))[0] == ["b4"]


async def test_flags_of_a_stay_end_with_it_and_isolation_goes_on_when_that_is_taken_back(
    ward: Client,
) -> None:
    made = await admit(ward, 1, "b4", isolation="airborne")
    own = {
        "resourceType": "Flag",
        "id": "f1",
        "status": "active",
        "code": {"text": "Speaks no English"},
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": f"Encounter/{made['id']}"},
    }
    await ward.put_json("/Flag/f1", own)

    async def flags() -> list[tuple[str, str, bool]]:
        found = (await ward.get("/Flag", params={"encounter": f"Encounter/{made['id']}"})).json()
        told = [entry["resource"] for entry in found["entry"]]
        return sorted((f["code"]["text"], f["status"], "end" in f.get("period", {})) for f in told)

    assert await flags() == [("Isolation: airborne", "active", False), (own["code"]["text"], "active", False)]
    finished = {**await read(ward, f"Encounter/{made['id']}"), "status": "finished"}
    assert (await ward.put_json(f"/Encounter/{made['id']}", finished)).status_code == 200
    assert await flags() == [
        ("Isolation: airborne", "inactive", True),
        (own["code"]["text"], "active", False),
    ]
    await call(ward, f"Encounter/{made['id']}/$cancel-discharge", reason=concept("Mistake"))
    assert [(text, status) for text, status, _ in await flags()] == [
        ("Isolation: airborne", "active"),
        ("Isolation: airborne", "inactive"),
        (own["code"]["text"], "active"),
    ]
