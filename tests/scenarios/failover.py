"""Take the primary from a replica set that is written to, again and again: `python -m tests.scenarios.failover --kills 10`.

Three mongod processes and two servers of two processes each. Clients write through both servers without pause; then the
primary is killed (SIGKILL), frozen (SIGSTOP) or slowed down, and both servers must acknowledge writes again within
15 seconds. The member comes back before the next round. At the end everything that was acknowledged must be there,
nothing that was refused may be, and no claim or condition may be broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx

from tests import mongod
from tests.scenarios.evidence import verify
from tests.scenarios.journal import KEYS, Journal
from tests.scenarios.servers import Server, osler, serving
from tests.scenarios.writers import HEADERS, Writer

WRITERS = 6
BACK_SECONDS = 15.0
VARIABLES = {"OSLER_LOG_LEVEL": "error", "OSLER_UNIQUE_IDENTIFIERS": f'["{KEYS}"]'}


@dataclass(slots=True)
class Report:
    """What the failovers gave. `seconds` is how long each kept the slower of both servers from acknowledging."""

    seconds: list[tuple[str, float]] = field(default_factory=list)
    writes: int = 0
    acknowledged: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        pauses = ", ".join(f"{how} {seconds:.1f} s" for how, seconds in self.seconds)
        return (
            f"{len(self.seconds)} failovers ({pauses}), {self.writes} writes sent, {self.acknowledged} acknowledged,"
            f" {self.refused} refused, {len(self.problems)} problems"
        )


class Load:
    """Clients that write through one server without pause; `journal` is shared by those of all servers."""

    def __init__(self, server: Server, journal: Journal, seed: str) -> None:
        # one more than the writers, or what is asked for besides waits for one of theirs
        limits = httpx.Limits(max_connections=WRITERS + 1, max_keepalive_connections=WRITERS + 1)
        base = f"http://127.0.0.1:{server.port}/fhir/"
        self._client = httpx.AsyncClient(base_url=base, limits=limits, headers=HEADERS, timeout=90)
        self._writers = [
            Writer(self._client, journal, f"{seed}/{n}", may_be_down=True) for n in range(WRITERS)
        ]
        self._tasks = [asyncio.create_task(writer.run()) for writer in self._writers]

    async def acknowledges(self) -> None:
        """Return once a write that is sent from now on was acknowledged."""
        while True:
            body = {"resourceType": "Basic", "code": {"text": "probe"}}
            with_limit = await self._client.post("Basic", json=body)
            if with_limit.status_code == 201:
                return

    async def end(self) -> None:
        for writer in self._writers:
            writer.stop()
        await asyncio.gather(*self._tasks)
        await self._client.aclose()


class Failovers:
    """Rounds on one replica set."""

    def __init__(
        self, members: mongod.ReplicaSet, servers: list[Server], dice: random.Random, back_within: float
    ) -> None:
        self._back_within = back_within
        self._members = members
        self._servers = servers
        self._dice = dice
        self._journal = Journal()
        self.report = Report()

    async def run(self, hows: list[str], told: Callable[[Report], None]) -> None:
        loads = [Load(server, self._journal, f"{n}") for n, server in enumerate(self._servers)]
        try:
            for load in loads:
                await load.acknowledges()
            for how in hows:
                await self._journal.has_acknowledged(len(self._journal.acknowledged) + 20)
                await asyncio.sleep(self._dice.uniform(0, 0.3))
                await self._round(how, loads)
                told(self.report)
        finally:
            for load in loads:
                await load.end()
        await self._verify()

    async def _round(self, how: str, loads: list[Load]) -> None:
        primary = await asyncio.to_thread(self._members.wait_for_primary)
        slowing: asyncio.Task[None] | None = None
        began = time.monotonic()
        if how == "kill":
            primary.kill()
        elif how == "freeze":
            primary.freeze()
        else:
            slowing = asyncio.create_task(_stutter(primary))
        try:
            async with asyncio.timeout(4 * self._back_within):
                await asyncio.gather(*(load.acknowledges() for load in loads))
        except TimeoutError:
            self.report.problems.append(
                f"{how}: no write was acknowledged within {4 * self._back_within:g} s"
            )
        seconds = time.monotonic() - began
        self.report.seconds.append((how, seconds))
        if seconds > self._back_within:
            self.report.problems.append(f"{how}: the service was back after {seconds:.1f} s")
        if slowing is not None:
            await self._journal.has_acknowledged(len(self._journal.acknowledged) + 20)
            slowing.cancel()
            await asyncio.gather(slowing, return_exceptions=True)
        if how == "kill":
            primary.start()
        else:
            primary.thaw()
        await asyncio.to_thread(self._members.wait_until_whole)

    async def _verify(self) -> None:
        journal, report = self._journal, self.report
        report.writes = len(journal.writes)
        report.acknowledged = len(journal.acknowledged)
        report.refused = sum(write.refused for write in journal.writes)
        for server in self._servers:
            report.problems += await verify(f"http://127.0.0.1:{server.port}/fhir/", journal)


async def _stutter(member: mongod.Member) -> None:
    """Let a member work for some milliseconds at a time, as if network and disk were very slow."""
    try:
        while True:
            member.freeze()
            await asyncio.sleep(0.25)
            member.thaw()
            await asyncio.sleep(0.05)
    finally:
        member.thaw()


def run_failovers(
    hows: list[str],
    seed: int = 1,
    workers: int = 2,
    election: float = 10.0,
    told: Callable[[Report], None] = lambda _: None,
    back_within: float = BACK_SECONDS,
) -> Report:
    """Take the primary away in these ways, one after the other.

    `election` are the seconds without it that members wait, `back_within` those after which the service must be back.
    """
    with ExitStack() as stack:
        members = stack.enter_context(mongod.replica_set(3, election))
        address = mongod.with_database(members.uri, "osler")
        servers = [
            stack.enter_context(serving(address, workers=workers, variables=VARIABLES)) for _ in range(2)
        ]
        failovers = Failovers(members, servers, random.Random(seed), back_within)
        asyncio.run(failovers.run(hows, told))
        for server in servers:
            server.terminate()
        checked = osler("check", "--quiet", "--store", address, variables=VARIABLES)
        if checked.code != 0:
            failovers.report.problems.append(f"osler check ended with code {checked.code}:\n{checked.output}")
        return failovers.report


def main() -> int:
    """The command line; 1 when something was lost or took too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--how", choices=("kill", "freeze", "slow"), action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of each of the two servers")
    parser.add_argument("--election", type=float, default=10.0, help="electionTimeoutMillis, in seconds")
    given = parser.parse_args()
    hows = given.how or ["kill"]

    def told(report: Report) -> None:
        how, seconds = report.seconds[-1]
        print(f"{len(report.seconds)}: {how}, {seconds:.1f} s", flush=True)  # noqa: T201 - a program for a terminal

    chosen = [hows[n % len(hows)] for n in range(given.kills)]
    report = run_failovers(chosen, given.seed, given.workers, given.election, told)
    sys.stdout.write(f"{report}\n" + "".join(f"- {problem}\n" for problem in report.problems[:50]))
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
