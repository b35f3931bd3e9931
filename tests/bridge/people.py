"""Messages about people told to a server in process, without the wire: the mapping, and what the server makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from fhir_server.bridge.in_process import InProcess
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.draft import Draft, Problem
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.message import Message, parse
from tests.conftest import Client

RECEIVED = 1_767_225_600_000_000
MRN = "https://osler.health/fhir/hl7v2/authority/HOSP"
HEADER = "MSH|^~\\&|ADT|HOSP|OSLER|HOSP|20260301080000||{type}^{trigger}|{number}|P|2.5.1"


def message(kind: str, *segments: str, number: str = "1") -> bytes:
    """A message `ADT^A01` of segments after its header."""
    type, _, trigger = kind.partition("^")
    header = HEADER.format(type=type, trigger=trigger, number=number)
    return "\r".join((header, *segments, "")).encode()


def context_of(
    raw: bytes, connection: str = "adt", profile: Profile = Profile(), zone: str = "Europe/Berlin"
) -> Context:
    """The context of a message that has come by a connection."""
    receipt = Receipt(hashlib.sha256(raw).hexdigest()[:40], connection, RECEIVED, raw)
    return Context(profile, receipt, ZoneInfo(zone))


@dataclass(slots=True)
class Hospital:
    """A server that is told messages."""

    client: Client
    connection: str = "adt"
    problems: list[Problem] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)

    async def hears(self, raw: bytes) -> dict[str, Any]:
        """Map a message and carry its transaction out. Raises Held, Refused."""
        told: Message = parse(raw)
        context = context_of(raw, self.connection, self.profile)
        server = InProcess(self.client.app.dispatch)
        draft = Draft(server, context.receipt.id)
        mapping = MAPPINGS.get((told.type, told.trigger)) or MAPPINGS[told.type, ""]
        await mapping(told, draft, context)
        self.problems += draft.problems
        return await server.deliver(draft.bundle()) if draft.entries else {}

    async def all(self, type: str, **query: str) -> list[dict[str, Any]]:
        params = {name.replace("_", "-") if name[0] != "_" else name: value for name, value in query.items()}
        answer = await self.client.get(f"/{type}", params={"_count": "500", **params})
        assert answer.status_code == 200, answer.text
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    async def one(self, type: str, **query: str) -> dict[str, Any]:
        found = await self.all(type, **query)
        assert len(found) == 1, found
        return found[0]

    async def has_ward(self, name: str, *beds: str) -> None:
        """A ward with one room and beds."""
        await self._put("Location", name, {"name": name, "physicalType": _kind("wa")})
        room = f"{name}-room"
        await self._put("Location", room, {"name": "1", "physicalType": _kind("ro"), "partOf": _ref(name)})
        for bed in beds:
            of = {"name": bed, "physicalType": _kind("bd"), "partOf": _ref(room), "status": "active"}
            await self._put("Location", f"{name}-{bed}", of)

    async def _put(self, type: str, id: str, rest: dict[str, Any]) -> None:
        answer = await self.client.put_json(f"/{type}/{id}", {"resourceType": type, "id": id, **rest})
        assert answer.status_code in (200, 201), answer.text


def _kind(code: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/location-physical-type"
    return {"coding": [{"system": system, "code": code}]}


def _ref(id: str) -> dict[str, str]:
    return {"reference": f"Location/{id}"}
