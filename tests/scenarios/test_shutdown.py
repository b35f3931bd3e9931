"""SIGTERM: what was accepted is finished and durable, and the server ends with code 0."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from tests.scenarios.conftest import QUIET
from tests.scenarios.evidence import verify
from tests.scenarios.journal import Journal
from tests.scenarios.servers import Server, serving
from tests.scenarios.writers import write_until_gone


async def test_a_request_that_was_accepted_before_sigterm_is_answered_and_kept(
    alone: Server, tmp_path: Path
) -> None:
    body = json.dumps({"resourceType": "Patient", "birthDate": "1970-01-01"}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", alone.port)
    head = (
        "POST /fhir/Patient HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/fhir+json\r\n"
        f"expect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode())
    # The interim answer says that the application waits for the body: the request is accepted.
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    alone.process.send_signal(signal.SIGTERM)
    await refused(alone.port)
    writer.write(body)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201"), answer
    location = next(line for line in answer.decode().split("\r\n") if line.lower().startswith("location:"))
    writer.close()
    assert await asyncio.to_thread(alone.wait) == 0
    with serving(f"sqlite:///{tmp_path}/osler.db", variables=QUIET) as again:
        path = location.partition("/fhir/")[2]
        assert again.status(f"/fhir/{path}") == 200


async def refused(port: int) -> None:
    """Return once nobody listens on the port any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def test_sigterm_under_a_write_load_loses_nothing(tmp_path: Path) -> None:
    journal = Journal()
    store = f"sqlite:///{tmp_path}/osler.db"
    with serving(store, workers=2, variables=QUIET) as server:
        load = asyncio.create_task(
            write_until_gone(f"http://127.0.0.1:{server.port}/fhir/", journal, "term", 8)
        )
        await journal.has_acknowledged(40)
        assert await asyncio.to_thread(server.terminate) == 0
        await load
    with serving(store, variables=QUIET) as again:
        assert await verify(f"http://127.0.0.1:{again.port}/fhir/", journal) == []
