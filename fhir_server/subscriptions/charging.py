"""Charges as things are done: the change feed tells of an event, and its charges are written in one commit with the cursor.

A stay is charged by its days, whenever it changes and, while it goes on, once a day. An invariant to keep: an event that was charged already,
by this or by `Account/$capture-charges` or by hand, is not charged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial

import structlog

from fhir_r4.errors import BusinessRule, FhirError
from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.writing import commit, prepare
from fhir_server.resources.beds.stays import INPATIENT, PRESENT
from fhir_server.resources.billing.capturing import Capture, account_of, charges_on
from fhir_server.resources.billing.events import BED_DAY, EVENTS
from fhir_server.resources.billing.price_list import price_list
from fhir_server.resources.billing.settings import day_at
from fhir_server.search.tree import SearchQuery, TokenIs, all_of, any_of
from fhir_server.store.records import Stored

log = structlog.get_logger("osler.charging")

# how many charges an event or a stay may have
MOST = 10_000
PAGE = 200
STAYS = all_of(
    [
        any_of(TokenIs("status", None, status) for status in sorted(PRESENT)),
        any_of(TokenIs("class", None, code) for code in sorted(INPATIENT)),
    ]
)


class ChargeReactions:
    """What events lead to on a server that charges as things are done."""

    types = tuple(EVENTS)

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counted: date | None = None

    async def react(self, changes: Sequence[Stored], plan: Plan) -> Sequence[Resource]:
        """The charges of the events that were written, made, changed or taken back: their last state counts."""
        if (await price_list(self._services)).empty:
            return ()
        captures: dict[str, Capture] = {}
        for type, id in dict.fromkeys((c.type, c.id) for c in changes):
            event = await plan.current(type, id)
            found = None if event is None else await account_of(event, plan, self._services)
            if event is None or found is None or not await self._takes(found[0], plan):
                continue
            capture = captures.setdefault(found[0], Capture(plan, self._services, found[0]))
            try:
                capture.know(await charges_on(plan, self._services, type, id, MOST))
                await capture.event(event, found[1])
                if type == "Encounter":
                    await capture.bed_days(event, plan.now + 1)
            except BusinessRule as problem:
                log.warning("not charged", what=f"{type}/{id}", reason=str(problem)[:300])
        made: dict[str, Resource] = {}
        for capture in captures.values():
            made |= {charge["id"]: charge for charge in await _written(capture)}
        return list(made.values())

    async def count_days(self) -> int:
        """Charge the days of the stays that go on, once a day by the clocks of the hospital; how many charges were written.

        Every server of a house does so: what one has charged the others find. A stay that fails is told and left for the next day.
        """
        today = day_at(self._services.clock(), self._services.settings.default_timezone)
        if self._counted == today:
            return 0
        written = 0
        if (await price_list(self._services)).urls_for([BED_DAY]):
            cursor = None
            while True:
                query = SearchQuery(("Encounter",), STAYS, count=PAGE, cursor=cursor)
                page = await self._services.store.search(query)
                for stay in page.matches:
                    try:
                        written += await retrying(partial(self._count, stay.id))
                    except FhirError as error:
                        log.warning("not charged", what=f"Encounter/{stay.id}", reason=str(error)[:300])
                cursor = page.next
                if cursor is None:
                    break
        self._counted = today
        return written

    async def _count(self, id: str) -> int:
        """Charge the days of one stay, in a commit of its own."""
        plan = Plan(self._services, ())
        stay = await plan.current("Encounter", id)
        found = None if stay is None else await account_of(stay, plan, self._services)
        if stay is None or found is None or not await self._takes(found[0], plan):
            return 0
        charged = await charges_on(plan, self._services, "Encounter", id, MOST)
        capture = Capture(plan, self._services, found[0], charged)
        await capture.bed_days(stay, plan.now + 1)
        made = await _written(capture)
        if made:
            ops = [prepare(self._services, "PUT", charge, charge["id"]) for charge in made]
            await commit(self._services, ops, plan.preconditions, made)
        return len(made)

    async def _takes(self, account: str, plan: Plan) -> bool:
        """Whether the account takes charges."""
        found = await plan.current("Account", account)
        return found is not None and found.get("status") in ("active", "on-hold")


async def _written(capture: Capture) -> list[Resource]:
    """What a capture writes; what it could not do is told to the log."""
    writes = await capture.writes()
    for problem in capture.found.problems:
        log.warning("not charged", what=problem.expression[0], reason=problem.diagnostics[:300])
    return writes
