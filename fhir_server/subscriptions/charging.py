"""Charges as things are done: the change feed tells of an event, and its charges are written in one commit with the cursor.

An invariant to keep: an event that was charged already, by this or by `Account/$capture-charges` or by hand, is not charged again.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.resources.billing.capturing import Capture, account_of, keys_on
from fhir_server.resources.billing.events import EVENTS, was_done
from fhir_server.resources.billing.price_list import price_list
from fhir_server.store.records import Stored

log = structlog.get_logger("osler.charging")

# how many charges an event may have
MOST = 1000


class ChargeReactions:
    """What events lead to on a server that charges as things are done."""

    types = tuple(EVENTS)

    def __init__(self, services: Services) -> None:
        self._services = services

    async def react(self, changes: Sequence[Stored], plan: Plan) -> Sequence[Resource]:
        """The charges of the events that were written: their last state counts."""
        if (await price_list(self._services)).empty:
            return ()
        captures: dict[str, Capture] = {}
        for type, id in dict.fromkeys((c.type, c.id) for c in changes):
            event = await plan.current(type, id)
            if event is None or not was_done(event):
                continue
            found = await account_of(event, plan, self._services)
            if found is None or not await self._takes(found[0], plan):
                continue
            capture = captures.setdefault(found[0], Capture(plan, self._services, found[0]))
            capture.know(await keys_on(plan, self._services, type, id, MOST))
            await capture.event(event, found[1])
        made: dict[str, Resource] = {}
        for capture in captures.values():
            made |= {charge["id"]: charge for charge in await capture.free()}
            for problem in capture.found.problems:
                log.warning("not charged", what=problem.expression[0], reason=problem.diagnostics[:300])
        return list(made.values())

    async def _takes(self, account: str, plan: Plan) -> bool:
        """Whether the account takes charges."""
        found = await plan.current("Account", account)
        return found is not None and found.get("status") in ("active", "on-hold")
