"""`osler hl7 status | replay` on a store."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bridge.core import until
from tests.bridge.mllp import adt, sender
from tests.bridge.test_core_server import figures, in_state, serving
from tests.scenarios.servers import osler


async def test_status_and_replay(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/osler.db"
    async with serving(store) as (_, port, client):
        async with sender(port) as device:
            await device.send(adt(1, "P1"))
            await device.send(adt(2, "P1").split(b"PID")[0])

        async def waiting() -> bool:
            found = await figures(client)
            return in_state(found, "mapped") == 1 and in_state(found, "received") == 0

        await until(waiting, bool)
        shown = osler("hl7", "status", "--store", store)
        assert shown.code == 0
        assert "hl7" in shown.output
        assert "1 task: unmatched-patient (hl7 1)" in shown.output
    told = json.loads(osler("hl7", "status", "--json", "--store", store).output)
    one = told["connections"]["hl7"]
    assert one["entries"] == sum(one["states"].values()) == 2
    assert one["last_message"] is not None
    stuck = next(state for state, count in one["states"].items() if count and state != "mapped")
    assert osler("hl7", "replay", "--store", store).code == 2
    assert osler("hl7", "replay", "nobody", "--store", store).code == 1
    done = osler("hl7", "replay", "--state", stuck, "--store", store)
    assert (done.code, done.output.split()[0]) == (0, "1")
    told = json.loads(osler("hl7", "status", "--json", "--store", store).output)
    assert told["connections"]["hl7"]["states"]["received"] == 1
    assert osler("check", "--quiet", "--store", store).code == 0


def test_status_of_a_store_without_messages(tmp_path: Path) -> None:
    shown = osler("hl7", "status", "--store", f"sqlite:///{tmp_path}/osler.db")
    assert (shown.code, shown.output.strip()) == (0, "No message was received yet.")
