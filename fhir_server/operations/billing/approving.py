"""What operations have in common that a second person approves above a limit: the Task that asks for it, and the one that gave it."""

from __future__ import annotations

from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.requesting import reference_ids
from fhir_server.operations.given import Given
from fhir_server.resources.billing.approvals import (
    Kind,
    approval_extension,
    approval_task,
    needs_approval,
)
from fhir_server.resources.change import Known


def approvals_named(asked: Given, services: Services) -> list[Resource]:
    """The extension of a document for the Task that the parameter `approval` names."""
    return [approval_extension(id) for id in reference_ids(asked, "approval", "Task", services)]


async def ask_for_approval(
    kind: Kind,
    asked: Given,
    focus: str,
    amount: Decimal,
    before: Decimal,
    currency: str,
    known: Known,
    services: Services,
) -> Write | None:
    """The Task that asks for the approval of an amount, when it is needed and the call names none.

    `before` is what was decided about the document with the id `focus` earlier. Raises BusinessRule when nobody says who asks.
    """
    if approvals_named(asked, services):
        return None
    if not await needs_approval(kind, before + amount, currency, known, services):
        return None
    asker = asked.one("requester")
    if asker is None or "reference" not in asker:
        raise BusinessRule(
            "An amount above the limit needs to be known who asks for it: the parameter requester.",
            "requester",
        )
    reason = asked.one("reason")
    task = approval_task(kind, services.new_id(), focus, amount, currency, known.now, asker, reason)
    return Write(task, "POST", True)
