"""What a result sets going: the order is done, a critical value must be acknowledged, a corrected result must be looked at again.

https://hl7.org/fhir/R4/task.html. An invariant to keep: each of these is asked for once, however often a result is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.temporal import format_instant
from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.draft import Draft, identified
from hl7_bridge.mapping.results.observations import SOURCE
from hl7_bridge.mapping.results.surroundings import Surroundings

TASKS = "https://osler.health/fhir/CodeSystem/result-task"
NUMBERS = "https://osler.health/fhir/hl7v2/result-task"
WORDS = {
    "acknowledge-critical-result": "Acknowledge a critical result",
    "review-corrected-result": "Review a corrected result",
}
FINISHED = frozenset({"final", "amended", "corrected", "appended"})


def close_order(order: Resource, draft: Draft) -> None:
    """The order is done: it has a result that holds."""
    if order.get("status") in ("active", "draft", "on-hold", "unknown"):
        draft.update({**order, "status": "completed"})


def ask(
    code: str,
    observation: Resource,
    reference: str,
    key: str,
    order: Resource | None,
    around: Surroundings,
) -> None:
    """Ask for somebody to look at a result, once for each `key`."""
    received = format_instant(around.context.receipt.received)
    task: Resource = {
        "resourceType": "Task",
        "meta": {"source": SOURCE + around.context.receipt.connection},
        "identifier": [{"system": NUMBERS, "value": f"{code}/{key}"}],
        "status": "requested",
        "intent": "order",
        "priority": "stat" if code == "acknowledge-critical-result" else "urgent",
        "code": {"coding": [{"system": TASKS, "code": code, "display": WORDS[code]}], "text": WORDS[code]},
        "focus": {"reference": reference},
        "for": observation["subject"],
        "authoredOn": received,
    }
    if "encounter" in observation:
        task["encounter"] = observation["encounter"]
    if order is not None:
        task["basedOn"] = [{"reference": f"ServiceRequest/{order['id']}"}]
        if "requester" in order:
            task["owner"] = order["requester"]
    around.draft.create(task, identified(NUMBERS, f"{code}/{key}"))


def is_finished(status: str) -> bool:
    """Whether a result of this status holds."""
    return status in FINISHED


def is_corrected(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Whether people may have acted on a result that has now been changed or withdrawn."""
    if new["status"] in ("corrected", "amended"):
        return old is None or old.get("status") != "registered"
    return new["status"] == "entered-in-error" and old is not None and old.get("status") in FINISHED
