"""The bridge in a process of its own, with its own journal, delivering over HTTP to a server that comes and goes."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hl7_bridge.__main__ import main
from hl7_bridge.delivery import Overtaken, Refused, Unreachable
from hl7_bridge.http_server import HttpServer
from hl7_bridge.journal_sqlite import SqliteJournal
from tests.bridge.core import until
from tests.bridge.mllp import adt, sender
from tests.scenarios.servers import Server, serve_command

_PORT = re.compile(r"HL7 v2 at 127\.0\.0\.1:(\d+)")


@contextmanager
def alone(base: str, journal: Path) -> Iterator[tuple[Server, int]]:
    command = (
        sys.executable,
        "-m",
        "hl7_bridge",
        "--listen",
        "0",
        "--deliver",
        base,
        "--journal",
        str(journal),
    )
    with Server(command) as process:
        for line in iter(process._lines.get, None):
            found = _PORT.search(line or "")
            if found:
                yield process, int(found[1])
                return
        raise AssertionError(process.output)


async def patients(base: str) -> dict[str, str]:
    """The family names by number."""
    async with httpx.AsyncClient() as client:
        answer = (await client.get(f"{base}/Patient", params={"_count": "500"})).json()
    found = [entry["resource"] for entry in answer.get("entry", [])]
    return {p["identifier"][0]["value"]: p["name"][0]["family"] for p in found}


def states(journal: Path) -> dict[str, int]:
    with sqlite3.connect(journal) as file:
        found = dict(file.execute("SELECT state,count(*) FROM entry GROUP BY 1").fetchall())
    file.close()
    return found


async def test_what_comes_while_the_server_is_down_is_answered_and_delivered_later(tmp_path: Path) -> None:
    store, journal = f"sqlite:///{tmp_path}/osler.db", tmp_path / "journal.db"
    with Server(serve_command(store)) as server:
        server.wait_for("/fhir/metadata")
        port = server.port
        base = f"http://127.0.0.1:{port}/fhir"
        with alone(base, journal) as (bridge, door):
            async with sender(door) as device:
                assert b"MSA|AA" in await device.send(adt(1, "P1", "Before"))

                async def found() -> dict[str, str]:
                    return await patients(base)

                await until(found, lambda names: names == {"P1": "Before"})
                server.kill()
                for n in range(2, 30):
                    answer = await asyncio.wait_for(device.send(adt(n, f"P{n % 5}", f"N{n}")), 5)
                    assert b"MSA|AA" in answer
                # of the first one the bridge may not have heard yet that it was written
                assert states(journal)["received"] in (28, 29)
            bridge.kill()
        with Server(serve_command(store, port=port)) as again, alone(base, journal) as (bridge, door):
            again.wait_for("/fhir/metadata")
            wanted = {f"P{n}": f"N{next(m for m in range(29, 24, -1) if m % 5 == n)}" for n in range(5)}
            await until(found, lambda names: names == wanted, seconds=40)
            async with sender(door) as device:
                for n in range(2, 30):
                    assert b"MSA|AA" in await device.send(adt(n, f"P{n % 5}", f"N{n}"))

            async def counted() -> dict[str, int]:
                return states(journal)

            await until(counted, lambda counts: counts == {"mapped": 29})
            assert await found() == wanted
            assert bridge.terminate() == 0


@pytest.fixture
async def journal(tmp_path: Path) -> Any:
    made = SqliteJournal(tmp_path / "journal.db")
    await made.open()
    yield made
    await made.close()


async def test_what_was_received_outlives_the_process(journal: SqliteJournal, tmp_path: Path) -> None:
    received = await asyncio.gather(*(journal.receive("lab", b"MSH|%d" % n, n) for n in range(50)))
    assert not any(one.duplicate for one in received)
    other = SqliteJournal(tmp_path / "journal.db")
    await other.open()
    assert [entry.id for entry in await other.waiting(100)] == [one.receipt.id for one in received]
    assert (await other.receive("lab", b"MSH|7", 99)).receipt.received == 7
    assert await other.counts() == {("lab", "received"): 50}
    await other.close()


async def test_when_a_connection_has_spoken_last(journal: SqliteJournal) -> None:
    assert await journal.last("lab") is None
    for n in (5, 9, 7):
        await journal.receive("lab", b"MSH|%d" % n, n)
    assert await journal.last("lab") == 9


def test_destinations_are_refused_by_the_bridge_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "hl7.yaml"
    config.write_text(
        "connections: [{name: a, listen: {port: 0}}]\n"
        "destinations: [{name: his, connect: {host: 127.0.0.1, port: 1}, messages: [ORU^R01]}]\n"
    )
    given = [
        "--deliver",
        "http://127.0.0.1:1/fhir",
        "--config",
        str(config),
        "--journal",
        str(tmp_path / "j.db"),
    ]
    assert main(given) == 2
    assert "destinations" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "ftp://x/fhir", "http:///fhir"])
def test_a_server_to_deliver_to_that_is_no_address_is_refused(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--deliver", address, "--listen", "0", "--journal", str(tmp_path / "j.db")]) == 2
    assert address in capsys.readouterr().err


async def test_one_owner_at_a_time(journal: SqliteJournal) -> None:
    assert await journal.own("a", 60)
    assert await journal.own("a", 0)
    assert await journal.own("b", 60)
    assert not await journal.own("a", 60)


async def test_bytes_are_forgotten_only_of_what_is_done(journal: SqliteJournal) -> None:
    from dataclasses import replace

    for n in range(4):
        await journal.receive("lab", b"MSH|%d" % n, n)
    first, second, *_ = await journal.waiting(10)
    await journal.settle(first, replace(first.status, state="mapped"))
    await journal.settle(second, replace(second.status, state="held", waits_for=("t",)))
    assert await journal.forget(3) == 1
    assert await journal.waiting_for("t") == [second.id]
    assert (await journal.receive("lab", b"MSH|0", 9)).duplicate
    assert await journal.replay([first.id]) == 0
    assert await journal.replay([second.id], "t", "arrived") == 1
    again = await journal.read(second.id)
    assert again is not None
    assert (again.status.state, again.status.attempt, again.status.decisions) == ("received", 1, ("arrived",))


@pytest.mark.parametrize(
    ("status", "issue", "raised"),
    [
        (412, "conflict", Overtaken),
        (409, "conflict", Overtaken),
        (412, "multiple-matches", Refused),
        (422, "business-rule", Refused),
        (400, "invalid", Refused),
        (429, "throttled", Unreachable),
        (500, "exception", Unreachable),
        (503, "transient", Unreachable),
    ],
)
async def test_refusals_of_a_server_are_told_from_its_absence(status: int, issue: str, raised: type) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": issue}]}
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=outcome))
    server = HttpServer("http://fhir.test/fhir", transport=transport)
    with pytest.raises(raised):
        await server.deliver({"resourceType": "Bundle", "type": "transaction"})
    await server.close()


async def test_a_server_that_does_not_listen_is_unreachable() -> None:
    server = HttpServer("http://127.0.0.1:1/fhir")
    with pytest.raises(Unreachable):
        await server.read("Patient", "1")
    await server.close()
