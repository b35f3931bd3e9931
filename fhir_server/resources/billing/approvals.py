"""Four eyes: what goes out above a limit needs a Task that somebody else than who asked has completed.

https://hl7.org/fhir/R4/task.html. The limit stands in the dated settings. A Task approves one payment out of one payment, up to its
amount, and once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.places import local_id
from fhir_server.resources.beds.surroundings import local_bases
from fhir_server.resources.billing.money import amount_of, money
from fhir_server.resources.billing.payments import APPROVAL
from fhir_server.resources.billing.settings import SETTINGS_ID, Limit, settings_now
from fhir_server.resources.change import NOTHING, Change, Consequence, Known

SYSTEM = "https://osler.health/fhir/CodeSystem/billing-task"
RULES = "https://osler.health/fhir/CodeSystem/billing-rule"
REFUND = "approve-refund"


async def limit_of(known: Known, services: Services) -> Limit | None:
    """The amount up to which one person may pay out today; None without a limit."""
    settings = await known.current("Basic", SETTINGS_ID)
    return settings_now(settings, known.now, services.settings.default_timezone).approval_limit


async def needs_approval(amount: Decimal, currency: str, known: Known, services: Services) -> bool:
    """Whether a second person has to agree; so is everything in another currency than the limit's."""
    limit = await limit_of(known, services)
    return limit is not None and (currency != limit.currency or amount > limit.value)


def approval_of(resource: Mapping[str, Any], services: Services) -> str | None:
    """The id of the Task that a payment out names as its approval."""
    found = (e for e in resource.get("extension", ()) if e.get("url") == APPROVAL)
    bases = local_bases(services)
    return next((local_id(e.get("valueReference"), "Task", bases) for e in found), None)


async def require_approval(
    resource: Mapping[str, Any],
    source: str,
    amount: Decimal,
    gone: Decimal,
    currency: str,
    known: Known,
    services: Services,
    *,
    new: bool,
) -> str | None:
    """The id of the Task that a payment out of payment `source` uses up. Raises BusinessRule when it needs one and has none.

    The limit is for all that goes out of one payment: `gone` is what has before. What is not `new` was judged when it was made.
    """
    id = approval_of(resource, services)
    if not new or (id is None and not await needs_approval(gone + amount, currency, known, services)):
        return id
    task = None if id is None else await known.current("Task", id)
    why = (
        "names no Task that approves it"
        if task is None
        else _why_not(task, source, amount, currency, services)
    )
    if why is not None:
        text = f"{amount} {currency} to go out need a second person: the payment {why}."
        place = ("PaymentReconciliation.extension",)
        issue = Issue("error", "business-rule", text, place, (RULES, "approval-needed"))
        raise BusinessRule(text, issues=[issue])
    return id


def _why_not(
    task: Mapping[str, Any], source: str, amount: Decimal, currency: str, services: Services
) -> str | None:
    name = f"Task/{task['id']}"
    focus = local_id(task.get("focus"), "PaymentReconciliation", local_bases(services))
    if not is_approval(task) or focus != source:
        return f"names {name}, which is about something else"
    if task.get("status") != "completed":
        return f"names {name}, which is {task.get('status')}"
    allowed = next((i["valueMoney"] for i in task.get("input", ()) if "valueMoney" in i), None)
    if allowed is None or allowed.get("currency") != currency or amount_of(allowed, "Task.input") < amount:
        return f"names {name}, which approves less"
    return None


def is_approval(task: Mapping[str, Any] | None) -> bool:
    codings = () if task is None else task.get("code", {}).get("coding", ())
    return any(c.get("system") == SYSTEM and c.get("code") == REFUND for c in codings)


def approval_task(
    id: str, source: str, amount: Decimal, currency: str, now: int, requester: Resource, reason: str | None
) -> Resource:
    """The Task that asks a second person to approve a payment out of payment `source`."""
    concept = {"coding": [{"system": SYSTEM, "code": REFUND, "display": "Approve a refund"}]}
    made: Resource = {
        "resourceType": "Task",
        "id": id,
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": concept,
        "focus": {"reference": f"PaymentReconciliation/{source}"},
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
        "requester": requester,
        "input": [{"type": {"text": "Amount"}, "valueMoney": money(amount, currency)}],
    }
    return made if reason is None else {**made, "description": reason}


async def judge_approval(change: Change, known: Known, services: Services) -> Consequence:
    """A Task of approval is completed by its owner, who is not who asked; then it stays. Raises BusinessRule."""
    before, after = change.before, change.after
    if is_approval(before) and before is not None and before.get("status") == "completed":
        if after is None or {**before, "meta": 0, "text": 0} != {**after, "meta": 0, "text": 0}:
            raise BusinessRule(f"Task/{change.id} has approved; it stays as it is.", "Task")
        return NOTHING
    if after is None or not is_approval(after) or after.get("status") != "completed":
        return NOTHING
    if not is_approval(before) or before is None:
        raise BusinessRule("What is to be approved is asked for first, then approved.", "Task.status")
    for member in ("focus", "input", "requester", "code"):
        if before.get(member) != after.get(member):
            raise BusinessRule(f"Task.{member} is what was asked for and stays.", f"Task.{member}")
    owner, requester = (after.get(who, {}).get("reference") for who in ("owner", "requester"))
    if owner is None or requester is None or owner == requester:
        raise BusinessRule(
            "A second person approves: Task.owner is somebody else than Task.requester.", "Task.owner"
        )
    return NOTHING
