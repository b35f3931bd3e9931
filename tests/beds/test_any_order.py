"""Whatever wards do, in whatever order and at the same time: nothing is lost, doubled or left behind.

Many orders are tried in memory, a few on each store that outlives the server; `osler check` finds nothing in it afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.interactions.consistency import inconsistencies
from fhir_server.operations.beds.following import board_of, made_anew
from fhir_server.settings import Settings
from tests import mongod
from tests.beds.ward import at, bed, concept, parameters, patient, place, rules, stay
from tests.conftest import Client, start, stop
from tests.rest.resources import bundle, put
from tests.scenarios.servers import osler

BEDS = ("b1", "b2", "b3")
PATIENTS = ("p1", "p2", "p3")
STATES = ("U", "H", "C", "K", "I", "O")
NUMBERS = itertools.count()

acts = st.one_of(
    st.tuples(st.just("admit"), st.sampled_from(PATIENTS), st.sampled_from((*BEDS, "ward"))),
    st.tuples(
        st.sampled_from(("transfer", "return", "cancel-discharge")),
        st.sampled_from(PATIENTS),
        st.sampled_from((*BEDS, "ward")),
    ),
    st.tuples(
        st.sampled_from(("discharge", "leave", "give-up", "cancel-admit", "delete", "back", "isolate")),
        st.sampled_from(PATIENTS),
        st.just(""),
    ),
    st.tuples(st.just("swap-beds"), st.sampled_from(PATIENTS), st.sampled_from(PATIENTS)),
    st.tuples(st.just("put"), st.sampled_from(PATIENTS), st.sampled_from(BEDS)),
    st.tuples(st.sampled_from(("reserve", "release")), st.sampled_from(PATIENTS), st.sampled_from(BEDS)),
    st.tuples(st.sampled_from(("status", "raw")), st.sampled_from(BEDS), st.sampled_from(STATES)),
    st.tuples(st.just("clean"), st.sampled_from(BEDS), st.just("")),
)


class House:
    """A room of three beds, two of them occupied, and three patients, each with the last stay that it got."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stays: dict[str, str] = {}

    async def build(self) -> None:
        ward = place("w", "wa", extension=[rules(gender="mixed", isolation=["contact", "droplet"])])
        resources = [ward, place("r", "ro", "w"), *(bed(b, "r") for b in BEDS), *map(patient, PATIENTS)]
        answer = await self.client.post_json("", bundle("transaction", *map(put, resources)))
        assert answer.status_code == 200, answer.text
        for who, what in zip(PATIENTS[:2], BEDS, strict=False):
            await self.act("admit", who, what)

    async def act(self, verb: str, who: str, what: str) -> None:
        answer = await getattr(self, "_" + verb.replace("-", "_"), self._on_stay)(verb, who, what)
        assert answer is None or answer.status_code in (200, 201, 204, 404, 409, 410, 422), answer.text

    async def _post(self, address: str, **given: Any) -> Any:
        if address.startswith("Encounter"):
            given["request_id"] = f"urn:act:{next(NUMBERS)}"
        return await self.client.post_json(f"/{address}", parameters(**given))

    def _where(self, what: str) -> dict[str, str]:
        return {"ward": "Location/w"} if what == "ward" else {"bed": f"Location/{what}"} if what else {}

    async def _admit(self, _: str, who: str, what: str) -> Any:
        answer = await self._post("Encounter/$admit", patient=f"Patient/{who}", **self._where(what))
        if answer.status_code == 200:
            self.stays[who] = answer.json()["id"]
        return answer

    async def _on_stay(self, verb: str, who: str, what: str) -> Any:
        if who not in self.stays:
            return None
        more = {"reason": concept("x")} if verb.startswith("cancel") else {}
        return await self._post(f"Encounter/{self.stays[who]}/${verb}", **more, **self._where(what))

    async def _give_up(self, _: str, who: str, __: str) -> Any:
        if who in self.stays:
            return await self._post(f"Encounter/{self.stays[who]}/$leave", keep_bed=False)
        return None

    async def _back(self, _: str, who: str, what: str) -> Any:
        return await self._on_stay("return", who, what)

    async def _swap_beds(self, _: str, who: str, what: str) -> Any:
        if who in self.stays and what in self.stays and who != what:
            both = {"first": f"Encounter/{self.stays[who]}", "second": f"Encounter/{self.stays[what]}"}
            return await self._post("Encounter/$swap-beds", **both)
        return None

    async def _delete(self, _: str, who: str, __: str) -> Any:
        return await self.client.delete(f"/Encounter/{self.stays[who]}") if who in self.stays else None

    async def _put(self, _: str, who: str, what: str) -> Any:
        id = self.stays.setdefault(who, f"e-{who}")
        return await self.client.put_json(f"/Encounter/{id}", stay(id, who, at(what)))

    async def _isolate(self, _: str, who: str, __: str) -> Any:
        if who not in self.stays:
            return None
        found = await self.client.get(f"/Encounter/{self.stays[who]}")
        if found.status_code != 200:
            return None
        needs = {
            "url": "https://osler.health/fhir/StructureDefinition/bed-requirements",
            "extension": [{"url": "isolation", "valueCode": "contact"}],
        }
        return await self.client.put_json(
            f"/Encounter/{self.stays[who]}", {**found.json(), "extension": [needs]}
        )

    async def _reserve(self, _: str, who: str, what: str) -> Any:
        return await self._post(f"Location/{what}/$reserve", patient=f"Patient/{who}")

    async def _release(self, _: str, who: str, what: str) -> Any:
        return await self._post(f"Location/{what}/$release", patient=f"Patient/{who}", cancel=True)

    async def _status(self, _: str, who: str, what: str) -> Any:
        return await self._post(f"Location/{who}/$bed-status", status=what)

    async def _raw(self, _: str, who: str, what: str) -> Any:
        return await self.client.put_json(f"/Location/{who}", bed(who, "r", what))

    async def _clean(self, _: str, who: str, __: str) -> Any:
        found = (await self.client.get(f"/Task?focus=Location/{who}&status=requested")).json()
        tasks = [entry["resource"] for entry in found.get("entry", ())]
        assert len(tasks) <= 1
        for task in tasks:
            return await self.client.put_json(f"/Task/{task['id']}", task | {"status": "completed"})
        return None

    async def require_consistent(self) -> None:
        services = self.client.app.services
        assert await inconsistencies(services) == []
        followed, anew = await board_of(services), await made_anew(services)
        now = services.clock()
        assert followed.page("w", now) == anew.page("w", now)
        for one in BEDS:
            found = (
                await self.client.get(f"/Task?focus=Location/{one}&status=requested&_summary=count")
            ).json()
            waiting = (
                (await self.client.get(f"/Location/{one}")).json().get("operationalStatus", {}).get("code")
            )
            assert found["total"] == (1 if waiting in ("H", "K") else 0), (one, waiting)


steps_of_wards = st.lists(st.lists(acts, min_size=1, max_size=3), min_size=2, max_size=10)


async def live(store: str, steps: list[list[tuple[str, str, str]]]) -> None:
    client = await start(Settings(store=store, log_level="error"))
    try:
        house = House(client)
        await house.build()
        for at_once in steps:
            await asyncio.gather(*(house.act(*act) for act in at_once))
            await house.require_consistent()
    finally:
        await stop(client)


@settings(max_examples=25, deadline=None)
@given(steps_of_wards)
def test_whatever_wards_do_the_beds_stay_in_order(steps: list[list[tuple[str, str, str]]]) -> None:
    asyncio.run(live("memory:", steps))


@pytest.mark.parametrize("kind", ["sqlite", "mongo"])
def test_the_same_holds_on_every_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    mongo = request.getfixturevalue("mongodb") if kind == "mongo" else None

    @settings(max_examples=4, deadline=None)
    @given(steps_of_wards)
    def try_out(steps: list[list[tuple[str, str, str]]]) -> None:
        name = f"osler-test-{uuid.uuid4().hex[:12]}"
        address = f"sqlite:///{tmp_path}/{name}.db" if mongo is None else mongod.with_database(mongo, name)
        asyncio.run(live(address, steps))
        checked = osler("check", "--quiet", "--store", address)
        assert checked.code == 0, checked.output
        if mongo is not None:
            with mongod.client(mongo) as client:
                client.drop_database(name)

    try_out()
