"""`osler hl7 status | replay` on a store."""

from __future__ import annotations

import json
from pathlib import Path

from hl7_bridge.outgoing import DESTINATION
from hl7_bridge.reasons import REASON_SYSTEM
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


async def test_status_of_a_store_without_messages(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/osler.db"
    async with serving(store):
        pass
    shown = osler("hl7", "status", "--store", store)
    assert (shown.code, shown.output.strip()) == (0, "No message was received yet.")


def test_a_store_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/mistyped.db"
    for command in (("status",), ("replay", "--state", "held")):
        told = osler("hl7", *command, "--store", store)
        assert (told.code, "There is no store" in told.output) == (2, True)
    assert not (tmp_path / "mistyped.db").exists()


async def test_status_says_of_which_destination_people_are_asked(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/osler.db"
    tag = {"system": DESTINATION, "code": "his"}
    async with serving(store) as (_, _, client):
        task = {
            "resourceType": "Task",
            "meta": {"tag": [tag]},
            "status": "requested",
            "intent": "order",
            "code": {"coding": [{"system": REASON_SYSTEM, "code": "not-taken"}]},
        }
        message = {
            "resourceType": "Communication",
            "meta": {"tag": [tag]},
            "status": "on-hold",
        }
        for one in (task, message):
            assert (await client.post(one["resourceType"], json=one)).status_code == 201
    shown = osler("hl7", "status", "--store", store)
    assert "to his: 0 waiting, 1 held, 0 dead, 0 acknowledged" in shown.output
    assert "1 task: not-taken (to his 1)" in shown.output
