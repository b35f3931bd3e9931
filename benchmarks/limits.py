"""The limits: the least that any server on this stack has to do. `python -m benchmarks.limits read|create FOLDER`.

`read` answers each path with bytes it was given (`FOLDER/bodies.json`, text by path). `create` reads a body, appends it to
an SQLite file (WAL, synchronous=FULL) by one thread that commits all waiting bodies together, and answers 201 with the body.
Both run on uvicorn as `osler serve` does: uvloop, httptools, no access log, one process.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = (b"content-type", b"application/fhir+json")


def reading(folder: Path) -> Application:
    """An application that returns prepared bytes."""
    texts: dict[str, str] = json.loads((folder / "bodies.json").read_text())
    bodies = {path: text.encode() for path, text in texts.items()}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body = bodies[scope["path"]]
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application


class Appender:
    """One thread that appends bodies to a table; all that wait when it begins share a commit."""

    def __init__(self, path: Path) -> None:
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._path = path
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def append(self, body: bytes) -> asyncio.Future[None]:
        """A future that is done when the body is safe."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((body, future))
        return future

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE body(id INTEGER PRIMARY KEY, body BLOB)"
        )
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO body(body) VALUES(?)", [(body,) for body, _ in group])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_finish, [future for _, future in group])


def _finish(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


def creating(folder: Path) -> Application:
    """An application that keeps what it is sent."""
    appender: Appender | None = None

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal appender
        if scope["path"] == "/fhir/metadata":
            await answer(send, 200, b"{}")
            return
        if appender is None:
            appender = Appender(folder / "limit.db")
        body = await body_of(receive)
        await appender.append(body)
        await answer(send, 201, body)

    return application


async def body_of(receive: Receive) -> bytes:
    """The whole body of a request."""
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


async def answer(send: Send, status: int, body: bytes) -> None:
    """Answer with JSON."""
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(name: str, folder: Path) -> None:
    """Serve the limit `name` on a free port of the loopback."""
    # As the server does: the writer's thread must not wait 5 ms for its turn.
    sys.setswitchinterval(0.0005)
    application = {"read": reading, "create": creating}[name](folder)
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
    main(sys.argv[1], Path(sys.argv[2]))
