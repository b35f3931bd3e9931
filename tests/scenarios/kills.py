"""Kill a server that is being written to, again and again: `python -m tests.scenarios.kills --kills 200`.

Each round starts `osler serve` on a file, checks that all that was acknowledged before is there, lets clients write
and kills every process of the server (SIGKILL) at a random moment, sometimes while it is still starting. Then `osler check` must
find nothing. A file lives for a few rounds, so that stores of all ages are killed. What a kill does not show is a loss of
power: what the system has in its memory survives the process (`synchronous=FULL` is there for that).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.scenarios.evidence import verify
from tests.scenarios.journal import Journal
from tests.scenarios.servers import Server, osler, serve_command
from tests.scenarios.writers import write_until_gone

WRITERS = 8
ROUNDS_OF_FILE = 10
LONGEST_LOAD = 1.2
KILLED_WHILE_STARTING = 0.1
LONGEST_START = 1.2


@dataclass(slots=True)
class Report:
    """What the kills gave. `problems` is empty when nothing was lost, doubled, half-written or found wrong by `osler check`."""

    what: str = "writes"
    kills: int = 0
    sent: int = 0
    acknowledged: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.sent} {self.what} sent, {self.acknowledged} acknowledged,"
            f" {len(self.problems)} problems"
        )


class Rounds:
    """The rounds on one file."""

    def __init__(self, file: Path, dice: random.Random, report: Report, workers: int) -> None:
        self._file = file
        self._dice = dice
        self._report = report
        self._workers = workers
        self._journal = Journal()

    def run(self, kills: int, told: Callable[[Report], None]) -> None:
        """Kill `kills` times, then end the server in order."""
        try:
            for _ in range(kills):
                self._round()
                self._report.kills += 1
                told(self._report)
                if self._report.problems:
                    return
            self._end_in_order()
        finally:
            self._report.sent += len(self._journal.writes)
            self._report.acknowledged += len(self._journal.acknowledged)

    def _end_in_order(self) -> None:
        with self._start() as server:
            server.wait_for("/fhir/metadata")
            self._verify(server)
            code = server.terminate()
            if code != 0:
                self._problem(f"the server ended with code {code} after SIGTERM: {server.output[-2000:]}")

    def _start(self) -> Server:
        return Server(serve_command(f"sqlite:///{self._file}", self._workers), {"OSLER_LOG_LEVEL": "warning"})

    def _round(self) -> None:
        with self._start() as server:
            if self._dice.random() < KILLED_WHILE_STARTING:
                time.sleep(self._dice.uniform(0, LONGEST_START))
            else:
                server.wait_for("/fhir/metadata")
                self._verify(server)
                asyncio.run(self._load_and_kill(server))
        if self._file.exists():
            checked = osler("check", "--quiet", "--store", f"sqlite:///{self._file}")
            if checked.code != 0:
                self._problem(f"osler check ended with code {checked.code}:\n{checked.output}")

    async def _load_and_kill(self, server: Server) -> None:
        base = f"http://127.0.0.1:{server.port}/fhir/"
        seed = f"{self._dice.random()}"
        load = asyncio.create_task(write_until_gone(base, self._journal, seed, WRITERS))
        await asyncio.sleep(self._dice.uniform(0.02, LONGEST_LOAD))
        server.kill()
        await load

    def _verify(self, server: Server) -> None:
        found = asyncio.run(verify(f"http://127.0.0.1:{server.port}/fhir/", self._journal))
        self._report.problems += found

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)


def run_kills(
    kills: int,
    seed: int = 1,
    workers: int = 1,
    rounds_of_file: int = ROUNDS_OF_FILE,
    told: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Kill the server `kills` times; stops at the first round that finds a problem."""
    report = Report()
    dice = random.Random(seed)
    while report.kills < kills and not report.problems:
        with tempfile.TemporaryDirectory() as folder:
            rounds = Rounds(Path(folder) / "osler.db", dice, report, workers)
            rounds.run(min(rounds_of_file, kills - report.kills), told)
    return report


def main() -> int:
    """The command line; 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    given = parser.parse_args()

    def told(report: Report) -> None:
        if report.kills % 10 == 0:
            print(f"{report.kills} kills", flush=True)  # noqa: T201 - a program for a terminal

    report = run_kills(given.kills, given.seed, given.workers, told=told)
    sys.stdout.write(f"{report}\n" + "".join(f"- {problem}\n" for problem in report.problems[:50]))
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
