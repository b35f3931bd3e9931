"""The manner of Basic: settings of the hospital that begin one after another, the ledger, and what the server keeps itself."""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.context import Services
from fhir_server.resources.billing.entries import judge_entry
from fhir_server.resources.billing.numbering import COUNTER_PREFIX
from fhir_server.resources.billing.settings import SETTINGS_ID, check_settings, day_at
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners

# written as a consequence of other writes, and by nobody: the id begins so
OWN = (COUNTER_PREFIX,)


async def judge_basic(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of a Basic. Raises BusinessRule."""
    if _unchanged(change):
        return NOTHING
    if change.id == SETTINGS_ID:
        today = day_at(known.now, services.settings.default_timezone)
        check_settings(change.before, change.after, today)
    elif not change.derived and change.id.startswith(OWN):
        raise BusinessRule(
            f"Basic/{change.id} is kept by the server: it changes with the documents that it counts.", "Basic"
        )
    return judge_entry(change)


def _unchanged(change: Change) -> bool:
    before, after = change.before, change.after
    return before is not None and after is not None and {**before, "meta": None} == {**after, "meta": None}


BASIC = Manners(judge_basic, first=3)
