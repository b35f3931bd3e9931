"""The manner of Task: each kind of Task that the server itself knows is judged by its own domain."""

from __future__ import annotations

from fhir_server.context import Services
from fhir_server.resources.beds.housekeeping import judge_task
from fhir_server.resources.billing.approvals import is_approval, judge_approval
from fhir_server.resources.change import Change, Consequence, Known, Manners


async def judge(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of a Task. Raises BusinessRule."""
    if is_approval(change.before) or is_approval(change.after):
        return await judge_approval(change, known, services)
    return await judge_task(change, known, services)


TASK = Manners(judge)
