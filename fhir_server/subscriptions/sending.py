"""The outbox: CommunicationRequests that are due are sent, and each becomes a Communication.

https://hl7.org/fhir/R4/communication.html. A request belongs to the process that has put its lease on it; what was sent is
noted in one commit with the end of the request. An invariant to keep: a message is noted once, and keeps its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from fhir_r4.temporal import MINUTE, format_instant, parse_interval
from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.interactions.writing import commit, prepare
from fhir_server.resources.scheduling.lifecycle import extension_value, with_extension, without_extension
from fhir_server.resources.scheduling.response import SCHEDULING
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.search.tree import DateIs, TokenIs, all_of
from fhir_server.store.protocol import Stale
from fhir_server.subscriptions.channels import Channel, Message

log = structlog.get_logger("osler.messages")

LEASE = "https://osler.health/fhir/StructureDefinition/sending-until"
ATTEMPTS = "https://osler.health/fhir/StructureDefinition/sending-attempts"
MODES = "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode"
LEASED_FOR = 2 * MINUTE
MOST_ATTEMPTS = 5
MOST_AT_ONCE = 100
SUBJECTS = {
    "reminder": "Your appointment",
    "cancelled": "Your appointment is cancelled",
    "offer": "A time for you",
}


class Outbox:
    """Sends what is due, each by the first of `channels` that reaches the recipient."""

    def __init__(self, services: Services, channels: Sequence[Channel]) -> None:
        self._services = services
        self._channels = channels

    async def send_due(self) -> int:
        """Send what is due now; the number of messages."""
        now = self._services.clock()
        due = all_of(
            [
                TokenIs("status", None, "active"),
                TokenIs("category", SCHEDULING, None),
                DateIs("occurrence", "lt", now + 1, now + 2),
            ]
        )
        ids = await self._services.store.matching_ids("CommunicationRequest", due, MOST_AT_ONCE)
        sent = 0
        for id in ids:
            sent += await self._send(id)
        return sent

    async def _send(self, id: str) -> int:
        leased = await self._lease(id)
        if leased is None:
            return 0
        try:
            made = [await self._deliver(leased, n, r) for n, r in enumerate(leased.get("recipient", ()), 1)]
        except OSError as error:
            await self._failed(leased, error)
            return 0
        done = without_extension(without_extension(leased, LEASE), ATTEMPTS)
        await self._note([{**done, "status": "completed"}, *made])
        return len(made)

    async def _lease(self, id: str) -> Resource | None:
        """The request, for this process alone; None when it is another's, or not due any more."""
        plan = Plan(self._services, ())
        request = await plan.current("CommunicationRequest", id)
        if request is None or request["status"] != "active":
            return None
        until = extension_value(request, LEASE)
        if until is not None and parse_interval(until)[0] > plan.now:
            return None
        leased = with_extension(request, LEASE, valueInstant=format_instant(plan.now + LEASED_FOR))
        op = prepare(self._services, "PUT", leased, id)
        try:
            await commit(self._services, [op], plan.preconditions, [leased])
        except Stale:
            return None
        return leased

    async def _deliver(self, request: Resource, number: int, recipient: Resource) -> Resource:
        """Send to one recipient, the first being 1; the Communication that tells. Raises OSError."""
        reference = local_reference(recipient)
        who: Resource = {}
        if reference is not None:
            type, _, key = reference.partition("/")
            who = await Plan(self._services, ()).current(type, key) or {}
        channel, address = next((c, a) for c in self._channels if (a := c.address_of(who)) is not None)
        id = self._services.new_id()
        text = "\n".join(p["contentString"] for p in request.get("payload", ()) if "contentString" in p)
        occasion = request["category"][0]["coding"][0]["code"]
        # of letters, digits, dots and hyphens alone: it is part of a Message-ID
        due = "".join(filter(str.isdigit, request["occurrenceDateTime"]))
        stable = f"{request['id']}.{due}.{number}"
        message = Message(
            stable, str(recipient.get("reference")), address, SUBJECTS.get(occasion, "Message"), text
        )
        await channel.send(message)
        return self._communication(id, request, recipient, channel.medium)

    def _communication(self, id: str, request: Resource, recipient: Resource, medium: str) -> Resource:
        made: dict[str, Any] = {
            "resourceType": "Communication",
            "id": id,
            "basedOn": [{"reference": f"CommunicationRequest/{request['id']}"}],
            "status": "completed",
            "category": request["category"],
            "medium": [{"coding": [{"system": MODES, "code": medium}]}],
            "about": request.get("about", []),
            "sent": format_instant(self._services.clock()),
            "recipient": [recipient],
            "payload": request.get("payload", []),
        }
        if "subject" in request:
            made["subject"] = request["subject"]
        return {k: v for k, v in made.items() if v != []}

    async def _failed(self, leased: Resource, error: OSError) -> None:
        """Try again when the lease is over; after some attempts the request is put on hold for people to see to."""
        attempts = 1 + (extension_value(leased, ATTEMPTS) or 0)
        log.warning("message not sent", id=leased["id"], attempt=attempts, error=type(error).__name__)
        after = with_extension(leased, ATTEMPTS, valuePositiveInt=attempts)
        if attempts >= MOST_ATTEMPTS:
            reason = {"text": f"It could not be sent: {type(error).__name__}."}
            after = {**without_extension(after, LEASE), "status": "on-hold", "statusReason": reason}
        await self._note([after])

    async def _note(self, resources: Sequence[Resource]) -> None:
        ops = [prepare(self._services, "PUT", r, r["id"]) for r in resources]
        await commit(self._services, ops, (), list(resources))
