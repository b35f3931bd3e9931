"""Invoices that another house has issued: what is sent of them is kept as a record and says nothing in the books of this house.

https://hl7.org/fhir/R4/invoice.html. An invariant to keep: such a record has no number, claims nothing and posts nothing, and never becomes an
invoice of this house; what may be one of this house is judged as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.references import local_id, parse_reference
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import (
    CREDITED,
    ERROR,
    FINAL,
    KEPT,
    NUMBER,
    extension,
    is_credit_note,
    is_elsewhere,
)
from fhir_server.resources.billing.numbering import NUMBER_SYSTEM, Series, issuer_of
from fhir_server.resources.billing.settings import SETTINGS_ID, day_at, settings_at
from fhir_server.resources.billing.transfer import MOVED
from fhir_server.resources.change import Known
from fhir_server.search.tree import TokenIs

# an extension that says that the invoice is one of this house
_OWN = (NUMBER, MOVED, CREDITED, *KEPT)


async def written_elsewhere(
    before: Resource | None, after: Resource, known: Known, bases: Sequence[str], zone: str
) -> bool:
    """Whether what is written is a record of another house.

    Raises BusinessRule for a record that would become an invoice of this house: that is another resource.
    """
    if before is not None and is_elsewhere(before):
        kept = after.get("status") in FINAL and await _names_another(after, known, bases, zone)
        if not kept and after.get("status") != ERROR:
            raise BusinessRule(
                f"Invoice/{before['id']} is the record of an invoice that another house has issued and stays one; an invoice of"
                " this house is a resource of its own: Account/[id]/$invoice.",
                "Invoice",
            )
        return True
    return before is None and after.get("status") in FINAL and await _names_another(after, known, bases, zone)


async def _names_another(invoice: Resource, known: Known, bases: Sequence[str], zone: str) -> bool:
    """Whether nothing in it is of this house: neither who issues it, nor a charge, nor a number."""
    if is_credit_note(invoice) or any(extension(invoice, url) is not None for url in _OWN):
        return False
    if any(i.get("system") == NUMBER_SYSTEM for i in invoice.get("identifier", ())):
        return False
    charges = (line.get("chargeItemReference") for line in invoice.get("lineItem", ()))
    if any(local_id(charge, "ChargeItem", bases) is not None for charge in charges):
        return False
    return await _is_another(invoice.get("issuer", {}), known, bases, zone)


async def _is_another(issuer: Mapping[str, Any], known: Known, bases: Sequence[str], zone: str) -> bool:
    """Whether an issuer is told, by an address or an identifier, and neither is one of this house."""
    address, identifier = issuer.get("reference"), issuer.get("identifier", {})
    if address is not None and await _may_be_here(str(address), known, bases):
        return False
    if "value" not in identifier:
        return address is not None
    system, value = identifier.get("system", ""), str(identifier["value"])
    if await known.find("Organization", TokenIs("identifier", system, value)):
        return False
    return not await _issues_here(issuer_of({"issuer": issuer}), known, zone)


async def _may_be_here(address: str, known: Known, bases: Sequence[str]) -> bool:
    """Whether an address may name an Organization of this server: any that is no RESTful one of another server.

    A server that was not told its own address knows its Organizations by their ids.
    """
    found = parse_reference(address, bases)
    if not found.base:
        return True
    return not bases and await known.current("Organization", found.id) is not None


async def _issues_here(issuer: str, known: Known, zone: str) -> bool:
    """Whether invoices of the issuer are numbered here, this year or last year."""
    today = day_at(known.now, zone)
    settings = settings_at(await known.current("Basic", SETTINGS_ID), today)
    year = settings.year_of(today)
    for name in (settings.invoice_series, settings.credit_series):
        for number in (year, year - 1):
            if await known.current("Basic", Series(issuer, name, number).id) is not None:
                return True
    return False


def kept_as_record(invoice: Resource) -> Issue:
    """What is told to who wrote the record."""
    return Issue(
        "warning",
        "business-rule",
        f"Invoice/{invoice['id']} was issued by another house and is kept as a record: it gets no number, is not in the ledger,"
        " and is neither paid nor credited here.",
        ("Invoice.issuer",),
    )
