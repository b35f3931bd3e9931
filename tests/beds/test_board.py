"""The bed board says what the resources say: after every write, after a restart, for several servers on a store, and live."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fhir_server.operations.beds.board import Board
from fhir_server.operations.beds.following import board_of, made_anew
from tests.beds.ward import at, bed, build, call, patient, place, read, rules, state, stay, tasks
from tests.conftest import Client, StartServer, on_each_store

NOW = 1_800_000_000_000_000


async def shown(client: Client, root: str = "Location/site", **asked: str) -> dict[str, dict[str, Any]]:
    """What the board shows, by bed: the parts by name, those of a stay in a dict of their own."""
    answer = await client.get(f"/{root}/$bed-board", params=asked)
    assert answer.status_code == 200, answer.text
    return {e["resource"]["id"]: parts_of(e["resource"]) for e in answer.json().get("entry", ())}


def parts_of(resource: dict[str, Any]) -> dict[str, Any]:
    return _plain(resource["extension"][0]["extension"])


def _plain(parts: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        value = next((v for k, v in part.items() if k.startswith("value")), None)
        if isinstance(value, dict):
            value = value.get("display", value["reference"])
        found[part["url"]] = _plain(part["extension"]) if "extension" in part else value
    return found


@on_each_store
async def test_the_board_shows_who_lies_comes_and_cleans(client: Client) -> None:
    await build(client)
    made = await call(
        client, "Encounter/$admit", patient="Patient/p1", bed="Location/b1", isolation="contact"
    )
    await call(client, "Location/b5/$reserve", patient="Patient/p2")
    await call(client, "Location/b6/$bed-status", status="H")
    beds = await shown(client)
    assert list(beds) == ["b1", "b2", "b3", "b4", "b5", "b6"]
    lies = beds["b1"]["lies"]
    assert (lies["stay"], lies["patient"]) == (f"Encounter/{made['id']}", "Pat P1")
    assert (lies["gender"], lies["status"], lies["isolation"]) == ("female", "in-progress", "contact")
    assert {b: beds[b]["state"] for b in beds} == {
        "b1": "O",
        "b2": "I",
        "b3": "I",
        "b4": "U",
        "b5": "R",
        "b6": "H",
    }
    assert beds["b5"]["comes"]["patient"] == "Pat P2"
    assert beds["b6"]["task"] == f"Task/{(await tasks(client, 'b6'))[0]['id']}"
    assert list(await shown(client, "Location/w2")) == ["b5", "b6"]
    board = (await client.get("/Location/w1/$bed-board")).json()
    (counts,) = board["meta"]["extension"]
    assert {c["url"]: c["valueUnsignedInt"] for c in counts["extension"]}["I"] == 2


@on_each_store
async def test_the_board_follows_what_is_renamed_moved_and_removed(client: Client) -> None:
    await build(client)
    await call(client, "Encounter/$admit", patient="Patient/p1", bed="Location/b1")
    await shown(client)
    await client.put_json("/Patient/p1", patient("p1", "male") | {"name": [{"text": "New Name"}]})
    assert (await shown(client))["b1"]["lies"]["patient"] == "New Name"
    await client.put_json("/Location/b2", bed("b2", "r3"))
    await client.delete("/Location/b3")
    assert list(await shown(client, "Location/w1")) == ["b1", "b4"]
    assert list(await shown(client, "Location/w2")) == ["b2", "b5", "b6"]
    assert (await client.get("/Location/nowhere/$bed-board")).status_code == 404


async def test_reservations_begin_end_and_expire_without_a_write() -> None:
    board = Board()
    week = {"start": "2027-01-15T10:00:00Z", "end": "2027-01-15T12:00:00Z"}
    hold = {
        "url": "https://osler.health/fhir/StructureDefinition/hold-expires",
        "valueInstant": "2027-01-15T11:00:00Z",
    }
    entry = at("b1", "reserved", period=week, extension=[hold], physicalType=bed("x", "r")["physicalType"])
    board.apply("Location", "b1", bed("b1", "r1"), 1)
    board.apply("Encounter", "e1", stay("e1", "p1", entry, status="planned"), 2)
    ten = 1_800_007_200_000_000

    def state_at(now: int) -> str:
        return str(parts_of(json.loads(board.page(None, now))["entry"][0]["resource"])["state"])

    assert state_at(ten - 1) == "U"
    assert state_at(ten) == "R"
    assert state_at(ten + 3_600_000_000 - 1) == "R"
    assert state_at(ten + 3_600_000_000) == "U"


async def test_a_state_that_is_applied_twice_changes_nothing() -> None:
    board = Board()
    resources = [
        ("Location", bed("b1", "r1", "O")),
        ("Encounter", stay("e1", "p1", at("b1", physicalType=bed("x", "r")["physicalType"]))),
        ("Patient", patient("p1")),
    ]
    for number, (type, resource) in enumerate(resources, 1):
        board.apply(type, resource["id"], resource, number)
    first = board.page(None, NOW)
    for number, (type, resource) in enumerate(resources, 1):
        board.apply(type, resource["id"], resource, number)
    assert board.page(None, NOW) == first
    board.apply("Encounter", "e1", None, 4)
    assert "lies" not in parts_of(json.loads(board.page(None, NOW))["entry"][0]["resource"])


async def test_a_second_server_on_the_store_and_a_restarted_one_show_the_same(
    start_server: StartServer, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/shared.db"
    one, other = await start_server(store=store), await start_server(store=store)
    await build(one)
    assert list(await shown(other, "Location/w2")) == ["b5", "b6"]
    made = await call(one, "Encounter/$admit", patient="Patient/p1", bed="Location/b1")
    assert (await shown(other))["b1"]["state"] == "O"
    await call(other, f"Encounter/{made['id']}/$transfer", bed="Location/b2")
    assert (await shown(one))["b2"]["lies"]["stay"] == f"Encounter/{made['id']}"
    restarted = await start_server(store=store)
    assert await shown(restarted) == await shown(one) == await shown(other)


@on_each_store
async def test_a_followed_board_is_the_board_made_anew(client: Client) -> None:
    await build(client, place("w1", "wa", "house", extension=[rules(gender="by-room")]))
    services = client.app.services
    await board_of(services)
    made = await call(client, "Encounter/$admit", patient="Patient/p1", bed="Location/b1")
    await call(client, "Encounter/$admit", patient="Patient/p2", ward="Location/w1")
    await call(client, f"Encounter/{made['id']}/$leave", keep_bed=False)
    await call(client, "Location/b3/$reserve", patient="Patient/p3")
    await call(client, "Location/b3/$release")
    now = services.clock()
    followed, anew = await board_of(services), await made_anew(services)
    assert followed.page("site", now) == anew.page("site", now)


@on_each_store
async def test_the_board_as_it_was(client: Client) -> None:
    await build(client)
    made = await call(client, "Encounter/$admit", patient="Patient/p1", bed="Location/b1")
    then = (await client.get(f"/Encounter/{made['id']}")).json()["meta"]["lastUpdated"]
    await asyncio.sleep(0.002)
    await call(client, f"Encounter/{made['id']}/$discharge")
    assert await state(client, "b1") == "H"
    assert (await shown(client, at=then))["b1"]["state"] == "O"
    assert (await shown(client))["b1"]["state"] == "H"


class Stream:
    """A client that listens to an event stream of the ASGI application."""

    def __init__(self, client: Client, path: str, **headers: str) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone = asyncio.Event()
        sent = {"accept": "text/event-stream", **headers}
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/fhir/{path}",
            "raw_path": f"/fhir/{path}".encode(),
            "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
            "server": ("osler.test", 80),
            "scheme": "http",
        }
        self.task = asyncio.create_task(client.app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self.status = message["status"]
        elif message["body"]:
            await self.pieces.put(message["body"])

    async def event(self) -> tuple[str, int, dict[str, Any]]:
        text = (await asyncio.wait_for(self.pieces.get(), 10)).decode()
        name, id, data, *_ = (line.partition(": ")[2] for line in text.splitlines())
        return name, int(id), json.loads(data)

    async def close(self) -> None:
        self.gone.set()
        await asyncio.wait_for(self.task, 10)


@on_each_store
async def test_the_board_streams_its_changes(client: Client) -> None:
    await build(client)
    stream = Stream(client, "Location/w1/$bed-board")
    name, first, board = await stream.event()
    assert (name, len(board["entry"])) == ("board", 4)
    assert stream.headers["content-type"] == "text/event-stream"
    await call(client, "Encounter/$admit", patient="Patient/p1", bed="Location/b5")
    await call(client, "Encounter/$admit", patient="Patient/p2", bed="Location/b1")
    name, second, shown_bed = await stream.event()
    assert (name, shown_bed["id"], parts_of(shown_bed)["state"]) == ("bed", "b1", "O")
    assert second > first
    await stream.close()
    again = Stream(client, "Location/w1/$bed-board", **{"last-event-id": str(first)})
    assert (await again.event())[2]["id"] == "b1"
    await again.close()


@on_each_store
async def test_what_is_refused_is_no_stream(client: Client) -> None:
    answer = await client.get("/Location/nowhere/$bed-board", headers={"accept": "text/event-stream"})
    assert answer.status_code == 404
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("kind", ["bassinet", "chair"])
@on_each_store
async def test_only_beds_are_counted(client: Client, kind: str) -> None:
    cot = bed(
        "cot",
        "r1",
        extension=[{"url": "https://osler.health/fhir/StructureDefinition/bed-kind", "valueCode": kind}],
    )
    await build(client, cot)
    board = (await client.get("/Location/w1/$bed-board")).json()
    assert len(board["entry"]) == 5
    assert board["meta"]["extension"][0]["extension"][0] == {"url": "U", "valueUnsignedInt": 4}
    assert (await read(client, "Location/cot"))["name"] == "cot"
