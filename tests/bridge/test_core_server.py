"""The bridge inside the server: real sockets, the real mappings, figures; on both stores."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_r4.errors import InvalidRequest
from fhir_server.app import Application, create_app
from fhir_server.settings import Settings
from tests.bridge.core import until
from tests.bridge.mllp import adt, sender

StoreOf = Callable[[], str]
STATES = ("received", "mapped", "held", "dead-letter", "administrative", "incomplete", "discarded")


@pytest.fixture(params=["sqlite", "mongo"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "mongo":
        return str(request.getfixturevalue("mongo_address"))
    return f"sqlite:///{tmp_path}/osler.db"


@asynccontextmanager
async def serving(store: str, **settings: Any) -> AsyncIterator[tuple[Application, int, httpx.AsyncClient]]:
    app = create_app(Settings(store=store, log_level="error", **{"hl7": 0, **settings}))
    await app.open()
    assert app.bridge is not None
    port = int(next(iter(app.bridge.addresses().values())).rpartition(":")[2])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://osler.test/fhir/", timeout=30
    ) as client:
        try:
            yield app, port, client
        finally:
            await app.close()


async def figures(client: httpx.AsyncClient, address: str = "http://osler.test/metrics") -> dict[str, float]:
    """The metrics of the bridge by their names and labels."""
    text = (await client.get(address)).text
    found = re.findall(r"^(osler_hl7_\S+?) ([\d.e+-]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if "_created" not in name}


def in_state(found: dict[str, float], state: str, connection: str = "hl7") -> float:
    return found.get(f'osler_hl7_messages{{connection="{connection}",state="{state}"}}', 0)


async def test_a_patient_comes_by_a_message(store: str) -> None:
    async with serving(store) as (_, port, client):
        async with sender(port) as device:
            answer = await device.send(adt(1, "4711"))
        assert b"MSA|AA|1" in answer

        async def found() -> list[Any]:
            answer = await client.get("Patient", params={"identifier": "4711"})
            return answer.json().get("entry", [])

        (entry,) = await until(found, bool, seconds=5)
        assert entry["resource"]["name"][0]["family"] == "Doe"
        assert entry["resource"]["meta"]["source"] == "urn:osler:hl7:hl7"


async def test_every_message_is_in_one_state_at_every_moment(store: str) -> None:
    """received = duplicates + waiting + all outcomes, whenever somebody looks."""
    async with serving(store) as (app, port, client):
        dice = random.Random(1)
        sent = 0

        async def load(number: int) -> None:
            nonlocal sent
            async with sender(port) as device:
                for n in range(25):
                    kind = dice.random()
                    raw = adt(number * 100 + n, f"P{n % 3}")
                    if kind < 0.2:
                        raw = raw.replace(b"ADT^A08", b"ZZZ^Z01")
                    elif kind < 0.4:
                        raw = raw.split(b"PID")[0]
                    for _ in range(2 if kind > 0.8 else 1):
                        assert b"MSA|AA" in await device.send(raw)
                        sent += 1

        loads = asyncio.gather(*(load(n) for n in range(4)))
        looked = 0
        while not loads.done():
            before = sent
            found = await figures(client)
            received = found.get('osler_hl7_received_total{connection="hl7"}', 0)
            twice = found.get('osler_hl7_duplicates_total{connection="hl7"}', 0)
            assert received == twice + sum(in_state(found, state) for state in STATES)
            # what was answered is counted, and nothing that was not sent: four senders wait for an answer at the most
            assert before <= received <= sent + 4
            looked += 1
            await asyncio.sleep(dice.uniform(0, 0.02))  # a random moment
        await loads
        assert looked > 3

        async def waiting() -> dict[str, float]:
            return await figures(client)

        found = await until(waiting, lambda found: not in_state(found, "received"), seconds=60)
        assert found['osler_hl7_received_total{connection="hl7"}'] == sent
        assert app.bridge is not None
        assert in_state(found, "mapped") > 10
        assert in_state(found, "administrative") > 5
        assert in_state(found, "held") + in_state(found, "dead-letter") > 5
        assert found['osler_hl7_answer_p99_seconds{connection="hl7"}'] > 0
        assert found['osler_hl7_silent_seconds{connection="hl7"}'] >= 0


async def test_figures_of_states_outlive_the_server(store: str) -> None:
    async with serving(store) as (_, port, client):
        async with sender(port) as device:
            for n in range(5):
                await device.send(adt(n, "P1"))

        async def mapped() -> float:
            return in_state(await figures(client), "mapped")

        await until(mapped, lambda count: count == 5)
    async with serving(store) as (_, _, client):
        assert in_state(await figures(client), "mapped") == 5


async def test_a_connection_that_ends_within_a_message_leaves_it_incomplete(store: str) -> None:
    async with serving(store) as (_, port, client):
        async with sender(port) as device:
            await device.write(b"\x0b" + adt(1, "4711")[:60])

        async def incomplete() -> float:
            return in_state(await figures(client), "incomplete")

        await until(incomplete, lambda count: count == 1)


async def test_connections_of_a_file_are_listened_to(tmp_path: Path) -> None:
    config = tmp_path / "hl7.yaml"
    config.write_text(
        "connections:\n"
        "  - name: adt\n    listen: {port: 0}\n    sender: {application: 'ADT.*'}\n"
        "  - name: lab\n    listen: {port: 0}\n    profile: mindray-bc\n    sender: {application: 'LAB.*'}\n"
    )
    store = f"sqlite:///{tmp_path}/osler.db"
    async with serving(store, hl7=None, hl7_config=str(config)) as (app, port, client):
        assert app.bridge is not None
        assert list(app.bridge.addresses()) == ["adt, lab"]
        async with sender(port) as device:
            await device.send(adt(1, "4711"))

        async def mapped() -> float:
            return in_state(await figures(client), "mapped", "adt")

        await until(mapped, lambda count: count == 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("connections: [{name: a}]", "listen"),
        ("connections: [{name: a, listen: {port: 1}, color: red}]", "color"),
        ("connections: [{name: a, listen: {port: 1}}, {name: a, listen: {port: 2}}]", "more than once"),
        ("connections: [{name: a, listen: {port: 1}}, {name: b, listen: {port: 1}}]", "told apart"),
        ("connections: [{name: a, listen: {port: 0}, profile: no-such}]", "device profile"),
        ("connections: [{name: a, listen: {port: 0, host: 0.0.0.0}}]", "anybody"),
        ("connections: [{name: a, listen: {port: 0}, sender: {application: '('}}]", "pattern"),
        ("connections: {", "hl7.yaml"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path, text: str, told: str
) -> None:
    config = tmp_path / "hl7.yaml"
    config.write_text(text)
    with pytest.raises(InvalidRequest, match=told):
        async with serving(f"sqlite:///{tmp_path}/osler.db", hl7=None, hl7_config=str(config)):
            pass


async def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    async with serving(f"sqlite:///{tmp_path}/a.db") as (_, port, _):
        with pytest.raises(InvalidRequest, match="HL7 v2"):
            async with serving(f"sqlite:///{tmp_path}/b.db", hl7=port):
                pass


async def test_a_journal_of_its_own_holds_what_the_store_gets_later(store: str, tmp_path: Path) -> None:
    async with serving(store, hl7_journal=str(tmp_path / "journal.db")) as (_, port, client):
        async with sender(port) as device:
            for n in range(5):
                assert b"MSA|AA" in await device.send(adt(n, f"P{n % 2}", f"N{n}"))

        async def mapped() -> float:
            return in_state(await figures(client), "mapped")

        await until(mapped, lambda count: count == 5)
        kept = (await client.get("Binary", params={"_tag": "mapped", "_summary": "count"})).json()
        assert kept["total"] == 5
        patient = (await client.get("Patient", params={"identifier": "P0"})).json()["entry"][0]["resource"]
        assert patient["name"][0]["family"] == "N4"
