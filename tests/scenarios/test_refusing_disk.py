"""A disk that takes no more, and a file that another program holds: 503, nothing half-written, and service goes on after."""

from __future__ import annotations

import resource
import sqlite3
from pathlib import Path
from typing import Any

import httpx

from tests.scenarios.conftest import client_of
from tests.scenarios.servers import Server, osler

ROOM = 200_000


def bundle(marker: str, entries: int) -> dict[str, Any]:
    """A transaction of `entries` Basic resources of about 4 kB each."""
    text = "x" * 4000
    made = {
        "resourceType": "Basic",
        "identifier": [{"system": "http://osler.test/mark", "value": marker}],
        "code": {"text": text},
    }
    entry = {"resource": made, "request": {"method": "POST", "url": "Basic"}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry] * entries}


async def marked(client: httpx.AsyncClient, marker: str) -> int:
    response = await client.get(f"Basic?identifier=http://osler.test/mark|{marker}&_summary=count")
    assert response.status_code == 200, response.text
    return int(response.json()["total"])


def largest_file(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.iterdir())


def limit_files(server: Server, size: int) -> None:
    """From now on no file of the server can grow beyond `size` bytes: what a full disk looks like to it."""
    for pid in server.processes():
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def assert_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["details"]["coding"][0]["code"] == "unavailable"


async def test_a_full_disk_answers_503_and_leaves_nothing_half_written(alone: Server, tmp_path: Path) -> None:
    async with client_of(alone) as client:
        assert (await client.post("", json=bundle("before", 3))).status_code == 200
        limit_files(alone, largest_file(tmp_path) + ROOM)
        answers = [await client.post("", json=bundle(f"full-{n}", 20)) for n in range(12)]
        refused = [n for n, response in enumerate(answers) if response.status_code != 200]
        assert refused, "the limit was never reached"
        for n in refused:
            assert_unavailable(answers[n])
        for n, response in enumerate(answers):
            assert await marked(client, f"full-{n}") == (0 if n in refused else 20), response.text
        assert await marked(client, "before") == 3
        limit_files(alone, resource.RLIM_INFINITY)
        assert (await client.post("", json=bundle("after", 20))).status_code == 200
        assert await marked(client, "after") == 20
    assert alone.terminate() == 0
    checked = osler("check", "--quiet", "--store", f"sqlite:///{tmp_path}/osler.db")
    assert checked.code == 0, checked.output


async def test_a_file_locked_by_another_program_answers_503_and_is_still_read(
    alone: Server, tmp_path: Path
) -> None:
    async with client_of(alone) as client:
        assert (await client.post("", json=bundle("before", 1))).status_code == 200
        other = sqlite3.connect(tmp_path / "osler.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            assert_unavailable(await client.post("", json=bundle("locked", 2)))
            assert await marked(client, "before") == 1
            other.execute("ROLLBACK")
        finally:
            other.close()
        assert await marked(client, "locked") == 0
        assert (await client.post("", json=bundle("after", 2))).status_code == 200
        assert await marked(client, "after") == 2
