"""Many hands reach for the same bed or the same patient, over one server process and over two: one of them gets it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.beds.ward import at, bed, patient, place, rules, stay
from tests.beds.ward import parameters as parameters_of
from tests.scenarios.test_races import at_once, fresh, statuses


class Ward:
    """A ward of its own on the server: ids carry a mark that no other test has."""

    def __init__(self, crowd: httpx.AsyncClient, beds: int, patients: int) -> None:
        self.crowd = crowd
        self.mark = fresh()[:12]
        self.id = f"w-{self.mark}"
        self.beds = [f"b{n}-{self.mark}" for n in range(beds)]
        self.patients = [f"p{n}-{self.mark}" for n in range(patients)]

    async def build(self) -> Ward:
        room = f"r-{self.mark}"
        resources = [place(self.id, "wa"), place(room, "ro", self.id)]
        resources += [bed(b, room) for b in self.beds] + [patient(p) for p in self.patients]
        entries = [
            {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
            for r in resources
        ]
        answer = await self.crowd.post(
            "", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}
        )
        assert answer.status_code == 200, answer.text
        return self

    def admit(self, n: int, **where: Any) -> Any:
        asked = parameters_of(patient=f"Patient/{self.patients[n]}", request_id=f"urn:{fresh()}", **where)
        return self.crowd.post("Encounter/$admit", json=asked)

    def act(self, encounter: str, name: str, **given: Any) -> Any:
        asked = parameters_of(request_id=f"urn:{fresh()}", **given)
        return self.crowd.post(f"Encounter/{encounter}/${name}", json=asked)

    async def lying(self) -> dict[str, list[str]]:
        """The live stays by the bed that they are in."""
        found: dict[str, list[str]] = {b: [] for b in self.beds}
        for p in self.patients:
            query = f"Encounter?subject=Patient/{p}&status=planned,in-progress,onleave"
            for entry in (await self.crowd.get(query)).json().get("entry", ()):
                for where in entry["resource"].get("location", ()):
                    if where["status"] == "active":
                        id = where["location"]["reference"].removeprefix("Location/")
                        found[id].append(entry["resource"]["id"])
        return found

    async def states(self) -> list[str]:
        found = [(await self.crowd.get(f"Location/{b}")).json() for b in self.beds]
        return [f.get("operationalStatus", {}).get("code", "U") for f in found]

    async def require_consistent(self) -> None:
        """A bed is occupied when one lies there, and the board says what the resources say."""
        lying = await self.lying()
        assert all(len(stays) <= 1 for stays in lying.values()), lying
        states = await self.states()
        assert [s == "O" for s in states] == [len(lying[b]) == 1 for b in self.beds]
        board = (await self.crowd.get(f"Location/{self.id}/$bed-board")).json()
        assert len(board["entry"]) == len(self.beds)
        known = dict(zip(self.beds, states, strict=True))
        for entry in board["entry"]:
            shown = entry["resource"]["extension"][0]["extension"]
            assert shown[0] == {"url": "state", "valueCode": known[entry["resource"]["id"]]}
            told = [
                part["valueReference"]["reference"].removeprefix("Encounter/")
                for one in shown
                if one["url"] == "lies"
                for part in one["extension"]
                if part["url"] == "stay"
            ]
            assert told == lying[entry["resource"]["id"]]


async def ward_of(crowd: httpx.AsyncClient, beds: int, patients: int) -> Ward:
    return await Ward(crowd, beds, patients).build()


async def test_of_20_admissions_to_a_bed_one_gets_it(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 1, 20)
    answers = await at_once(ward.admit(n, bed=f"Location/{ward.beds[0]}") for n in range(20))
    assert statuses(answers) == {200: 1, 409: 19}
    await ward.require_consistent()
    history = (await crowd.get(f"Location/{ward.beds[0]}/_history")).json()
    assert history["total"] == 2
    accounts = [
        (await crowd.get(f"Account?subject=Patient/{p}&_summary=count")).json()["total"]
        for p in ward.patients
    ]
    assert sum(accounts) == 1


async def test_of_20_plain_puts_to_a_bed_one_gets_it(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 1, 20)
    answers = await at_once(
        crowd.put(f"Encounter/e-{p}", json=stay(f"e-{p}", p, at(ward.beds[0]))) for p in ward.patients
    )
    assert statuses(answers) == {201: 1, 409: 19}
    await ward.require_consistent()


async def test_of_20_admissions_to_a_ward_of_8_beds_8_get_one_each(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 8, 20)
    answers = await at_once(ward.admit(n, ward=f"Location/{ward.id}") for n in range(20))
    assert statuses(answers) == {200: 8, 422: 12}
    assert await ward.states() == ["O"] * 8
    await ward.require_consistent()


async def test_one_patient_admitted_to_ten_beds_gets_one(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 10, 1)
    answers = await at_once(ward.admit(0, bed=f"Location/{b}") for b in ward.beds)
    assert statuses(answers) == {200: 1, 409: 9}
    assert sorted(await ward.states()) == ["O", *["U"] * 9]
    await ward.require_consistent()


async def test_crossing_transfers_do_not_lose_or_double_a_patient(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 2, 2)
    stays = [(await ward.admit(n, bed=f"Location/{ward.beds[n]}")).json()["id"] for n in (0, 1)]
    crossing = [ward.act(stays[n], "transfer", bed=f"Location/{ward.beds[1 - n]}") for n in (0, 1)]
    assert statuses(await at_once(crossing)) == {409: 2}
    await ward.require_consistent()
    swap = parameters_of(
        first=f"Encounter/{stays[0]}", second=f"Encounter/{stays[1]}", request_id=f"urn:{fresh()}"
    )
    answers = await at_once(crowd.post("Encounter/$swap-beds", json=swap) for _ in range(2))
    assert statuses(answers) == {200: 2}
    assert (await ward.lying())[ward.beds[0]] == [stays[1]]
    await ward.require_consistent()


async def test_a_transfer_against_a_swap_leaves_everybody_in_one_bed(crowd: httpx.AsyncClient) -> None:
    for _ in range(4):
        ward = await ward_of(crowd, 3, 2)
        stays = [(await ward.admit(n, bed=f"Location/{ward.beds[n]}")).json()["id"] for n in (0, 1)]
        swap = parameters_of(
            first=f"Encounter/{stays[0]}", second=f"Encounter/{stays[1]}", request_id=f"urn:{fresh()}"
        )
        answers = await at_once(
            [
                crowd.post("Encounter/$swap-beds", json=swap),
                ward.act(stays[0], "transfer", bed=f"Location/{ward.beds[2]}"),
            ]
        )
        assert set(statuses(answers)) <= {200, 409, 422}
        assert any(a.status_code == 200 for a in answers)
        await ward.require_consistent()


async def test_discharge_and_transfer_at_once_leave_no_bed_behind(crowd: httpx.AsyncClient) -> None:
    for _ in range(4):
        ward = await ward_of(crowd, 2, 1)
        id = (await ward.admit(0, bed=f"Location/{ward.beds[0]}")).json()["id"]
        answers = await at_once(
            [ward.act(id, "discharge"), ward.act(id, "transfer", bed=f"Location/{ward.beds[1]}")]
        )
        assert statuses(answers) in ({200: 2}, {200: 1, 422: 1})
        assert "O" not in await ward.states()
        await ward.require_consistent()


async def test_closing_a_bed_against_an_admission_never_closes_an_occupied_one(
    crowd: httpx.AsyncClient,
) -> None:
    for _ in range(4):
        ward = await ward_of(crowd, 1, 1)
        close = crowd.post(f"Location/{ward.beds[0]}/$bed-status", json=parameters_of(status="C"))
        answers = await at_once([ward.admit(0, bed=f"Location/{ward.beds[0]}"), close])
        assert statuses(answers) == {200: 1, 422: 1}
        await ward.require_consistent()


async def test_a_room_of_one_gender_stays_so_when_both_come_at_once(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 4, 8)
    by_room = place(ward.id, "wa", extension=[rules(gender="by-room")])
    assert (await crowd.put(f"Location/{ward.id}", json=by_room)).status_code == 200
    for n, p in enumerate(ward.patients):
        await crowd.put(f"Patient/{p}", json=patient(p, "male" if n % 2 else "female"))
    answers = await at_once(ward.admit(n, bed=f"Location/{ward.beds[n % 4]}") for n in range(8))
    assert set(statuses(answers)) <= {200, 409, 422}
    genders = {n % 2 for n, a in enumerate(answers) if a.status_code == 200}
    assert len(genders) == 1
    await ward.require_consistent()


async def test_a_request_sent_twice_at_once_is_carried_out_once(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 4, 1)
    asked = parameters_of(
        patient=f"Patient/{ward.patients[0]}", ward=f"Location/{ward.id}", request_id=f"urn:{fresh()}"
    )
    answers = await asyncio.gather(*(crowd.post("Encounter/$admit", json=asked) for _ in range(6)))
    assert statuses(answers) == {200: 6}
    assert len({a.json()["id"] for a in answers}) == 1
    await ward.require_consistent()
