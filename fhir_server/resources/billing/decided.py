"""The manners of claims and of what is decided about them: what was answered, posted or told stays as it is.

A Claim stays once it was answered, a ClaimResponse once it was posted, an ExplanationOfBenefit and a PaymentNotice once they are active and
about something of this house. An invariant to keep: what the shares of later claims are calculated from is not changed behind them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.claiming import POSTED, posted_id
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manner, Manners
from fhir_server.search.tree import RefersTo

# says why a resource that is changed stays as it is; None when it may be changed
Stays = Callable[[Resource, Known, Services], Awaitable[str | None]]


def _unchanged(before: Resource, after: Resource | None) -> bool:
    free = {"meta": None, "text": None}
    return after is not None and {**before, **free} == {**after, **free}


def _judging(stays: Stays) -> Manner:
    async def judge(change: Change, known: Known, services: Services) -> Consequence:
        """Refuse a change of what stays. Raises BusinessRule."""
        before = change.before
        if before is None or before.get("status") != "active" or _unchanged(before, change.after):
            return NOTHING
        why = await stays(before, known, services)
        if why is not None:
            raise BusinessRule(f"{change.type}/{change.id} {why}", change.type)
        return NOTHING

    return judge


async def _answered(claim: Resource, known: Known, services: Services) -> str | None:
    answers = await known.find("ClaimResponse", RefersTo("request", "Claim", claim["id"]))
    for answer in answers:
        live = answer.get("status") == "active"
        if live and (answer.get("outcome") != "error" or await is_posted(answer, known)):
            return "was submitted and answered; it stays as it is. Submit a new one that names it in related."
    return None


async def is_posted(response: Resource, known: Known) -> bool:
    """Whether a ClaimResponse is in the books."""
    for type in POSTED:
        if await known.current(type, posted_id(response["id"])) is not None:
            return True
    return False


async def _posted(response: Resource, known: Known, services: Services) -> str | None:
    if await is_posted(response, known):
        return "was posted and stays as it is; what is wrong is put right by a reversal and a new decision."
    return None


async def _explained(eob: Resource, known: Known, services: Services) -> str | None:
    id = local_id(eob.get("claimResponse"), "ClaimResponse", services.settings.local_bases)
    if id is not None and await known.current("ClaimResponse", id) is not None:
        return "tells of a decision that was made, and counts in the year of its coverage; it stays as it is."
    return None


async def _noticed(notice: Resource, known: Known, services: Services) -> str | None:
    id = local_id(notice.get("payment"), "PaymentReconciliation", services.settings.local_bases)
    if id is not None and await known.current("PaymentReconciliation", id) is not None:
        return "tells of a payment that was made; it stays as it is."
    return None


CLAIM = Manners(_judging(_answered))
CLAIM_RESPONSE = Manners(_judging(_posted))
EXPLANATION = Manners(_judging(_explained))
NOTICE = Manners(_judging(_noticed))
