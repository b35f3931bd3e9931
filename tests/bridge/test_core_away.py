"""While the store is away a journal of its own takes what comes, and senders are answered; nothing of it is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import httpx
import pytest

from fhir_server.bridge.store_journal import StoreJournal
from tests import mongod
from tests.bridge.core import until
from tests.bridge.mllp import sender
from tests.bridge.test_core_server import figures, in_state, serving
from tests.bridge.test_core_server import store as store
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
        # what waits is told also where the figures of destinations cannot be had
        config = tmp_path / "hl7.yaml"
        config.write_text(
            "destinations: [{name: his, connect: {host: 127.0.0.1, port: 1}, messages: [ORU^R01]}]\n"
        )
        settings = {"hl7_journal": f"{tmp_path}/journal.db", "hl7_config": str(config)}
        async with serving(store, **settings) as (_, port, client):
            database.kill()
            began = time.monotonic()
            await tell_while_away(port, client)
            assert time.monotonic() - began < PATIENCE * MESSAGES / 4
            database.start_again()
            await all_mapped(client)


async def test_old_messages_are_let_go_in_the_journal_and_in_the_store(store: str, tmp_path: Path) -> None:
    """`keep_days` holds for the bytes wherever they are; what waits for a person stays."""
    journal = tmp_path / "journal.db"
    async with serving(store, hl7_journal=str(journal)) as (app, port, client):
        assert app.bridge is not None
        async with sender(port) as device:
            await device.send(event(1))
            await device.send(event(2).split(b"PID")[0])

        async def settled() -> bool:
            found = await figures(client)
            return in_state(found, "mapped") == 1 and in_state(found, "received") == 0

        await until(settled, bool)
        bridge = app.bridge._bridge
        assert bridge is not None
        others = [StoreJournal(app.services)]
        tidying = asyncio.create_task(bridge.tidy(-1, 0.01, others))

        async def kept() -> list[str]:
            found = (await client.get("Binary")).json().get("entry", [])
            return [
                tag["code"]
                for e in found
                for tag in e["resource"]["meta"]["tag"]
                if "hl7-state" in tag["system"]
            ]

        assert "mapped" not in await until(kept, lambda states: "mapped" not in states)
        tidying.cancel()
        with sqlite3.connect(journal) as file:
            rows = file.execute("SELECT state, raw IS NULL FROM entry ORDER BY number").fetchall()
        file.close()
        assert rows[0] == ("mapped", 1)
        assert rows[1][1] == 0
