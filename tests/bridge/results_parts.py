"""What tests of results share: contexts, and a server of the bridge over the real one in process."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from fhir_r4.jsonio import decode, encode
from hl7_bridge.delivery import Overtaken, Query, Refused, Resource
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.draft import Draft, Held
from hl7_bridge.mapping.messages.oru import MAPPINGS
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.message import parse
from tests.conftest import Client

NOW = 1_772_400_000_000_000


def context_of(profile: Profile | None = None, connection: str = "lab", id: str = "r-1") -> Context:
    receipt = Receipt(id, connection, NOW, b"")
    return Context(profile or Profile(), receipt, UTC)


class Server:
    """The bridge's FhirServer over a server in process."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        answer = await self.client.get(f"/{type}?{urlencode([*query, ('_count', str(limit))])}")
        if answer.status_code != 200:
            raise Refused(answer.status_code, decode(answer.content))
        return [entry["resource"] for entry in decode(answer.content).get("entry", [])]

    async def read(self, type: str, id: str) -> Resource | None:
        answer = await self.client.get(f"/{type}/{id}")
        return decode(answer.content) if answer.status_code == 200 else None

    async def deliver(self, bundle: Resource) -> Resource:
        answer = await self.client.post(
            "", content=encode(bundle), headers={"content-type": "application/fhir+json"}
        )
        if answer.status_code in (409, 412):
            raise Overtaken
        if answer.status_code != 200:
            raise Refused(answer.status_code, decode(answer.content))
        return decode(answer.content)


def message_of(text: str) -> bytes:
    return text.strip().replace("\n", "\r").encode() + b"\r"


async def told(
    server: Server,
    text: str,
    profile: Profile | None = None,
    decisions: frozenset[str] = frozenset(),
    maps: Any = MAPPINGS,
) -> Draft:
    """Map a message and deliver what follows; the draft. Raises Held."""
    raw = message_of(text)
    rules = profile or Profile()
    message = parse(raw, rules.transport.charsets)
    draft = Draft(server, "r-1", decisions=decisions) if decisions else Draft(server, "r-1")
    mapping = maps[message.type, message.trigger]
    await mapping(message, draft, Context(rules, Receipt("r-1", "lab", NOW, raw), UTC))
    if draft.entries:
        await server.deliver(draft.bundle())
    return draft


async def all_of(client: Client, type: str, **query: str) -> list[dict[str, Any]]:
    return await Server(client).find(type, list(query.items()), 1000)


__all__ = ["Decimal", "Held"]
