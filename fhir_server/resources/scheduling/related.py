"""Reads what the rules of a Schedule may come from: its actors, their services, places and organisations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fhir_server.context import Resource
from fhir_server.resources.scheduling.rules import ScheduleRules, related_references, schedule_rules

# gives the current resource of a type and id: `Known.current`
Read = Callable[[str, str], Awaitable[Resource | None]]

# a Schedule, its role, its place, the house that the place is in, and what that belongs to
STEPS = 4


async def read_related(schedule: Mapping[str, Any], read: Read) -> dict[str, Resource]:
    """The resources by reference, nearest first; what is not on this server is left out."""
    found: dict[str, Resource] = {}
    asked: set[str] = set()
    waiting = related_references(schedule)
    for _ in range(STEPS):
        following: list[str] = []
        for reference in waiting:
            if reference in asked:
                continue
            asked.add(reference)
            resource = await read(*reference.split("/"))
            if resource is not None:
                found[reference] = resource
                following += related_references(resource)
        waiting = following
    return found


async def rules_of(
    schedule: Mapping[str, Any], read: Read, default_zone: str, service: str | None = None
) -> ScheduleRules:
    """The rules of a Schedule, for the service that is asked for. Raises BusinessRule for rules that make no sense."""
    return schedule_rules(schedule, await read_related(schedule, read), default_zone, service)
