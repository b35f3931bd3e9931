"""Schedules as they can be booked: with their rules, and whose time they give away.

An invariant to keep: what a Schedule depends on is read in as many rounds as the resources are apart, not one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fhir_r4.jsonio import decode_object
from fhir_server.context import Resource, Services
from fhir_server.resources.scheduling.related import STEPS
from fhir_server.resources.scheduling.rules import (
    ScheduleRules,
    local_reference,
    related_references,
    schedule_rules,
)
from fhir_server.store.records import Stored


@dataclass(frozen=True, slots=True)
class Bookable:
    """A Schedule whose time can be given away.

    `sequence` is that of its version; `related` are the resources that it depends on, by reference; `people` the local
    references of those whose time is claimed.
    """

    schedule: Resource
    sequence: int
    related: Mapping[str, Resource]
    rules: ScheduleRules
    people: tuple[str, ...]

    @property
    def reference(self) -> str:
        return f"Schedule/{self.schedule['id']}"


async def read_bookables(
    services: Services, ids: Iterable[str], service: str | None = None
) -> tuple[Bookable, ...]:
    """The Schedules with these ids that exist and are active, in that order.

    `service` is the reference of the HealthcareService that is asked for. Raises BusinessRule for rules that make no sense.
    """
    wanted = list(dict.fromkeys(ids))
    stored = await services.store.read_many([("Schedule", id) for id in wanted])
    found = [stored["Schedule", id] for id in wanted if ("Schedule", id) in stored]
    return await bookables_of(services, found, service)


async def bookables_of(
    services: Services, versions: Sequence[Stored], service: str | None = None
) -> tuple[Bookable, ...]:
    """The Schedules of these versions, with what they depend on as it is now."""
    known = await _related(services, [version.body for version in versions])
    zone = services.settings.default_timezone
    made = (_bookable(v.body, v.sequence, _reachable(v.body, known), zone, service) for v in versions)
    return tuple(bookable for bookable in made if bookable.rules.active)


async def _related(services: Services, bodies: Sequence[bytes]) -> dict[str, bytes]:
    """The bodies of all that the rules of these Schedules may come from, by reference."""
    found: dict[str, bytes] = {}
    asked: set[str] = set()
    waiting = [reference for body in bodies for reference in _references(body)]
    for _ in range(STEPS):
        missing = set(waiting) - asked
        if not missing:
            break
        asked |= missing
        stored = await services.store.read_many([_key(reference) for reference in missing])
        waiting = []
        for (type, id), version in stored.items():
            found[f"{type}/{id}"] = version.body
            waiting += _references(version.body)
    return found


def _reachable(schedule: bytes, known: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """The bodies of those from which the rules of the Schedule may come, nearest first."""
    found: dict[str, bytes] = {}
    waiting = _references(schedule)
    while waiting:
        following: list[str] = []
        for reference in waiting:
            if reference in known and reference not in found:
                found[reference] = known[reference]
                following += _references(known[reference])
        waiting = tuple(following)
    return tuple(found.values())


# What a version says never changes, so it is read once: a question looks at hundreds of them.


@lru_cache(4096)
def _resource(body: bytes) -> Resource:
    return decode_object(body)


@lru_cache(4096)
def _references(body: bytes) -> tuple[str, ...]:
    return tuple(related_references(_resource(body)))


@lru_cache(1024)
def _bookable(
    body: bytes, sequence: int, bodies: tuple[bytes, ...], zone: str, service: str | None
) -> Bookable:
    schedule = _resource(body)
    related = {f"{r['resourceType']}/{r['id']}": r for r in map(_resource, bodies)}
    rules = schedule_rules(schedule, related, zone, service)
    return Bookable(schedule, sequence, related, rules, _people(rules, related))


def _people(rules: ScheduleRules, related: Mapping[str, Resource]) -> tuple[str, ...]:
    """The actors, for a role the practitioner in it: whatever takes the time of a role takes that of the person."""
    people: list[str] = []
    for actor in rules.actors:
        person = local_reference(related.get(actor, {}).get("practitioner", {}))
        people.append(actor if person is None else person)
    return tuple(dict.fromkeys(people))


def _key(reference: str) -> tuple[str, str]:
    type, _, id = reference.partition("/")
    return type, id


def longest_reach(bookables: Collection[Bookable]) -> int:
    """How far the claims of a booking reach beyond it, at the most (microseconds)."""
    return max((max(b.rules.buffer_before, b.rules.buffer_after) for b in bookables), default=0)
