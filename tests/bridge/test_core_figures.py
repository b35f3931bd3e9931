"""The figures of a server in several processes, and of one that was begun again; `osler hl7 status` of a running server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from hl7_bridge.simulator import BEHAVIOURS, Simulator
from tests.bridge.core import until
from tests.bridge.mllp import Sender, adt, sender
from tests.bridge.test_core_server import STATES, figures, in_state
from tests.bridge.test_core_server import serving as in_process
from tests.bridge.test_core_server import store as store
from tests.scenarios.servers import OSLER, Server, osler

# so often is looked while messages arrive
LOOKS = 8


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def served(store: str, hl7: int, workers: int = 1, **variables: str) -> Server:
    command = (*OSLER, "serve", "--store", store, "--port", "0", "--workers", str(workers), "--hl7", str(hl7))
    return Server(command, {"OSLER_LOG_LEVEL": "error", **variables})


def of(found: dict[str, float], name: str) -> float:
    return found.get(f'osler_hl7_{name}{{connection="hl7"}}', 0)


def unbalanced(found: dict[str, float]) -> float:
    entries = sum(in_state(found, state) for state in STATES)
    return of(found, "received_total") - of(found, "duplicates_total") - entries


async def scraped(port: int) -> dict[str, float]:
    """The figures by a connection of its own: any of the processes may answer."""
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        return await figures(client, f"http://127.0.0.1:{port}/metrics")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Sender]:
    """A sender as soon as a process listens."""

    async def listened_at() -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    await until(listened_at, bool, 60)
    async with sender(port) as device:
        yield device


async def test_two_processes_tell_the_same_figures_while_messages_arrive(store: str) -> None:
    """Whichever process answers: received = duplicates + all states, and what was answered is counted."""
    dice, hl7 = random.Random(5), free_port()
    sent = twice = looked = 0
    with served(store, hl7, workers=2) as server:
        await asyncio.to_thread(server.wait_for, "/fhir/metadata")

        async def load(number: int) -> None:
            """Send until there was a look often enough; every other message twice."""
            nonlocal sent, twice
            async with connected(hl7) as device:
                for n in itertools.count():
                    if n >= 20 and looked >= LOOKS:
                        return
                    raw = adt(number * 100_000 + n, f"P{n % 3}")
                    for _ in range(1 + (n % 2)):
                        assert b"MSA|AA" in await device.send(raw)
                        sent += 1
                    twice += n % 2

        loads = asyncio.gather(*(load(n) for n in range(3)))
        while not loads.done():
            before = sent
            found = await scraped(server.port)
            assert unbalanced(found) == 0
            assert before <= of(found, "received_total") <= sent + 3
            looked += 1
            await asyncio.sleep(dice.uniform(0, 0.02))  # a random moment
        await loads
        for _ in range(8):
            found = await scraped(server.port)
            assert (unbalanced(found), of(found, "received_total")) == (0, sent)
            assert of(found, "duplicates_total") == twice
            assert of(found, "answer_p99_seconds") > 0
            assert of(found, "sockets_opened_total") >= 3


async def test_the_balance_holds_across_a_process_that_dies_and_a_restart(store: str) -> None:
    hl7 = free_port()
    answered = 0
    for _ in range(2):
        with served(store, hl7, workers=2) as server:
            await asyncio.to_thread(server.wait_for, "/fhir/metadata")
            async with connected(hl7) as device:
                for _ in range(5):
                    answered += 1
                    assert b"MSA|AA" in await device.send(adt(answered, "P1"))
            sockets = listened(hl7)
            for pid in with_sockets(sockets):
                os.kill(pid, signal.SIGKILL)

            await until(partial(still, sockets, hl7), lambda found: not found)
            async with connected(hl7) as device:
                for _ in range(5):
                    found = await scraped(server.port)
                    assert unbalanced(found) == 0
                    assert sum(in_state(found, state) for state in STATES) == answered
                    # what this process has not heard itself is known from the store
                    assert of(found, "last_message_seconds") > 0
                answered += 1
                assert b"MSA|AA" in await device.send(adt(answered, "P1"))
    assert answered == 12


def listened(port: int) -> set[str]:
    """The sockets that are listened at, as the kernel names them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}


async def still(sockets: set[str], port: int) -> set[str]:
    return sockets & listened(port)


def with_sockets(sockets: set[str]) -> set[int]:
    """The processes that have one of the sockets."""
    found = set()
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(folder.name)
            if any(os.readlink(one) in sockets for one in (folder / "fd").iterdir()):
                found.add(pid)
    return found


async def test_status_of_a_running_server_and_of_its_store(store: str, tmp_path: Path) -> None:
    config = tmp_path / "hl7.yaml"
    hl7 = free_port()
    config.write_text(
        f"connections:\n  - {{name: ward, listen: {{port: {hl7}}}}}\n  - {{name: quiet, listen: {{port: {free_port()}}}}}\n"
    )
    variables = {"OSLER_LOG_LEVEL": "error", "OSLER_HL7_CONFIG": str(config)}
    with Server((*OSLER, "serve", "--store", store, "--port", "0", "--workers", "2"), variables) as server:
        await asyncio.to_thread(server.wait_for, "/fhir/metadata")
        raw = adt(1, "P1")
        async with connected(hl7) as device:
            for one in (raw, raw, adt(2, "P1").split(b"PID")[0]):
                await device.send(one)
        address = f"http://127.0.0.1:{server.port}"

        async def settled() -> bool:
            found = await scraped(server.port)
            return in_state(found, "mapped", "ward") == 1 and in_state(found, "received", "ward") == 0

        await until(settled, bool)
        told = await asyncio.to_thread(osler, "hl7", "status", "--json", "--server", address)
        assert told.code == 0, told.output
        running = json.loads(told.output)
        ward = running["connections"]["ward"]
        assert (ward["entries"], ward["queue_depth"], ward["duplicates"]) == (2, 0, 1)
        assert 0 < ward["answer_p99_seconds"] < 60
        assert 0 <= ward["silent_seconds"] < 600
        assert list(ward["waiting_for_people"].values()) == [1]
        assert list(ward["problems"]) == list(ward["waiting_for_people"])
        quiet = running["connections"]["quiet"]
        assert (quiet["last_message"], quiet["answer_p99_seconds"]) == (None, None)
        # since the server has begun
        assert quiet["silent_seconds"] >= 0
        shown = await asyncio.to_thread(
            osler, "hl7", "status", variables={"OSLER_SERVER": f"{address}/fhir", "OSLER_TOKEN": "t"}
        )
        assert shown.code == 0, shown.output
        assert " ms" in shown.output
        assert "1 task: " in shown.output
    told = await asyncio.to_thread(osler, "hl7", "status", "--json", "--store", store, variables=variables)
    kept = json.loads(told.output)
    assert kept["waiting_for_people"] == running["waiting_for_people"]
    assert kept["connections"]["ward"]["states"]["mapped"] == 1
    assert kept["connections"]["ward"]["waiting_for_people"] == ward["waiting_for_people"]
    assert kept["connections"]["ward"]["answer_p99_seconds"] is None
    assert kept["connections"]["quiet"]["entries"] == 0


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense"])
def test_status_of_a_server_that_does_not_answer_is_refused(address: str) -> None:
    told = osler("hl7", "status", "--server", address)
    assert (told.code, address in told.output) == (2, True)


async def test_status_of_a_journal_of_its_own(store: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with in_process(store, hl7_journal=str(journal)) as (_, port, client):
        async with sender(port) as device:
            await device.send(adt(1, "P1"))

        async def mapped() -> float:
            return in_state(await figures(client), "mapped")

        await until(mapped, lambda count: count == 1)
    told = json.loads(osler("hl7", "status", "--json", "--journal", str(journal)).output)
    assert told["connections"]["hl7"]["states"] == {"mapped": 1}
    told = json.loads(
        osler(
            "hl7", "status", "--json", "--store", store, variables={"OSLER_HL7_JOURNAL": str(journal)}
        ).output
    )
    assert told["connections"]["hl7"]["states"] == {"mapped": 1}
    assert osler("hl7", "status", "--journal", str(tmp_path / "nothing.db")).code == 2
    assert osler("hl7", "status", "--journal", str(journal), "--store", store).code == 2
    # after a restart it is known for how long nobody has spoken
    async with in_process(store, hl7_journal=str(journal)) as (_, _, client):
        found = await figures(client)
        assert of(found, "last_message_seconds") > 0
        assert of(found, "silent_seconds") >= 0


def test_workers_that_cannot_begin_end_the_server_with_a_code(tmp_path: Path) -> None:
    config = tmp_path / "hl7.yaml"
    config.write_text(f"connections: [{{name: a, listen: {{port: {free_port()}}}, profile: no-such}}]\n")
    with Server(
        (*OSLER, "serve", "--store", f"sqlite:///{tmp_path}/a.db", "--port", "0", "--workers", "2"),
        {"OSLER_HL7_CONFIG": str(config)},
    ) as server:
        assert server.wait(60) == 2
        assert "no device profile" in server.output


def test_a_port_for_hl7_that_is_taken_is_refused_before_workers_are_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with served(f"sqlite:///{tmp_path}/a.db", other.getsockname()[1], workers=2) as server:
            assert server.wait(60) == 2
            assert "cannot be listened on" in server.output


async def test_a_simulated_analyser_asks_takes_its_orders_and_sends_its_result(
    store: str, tmp_path: Path
) -> None:
    """LAB-27, 28 and 29 over the wire: the order is completed by the result."""
    config = tmp_path / "hl7.yaml"
    config.write_text("connections: [{name: law, listen: {port: 0}, profile: law-analyser}]\n")
    async with in_process(store, hl7=None, hl7_config=str(config)) as (_, port, client):
        patient = {"resourceType": "Patient", "id": "anna", "name": [{"family": "Example"}]}
        tube = {
            "resourceType": "Specimen",
            "id": "t1",
            "identifier": [{"system": "urn:tubes", "value": "TUBE-1"}],
            "subject": {"reference": "Patient/anna"},
        }
        order = {
            "resourceType": "ServiceRequest",
            "id": "o1",
            "status": "active",
            "intent": "order",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
            "subject": {"reference": "Patient/anna"},
            "specimen": [{"reference": "Specimen/t1"}],
        }
        for one in (patient, tube, order):
            answer = await client.put(f"{one['resourceType']}/{one['id']}", json=one)
            assert answer.status_code == 201
        report = await Simulator(BEHAVIOURS["law-analyser"], "127.0.0.1", port).run(2)
        assert (report.answered, report.orders, report.strays) == ([1, 2], 1, 0)

        async def status() -> str:
            return str((await client.get("ServiceRequest/o1")).json()["status"])

        await until(status, lambda found: found == "completed")
        found = (await client.get("Observation", params={"subject": "Patient/anna"})).json()["entry"]
        assert [one["resource"]["valueQuantity"]["value"] for one in found] == [5.2]
