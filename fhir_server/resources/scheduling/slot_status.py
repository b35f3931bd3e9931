"""The state of a Slot, as it follows from the Appointments that hold it. https://hl7.org/fhir/R4/valueset-slotstatus.html

An invariant to keep: a Slot that begins later is free, or not, as its live Appointments say; Slots that nobody can book
(`busy-unavailable`, `entered-in-error`) are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.context import Resource
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.lifecycle import LIVE, hold_expiry, is_live, period_of
from fhir_server.resources.scheduling.taking import CLOSED, is_overbooking, slot_rules
from fhir_server.search.tree import RefersTo, TokenIs, all_of, any_of

TAKEN = ("busy", "busy-tentative")
MOST_HOLDERS = 2000

_IS_LIVE = any_of(TokenIs("status", None, status) for status in LIVE)


async def holders_of(slot_id: str, known: Known) -> list[Resource]:
    """The live Appointments that name a Slot; holds that have expired are none."""
    found = await known.find(
        "Appointment", all_of([RefersTo("slot", "Slot", slot_id), _IS_LIVE]), MOST_HOLDERS
    )
    return [appointment for appointment in found if is_live(appointment, known.now)]


async def followed(slot: Resource, holders: Sequence[Resource], known: Known, zone: str) -> Resource:
    """The Slot with the state that follows from its holders."""
    if slot["status"] in CLOSED:
        return slot
    if not holders:
        period = period_of(slot)
        begun = period is None or period[0] <= known.now
        return slot if begun or slot["status"] == "free" else _with(slot, "free", False)
    rules = await slot_rules(slot, known, zone)
    capacity = 1 if rules is None else rules.capacity
    if len(holders) < capacity:
        return _with(slot, "free", False)
    certain = sum(holder["status"] != "pending" for holder in holders)
    return _with(slot, "busy" if certain >= capacity else "busy-tentative", _overbooked(holders, capacity))


def _overbooked(holders: Sequence[Resource], capacity: int) -> bool:
    """Whether more have it than it has room for.

    A hold that would be one too many is none: the claims let nobody in beside it, so it ends before this is committed.
    """
    kept = holders if any(map(is_overbooking, holders)) else [h for h in holders if hold_expiry(h) is None]
    return len(kept) > capacity


def _with(slot: Resource, status: str, overbooked: bool) -> Resource:
    changed = {**slot, "status": status}
    if overbooked:
        changed["overbooked"] = True
    elif changed.get("overbooked") is True:
        changed["overbooked"] = False
    return changed
