"""beds: a day of a hospital of 500 beds at 100 times speed, while ten readers look at the bed board.

400 admissions, 150 transfers and 350 discharges a day, beds cleaned behind them, evenly spread; two hours of it are replayed
(`--soak`: the whole day). Between them, in the same run, bare transactions of one Patient: the limit that nothing with a
commit can be faster than. At the end the claims and states are proved, as `osler check` does.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from benchmarks.client import Load, ask, wire
from benchmarks.figures import Figure
from benchmarks.options import Options
from tests.scenarios.servers import osler

DAY_SECONDS = 864.0
ADMISSIONS, TRANSFERS, DISCHARGES, BARE = 400, 150, 350, 3000
WARDS, READERS = 20, 10
ROOMS = (4, 4, 4, 4, 2, 2, 2, 2, 1)
OCCUPIED = 320
# the server closes connections that were idle for five
IDLE_SECONDS = 3.0
PHYSICAL = "http://terminology.hl7.org/CodeSystem/location-physical-type"
Resource = dict[str, Any]


class Line:
    """A connection with one request in flight; it keeps how long each took. One that was idle for long is opened anew."""

    def __init__(self, port: int, load: Load) -> None:
        self.load = load
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0
        self._lock = asyncio.Lock()

    async def ask(self, method: str, path: str, resource: Resource | None = None) -> tuple[int, bytes]:
        body = None if resource is None else json.dumps(resource).encode()
        async with self._lock:
            reader, writer = await self._open()
            sent = time.perf_counter()
            writer.write(wire(method, path, body))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(
                int(line.partition(":")[2])
                for line in head.split("\r\n")
                if line.lower().startswith("content-length")
            )
            answer = await reader.readexactly(length)
            self._used = time.perf_counter()
            self.load.waits.append(self._used - sent)
        status = int(head.split()[1])
        self.load.statuses[status] += 1
        return status, answer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or time.perf_counter() - self._used > IDLE_SECONDS:
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def hospital(patients: int) -> Iterator[Resource]:
    """Wards, rooms and beds by one gender a room, and patients."""
    yield _place("site", "si", None)
    for ward in range(WARDS):
        rules = {"url": "gender", "valueCode": "by-room"}
        url = "https://osler.health/fhir/StructureDefinition/ward-rules"
        yield {**_place(f"w{ward}", "wa", "site"), "extension": [{"url": url, "extension": [rules]}]}
        for room, beds in enumerate(ROOMS):
            yield _place(f"w{ward}r{room}", "ro", f"w{ward}")
            for bed in range(beds):
                yield _place(f"w{ward}r{room}b{bed}", "bd", f"w{ward}r{room}")
    for number in range(patients):
        gender = "male" if number % 2 else "female"
        yield {"resourceType": "Patient", "id": f"p{number}", "gender": gender, "birthDate": "1970-01-01"}


def _place(id: str, kind: str, part_of: str | None) -> Resource:
    made = {"resourceType": "Location", "id": id, "status": "active", "name": id, "mode": "instance"}
    made["physicalType"] = {"coding": [{"system": PHYSICAL, "code": kind}]}
    return made if part_of is None else {**made, "partOf": {"reference": f"Location/{part_of}"}}


class Replay:
    """The acts of the wards, each on a connection of its kind, and what they did."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self.port = port
        self.chance = random.Random(seed)
        self.loads = {name: Load() for name in ("admit", "transfer", "discharge", "clean", "bare", "board")}
        self.lines: dict[str, Line] = {}
        self.stays: list[str] = []
        self.number = 0

    async def act(self, name: str) -> None:
        if name not in self.lines:
            self.lines[name] = Line(self.port, self.loads[name])
        await getattr(self, name)(self.lines[name])

    async def admit(self, line: Line) -> None:
        patient = _reference("patient", f"Patient/p{self.number}")
        self.number += 1
        wards = [_reference("ward", f"Location/w{w}") for w in self.chance.sample(range(WARDS), 3)]
        status, answer = await line.ask(
            "POST",
            "/fhir/Encounter/$admit",
            self._asked(patient, *wards),
        )
        if status == 200:
            self.stays.append(json.loads(answer)["id"])

    async def transfer(self, line: Line) -> None:
        if self.stays:
            ward = _reference("ward", f"Location/w{self.chance.randrange(WARDS)}")
            stay = self.chance.choice(self.stays)
            await line.ask("POST", f"/fhir/Encounter/{stay}/$transfer", self._asked(ward))

    async def discharge(self, line: Line) -> None:
        if self.stays:
            stay = self.stays.pop(self.chance.randrange(len(self.stays)))
            await line.ask("POST", f"/fhir/Encounter/{stay}/$discharge", self._asked())

    async def clean(self, line: Line) -> None:
        """Every bed that waits is made ready."""
        _, found = await line.ask("GET", "/fhir/Location?operational-status=H&_count=50")
        for entry in json.loads(found).get("entry", ()):
            state = {"name": "status", "valueCode": "U"}
            bed = entry["resource"]["id"]
            await line.ask("POST", f"/fhir/Location/{bed}/$bed-status", _parameters(state))

    async def bare(self, line: Line) -> None:
        entry = {
            "resource": {"resourceType": "Patient", "active": True},
            "request": {"method": "POST", "url": "Patient"},
        }
        await line.ask("POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})

    async def watch(self, until: float) -> None:
        line = Line(self.port, self.loads["board"])
        while time.perf_counter() < until:
            await line.ask("GET", "/fhir/Location/site/$bed-board")
            await asyncio.sleep(0.5 + self.chance.random())
        line.close()

    async def day(self, share: float) -> None:
        """That share of a day, with readers."""
        seconds = DAY_SECONDS * share
        counts = {
            "admit": ADMISSIONS,
            "transfer": TRANSFERS,
            "discharge": DISCHARGES,
            "bare": BARE,
            "clean": 288,
        }
        plan = sorted(
            (self.chance.random() * seconds, name)
            for name, count in counts.items()
            for _ in range(max(1, round(count * share)))
        )
        began = time.perf_counter()
        watching = [asyncio.create_task(self.watch(began + seconds)) for _ in range(READERS)]
        acting = []
        for due, name in plan:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            acting.append(asyncio.create_task(self.act(name)))
        await asyncio.gather(*acting, *watching)

    def _asked(self, *parameters: Resource) -> Resource:
        return _parameters(*parameters, {"name": "request-id", "valueUri": f"urn:{self.chance.random()}"})


def _parameters(*parameters: Resource) -> Resource:
    return {"resourceType": "Parameters", "parameter": list(parameters)}


def _reference(name: str, address: str) -> Resource:
    return {"name": name, "valueReference": {"reference": address}}


def run(options: Options) -> list[Figure]:
    share = 1.0 if options.soak else options.scale / 12
    with tempfile.TemporaryDirectory() as folder:
        with options.serving(folder) as server:
            resources = list(hospital(OCCUPIED + ADMISSIONS + 1))
            for first in range(0, len(resources), 400):
                entries = [
                    {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
                    for r in resources[first : first + 400]
                ]
                bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
                status, _ = ask(server.port, "POST", "/fhir", json.dumps(bundle).encode())
                if status != 200:
                    raise RuntimeError(f"the hospital was answered with {status}")
            replay = Replay(server.port)
            uvloop.run(_lived(replay, share))
        checked = osler("check", "--store", f"sqlite:///{folder}/osler.db")
    return _figures(replay, checked.code)


async def _lived(replay: Replay, share: float) -> None:
    for _ in range(OCCUPIED):
        await replay.act("admit")
    for line in replay.lines.values():
        line.close()
    replay.lines = {}
    replay.loads = {name: Load() for name in replay.loads}
    await replay.day(share)


def _figures(replay: Replay, code: int) -> list[Figure]:
    loads = replay.loads
    limit = loads["bare"].percentile(0.95) * 1000
    figures = []
    for name in ("admit", "transfer", "discharge"):
        load = loads[name]
        if set(load.statuses) - {200, 422}:  # 422: no bed of the wards suits
            raise RuntimeError(f"{name} was answered with {dict(load.statuses)}")
        note = f"p50 {load.percentile(0.5) * 1000:.1f} ms, {load.requests} requests, {load.statuses[422]} without a bed"
        figures.append(Figure(f"${name}, p95", load.percentile(0.95) * 1000, "ms", limit, note=note))
    board = loads["board"].require(200)
    note = (
        f"p50 {board.percentile(0.5) * 1000:.1f} ms, {board.requests} reads of 500 beds by {READERS} readers"
    )
    figures.append(
        Figure("$bed-board, p95", board.percentile(0.95) * 1000, "ms", None, 10.0, at_most=True, note=note)
    )
    figures.append(Figure("what osler check finds after the day", code, "", None, 0, at_most=True))
    return figures
