"""Load on the doors of the bridge: for a long time, while the store is away, and beside senders that misbehave.

An invariant to keep: latencies are those that senders see, from the first byte of a message to the last of its answer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import httpx

from benchmarks.hl7.taking import Load, door, send, send_until
from tests import mongod
from tests.bridge.mllp import sender
from tests.scenarios.servers import Server, serve_command

QUIET = {"OSLER_LOG_LEVEL": "error"}
PATIENTS = 50
LEAST_PAUSE = 0.1
LOOK_SECONDS = 1.0
# how much faster is sent than would be enough
SURPLUS = 1.02
# patients whose histories are looked at
LOOKED_AT = 5


def event(number: int) -> bytes:
    """The `number`th event about one of the patients; no two are alike."""
    when = f"{datetime(2026, 1, 1) + timedelta(seconds=number):%Y%m%d%H%M%S}"
    return (
        f"MSH|^~\\&|ADT|HOUSE|OSLER|HOUSE|{when}||ADT^A08|{number}|P|2.5.1\rEVN|A08|{when}\r"
        f"PID|1||P{number % PATIENTS}^^^HOUSE^MR||N{number}^Jane||19700203|F\r"
    ).encode()


async def counts(server: Server) -> dict[str, int]:
    """How many messages are in which state, by /metrics."""
    async with httpx.AsyncClient(timeout=60) as client:
        text = (await client.get(f"http://127.0.0.1:{server.port}/metrics")).text
    found: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("osler_hl7_messages{"):
            state = line.partition('state="')[2].partition('"')[0]
            found[state] = found.get(state, 0) + int(float(line.rpartition(" ")[2]))
    return found


def soak(seconds: float, devices: int) -> tuple[Load, float]:
    """`osler serve --hl7` on a file, synchronous=FULL, taking results for so long; and its CPU seconds a message.

    Mapping goes on meanwhile, so its time is part of that.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = (*serve_command(f"sqlite:///{folder}/osler.db"), "--hl7", "0")
        with Server(command, QUIET) as server:
            server.wait_for("/fhir/metadata")
            port, before = door(server), server.cpu_seconds()
            load = asyncio.run(send(port, devices, seconds))
            return load, (server.cpu_seconds() - before) / max(load.sent, 1)


@dataclass(slots=True)
class Away:
    """What senders saw while the store was away, and how what had waited was mapped afterwards."""

    load: Load
    waiting: int
    mapped: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    looks: int = 0
    unbalanced: int = 0
    disordered: int = 0
    megabytes: float = 0.0
    grown: float = 0.0

    @property
    def left(self) -> int:
        """How many were not mapped yet when patience ended."""
        return self.waiting - self.mapped

    @property
    def rate(self) -> float:
        """Messages a second that were mapped after the store was back."""
        return self.mapped / self.seconds if self.seconds else 0.0


def store_away(kind: str, seconds: float, waiting: int, devices: int = 8, patience: float = 120.0) -> Away:
    """Send while the store is away (`mongodb`: its process is killed; `sqlite`: another process has locked the file).

    It is away until so many seconds have passed and so many messages wait; then they are waited for with `patience`. All the
    while it is looked whether every message is in one state, and how much memory there is; at last, in which order
    each patient was told of.
    """
    with tempfile.TemporaryDirectory() as folder, _store(kind, Path(folder)) as (address, leave, come_back):
        command = (*serve_command(address), "--hl7", "0")
        with Server(command, {**QUIET, "OSLER_HL7_JOURNAL": f"{folder}/journal.db"}) as server:
            server.wait_for("/fhir/metadata")
            port, at_first = door(server), server.resident_bytes()
            leave()
            watch = Watch(server)
            load = asyncio.run(_send_and_watch(watch, port, devices, seconds, waiting))
            found = Away(load, load.sent)
            come_back()
            again, before = time.perf_counter(), server.cpu_seconds()
            while found.mapped < load.sent and time.perf_counter() - again < patience:
                found.mapped = asyncio.run(watch.look(load.sent, load.sent)).get("mapped", 0)
                time.sleep(LEAST_PAUSE)
            found.seconds, found.cpu_seconds = time.perf_counter() - again, server.cpu_seconds() - before
            found.disordered = asyncio.run(_disordered(server))
            found.looks, found.unbalanced = watch.looks, watch.unbalanced
            found.megabytes, found.grown = watch.most / 2**20, (watch.most - at_first) / 2**20
            return found


@dataclass(slots=True)
class Watch:
    """Looks at a server now and then: whether its figures balance, and at its memory."""

    server: Server
    looks: int = 0
    unbalanced: int = 0
    most: int = 0

    async def look(self, least: int, most: int | None = None) -> dict[str, int]:
        """The states; in balance are as many as were acknowledged at least, and as were sent at most."""
        found = await counts(self.server)
        self.looks += 1
        total = sum(found.values())
        self.unbalanced += not (least <= total and (most is None or total <= most))
        self.most = max(self.most, self.server.resident_bytes())
        return found


async def _send_and_watch(watch: Watch, port: int, devices: int, seconds: float, waiting: int) -> Load:
    """Send, evenly, until so many seconds have passed and so many messages wait."""
    load, sent = Load(), 0
    pace = SURPLUS * waiting / seconds
    began = time.perf_counter()

    def made(number: int) -> bytes:
        nonlocal sent
        sent += 1
        return event(number)

    def enough() -> bool:
        return time.perf_counter() - began >= seconds and load.sent >= waiting

    async def looking() -> None:
        while not enough():
            await asyncio.sleep(LOOK_SECONDS)
            acknowledged = load.sent
            found = sum((await watch.look(acknowledged)).values())
            watch.unbalanced += found > sent

    await asyncio.gather(send_until(port, devices, made, enough, load, pace), looking())
    return load


async def _disordered(server: Server) -> int:
    """How often a patient was told of in another order than that in which the messages came, of a few patients."""
    wrong = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/fhir/", timeout=60) as client:
        found = (await client.get("Patient", params={"_count": str(LOOKED_AT)})).json()
        for entry in found.get("entry", ()):
            address = f"Patient/{entry['resource']['id']}/_history"
            query = {"_count": "1000"}
            versions = (await client.get(address, params=query)).json()["entry"]
            told = [int(one["resource"]["name"][0]["family"][1:]) for one in versions]
            wrong += told != sorted(told, reverse=True)
    return wrong


Switch = Callable[[], None]


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[tuple[str, Switch, Switch]]:
    """Its address, and how it goes away and comes back."""
    if kind == "mongodb":
        with mongod.replica_set() as started:
            address = mongod.with_database(started.uri, "osler")
            yield address, started.kill, started.start_again
        return
    file = folder / "osler.db"
    lock = sqlite3.connect(file, isolation_level=None)
    try:
        yield f"sqlite:///{file}", lambda: _locked(lock), lambda: _unlocked(lock)
    finally:
        lock.close()


def _locked(lock: sqlite3.Connection) -> None:
    lock.execute("PRAGMA busy_timeout=10000")
    lock.execute("BEGIN IMMEDIATE")


def _unlocked(lock: sqlite3.Connection) -> None:
    lock.execute("ROLLBACK")


# what one sender does to others

CONFIG = """
connections:
  - {name: ward, listen: {host: 127.0.0.1, port: 0}}
  - {name: beside, listen: {host: 127.0.0.2, port: 0}}
  - {name: gone, connect: {host: 127.0.0.3, port: 1}}
"""
EACH_SECONDS = 0.04
SILENT = 20


@dataclass(slots=True)
class Isolation:
    """The p99 of senders, in seconds, in each round: beside an ordinary sender, and beside another."""

    calm: list[float] = field(default_factory=list)
    troubled: list[float] = field(default_factory=list)
    messages: int = 0
    refused: int = 0

    @property
    def delay(self) -> float:
        """How much longer the p99 is beside a sender that misbehaves: 0.1 is a tenth."""
        return median(self.troubled) / median(self.calm) - 1


def poison(number: int) -> bytes:
    """Messages that cannot be mapped, each in another way, of the size of others."""
    raw = event(number)
    ways = (
        raw.split(b"PID")[0],
        raw.replace(b"HOUSE^MR", b"\xff\xfe^MR"),
        b"XYZ|" + raw,
        raw + b"OBX|1|NM|GLU^Glucose||%b|mg||||||F\r" % (b"9" * 500),
    )
    return ways[number % len(ways)]


def large(number: int) -> bytes:
    """Messages of which every fourth has 100 kB."""
    return event(number) + (
        b"OBX|1|TX|NOTE^Note||%b||||||F\r" % (b"9" * 5000) * 20 if number % 4 == 0 else b""
    )


def isolation(rounds: int, seconds: float, trouble: Callable[[int], bytes] = poison) -> Isolation:
    """Senders at a steady rate, round by round beside an ordinary sender and beside trouble at the same rate.

    Trouble is a sender of messages of that kind, and devices that have begun a message and fallen silent. In all rounds a
    device that we are to connect to is not there.
    """
    found = Isolation()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "hl7.yaml"
        config.write_text(CONFIG)
        command = (*serve_command(f"sqlite:///{folder}/osler.db"), "--hl7-config", str(config))
        with Server(command, QUIET) as server:
            server.wait_for("/fhir/metadata")
            asyncio.run(_rounds(door(server), door(server, "127.0.0.2"), rounds, seconds, trouble, found))
    return found


async def _rounds(
    ward: int,
    beside: int,
    rounds: int,
    seconds: float,
    trouble: Callable[[int], bytes],
    found: Isolation,
) -> None:
    await _round(ward, beside, min(seconds, 2), 0, found, event)
    found.messages = 0
    for number in range(rounds):
        first = (2 * number + 1) * 1_000_000
        found.calm.append(await _round(ward, beside, seconds, first, found, event))
        begun = [await asyncio.open_connection("127.0.0.2", beside) for _ in range(SILENT)]
        for _, writer in begun:
            writer.write(b"\x0b" + event(first)[:60])
        found.troubled.append(await _round(ward, beside, seconds, first + 1_000_000, found, trouble))
        for _, writer in begun:
            writer.transport.abort()


async def _round(
    ward: int, beside: int, seconds: float, first: int, found: Isolation, make: Callable[[int], bytes]
) -> float:
    """The p99 of the senders of the ward."""
    waited: list[float] = []

    async def steady(port: int, host: str, start: int, of: Callable[[int], bytes], ours: bool) -> None:
        async with sender(port, host) as device:
            due, number = time.perf_counter(), start
            end = due + seconds
            while due < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                began = time.perf_counter()
                answer = await device.send(of(number))
                if ours:
                    waited.append(time.perf_counter() - began)
                    found.refused += b"MSA|AA" not in answer
                number, due = number + 1, due + EACH_SECONDS

    ours = [steady(ward, "127.0.0.1", first + n * 100_000, event, True) for n in range(4)]
    await asyncio.gather(*ours, steady(beside, "127.0.0.2", first + 500_000, make, False))
    found.messages += len(waited)
    ordered = sorted(waited)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
