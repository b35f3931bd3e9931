"""What is logged names no patient, whatever becomes of a message."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx

from benchmarks.hl7.taking import door
from tests.bridge.mllp import sender
from tests.scenarios.hl7_load import counts, event, poison
from tests.scenarios.servers import Server, serve_command

MESSAGES = 24
SECRET = b"Kowalczyk"


async def test_no_patient_is_in_the_log(tmp_path: Path) -> None:
    command = (*serve_command(f"sqlite:///{tmp_path}/osler.db"), "--hl7", "0")
    with Server(command, {"OSLER_LOG_LEVEL": "debug"}) as server:
        server.wait_for("/fhir/metadata")
        async with sender(door(server)) as device:
            for n in range(MESSAGES):
                raw = (event(n) if n % 2 else poison(n)).replace(b"^Jane", b"^" + SECRET)
                await device.send(raw)
            # too long, broken off
            await device.write(b"\x0b" + event(99).replace(b"Jane", SECRET)[:-5])
        deadline = time.monotonic() + 60
        found = await counts(server)
        while found.get("received") and time.monotonic() < deadline:
            found = await counts(server)
        assert found["mapped"] > 0
        assert found["held"] + found["dead-letter"] > 0
        server.terminate()
        assert server.output
        assert SECRET.decode() not in server.output


def test_a_line_says_which_destination_did_not_answer(tmp_path: Path) -> None:
    config = tmp_path / "hl7.yaml"
    config.write_text(
        "destinations: [{name: his, connect: {host: 127.0.0.1, port: 1}, messages: [ADT^A01]}]\n"
    )
    variables = {"OSLER_HL7_CONFIG": str(config), "OSLER_LOG_FORMAT": "json"}
    with Server(serve_command(f"sqlite:///{tmp_path}/osler.db"), variables) as server:
        server.wait_for("/fhir/metadata")
        base = f"http://127.0.0.1:{server.port}/fhir"
        patient = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}]}
        made = httpx.post(f"{base}/Patient", json=patient).json()
        visit = {
            "resourceType": "Encounter",
            "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
            "subject": {"reference": f"Patient/{made['id']}"},
        }
        assert httpx.post(f"{base}/Encounter", json=visit).status_code == 201
        deadline = time.monotonic() + 60
        lines: list[str] = []
        while not lines and time.monotonic() < deadline:
            lines = [line for line in server.log if "a message was not answered" in line]
            threading.Event().wait(0.05)
        told = json.loads(lines[0])
        assert (told["destination"], told["result"]) == ("his", "unreachable")
        assert told["pause"] > 0
