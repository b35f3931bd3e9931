"""The manner of ChargeItem: its states, what a billed charge keeps, and the event that it charges once.

An invariant to keep: a charge is billed exactly while a live invoice has it on a line that is not credited in full.
"""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.charges import (
    BILLED_BY,
    CURRENCY,
    account_currency,
    claims_of_charge,
    currencies_of,
    quantity_of,
)
from fhir_server.resources.billing.invoicing import extension, with_extension, without_extensions
from fhir_server.resources.billing.lifecycle import billed_by, check_charge, require_frozen
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners

INSTEAD = "Credit the invoice and make a new charge: Invoice/[id]/$credit."


async def judge_charge(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of a ChargeItem. Raises BusinessRule."""
    before, after = change.before, change.after
    if after is None:
        if before is not None and before.get("status") == "billed":
            raise BusinessRule(
                f"ChargeItem/{change.id} is billed by {billed_by(before)} and cannot be deleted. {INSTEAD}",
                "ChargeItem.status",
            )
        return NOTHING
    bases = services.settings.local_bases
    resource = None
    if not change.derived:
        check_charge(before, after)
        after = _with_own(before, after)
        if before is not None and before.get("status") == "billed":
            require_frozen(before, after, INSTEAD)
        elif extension(after, BILLED_BY) is not None:
            after = without_extensions(after, BILLED_BY)
        _check_members(after)
        resource = None if after is change.after else after
    writes = await _account(after, known, bases)
    return Consequence(claims_of_charge(after, services.settings.default_timezone, bases), resource, writes)


def _with_own(before: Resource | None, after: Resource) -> Resource:
    """The charge with what the server knows of it: a PUT without that keeps it."""
    own = extension(before, BILLED_BY)
    if (
        own is None
        or before is None
        or before.get("status") != "billed"
        or extension(after, BILLED_BY) is not None
    ):
        return after
    return with_extension(after, own)


def _check_members(charge: Resource) -> None:
    quantity_of(charge)
    if "priceOverride" in charge and not charge.get("overrideReason"):
        raise BusinessRule("A priceOverride needs an overrideReason.", "ChargeItem.overrideReason")


async def _account(charge: Resource, known: Known, bases: tuple[str, ...]) -> tuple[Resource, ...]:
    """Money on an account is of one currency: that of its first charge."""
    currencies = set(currencies_of(charge))
    if len(currencies) > 1:
        raise BusinessRule(f"The charge mixes the currencies {', '.join(sorted(currencies))}.", "ChargeItem")
    if not currencies or charge.get("status") == "entered-in-error":
        return ()
    (currency,) = currencies
    writes = []
    for reference in charge.get("account", ()):
        id = local_id(reference, "Account", bases)
        account = None if id is None else await known.current("Account", id)
        if account is None:
            continue
        known_currency = account_currency(account)
        if known_currency is None:
            writes.append(with_extension(account, {"url": CURRENCY, "valueCode": currency}))
        elif known_currency != currency:
            raise BusinessRule(
                f"Account/{id} is in {known_currency}; the charge is in {currency}.",
                "ChargeItem",
            )
    return tuple(writes)


CHARGE_ITEM = Manners(judge_charge)
