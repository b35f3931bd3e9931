"""hl7: how fast messages are read and mapped, and how many a second are taken from the wire, durable before they are answered."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import httpx

from benchmarks.figures import Figure
from benchmarks.options import Options
from fhir_r4.jsonio import encode
from hl7_bridge.acks import STORED, answers
from hl7_bridge.devices.profile import Answering, Profile
from hl7_bridge.figures import Histogram
from hl7_bridge.framing import Frame, Mllp, wrap
from hl7_bridge.link import Link
from hl7_bridge.listener import Listener, Wire
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.message import parse
from tests.scenarios.servers import Server, serve_command

PARSED_A_SECOND = 50_000
MAPPED_A_SECOND = 3_000
LARGE_MILLISECONDS = 1.0
TAKEN_BY_ONE, TAKEN_BY_EIGHT = 400, 1_000
P99_SECONDS = 0.25
ROUND_SECONDS, SOAK_SECONDS = 10.0, 600.0
PATIENTS, HOUSE = 50, "https://osler.health/fhir/hl7v2/authority/HOUSE"


def oru(number: int, results: int = 5) -> bytes:
    """A made-up laboratory result of some tests."""
    when = f"20260105{number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}+0000"
    head = (
        f"MSH|^~\\&|LAB|HOUSE|OSLER|HOUSE|{when}||ORU^R01^ORU_R01|{number}|P|2.5.1\r"
        f"PID|1||P{number % PATIENTS}^^^HOUSE^MR||Muster^Maximilian||19700101|M\r"
        f"OBR|1||F{number}|24323-8^Metabolic panel^LN|||{when}|||||||||||||||{when}|||F\r"
    )
    tests = (("2345-7", "Glucose"), ("2823-3", "Potassium"), ("2951-2", "Sodium"), ("2160-0", "Creatinine"))
    lines = [
        f"OBX|{n}|NM|{tests[n % 4][0]}^{tests[n % 4][1]}^LN|{n // 4}|{number % 90}.{n}|mmol/L^^UCUM|3-6|N|||F|||{when}\r"
        for n in range(results)
    ]
    return (head + "".join(lines)).encode()


def run(options: Options) -> list[Figure]:
    messages = [oru(number) for number in range(2_000)]
    large = oru(1, 300)
    size = sum(map(len, messages)) // len(messages)
    rate = _rate(lambda: [parse(raw) for raw in messages], len(messages))
    slow = 1000 / _rate(lambda: [parse(large) for _ in range(20)], 20)
    values = 1000 / _rate(lambda: [_all_values(large) for _ in range(20)], 20)
    return [
        Figure(
            "HL7: ORU read (lazily)",
            rate,
            "messages/s",
            None,
            PARSED_A_SECOND,
            note=f"one core, {size} bytes",
        ),
        Figure(
            "HL7: 300 OBX read (lazily)",
            slow,
            "ms",
            None,
            LARGE_MILLISECONDS,
            True,
            f"{len(large)} bytes; with 7 values of each {values:.2f} ms",
        ),
        Figure(
            "HL7: ORU mapped and serialised",
            _mapped(messages[:300]),
            "messages/s",
            None,
            MAPPED_A_SECOND,
            note="one core, 5 results, a patient that is found",
        ),
        asyncio.run(_wire(options)),
        *_received(options),
    ]


def _rate(once: Callable[[], object], count: int) -> float:
    """So many a second of CPU, the best of some rounds."""
    best = 0.0
    for _ in range(7):
        began = time.process_time()
        once()
        best = max(best, count / (time.process_time() - began))
    return best


def _all_values(raw: bytes) -> int:
    return sum(bool(one.text(n)) for one in parse(raw).segments for n in (1, 2, 3, 5, 6, 8, 11))


class _Patients:
    """A server that has every patient who is asked for, and nothing else."""

    async def find(self, type: str, query: Any, limit: int = 50) -> list[dict[str, Any]]:
        if type != "Patient":
            return []
        return [
            {
                "resourceType": "Patient",
                "id": "p1",
                "meta": {"versionId": "1"},
                "identifier": [{"value": "1"}],
            }
        ]

    async def read(self, type: str, id: str) -> None:
        return None

    async def deliver(self, bundle: dict[str, Any]) -> dict[str, Any]:
        return bundle


def _mapped(messages: Sequence[bytes]) -> float:
    profile = Profile()

    async def every() -> None:
        for raw in messages:
            message = parse(raw)
            draft = Draft(_Patients(), "receipt")
            context = Context(profile, Receipt("receipt", "lab", 0, raw), UTC)
            await MAPPINGS[message.type, message.trigger](message, draft, context)
            encode(draft.bundle())

    return _rate(lambda: asyncio.run(every()), len(messages))


# the wire


class _Answering:
    async def receive(self, link: Link, raw: bytes) -> Sequence[bytes]:
        return answers(raw, STORED, Answering(), "receipt", 0)

    async def incomplete(self, link: Link, raw: bytes, reason: str) -> Sequence[bytes]:
        return ()


@dataclass(slots=True)
class Load:
    """What devices have sent and how long they waited."""

    sent: int = 0
    seconds: float = 0.0
    refused: int = 0
    waited: Histogram = field(default_factory=Histogram)

    @property
    def rate(self) -> float:
        return self.sent / self.seconds


def small(number: int) -> bytes:
    """A result of two tests."""
    return oru(number, 2)


async def send(port: int, devices: int, seconds: float, make: Callable[[int], bytes] = small) -> Load:
    """Let devices send, each its next message after the answer to the one before, for so many seconds."""
    load, end = Load(), time.perf_counter() + seconds
    await send_until(port, devices, make, lambda: time.perf_counter() >= end, load)
    return load


async def send_until(
    port: int,
    devices: int,
    make: Callable[[int], bytes],
    enough: Callable[[], bool],
    load: Load,
    pace: float | None = None,
) -> None:
    """Let devices send until it is enough, all together no more than `pace` a second; `load` says meanwhile how far they are."""
    numbers = iter(range(1, 1_000_000_000))

    async def device() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        machine = Mllp()
        while not enough():
            number = next(numbers)
            if pace is not None:
                await asyncio.sleep(max(0.0, start + number / pace - time.perf_counter()))
            began = time.perf_counter()
            writer.write(wrap("mllp", make(number)))
            events = machine.feed(await reader.read(65536))
            while not events:
                events = machine.feed(await reader.read(65536))
            load.waited.add(time.perf_counter() - began)
            load.sent += 1
            load.refused += not (isinstance(events[0], Frame) and b"MSA|AA" in events[0].payload)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(device() for _ in range(devices)))
    load.seconds = time.perf_counter() - start


async def _wire(options: Options) -> Figure:
    listener = Listener(Wire("lab", "127.0.0.1", 0), _Answering())
    await listener.start()
    before = time.process_time()
    load = await send(listener.port, 8, 3 * options.scale)
    used = (time.process_time() - before) / load.sent
    await listener.close()
    note = f"8 connections, answered from memory, CPU of both sides {used * 1e6:.0f} µs a message"
    return Figure("HL7: messages framed and answered", load.rate, "messages/s", note=note)


def _received(options: Options) -> list[Figure]:
    """`osler serve --hl7`: stored with synchronous=FULL, then answered; mapped meanwhile."""
    figures: list[Figure] = []
    for devices, target in ((1, TAKEN_BY_ONE), (8, TAKEN_BY_EIGHT)):
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:///{folder}/osler.db"
            command = (*serve_command(store, options.workers), "--hl7", "0")
            with Server(command, {"OSLER_LOG_LEVEL": options.log_level}) as server:
                server.wait_for("/fhir/metadata")
                _admit(server)
                port, before, at_first = door(server), server.cpu_seconds(), server.resident_bytes()
                seconds = (SOAK_SECONDS if options.soak else ROUND_SECONDS) * options.scale
                load = asyncio.run(send(port, devices, seconds))
                used = (server.cpu_seconds() - before) / load.sent
                grown = (server.resident_bytes() - at_first) / 2**20
        p99, note = (
            load.waited.quantile(0.99),
            f"{load.seconds:.0f} s, longest wait {load.waited.longest:.2f} s, CPU {used * 1e3:.2f} ms a message,"
            f" memory grown by {grown:.0f} MB",
        )
        name = f"{devices} connection{'s' * (devices > 1)}"
        note += f", {load.refused} refused" if load.refused else ""
        figures += [
            Figure(f"HL7: taken durably, {name}", load.rate, "messages/s", None, target, note=note),
            Figure(f"HL7: answer p99, {name}", p99, "s", None, P99_SECONDS, True),
        ]
    return figures


def _admit(server: Server) -> None:
    """Make the patients whom the results are about, so that they are mapped and not held."""
    entries = [
        {
            "resource": {
                "resourceType": "Patient",
                "identifier": [{"system": HOUSE, "value": f"P{number}"}],
            },
            "request": {"method": "POST", "url": "Patient"},
        }
        for number in range(PATIENTS)
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    address = f"http://127.0.0.1:{server.port}/fhir"
    httpx.post(
        address, content=encode(bundle), headers={"content-type": "application/fhir+json"}
    ).raise_for_status()


def door(server: Server, host: str = "127.0.0.1") -> int:
    """The port for messages at an address of the server, once it listens there."""
    pattern = re.compile(rf"HL7 v2\s+{re.escape(host)}:(\d+)")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = pattern.search(server.output)
        if found:
            return int(found[1])
        time.sleep(0.01)
    raise RuntimeError(server.output)
