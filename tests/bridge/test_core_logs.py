"""What is logged names no patient, whatever becomes of a message."""

from __future__ import annotations

import time
from pathlib import Path

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
