"""Who a paper is from and to: letterheads, names and addresses, as the Organizations and people that are referred to say them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_r4.references import local_id, parse_reference
from fhir_server.context import Resource, Services
from fhir_server.operations.billing.sheets import Letterhead
from fhir_server.resources.change import Known

IBAN, BIC = "urn:iso:std:iso:13616", "urn:iso:std:iso:9362"


async def letterhead(reference: Any, known: Known, services: Services) -> Letterhead:
    """The letterhead of an Organization."""
    organization = await referred(reference, known, services)
    if organization is None:
        return Letterhead(str((reference or {}).get("display") or ""))
    identifiers = {i.get("system"): i.get("value") for i in organization.get("identifier", ())}
    tax = next((i.get("value") for i in organization.get("identifier", ()) if _is_tax(i)), None)
    contacts = [
        str(t["value"])
        for t in organization.get("telecom", ())
        if t.get("value") and t.get("system") in ("phone", "email", "url")
    ]
    return Letterhead(
        str(organization.get("name", "")),
        _address(organization),
        tuple(contacts[:3]),
        tax,
        identifiers.get(IBAN),
        identifiers.get(BIC),
    )


def _is_tax(identifier: Resource) -> bool:
    return any(c.get("code") == "TAX" for c in identifier.get("type", {}).get("coding", ()))


async def recipient_of(invoice: Resource, known: Known, services: Services) -> tuple[str, ...]:
    reference = invoice.get("recipient") or invoice.get("subject")
    return await _addressed(reference, known, services)


async def person_of(account: Resource, known: Known, services: Services) -> tuple[str, ...]:
    """Name and address of who gets the statement of an account: the guarantor, else the patient."""
    guarantor = next((g["party"] for g in account.get("guarantor", ()) if not g.get("onHold", False)), None)
    return await _addressed(guarantor or next(iter(account.get("subject", ())), None), known, services)


async def _addressed(reference: Any, known: Known, services: Services) -> tuple[str, ...]:
    found = await referred(reference, known, services)
    name = await name_of(reference, known, services)
    lines = () if found is None else _address(found)
    return tuple(line for line in (name, *lines) if line)


async def name_of(reference: Any, known: Known, services: Services) -> str:
    if reference is None:
        return ""
    found = await referred(reference, known, services)
    if found is None:
        return str(reference.get("display") or reference.get("reference") or "")
    name = found.get("name", "")
    if isinstance(name, str):
        return name
    official: Sequence[Resource] = [n for n in name if n.get("use") != "old"] or [{}]
    first = official[0]
    return str(
        first.get("text")
        or " ".join((*first.get("prefix", ()), *first.get("given", ()), first.get("family", "")))
    )


def _address(resource: Resource) -> tuple[str, ...]:
    given_address = resource.get("address", [])
    found = given_address if isinstance(given_address, list) else [given_address]
    usable = [a for a in found if a.get("use") not in ("old", "temp")]
    if not usable:
        return ()
    address = next((a for a in usable if a.get("use") == "billing"), usable[0])
    if not address.get("line") and not address.get("city"):
        return tuple(str(address.get("text", "")).splitlines())
    town = " ".join(str(address[k]) for k in ("postalCode", "city") if k in address)
    lines = (*address.get("line", ()), town, address.get("country", ""))
    return tuple(line for line in lines if line)


async def referred(reference: Any, known: Known, services: Services) -> Resource | None:
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    found = parse_reference(text, services.settings.local_bases)
    if not found.local or local_id(reference, found.type, services.settings.local_bases) is None:
        return None
    return await known.current(found.type, found.id)
