"""What the operations of the cashier have in common in their parameters and answers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.operations.billing.requesting import require
from fhir_server.operations.given import Given
from fhir_server.resources.billing.invoicing import require_own
from fhir_server.resources.billing.money import ZERO, amount_of, currency_of
from fhir_server.resources.billing.payments import (
    METHOD,
    PAYER,
    REASON,
    RETURNED,
    TENDERED,
    is_payment,
)
from fhir_server.resources.change import Known

OSLER = "https://osler.health/fhir/OperationDefinition/"
METHODS = "https://osler.health/fhir/CodeSystem/payment-method"


async def require_invoice(known: Known, id: str | None) -> Resource:
    """The Invoice of this house. Raises NotFound, BusinessRule."""
    return require_own(await require(known, "Invoice", id))


async def require_account(known: Known, id: str | None) -> Resource:
    """The Account, which money can be kept for. Raises NotFound, BusinessRule."""
    found = await require(known, "Account", id)
    if found.get("status") == "entered-in-error":
        raise BusinessRule(f"Account/{id} was entered in error.", "Account.status")
    return found


async def require_payment(known: Known, id: str | None, services: Services) -> Resource:
    """The PaymentReconciliation of a payment that was made. Raises NotFound, BusinessRule."""
    found = await require(known, "PaymentReconciliation", id)
    if not is_payment(found, services.settings.local_bases):
        raise BusinessRule(
            f"PaymentReconciliation/{id} is no payment that was made.", "PaymentReconciliation"
        )
    return found


def positive(given: Given, name: str) -> tuple[Decimal, str] | None:
    """The amount and currency of a Money parameter; None without it. Raises BusinessRule unless it is above zero."""
    value = given.one(name)
    if value is None:
        return None
    amount = amount_of(value, name)
    if amount <= ZERO:
        raise BusinessRule(f"{name} is an amount above zero.", name)
    return amount, currency_of(value, name)


def require_currency_is(found: str, wanted: str, place: str) -> None:
    """Raise BusinessRule for an amount in another currency than the rest."""
    if found != wanted:
        raise BusinessRule(f"{place} is in {found}; the rest is in {wanted}.", place)


def holder_of(invoice: Resource, services: Services) -> str:
    """Who money beyond an Invoice is kept for: its Account, else its patient. Raises BusinessRule when there is neither."""
    bases = services.settings.local_bases
    for member, type in (("account", "Account"), ("subject", "Patient")):
        id = local_id(invoice.get(member), type, bases)
        if id is not None:
            return f"{type}/{id}"
    raise BusinessRule(
        f"Invoice/{invoice['id']} has neither an Account nor a patient to keep money for.", "Invoice"
    )


def method_concept(code: str) -> Resource:
    """The CodeableConcept of a way to pay."""
    return {"coding": [{"system": METHODS, "code": code}]}


def told(given: Given, tendered: Resource | None = None, returned: Resource | None = None) -> list[Resource]:
    """The extensions of a payment that say how, by whom and why it was made."""
    found: list[Resource] = []
    method = given.one("method")
    if method is not None:
        found.append({"url": METHOD, "valueCodeableConcept": method_concept(method)})
    if tendered is not None:
        found.append({"url": TENDERED, "valueMoney": tendered})
    if returned is not None:
        found.append({"url": RETURNED, "valueMoney": returned})
    if given.one("payer") is not None:
        found.append({"url": PAYER, "valueReference": given.one("payer")})
    if given.one("reason") is not None:
        found.append({"url": REASON, "valueString": given.one("reason")})
    return found


def identified(payment: Resource, given: Given) -> Resource:
    """The payment with what the bank or the terminal calls it."""
    reference = given.one("reference")
    return payment if reference is None else {**payment, "paymentIdentifier": {"value": reference}}


def collection(written: Sequence[Resource]) -> Resource:
    """A Bundle of what was written."""
    entries = [{"fullUrl": f"urn:uuid:{r['id']}", "resource": r} for r in written]
    made: Resource = {"resourceType": "Bundle", "type": "collection"}
    return {**made, "entry": entries} if entries else made
