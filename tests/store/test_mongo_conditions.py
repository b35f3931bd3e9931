"""Tasks that wait for a server of MongoDB and are cancelled leave nothing behind that others wait for."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from fhir_server.store.mongo.connections import Connection

TASKS = 60


async def test_tasks_that_are_cancelled_while_there_is_no_primary_do_not_keep_others_waiting() -> None:
    with socket.socket() as taken:
        # a port on which nobody answers
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        connection = Connection(f"mongodb://127.0.0.1:{port}/?replicaSet=rs&serverSelectionTimeoutMS=3000")
        dice = random.Random(5)

        async def ask() -> None:
            await connection.client.admin.command("ping")

        asked = [asyncio.create_task(ask()) for _ in range(TASKS)]
        # pymongo looks again every half second: they are cancelled at about that moment
        for task in asked:
            asyncio.get_running_loop().call_later(dice.uniform(0.45, 1.1), task.cancel)
        await asyncio.gather(*asked, return_exceptions=True)
        with pytest.raises(ServerSelectionTimeoutError):
            async with asyncio.timeout(20):
                await ask()
        await connection.close()
