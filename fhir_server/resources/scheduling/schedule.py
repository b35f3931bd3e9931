"""What holds for a Schedule on every way to a write. https://hl7.org/fhir/R4/schedule.html

Its rules make sense, and it stays while its Slots are taken. An invariant to keep: a Schedule that changes changes what is
given away from then on; what was booked stays booked.
"""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.context import Services
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.resources.scheduling.related import rules_of
from fhir_server.resources.scheduling.slot_status import TAKEN, holders_of
from fhir_server.search.tree import DateIs, RefersTo, TokenIs, all_of, any_of

MOST_SLOTS = 1000


async def judge_schedule(change: Change, known: Known, services: Services) -> Consequence:
    """Refuse rules that make no sense, and the deletion of what bookings rely on."""
    if change.after is not None:
        await rules_of(change.after, known.current, services.settings.default_timezone)
        return NOTHING
    later = DateIs("start", "gt", known.now, known.now + 1)
    taken = any_of(TokenIs("status", None, status) for status in TAKEN)
    slots = await known.find(
        "Slot", all_of([RefersTo("schedule", "Schedule", change.id), taken, later]), MOST_SLOTS
    )
    for slot in slots:
        if await holders_of(slot["id"], known):
            raise BusinessRule(
                f"Schedule/{change.id} cannot be deleted: Slot/{slot['id']} is taken. Set it to inactive.",
                "Schedule",
            )
    return NOTHING


SCHEDULE = Manners(judge_schedule)
