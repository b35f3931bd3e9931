"""Four eyes: what goes out, is taken back or is given up above a limit needs a Task that somebody else than who asked has completed.

https://hl7.org/fhir/R4/task.html. The limits stand in the dated settings. A Task approves one thing about one document, up to its
amount, and once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.money import amount_of, money
from fhir_server.resources.billing.payments import APPROVAL
from fhir_server.resources.billing.settings import (
    CREDIT_LIMIT,
    DISCOUNT_LIMIT,
    SETTINGS_ID,
    WRITE_OFF_LIMIT,
    Limit,
    settings_now,
)
from fhir_server.resources.change import NOTHING, Change, Consequence, Known
from fhir_server.store.records import Claim

SYSTEM = "https://osler.health/fhir/CodeSystem/billing-task"
RULES = "https://osler.health/fhir/CodeSystem/billing-rule"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is approved: the code of the Task, the type of the document that it is about, and the limit of its own in the settings."""

    code: str
    display: str
    focus: str
    limit: str = ""


REFUND = Kind("approve-refund", "Approve a refund", "PaymentReconciliation")
CREDIT = Kind("approve-credit", "Approve a credit note", "Invoice", CREDIT_LIMIT)
WRITE_OFF = Kind("approve-write-off", "Approve a write-off", "Invoice", WRITE_OFF_LIMIT)
DISCOUNT = Kind("approve-discount", "Approve a discount", "Invoice", DISCOUNT_LIMIT)
KINDS = (REFUND, CREDIT, WRITE_OFF, DISCOUNT)


async def limit_of(kind: Kind, known: Known, services: Services) -> Limit | None:
    """The amount up to which one person may decide today; None without a limit."""
    resource = await known.current("Basic", SETTINGS_ID)
    return settings_now(resource, known.now, services.settings.default_timezone).limit_of(kind.limit)


async def needs_approval(
    kind: Kind, amount: Decimal, currency: str, known: Known, services: Services
) -> bool:
    """Whether a second person has to agree; so is everything in another currency than the limit's."""
    limit = await limit_of(kind, known, services)
    return limit is not None and (currency != limit.currency or amount > limit.value)


def approval_of(resource: Mapping[str, Any], services: Services) -> str | None:
    """The id of the Task that a document names as its approval."""
    found = (e for e in resource.get("extension", ()) if e.get("url") == APPROVAL)
    bases = services.settings.local_bases
    return next((local_id(e.get("valueReference"), "Task", bases) for e in found), None)


def approval_claims(resource: Mapping[str, Any], services: Services) -> tuple[Claim, ...]:
    """A Task approves once: what a document that names one holds."""
    id = approval_of(resource, services)
    return () if id is None else (Claim(f"approval:Task/{id}"),)


def approval_extension(task: str) -> Resource:
    return {"url": APPROVAL, "valueReference": {"reference": f"Task/{task}"}}


async def require_approval(
    kind: Kind,
    resource: Mapping[str, Any],
    focus: str,
    amount: Decimal,
    before: Decimal,
    currency: str,
    known: Known,
    services: Services,
) -> None:
    """Raise BusinessRule when a document needs approval and names no Task that gives it.

    The limit is for all that is decided about the document with the id `focus`: `before` is what was decided earlier.
    """
    id = approval_of(resource, services)
    if id is None and not await needs_approval(kind, before + amount, currency, known, services):
        return
    task = None if id is None else await known.current("Task", id)
    why = (
        "names no Task that approves it"
        if task is None
        else _why_not(kind, task, focus, amount, currency, services)
    )
    if why is not None:
        type = resource["resourceType"]
        text = f"{kind.display}: {amount} {currency} need a second person; {type}/{resource['id']} {why}."
        issue = Issue("error", "business-rule", text, (f"{type}.extension",), (RULES, "approval-needed"))
        raise BusinessRule(text, issues=[issue])


def _why_not(
    kind: Kind, task: Mapping[str, Any], focus: str, amount: Decimal, currency: str, services: Services
) -> str | None:
    name = f"Task/{task['id']}"
    about = local_id(task.get("focus"), kind.focus, services.settings.local_bases)
    if kind_of(task) != kind or about != focus:
        return f"names {name}, which is about something else"
    if task.get("status") != "completed":
        return f"names {name}, which is {task.get('status')}"
    allowed = next((i["valueMoney"] for i in task.get("input", ()) if "valueMoney" in i), None)
    if allowed is None or allowed.get("currency") != currency or amount_of(allowed, "Task.input") < amount:
        return f"names {name}, which approves less"
    return None


def kind_of(task: Mapping[str, Any] | None) -> Kind | None:
    """What a Task approves; None for one that is about something else."""
    codings = () if task is None else task.get("code", {}).get("coding", ())
    codes = {c.get("code") for c in codings if c.get("system") == SYSTEM}
    return next((kind for kind in KINDS if kind.code in codes), None)


def is_approval(task: Mapping[str, Any] | None) -> bool:
    return kind_of(task) is not None


def approval_task(
    kind: Kind,
    id: str,
    focus: str,
    amount: Decimal,
    currency: str,
    now: int,
    requester: Resource,
    reason: Any = None,
) -> Resource:
    """The Task that asks a second person to approve an amount about the document with the id `focus`.

    `reason` is a text or a CodeableConcept.
    """
    made: Resource = {
        "resourceType": "Task",
        "id": id,
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": {"coding": [{"system": SYSTEM, "code": kind.code, "display": kind.display}]},
        "focus": {"reference": f"{kind.focus}/{focus}"},
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
        "requester": requester,
        "input": [{"type": {"text": "Amount"}, "valueMoney": money(amount, currency)}],
    }
    if isinstance(reason, str):
        made["description"] = reason
    elif reason is not None:
        made["reasonCode"] = reason
    return made


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
    for member in ("focus", "input", "requester", "code", "reasonCode"):
        if before.get(member) != after.get(member):
            raise BusinessRule(f"Task.{member} is what was asked for and stays.", f"Task.{member}")
    owner, requester = (after.get(who, {}).get("reference") for who in ("owner", "requester"))
    if owner is None or requester is None or owner == requester:
        raise BusinessRule(
            "A second person approves: Task.owner is somebody else than Task.requester.", "Task.owner"
        )
    return NOTHING
