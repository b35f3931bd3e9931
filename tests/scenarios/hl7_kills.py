"""Kill a server that takes HL7 v2 messages, again and again: `python -m tests.scenarios.hl7_kills --kills 1000`.

Each round starts `osler serve --hl7` on a file, lets devices send patients and results and kills every process of the server
(SIGKILL) at a random moment, sometimes while it is still starting. After some rounds `osler check` must find nothing and
everything that was acknowledged must be there; then everything is sent again, and each message must be there once, mapped, and have led to its
records once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from hl7_bridge.journal import receipt_id
from tests.bridge.mllp import adt, sender
from tests.scenarios.kills import KILLED_WHILE_STARTING, ROUNDS_OF_FILE, Report
from tests.scenarios.servers import NotStarted, Server, osler, serve_command

DEVICES = 8
PATIENTS = 6
QUIET_SECONDS = 120.0
LONGEST_LOAD = 0.6
CONNECTION = "hl7"
_DOOR = re.compile(r"HL7 v2\s+127\.0\.0\.1:(\d+)")


def oru(number: int) -> bytes:
    """The `number`th result, of one of the patients."""
    patient, when = (
        f"P{number % PATIENTS}",
        f"20260102{number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}",
    )
    return (
        f"MSH|^~\\&|LAB|HOUSE|OSLER|HOUSE|{when}||ORU^R01|{number % 7}|P|2.5.1\r"
        f"PID|1||{patient}^^^HOUSE^MR||Doe^Jane\r"
        f"OBR|1||F{number}|2345-7^Glucose^LN|||{when}|||||||||||||||{when}|||F\r"
        f"OBX|1|NM|2345-7^Glucose^LN||{number % 90}.5|mmol/L^^UCUM|||||F|||{when}\r"
    ).encode()


class Rounds:
    """The rounds on one file."""

    def __init__(self, file: Path, dice: random.Random, report: Report) -> None:
        self._file = file
        self._dice = dice
        self._report = report
        self._sent: list[bytes] = []
        self._acknowledged: set[bytes] = set()
        self._number = 0

    def run(self, kills: int, told: Callable[[Report], None]) -> None:
        with self._start() as server:
            asyncio.run(self._admit(self._door(server), server))
            server.kill()
        for _ in range(kills):
            self._round()
            self._report.kills += 1
            told(self._report)
            if self._report.problems:
                return
        self._check()
        with self._start() as server:
            door = self._door(server)
            self._report.sent += len(self._sent)
            self._report.acknowledged += len(self._acknowledged)
            asyncio.run(self._prove(door, server))

    def _start(self) -> Server:
        command = (*serve_command(f"sqlite:///{self._file}"), "--hl7", "0")
        return Server(command, {"OSLER_LOG_LEVEL": "error"})

    def _door(self, server: Server) -> int:
        """The port for messages, once the server is ready."""
        server.wait_for("/fhir/metadata")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = _DOOR.search(server.output)
            if found:
                return int(found[1])
            time.sleep(0.005)
        raise NotStarted(server.output)

    def _round(self) -> None:
        with self._start() as server:
            if self._dice.random() < KILLED_WHILE_STARTING:
                time.sleep(self._dice.uniform(0, LONGEST_LOAD))
            else:
                asyncio.run(self._load_and_kill(self._door(server), server))

    def _check(self) -> None:
        checked = osler("check", "--quiet", "--store", f"sqlite:///{self._file}")
        if checked.code != 0:
            self._problem(f"osler check ended with code {checked.code}:\n{checked.output}")

    async def _admit(self, door: int, server: Server) -> None:
        """Make the patients whom the results are about."""
        async with sender(door) as device:
            for n in range(PATIENTS):
                await self._send(device, adt(n, f"P{n}"))
        await self._quiet(server, len(self._sent))

    async def _load_and_kill(self, door: int, server: Server) -> None:
        load = [asyncio.create_task(self._device(door)) for _ in range(DEVICES)]
        await asyncio.sleep(self._dice.uniform(0.02, LONGEST_LOAD))
        server.kill()
        await asyncio.gather(*load)

    async def _device(self, door: int) -> None:
        """Send until nobody answers; now and then what was sent before."""
        try:
            async with sender(door) as device:
                while True:
                    if self._sent and self._dice.random() < 0.1:
                        raw = self._dice.choice(self._sent)
                    else:
                        self._number += 1
                        raw = oru(self._number)
                    await self._send(device, raw)
        except (OSError, asyncio.IncompleteReadError):
            return

    async def _send(self, device: Any, raw: bytes) -> None:
        if raw not in self._acknowledged:
            self._sent.append(raw)
        answer = await device.send(raw)
        if b"MSA|AA" in answer:
            self._acknowledged.add(raw)
        else:
            self._problem(f"answered with {answer!r}")

    async def _prove(self, door: int, server: Server) -> None:
        messages = list(dict.fromkeys(self._sent))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/fhir/", timeout=60) as client:
            for raw in self._acknowledged:
                address = f"Binary/{receipt_id(CONNECTION, raw)}"
                answer = await client.get(address, headers={"accept": "*/*"})
                if answer.status_code != 200 or answer.content != raw:
                    self._problem(f"{address} was acknowledged and is not there")
        parts = [messages[n::DEVICES] for n in range(DEVICES)]
        await asyncio.gather(*(self._resend(door, part) for part in parts))
        await self._quiet(server, len(messages))

    async def _resend(self, door: int, part: list[bytes]) -> None:
        async with sender(door) as device:
            for raw in part:
                await self._send(device, raw)

    async def _quiet(self, server: Server, messages: int) -> None:
        """Everything is mapped, once."""
        results = sum(b"ORU^R01" in raw for raw in dict.fromkeys(self._sent))
        wanted = {
            "Binary": messages,
            "mapped": messages,
            "Patient": PATIENTS,
            "Observation": results,
            "Task": 0,
        }
        wanted["DiagnosticReport"] = results
        wanted["Provenance"] = messages
        asked = {name: (name, {}) for name in wanted} | {"mapped": ("Binary", {"_tag": "mapped"})}
        found: dict[str, int] = {}
        deadline = time.monotonic() + QUIET_SECONDS
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/fhir/", timeout=60) as client:
            while time.monotonic() < deadline:
                for name, (type, query) in asked.items():
                    answer = await client.get(type, params={**query, "_summary": "count"})
                    found[name] = answer.json()["total"]
                if found == wanted:
                    return
                await asyncio.sleep(0.1)
        self._problem(f"{wanted} was to be there, and there is {found}")

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)


def run_kills(
    kills: int,
    seed: int = 1,
    rounds_of_file: int = ROUNDS_OF_FILE,
    told: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Kill the server `kills` times; stops at the first round that finds a problem."""
    report = Report("messages")
    dice = random.Random(seed)
    while report.kills < kills and not report.problems:
        with tempfile.TemporaryDirectory() as folder:
            rounds = Rounds(Path(folder) / "osler.db", dice, report)
            rounds.run(min(rounds_of_file, kills - report.kills), told)
    return report


def main() -> int:
    """The command line; 1 when something was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.hl7_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    def told(report: Report) -> None:
        if report.kills % 10 == 0:
            print(f"{report.kills} kills", flush=True)  # noqa: T201 - a program for a terminal

    report = run_kills(given.kills, given.seed, told=told)
    sys.stdout.write(f"{report}\n" + "".join(f"- {problem}\n" for problem in report.problems[:50]))
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
