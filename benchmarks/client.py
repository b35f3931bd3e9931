"""A closed-loop HTTP load: C connections, each with one request in flight, the next one sent when the answer is complete.

It runs in the process of the benchmark, apart from the server's. What it costs itself is kept small (one asyncio protocol
for a connection, no coroutine for a request), because on few cores a slow client measures itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httptools
import uvloop

FHIR_JSON = "application/fhir+json"

# Called with each answer: status and body.
Answered = Callable[[int, bytes], None]


@dataclass(slots=True)
class Load:
    """What a load gave: how many answers by status, how long it took, and how long each request waited (seconds)."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.statuses.total()

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """The wait in seconds that `share` of the requests did not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def require(self, *statuses: int) -> Load:
        """This load. Raises RuntimeError when any answer had another status, because then the figure means nothing."""
        if set(self.statuses) - set(statuses) or not self.statuses:
            raise RuntimeError(f"expected answers {statuses}, got {dict(self.statuses)}")
        return self


def wire(
    method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"accept: {FHIR_JSON}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += [f"content-type: {FHIR_JSON}", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class _Run:
    """One load: the requests that are left, and the connections that send them."""

    def __init__(self, requests: Iterator[bytes], deadline: float, answered: Answered | None) -> None:
        self.requests = requests
        self.deadline = deadline
        self.answered = answered
        self.load = Load()
        self.open = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next(self, now: float) -> bytes | None:
        return next(self.requests, None) if now < self.deadline else None

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def left(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._sent = 0.0
        self._busy = False
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._run.open += 1
        self._send(time.perf_counter())

    def _send(self, now: float) -> None:
        request = self._run.next(now)
        if request is None:
            self._busy = False
            self._transport.close()
            return
        self._busy = True
        self._sent = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except Exception as error:
            self._run.fail(error)

    def on_body(self, data: bytes) -> None:
        if self._run.answered is not None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        run = self._run
        status = self._parser.get_status_code()
        run.load.statuses[status] += 1
        run.load.waits.append(now - self._sent)
        if run.answered is not None:
            run.answered(status, b"".join(self._body))
            self._body = []
        self._send(now)

    def connection_lost(self, error: Exception | None) -> None:
        if self._busy:
            self._run.fail(error or ConnectionError("the server closed the connection before it answered"))
        self._run.left()


async def closed_loop(
    port: int,
    requests: Iterable[bytes],
    connections: int,
    seconds: float = float("inf"),
    answered: Answered | None = None,
) -> Load:
    """Send `requests` over `connections` connections until there are no more or `seconds` have passed."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    run = _Run(iter(requests), started + seconds, answered)
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port)
    await run.done
    run.load.seconds = time.perf_counter() - started
    return run.load


def drive(
    port: int,
    requests: Iterable[bytes],
    connections: int,
    seconds: float = float("inf"),
    answered: Answered | None = None,
) -> Load:
    """`closed_loop`, run to its end."""
    return uvloop.run(closed_loop(port, requests, connections, seconds, answered))


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """Status and decoded body of one request."""
    answers: list[tuple[int, bytes]] = []
    drive(port, [wire(method, path, body)], 1, answered=lambda status, text: answers.append((status, text)))
    status, text = answers[0]
    return status, json.loads(text) if text else None
