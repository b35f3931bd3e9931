"""A process that writes to a store and says on its standard output what was acknowledged, a line for each."""

import asyncio
import sys
from pathlib import Path

from fhir_server.app import open_store
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Claim, MatchesAre
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import put
from tests.store.test_writing import MALE, man


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what the test reads


async def write_without_end(path: Path, name: str) -> None:
    """Transactions of three resources that belong together, from several callers."""
    store = SqliteStore(path)
    await store.open()

    async def caller(number: int) -> None:
        for turn in range(1_000_000):
            id = f"{name}-{number}-{turn}"
            group = [put(id, type, (Claim(f"{type}:{id}"),), text="x" * 900) for type in ("Patient", "Group")]
            written = await store.transact([man(id), *group[1:], put(f"{name}-{number}", "Basic", text=id)])
            say(f"{id} {written[-1].version}")

    await asyncio.gather(*(caller(number) for number in range(6)))


async def race(address: str, name: str, attempts: int) -> None:
    """Claims on one key and conditional creates; says how many succeeded."""
    store = open_store(address)
    await store.open()
    say("ready")
    sys.stdin.readline()

    async def claim(number: int) -> int:
        try:
            await store.transact([put(f"{name}-{number}", "Encounter", (Claim("bed"),))])
        except ClaimRefused:
            return 0
        return 1

    async def create(number: int) -> int:
        try:
            await store.transact([man(f"{name}-{number}")], [MatchesAre("Patient", MALE, ())])
        except Stale:
            return 0
        return 1

    claimed = sum(await asyncio.gather(*(claim(number) for number in range(attempts))))
    created = sum(await asyncio.gather(*(create(number) for number in range(attempts))))
    say(f"{claimed} {created}")
    await store.close()


if __name__ == "__main__":
    what, where, who = sys.argv[1:4]
    asyncio.run(write_without_end(Path(where), who) if what == "write" else race(where, who, 16))
