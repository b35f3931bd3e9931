"""What holds for a Slot on every way to a write. https://hl7.org/fhir/R4/slot.html

Its state belongs to the server while Appointments hold it. A Slot that is `busy-unavailable` takes all the time of the
actors of its Schedule: a block.
"""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.rules import block_claims, is_over_bookings
from fhir_server.resources.scheduling.slot_status import TAKEN, followed, holders_of
from fhir_server.resources.scheduling.taking import slot_rules, with_practitioners
from fhir_server.store.records import Claim

# what an Appointment that holds a Slot relies on
FIXED = ("start", "end", "schedule")


async def judge_slot(change: Change, known: Known, services: Services) -> Consequence:
    """Refuse what contradicts the Appointments that hold the Slot; claim what a block takes."""
    after = change.after
    zone = services.settings.default_timezone
    if after is not None:
        _check_period(after)
    # what is new is named by nobody yet, and what the server writes follows from the holders
    holders = [] if change.derived or change.method == "POST" else await holders_of(change.id, known)
    if after is None:
        if holders:
            raise BusinessRule(f"Slot/{change.id} cannot be deleted: {_named(holders)} takes it.", "Slot")
        return NOTHING
    own = await _judge_held(change.before, after, holders, known, zone) if holders else None
    return Consequence(await _block(own or after, known, zone), own)


async def _judge_held(
    before: Resource | None, after: Resource, holders: list[Resource], known: Known, zone: str
) -> Resource | None:
    """The Slot as it is to be when what was sent is less exact; None when it is right."""
    for member in FIXED:
        if before is not None and before.get(member) != after.get(member):
            raise BusinessRule(
                f"{member} of Slot/{after['id']} cannot change: {_named(holders)} takes it.", f"Slot.{member}"
            )
    if after["status"] == "busy-unavailable" and is_over_bookings(after):
        return None
    if before is not None and before["status"] == after["status"] == "busy-unavailable":
        return None
    base = {**after, "status": "free"}
    right = await followed(base, holders, known, zone)
    if after["status"] == right["status"] or (after["status"] in TAKEN and right["status"] in TAKEN):
        return None if right == after else right
    raise BusinessRule(
        f"Slot/{after['id']} is {right['status']} because {_named(holders)} takes it; it cannot be {after['status']}.",
        "Slot.status",
    )


async def _block(slot: Resource, known: Known, zone: str) -> tuple[Claim, ...]:
    period = period_of(slot)
    if slot["status"] != "busy-unavailable" or period is None or period[1] <= known.now:
        return ()
    rules = await slot_rules(slot, known, zone)
    if rules is None:
        return ()
    over = is_over_bookings(slot)
    actors = await with_practitioners(dict.fromkeys(rules.actors, rules), known)
    return tuple(c for actor in actors for c in block_claims(actor, period, over_bookings=over))


def _check_period(slot: Resource) -> None:
    period = period_of(slot)
    if period is not None and period[0] >= period[1]:
        raise BusinessRule("A Slot ends after it begins.", "Slot.end")


def _named(holders: list[Resource]) -> str:
    return ", ".join(f"Appointment/{holder['id']}" for holder in holders[:3])


SLOT = Manners(judge_slot)
