"""Slots that somebody has published on a Schedule for which no hours are stated: they say when it can be booked.

An invariant to keep: a Slot whose hold has expired is free, whether or not its status says so already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fhir_r4.errors import BusinessRule
from fhir_r4.jsonio import decode_object
from fhir_server.context import Resource, Services
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.resources.scheduling.lifecycle import hold_expiry, is_live, period_of
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.resources.scheduling.taking import slot_key, slots_of
from fhir_server.search.rewrite import Policy, limited
from fhir_server.search.tree import DateIs, RefersTo, TokenIs, all_of, any_of
from fhir_server.store.records import Stored

MOST_SLOTS = 10_000


@dataclass(frozen=True, slots=True)
class Published:
    """A Slot in [low, high), with the sequence of its version."""

    slot: Resource
    sequence: int
    low: int
    high: int

    @property
    def key(self) -> str:
        return slot_key(self.slot["id"])

    @property
    def length(self) -> int:
        return self.high - self.low


async def published(
    services: Services, schedules: Sequence[str], period: Interval, policy: Policy | None = None
) -> dict[str, list[Published]]:
    """The Slots of the Schedules with these ids that are free or held, within `period`, by reference of the Schedule; as far as
    `policy` shows them.

    Raises BusinessRule when there are too many to look at.
    """
    where = all_of(
        [
            any_of(RefersTo("schedule", "Schedule", id) for id in schedules),
            any_of(TokenIs("status", None, status) for status in ("free", "busy-tentative")),
            DateIs("start", "ge", period[0], period[0] + 1),
            DateIs("start", "lt", period[1], period[1] + 1),
        ]
    )
    ids = await services.store.matching_ids("Slot", limited(where, ("Slot",), policy), MOST_SLOTS + 1)
    if len(ids) > MOST_SLOTS:
        raise BusinessRule(
            f"More than {MOST_SLOTS} Slots would have to be looked at; ask for a shorter time."
        )
    versions = await services.store.read_many([("Slot", id) for id in ids])
    slots = [(decode_object(version.body), version) for version in versions.values()]
    expired = await _expired(
        services, [slot["id"] for slot, _ in slots if slot["status"] == "busy-tentative"]
    )
    found: dict[str, list[Published]] = {}
    for slot, version in slots:
        period_ = period_of(slot)
        schedule = local_reference(slot["schedule"])
        if period_ is None or schedule is None or period_[1] > period[1]:
            continue
        if slot["status"] == "free" or slot["id"] in expired:
            found.setdefault(schedule, []).append(_published(slot, version, period_))
    return found


def _published(slot: Resource, version: Stored, period: Interval) -> Published:
    return Published(slot, version.sequence, *period)


async def _expired(services: Services, ids: Sequence[str]) -> set[str]:
    """Those of the Slots that are kept by nothing but holds which have expired."""
    if not ids:
        return set()
    where = all_of([any_of(RefersTo("slot", "Slot", id) for id in ids), TokenIs("status", None, "pending")])
    holding = await services.store.matching_ids("Appointment", where, MOST_SLOTS)
    versions = await services.store.read_many([("Appointment", id) for id in holding])
    now = services.clock()
    over: set[str] = set()
    kept: set[str] = set()
    for version in versions.values():
        appointment = decode_object(version.body)
        if is_live(appointment, now):
            kept.update(slots_of(appointment))
        elif hold_expiry(appointment) is not None:
            over.update(slots_of(appointment))
    return over - kept
