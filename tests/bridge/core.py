"""A server with the bridge and mappings that are simple enough to know what must come of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fhir_server.bridge.in_process import InProcess
from fhir_server.bridge.store_journal import StoreJournal
from hl7_bridge.bridge import Bridge, Known
from hl7_bridge.config import Address, Config, Connection
from hl7_bridge.devices.profile import Profile
from hl7_bridge.journal import State
from hl7_bridge.mapping.draft import Draft, Held, Problem
from hl7_bridge.mapping.records import Classified, Context
from hl7_bridge.message import Message
from hl7_bridge.pipeline import Pace
from tests.conftest import Client

SYSTEM = "urn:osler:test"
PACE = Pace(parallel=8, window=50, look=0.02, lease=2.0, sweep=0.5)
ONE = (Connection("lab", Address("127.0.0.1", 2575)),)


def oru(specimen: str, value: str, control: str = "1", patient: str = "", code: str = "GLU") -> bytes:
    """A result of one test."""
    return (
        f"MSH|^~\\&|LAB|HOUSE|OSLER|HOUSE|20260102030405||ORU^R01|{control}|P|2.5.1\r"
        f"PID|1||{patient}\rSPM|1|{specimen}\rOBR|1||{specimen}|{code}\rOBX|1|NM|{code}||{value}|mmol/L|||||F\r"
    ).encode()


async def result(message: Message, draft: Draft, context: Context) -> None:
    """One Basic per specimen that has all values in the order in which they were mapped."""
    specimen, value, code = message.get("SPM-2"), message.get("OBX-5"), message.get("OBX-3")
    if code == "FAULT":
        raise RuntimeError("a fault of the mapping")
    if code == "REFUSED":
        draft.create({"resourceType": "Basic", "nonsense": 1})
        return
    patient = message.get("PID-3")
    if patient and await draft.one("Patient", SYSTEM, patient) is None:
        raise Held(Problem("unmatched-patient", "Nobody has it.", "PID-3", f"{SYSTEM}|{patient}", True))
    if code.startswith("?") and not await draft.find("ConceptMap", [("url", f"urn:codes:{code[1:]}")]):
        draft.problems.append(Problem("unmapped-code", "No such code.", "OBX-3", code, holds=True))
        return
    known = await draft.one("Basic", SYSTEM, specimen)
    extension = {"url": "urn:value", "valueString": value}
    if known is None:
        made = {
            "resourceType": "Basic",
            "identifier": [{"system": SYSTEM, "value": specimen}],
            "code": {"text": "values"},
            "extension": [extension],
        }
        draft.create(made, [("identifier", f"{SYSTEM}|{specimen}")])
    else:
        draft.update({**known, "extension": [*known["extension"], extension]})


def classify(message: Message, profile: Profile) -> Classified:
    kind = "administrative" if message.type == "SSU" else "result"
    return Classified(kind, message.get("SPM-2"))  # type: ignore[arg-type]


KNOWN = Known({("ORU", "R01"): result}, classify, {"generic": Profile()})


@dataclass(slots=True)
class House:
    """A server, its bridge, and what was sent to it."""

    client: Client
    bridge: Bridge

    async def send(self, raw: bytes, connections: tuple[Connection, ...] = ONE) -> tuple[bytes, ...]:
        return await self.bridge.arrived(connections, raw)

    async def states(self) -> dict[State, int]:
        found: dict[State, int] = {}
        for (_, state), count in (await self.bridge.journal.counts()).items():
            if count:
                found[state] = found.get(state, 0) + count
        return found

    async def quiet(self, seconds: float = 20) -> dict[State, int]:
        """The states when nothing waits to be mapped any more."""
        return await until(self.states, lambda states: "received" not in states, seconds)

    async def values(self, specimen: str) -> list[str]:
        """The values of a specimen in the order in which they were mapped."""
        answer = await self.client.get("Basic", params={"identifier": f"{SYSTEM}|{specimen}"})
        entries = answer.json().get("entry", [])
        assert len(entries) < 2
        return [e["valueString"] for one in entries for e in one["resource"]["extension"]]

    async def tasks(self, **query: str) -> list[dict[str, Any]]:
        answer = await self.client.get("Task", params={"code": REASONS, **query})
        return [e["resource"] for e in answer.json().get("entry", [])]


REASONS = "https://osler.health/fhir/CodeSystem/hl7-reason|"
_owners = itertools.count(1)


async def until(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], seconds: float = 20) -> Any:
    """What `ask` gives as soon as it is as it should be."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds(found := await ask()):
        if loop.time() > deadline:
            raise AssertionError(f"still {found!r}")
        await asyncio.sleep(0.01)
    return found


def bridge_of(client: Client, known: Known = KNOWN, pace: Pace = PACE, **config: Any) -> Bridge:
    services = client.app.services
    settings = Config(**{"connections": ONE, **config})
    journal = StoreJournal(services, settings.resend_days)
    server = InProcess(client.app.dispatch)
    return Bridge(server, journal, settings, known, services.clock, f"owner-{next(_owners)}", pace)


@asynccontextmanager
async def house(client: Client, *, started: bool = True, **more: Any) -> AsyncIterator[House]:
    """The bridge over a server, mapping when it is started."""
    bridge = bridge_of(client, **more)
    if started:
        bridge.pipeline.start()
        await until(_owns(bridge), bool)
    try:
        yield House(client, bridge)
    finally:
        await bridge.pipeline.close()


def _owns(bridge: Bridge) -> Callable[[], Awaitable[bool]]:
    async def owns() -> bool:
        return bridge.pipeline.owns

    return owns
