"""While the store is away a journal of its own takes what comes, and senders are answered; nothing of it is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import httpx
import pytest

from tests import mongod
from tests.bridge.core import until
from tests.bridge.mllp import sender
from tests.bridge.test_core_server import figures, in_state, serving
from tests.scenarios.hl7_load import event

# a device that waits longest for its answer gives up after so long
PATIENCE = 10.0
MESSAGES = 160
PATIENTS = 50


async def tell_while_away(port: int, client: httpx.AsyncClient) -> None:
    """Tell messages by several senders while the store is away; then all of them wait."""

    acknowledged = 0

    async def tell(number: int) -> None:
        nonlocal acknowledged
        async with sender(port) as device:
            # those about one patient by one sender, so that they come in this order
            for n in (n for n in range(MESSAGES) if n % PATIENTS % 4 == number):
                assert b"MSA|AA" in await asyncio.wait_for(device.send(event(n)), PATIENCE)
                acknowledged += 1

    async def look() -> None:
        while acknowledged < MESSAGES:
            least = acknowledged
            total = sum_of_states(await figures(client))
            # one of each sender may be kept and not answered yet
            assert least <= total <= acknowledged + 4

    await asyncio.gather(look(), *(tell(n) for n in range(4)))
    assert in_state(await figures(client), "received") == MESSAGES


async def all_mapped(client: httpx.AsyncClient) -> None:
    async def mapped() -> float:
        found = await figures(client)
        assert sum_of_states(found) == MESSAGES
        return in_state(found, "mapped")

    await until(mapped, lambda count: count == MESSAGES, seconds=90)
    answer = await client.get("Patient/_history", params={"_count": "1000"})
    told: dict[str, list[int]] = {}
    for one in answer.json()["entry"]:
        told.setdefault(one["resource"]["id"], []).append(int(one["resource"]["name"][0]["family"][1:]))
    # each of the fifty has a version of each event, the newest first
    assert sorted(told.values()) == sorted(
        [*reversed(range(patient, MESSAGES, PATIENTS))] for patient in range(PATIENTS)
    )


def sum_of_states(found: dict[str, float]) -> float:
    return sum(count for name, count in found.items() if name.startswith("osler_hl7_messages{"))


async def test_senders_are_answered_while_another_process_has_locked_the_file(tmp_path: Path) -> None:
    async with serving(f"sqlite:///{tmp_path}/osler.db", hl7_journal=f"{tmp_path}/journal.db") as (
        _,
        port,
        client,
    ):
        lock = sqlite3.connect(tmp_path / "osler.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        await tell_while_away(port, client)
        lock.execute("ROLLBACK")
        lock.close()
        await all_mapped(client)


@pytest.mark.skipif(mongod.program() is None, reason="has no MongoDB")
async def test_senders_are_answered_while_the_database_does_not_run(tmp_path: Path) -> None:
    with mongod.replica_set(journaled=False) as database:
        store = mongod.with_database(database.uri, "osler")
        async with serving(store, hl7_journal=f"{tmp_path}/journal.db") as (_, port, client):
            database.kill()
            began = time.monotonic()
            await tell_while_away(port, client)
            assert time.monotonic() - began < PATIENCE * MESSAGES / 4
            database.start_again()
            await all_mapped(client)
