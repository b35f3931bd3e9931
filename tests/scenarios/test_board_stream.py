"""The bed board as a stream over a real connection: changes made by another process arrive, and a server that stops ends it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.beds.ward import at, bed, parameters, patient, place, stay
from tests.scenarios.conftest import QUIET, client_of
from tests.scenarios.servers import Server, serving
from tests.scenarios.test_bed_races import ward_of


class Events:
    """What comes on an event stream."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, dict[str, Any]]:
        name = ""
        async with asyncio.timeout(20):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    return name, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")


async def test_changes_of_any_process_arrive_at_every_listener(crowd: httpx.AsyncClient) -> None:
    ward = await ward_of(crowd, 2, 2)
    streams = [
        crowd.stream("GET", f"Location/{ward.id}/$bed-board", headers={"accept": "text/event-stream"})
        for _ in range(4)
    ]
    opened = [await stream.__aenter__() for stream in streams]
    listeners = [Events(response) for response in opened]
    for listener in listeners:
        name, board = await listener.next()
        assert (name, len(board["entry"])) == ("board", 2)
    answer = await ward.admit(0, bed=f"Location/{ward.beds[1]}")
    assert answer.status_code == 200
    for listener in listeners:
        name, shown = await listener.next()
        assert (name, shown["id"]) == ("bed", ward.beds[1])
        assert shown["operationalStatus"]["code"] == "O"
    for stream in streams:
        await stream.__aexit__(None, None, None)


async def test_a_server_that_stops_does_not_wait_for_listeners(tmp_path: Path) -> None:
    for workers in (1, 2):
        with serving(f"sqlite:///{tmp_path}/{workers}.db", workers=workers, variables=QUIET) as server:
            await _listen_until_stopped(server)


async def _listen_until_stopped(server: Server) -> None:
    async with client_of(server) as client:
        for resource in (place("w", "wa"), bed("b", "w"), patient("p"), stay("e", "p", at("b"))):
            address = f"{resource['resourceType']}/{resource['id']}"
            assert (await client.put(address, json=resource)).status_code == 201
        asked = parameters()
        assert (await client.post("Location/$bed-board", json=asked)).status_code == 200
        async with client.stream(
            "GET", "Location/w/$bed-board", headers={"accept": "text/event-stream"}
        ) as response:
            events = Events(response)
            assert (await events.next())[0] == "board"
            began = asyncio.get_running_loop().time()
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 0
            assert asyncio.get_running_loop().time() - began < 15
