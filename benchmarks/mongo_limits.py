"""The limits on MongoDB: `python -m benchmarks.mongo_limits read ADDRESS | create ADDRESS FOLDER`.

`read` looks a version up as the store does and answers with its bytes. `create` writes a version and a current state of the same bytes
for each body (`FOLDER/documents.bson`) into collections with the store's indexes, all waiting ones in one transaction that begins with
the counter, and answers 201 with the body. Both use pymongo's asynchronous client on uvicorn, as `osler serve` does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from bson import decode
from pymongo import InsertOne

from benchmarks.limits import Application, Receive, Scope, Send, answer, body_of
from fhir_server.store.mongo.connections import MAJORITY, SNAPSHOT, Connection, Document
from fhir_server.store.mongo.schema import SEQUENCE, Schema


def reading(address: str) -> Application:
    """An application that returns the newest version."""
    connection: Connection | None = None

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal connection
        connection = connection or Connection(address)
        _, _, type, id = scope["path"].split("/")
        async with connection.reading() as session:
            found = await connection.versions.find_one(
                {"t": type, "i": id}, sort=[("v", -1)], session=session
            )
        assert found is not None
        await answer(send, 200, found["b"])

    return application


class Appender:
    """A task that writes all waiting bodies in one transaction."""

    def __init__(self, address: str, folder: Path) -> None:
        self._connection = Connection(address)
        self._documents: Document = decode((folder / "documents.bson").read_bytes())
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def append(self, body: bytes) -> asyncio.Future[None]:
        """A future that is done when a majority has the body."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((body, future))
        self._arrived.set()
        return future

    async def _run(self) -> None:
        schema = Schema(self._connection)
        await schema.open()
        await schema.prepare({"Observation"})
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            group, self._waiting = self._waiting, []
            await self._write(len(group))
            for _, future in group:
                future.set_result(None)

    async def _write(self, count: int) -> None:
        connection = self._connection
        async with connection.client.start_session(causal_consistency=False) as session:
            await session.start_transaction(read_concern=SNAPSHOT, write_concern=MAJORITY)
            before = await connection.state.find_one_and_update(
                {"_id": SEQUENCE}, {"$inc": {"n": count}}, session=session
            )
            assert before is not None
            ids = [(before["n"] + n, str(uuid4())) for n in range(1, count + 1)]
            versions = [self._documents["version"] | {"_id": n, "i": id} for n, id in ids]
            await connection.versions.insert_many(versions, session=session)
            states = [InsertOne(self._documents["state"] | {"_id": id, "s": n, "c": n}) for n, id in ids]
            await connection.of_type("Observation").bulk_write(states, ordered=False, session=session)
            await session.commit_transaction()


def creating(address: str, folder: Path) -> Application:
    """An application that keeps as much as the server for what it is sent."""
    appender: Appender | None = None

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal appender
        appender = appender or Appender(address, folder)
        if scope["path"] == "/fhir/metadata":
            await answer(send, 200, b"{}")
            return
        body = await body_of(receive)
        await appender.append(body)
        await answer(send, 201, body)

    return application


def main(name: str, address: str, *rest: str) -> None:
    """Serve the limit `name` on a free port of the loopback."""
    application: Any = reading(address) if name == "read" else creating(address, Path(rest[0]))
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=0,
        loop="uvloop",
        http="httptools",
        access_log=False,
        lifespan="off",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
