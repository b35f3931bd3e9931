"""Send damaged messages through every step of the bridge: `python -m tests.scenarios.hl7_fuzz --messages 100000 [FILES...]`.

The messages of simulated devices (and those of files that are named) are cut, doubled, shuffled, filled with bytes and with
escapes that ask for much. Each is framed, read, answered, classified and mapped against a server that has nothing; some are
sent to a listener on a socket. Then nothing may have failed: a message is read or refused, its bytes come back as they were, no
answer has a control byte, nothing takes long, and the memory stays small.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from hl7_bridge.acks import STORED, answers
from hl7_bridge.astm.frames import frames
from hl7_bridge.batch import is_batch, messages_in, split
from hl7_bridge.devices.loading import library
from hl7_bridge.devices.profile import Answering, Profile
from hl7_bridge.framing import Broken, Frame, framing, wrap
from hl7_bridge.link import Limits, Link
from hl7_bridge.listener import Listener, Wire
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.draft import Draft, Held
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.message import NotHl7, parse
from hl7_bridge.simulator import BEHAVIOURS

LONGEST_SECONDS = 1.0
MOST_MEGABYTES = 200
ANSWERING = Answering(mode="original", echo=(("OBX-1", "MSA-4"), ("MSH-16", "MSH-16")))
ADT = (
    "MSH|^~\\&|ADT|H|LIS|H|20260101120000||ADT^{t}|1|P|2.5.1\rEVN|{t}|20260101\rPID|1||1^^^H^MR||Muster^Max||19700101|M\r"
    "MRG|2^^^H^MR\rPV1|1|I|W1^2^3||||D^Doc||||||||||||V1\r"
)
SEEDS = [one.make(number) for one in BEHAVIOURS.values() for number in (1, 2)]
SEEDS += [ADT.format(t=trigger).encode() for trigger in ("A01", "A03", "A08", "A40")]
BOMBS = [
    b"\\.sp9999999\\", b"\\X" + b"41" * 500 + b"\\", b"\\" * 300, b"~" * 500, b"^" * 500, b"&" * 500, b"|" * 500,
    b"\x00", b"\x0b", b"\x1c\r", b"\x1c", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\r\r", b"\n", b'""', b"9" * 400, b"-1e999",
    b"MSH|^~\\&|", b"OBX|1|NM|", b"PID|", b"00000000", b"99999999999999", b"20261399", b"1.5E+99999999", b"BHS|^~\\&|",
    b"\xc3", b"\\Z0000\\", b"\x85", "\u2028".encode(),
]  # fmt: skip


@dataclass(slots=True)
class Report:
    """What came of the messages; `problems` is empty when nothing failed."""

    messages: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    megabytes: float = 0.0
    problems: list[str] = field(default_factory=list)

    def problem(self, what: str, raw: bytes) -> None:
        if len(self.problems) < 20:
            self.problems.append(f"{what}: {raw[:300]!r}")

    def __str__(self) -> str:
        told = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.messages} messages ({told}); slowest {self.slowest * 1e3:.0f} ms, {self.megabytes:.0f} MB"
        )


class Empty:
    """A server that has nothing."""

    async def find(self, type: str, query: Any, limit: int = 50) -> list[dict[str, Any]]:
        return []

    async def read(self, type: str, id: str) -> None:
        return None

    async def deliver(self, bundle: dict[str, Any]) -> dict[str, Any]:
        return bundle


def mutated(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the messages with one to six things done to it."""
    raw = chance.choice(seeds)
    for _ in range(chance.randint(1, 6)):
        at, to = sorted((chance.randint(0, len(raw)), chance.randint(0, len(raw))))
        way = chance.randint(0, 7)
        if way == 0:
            raw = raw[:at] + raw[to:]
        elif way == 1:
            raw = raw[:at] + raw[at : min(to, at + 2000)] * chance.randint(2, 4) + raw[to:]
        elif way == 2:
            raw = raw[:at] + chance.choice(BOMBS) + raw[at:]
        elif way == 3:
            raw = raw[:at] + chance.randbytes(chance.randint(1, 8)) + raw[at:]
        elif way == 4 and raw:
            raw = raw[: at - 1] + bytes([chance.randrange(256)]) + raw[at:]
        elif way == 5:
            lines = raw.split(b"\r")
            chance.shuffle(lines)
            raw = b"\r".join(lines)
        elif way == 6:
            raw = raw[:at] + chance.choice(seeds)[at:to] + raw[to:]
        else:
            fields = raw.split(b"|")
            fields[chance.randrange(len(fields))] = chance.choice([*BOMBS, b"", *fields])
            raw = b"|".join(fields)
    return raw[:200_000]


async def run(messages: int, seed: int = 1, more: Sequence[bytes] = (), wired: float = 0.02) -> Report:
    """Damage so many messages and see what becomes of them; a share of them goes over a socket."""
    chance, report, seeds = random.Random(seed), Report(), [*SEEDS, *more]
    profiles = list(library().values())
    listener = Listener(Wire("fuzz", "127.0.0.1", 0, limits=Limits(silence_seconds=0.01)), _Answering(report))
    await listener.start()
    for _ in range(messages):
        raw = mutated(chance, seeds)
        began = time.perf_counter()
        cpu = time.process_time()
        try:
            await _through(raw, chance.choice(profiles), report)
        except Exception as error:
            report.problem(f"{type(error).__name__} {error}", raw)
        report.slowest = max(report.slowest, min(time.process_time() - cpu, time.perf_counter() - began))
        if chance.random() < wired:
            await _over_the_wire(listener.port, raw, chance)
        report.messages += 1
    await listener.close()
    figures = listener.figures
    if figures.held_bytes or figures.open:
        report.problem("something is held after the end", b"")
    report.megabytes = _most_megabytes()
    return report


def _most_megabytes() -> float:
    """The most memory that this process has had; what getrusage says may be that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def _through(raw: bytes, profile: Profile, report: Report) -> None:
    for name in ("mllp", "length", "none", "astm"):
        machine = framing(name)
        stream = b"\x05" + b"".join(frames(raw)) + b"\x04" if name == "astm" else wrap(name, raw)
        events = [*machine.feed(stream), *machine.end()]
        if sum(event.size for event in events) != len(stream):
            report.problem(f"{name} has not accounted for every byte", raw)
        if name == "length" and raw and [e.payload for e in events if isinstance(e, Frame | Broken)] != [raw]:
            report.problem("a length-prefixed message came out otherwise", raw)
    messages_in(raw)
    for answer in answers(raw, STORED, ANSWERING, "receipt", 0):
        if any(byte < 32 and byte != 13 for byte in answer):
            report.problem("a control byte in an answer", raw)
    if is_batch(raw):
        split(raw)
    try:
        message = parse(raw, profile.transport.charsets)
    except NotHl7:
        report.outcomes["no message"] += 1
        return
    if message.raw != raw or (raw[:3] == b"MSH" and message.encode() != raw):
        report.problem("other bytes came back", raw)
    kind = classify(message, profile).kind
    if "some bytes are no text" in message.warnings:
        report.outcomes["held"] += 1
        return
    mapping = MAPPINGS.get((message.type, message.trigger))
    if mapping is None or kind == "administrative":
        report.outcomes["administrative"] += 1
        return
    draft = Draft(Empty(), "receipt")
    try:
        await mapping(message, draft, Context(profile, Receipt("receipt", "fuzz", 0, raw), UTC))
    except Held:
        report.outcomes["held"] += 1
        return
    report.outcomes["held" if any(one.holds for one in draft.problems) else "mapped"] += 1
    draft.bundle()


@dataclass(slots=True)
class _Answering:
    report: Report

    async def receive(self, link: Link, raw: bytes) -> Sequence[bytes]:
        self.report.outcomes["over the wire"] += 1
        return answers(raw, STORED, ANSWERING, "receipt", 0)

    async def incomplete(self, link: Link, raw: bytes, reason: str) -> Sequence[bytes]:
        return ()


async def _over_the_wire(port: int, raw: bytes, chance: random.Random) -> None:
    """Send it in pieces, framed or not, and hang up; what is answered does not matter here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = chance.choice([raw, wrap("mllp", raw), wrap("mllp", raw) * 2, b"\x0b" + raw])
    try:
        for start in range(0, len(stream), 5000):
            writer.write(stream[start : start + 5000])
            await writer.drain()
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.hl7_fuzz", description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, help="messages to damage besides those that are made up"
    )
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    more = [one for file in given.files if file.is_file() for one in messages_in(file.read_bytes())]
    report = asyncio.run(run(given.messages, given.seed, more))
    sys.stdout.write(f"{report}\n" + "".join(f"  {problem}\n" for problem in report.problems))
    failed = report.problems or report.slowest > LONGEST_SECONDS or report.megabytes > MOST_MEGABYTES
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
