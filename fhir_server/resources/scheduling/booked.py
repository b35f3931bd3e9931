"""Which Schedules, and which service, an Appointment was proposed for: by their rules its time is taken. Pure.

Somebody may have several Schedules with rules of their own. A proposal names the ones that it follows by extensions of the
Appointment. An invariant to keep: what was offered by the rules of a Schedule is taken by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fhir_server.context import Resource
from fhir_server.resources.scheduling.rules import local_reference

SCHEDULE = "https://osler.health/fhir/StructureDefinition/booked-schedule"
SERVICE = "https://osler.health/fhir/StructureDefinition/booked-service"


def booked_schedules(appointment: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the Schedules of this server that it names."""
    named = _references(appointment, SCHEDULE)
    return tuple(n.removeprefix("Schedule/") for n in named if n.startswith("Schedule/"))


def booked_service(appointment: Mapping[str, Any]) -> str | None:
    """The reference of the HealthcareService that it names."""
    return next(iter(_references(appointment, SERVICE)), None)


def booking(schedules: Iterable[str], service: str | None) -> list[dict[str, Any]]:
    """The extensions that name these references."""
    made = [{"url": SCHEDULE, "valueReference": {"reference": schedule}} for schedule in schedules]
    return made if service is None else [*made, {"url": SERVICE, "valueReference": {"reference": service}}]


def booked_as(appointment: Resource, proposed: Resource) -> Resource:
    """The Appointment with what the proposal names in place of what it named itself."""
    of_both = [(e, a) for a in (appointment, proposed) for e in a.get("extension", ())]
    kept = [e for e, a in of_both if (e.get("url") in (SCHEDULE, SERVICE)) == (a is proposed)]
    rest = {name: value for name, value in appointment.items() if name != "extension"}
    return {**rest, "extension": kept} if kept else rest


def _references(appointment: Mapping[str, Any], url: str) -> list[str]:
    found = (
        local_reference(e["valueReference"])
        for e in appointment.get("extension", ())
        if e.get("url") == url and "valueReference" in e
    )
    return [reference for reference in found if reference is not None]
