"""What changes of Appointments lead to: reminders, and offers to those who wait. docs/appointments.md"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.interactions.writing import commit, prepare
from fhir_server.resources.scheduling.lifecycle import (
    HOLD_EXPIRES,
    hold_expiry,
    is_live,
    period_of,
    without_extension,
)
from fhir_server.resources.scheduling.notices import notice_of
from fhir_server.resources.scheduling.offers import (
    best_candidate,
    has_released,
    is_offer,
    offered,
    with_actors,
    withdrawn,
)
from fhir_server.resources.scheduling.reminding import reminder_id, reminder_of
from fhir_server.resources.scheduling.taking import taken_by, zone_of
from fhir_server.search.tree import TokenIs
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored

MOST_WAITING = 5000
MOST_TIDIED = 200


class AppointmentReactions:
    """The reactions of a server; `reminders` is the wall time of reminders on the day before, '' for none."""

    def __init__(self, services: Services, reminders: str) -> None:
        self._services = services
        self._reminders = reminders

    async def react(self, changes: Sequence[Stored], plan: Plan) -> Sequence[Resource]:
        """What the changes lead to, in one commit: the last state of an Appointment counts."""
        made: dict[tuple[str, str], Resource] = {}
        for change in changes:
            if change.type == "Appointment":
                for resource in await self._of_one(change, plan, made):
                    made[resource["resourceType"], resource["id"]] = resource
        return list(made.values())

    async def _of_one(
        self, change: Stored, plan: Plan, made: dict[tuple[str, str], Resource]
    ) -> list[Resource]:
        current = await plan.current("Appointment", change.id)
        found: list[Resource] = []
        if self._reminders:
            kept = await plan.current("CommunicationRequest", reminder_id(change.id))
            zone = await self._zone(current, plan)
            wanted = reminder_of(change.id, current, kept, self._reminders, zone, plan.now)
            found += [] if wanted is None else [wanted]
        if change.version > 1:
            before = await self._services.store.read_version("Appointment", change.id, change.version - 1)
            if before is not None and not before.deleted:
                found += await self._offer(decode_object(before.body), current, plan, made)
        return found

    async def _offer(
        self, before: Resource, current: Resource | None, plan: Plan, made: dict[tuple[str, str], Resource]
    ) -> list[Resource]:
        if not has_released(before, current, plan.now):
            return []
        return await offers_of(before, plan, self._services, made)

    async def _zone(self, appointment: Resource | None, plan: Plan) -> str:
        return await zone_of(appointment, plan, self._services.settings.default_timezone)

    async def tidy(self) -> int:
        """End the holds that have expired: an offer goes back to the waiting list; how many."""
        plan = Plan(self._services, ())
        ids = await self._services.store.matching_ids(
            "Appointment", TokenIs("status", None, "pending"), MOST_WAITING
        )
        done = 0
        for id in ids:
            appointment = await plan.current("Appointment", id)
            if appointment is None or hold_expiry(appointment) is None or is_live(appointment, plan.now):
                continue
            after = withdrawn(appointment) if is_offer(appointment) else expired(appointment)
            single = Plan(self._services, ())
            if await single.current("Appointment", id) != appointment:
                continue
            try:
                op = prepare(self._services, "PUT", after, id)
                await commit(self._services, [op], single.preconditions, [after])
            except Stale:
                continue
            done += 1
            if done == MOST_TIDIED:
                break
        return done


async def offers_of(
    released: Resource, plan: Plan, services: Services, made: dict[tuple[str, str], Resource]
) -> list[Resource]:
    """The offer of a released time to the first of those who wait, and the message that tells; empty without any."""
    period = period_of(released)
    if period is None or period[0] <= plan.now:
        return []
    taken = await taken_by(released, plan, services.settings.default_timezone)
    released = with_actors(released, taken.actors)
    zone = await zone_of(released, plan, services.settings.default_timezone)
    try:
        waiting = await plan.find("Appointment", TokenIs("status", None, "waitlist"), MOST_WAITING)
    except BusinessRule:
        return []
    free = [w for w in waiting if ("Appointment", w["id"]) not in made]
    candidate = best_candidate(released, free, plan.now)
    if candidate is None:
        return []
    offer = offered(candidate, released, plan.now)
    until = hold_expiry(offer)
    assert until is not None
    id = f"offer-{candidate['id'][:36]}-{period[0] // 1_000_000}"
    notice = notice_of(
        offer,
        "offer",
        id,
        plan.now,
        zone=zone,
        until=until,
    )
    return [offer] if notice is None else [offer, notice]


def expired(hold: Resource) -> Resource:
    """A hold that ended by itself, cancelled."""
    until = hold_expiry(hold) or 0
    reason = {"text": f"The hold has expired at {format_instant(until)}."}
    return {**without_extension(hold, HOLD_EXPIRES), "status": "cancelled", "cancelationReason": reason}
