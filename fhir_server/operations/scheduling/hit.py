"""The live Appointments of a Schedule's actors at some time.

An invariant to keep: what is looked for here is what holds the time of the actors: as participants, or by a Slot.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.temporal import DAY
from fhir_server.context import Resource
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.resources.scheduling.lifecycle import LIVE, is_live, period_of
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.search.tree import DateIs, Expression, RefersTo, TokenIs, all_of, any_of

MOST = 5000
# an Appointment is found by its start: none that still lasts began longer ago
LONGEST = 7 * DAY


async def appointments_hit(
    schedule: Resource, actors: Sequence[str], span: Interval, known: Known
) -> dict[str, Resource]:
    """The live Appointments that overlap `span`, by reference, the earliest first."""
    low, high = span
    when: list[Expression] = [
        DateIs("date", "ge", low - LONGEST, low - LONGEST + 1),
        DateIs("date", "lt", high, high + 1),
        any_of(TokenIs("status", None, status) for status in LIVE),
    ]
    people = await people_of(actors, known)
    found = await known.find(
        "Appointment", all_of([any_of(_refers("actor", p) for p in people), *when]), MOST
    )
    slots = await known.find(
        "Slot",
        all_of(
            [
                RefersTo("schedule", "Schedule", schedule["id"]),
                DateIs("start", "ge", low - LONGEST, low - LONGEST + 1),
                DateIs("start", "lt", high, high + 1),
                any_of(TokenIs("status", None, status) for status in ("busy", "busy-tentative")),
            ]
        ),
        MOST,
    )
    if slots:
        named = any_of(RefersTo("slot", "Slot", slot["id"]) for slot in slots)
        found += await known.find("Appointment", all_of([named, *when]), MOST)
    hit = {
        f"Appointment/{a['id']}": (period, a)
        for a in found
        if is_live(a, known.now)
        and (period := period_of(a)) is not None
        and period[0] < high
        and period[1] > low
    }
    return {key: a for key, (_, a) in sorted(hit.items(), key=lambda item: item[1][0])}


async def people_of(actors: Sequence[str], known: Known) -> list[str]:
    """The actors, the practitioners behind roles among them, and all roles of these."""
    people = dict.fromkeys(actors)
    for actor in actors:
        if actor.startswith("PractitionerRole/"):
            role = await known.current("PractitionerRole", actor.partition("/")[2])
            person = None if role is None else local_reference(role.get("practitioner", {}))
            if person is not None:
                people[person] = None
    for person in [p for p in people if p.startswith("Practitioner/")]:
        roles = await known.find("PractitionerRole", _refers("practitioner", person))
        people.update(dict.fromkeys(f"PractitionerRole/{role['id']}" for role in roles))
    return list(people)


def _refers(param: str, reference: str) -> Expression:
    type, _, id = reference.partition("/")
    return RefersTo(param, type, id)
