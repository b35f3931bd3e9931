"""FT1: what is charged, as ChargeItem. https://hl7.org/fhir/uv/v2mappings/ (FT1 to ChargeItem)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import authority, entity
from hl7_bridge.mapping.datatypes.people import organization, person, told
from hl7_bridge.mapping.datatypes.texts import number
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.keeping import code_of, key
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import Segment, Value

# table 0017 -> ChargeItem.status; payments and adjustments are no charges
# the resource with the rules of the house for prices
SETTINGS = "hospital-settings"
KINDS: dict[str, str | None] = {
    "AJ": None,
    "CD": "billable",
    "CG": "billable",
    "CO": None,
    "DB": "billable",
    "PY": None,
    "R": None,
}

SKIPS = {
    "FT1-1": "The number of the segment says nothing of the charge.",
    "FT1-3": "Batches of the sender are kept in the raw message.",
    "FT1-8, FT1-9": "Descriptions are withdrawn from HL7; the code has one.",
    "FT1-14": "The plan stands in IN1.",
    "FT1-15": "Amounts for insurances follow from the coverage.",
    "FT1-17, FT1-18": "Price classes of the sender are kept in the raw message.",
    "FT1-22": "What it costs the sender is kept in the raw message.",
    "FT1-27, FT1-28": "Codes of medical necessity are kept in the raw message.",
    "FT1-30, FT1-31": "Rules of one country for claims are kept in the raw message.",
    "FT1-32..43": "Claims of pharmacies and orders are kept in the raw message.",
}


@maps(
    "FT1-2",
    "FT1-4",
    "FT1-5",
    "FT1-6",
    "FT1-7",
    "FT1-10",
    "FT1-11",
    "FT1-12",
    "FT1-13",
    "FT1-16",
    "FT1-19",
    "FT1-20",
    "FT1-21",
    "FT1-23",
    "FT1-24",
    "FT1-25",
    "FT1-26",
    "FT1-29",
)
def charge(
    ft1: Segment,
    patient: str,
    visit: str,
    account: str,
    owner: str,
    draft: Draft,
    context: Context,
    currency: str = "",
) -> Resource | None:
    """The ChargeItem of a transaction; None, and a problem, when it is none."""
    kind = told(ft1.value(6), 1).upper()
    if KINDS.get(kind) is None:
        # people may have said what it is here
        kind = draft.codes.get(("FT1-6", kind), {}).get("code", kind)
    status = KINDS.get(kind)
    if status is None:
        text = f"Transactions of type {kind!r} are no charges."
        draft.problem("unmapped-code", text, "FT1-6", kind)
        return None
    if kind == "CD":
        # which charge it takes back would be a guess, and an Invoice may have it already
        text = "A credit is not applied by itself: abort the ChargeItem that it takes back, or credit its Invoice."
        draft.problem("refused", text, "FT1-6", transaction_identifier(ft1, owner, context)["value"])
        return None
    code = concept(ft1.value(7), context) or concept(ft1.value(25), context)
    if code is None:
        draft.problem("unreadable-value", "The charge has no code.", "FT1-7", ft1.raw(7))
        return None
    made: Resource = {
        "resourceType": "ChargeItem",
        "identifier": [transaction_identifier(ft1, owner, context)],
        "status": status,
        "code": code,
        "subject": {"reference": patient},
    }
    if visit:
        made["context"] = {"reference": visit}
    if account:
        made["account"] = [{"reference": account}]
    made |= _amounts(ft1, draft, currency)
    for name, field in (("occurrenceDateTime", 4), ("enteredDate", 5)):
        when = date_time(ft1.value(field), context)
        if when is not None:
            made[name] = when
    made |= _people(ft1, context)
    reasons = [one for one in (concept(value, context) for value in ft1.values(19)) if one is not None]
    if reasons:
        made["reason"] = reasons
    order = entity(ft1.value(23), context)
    if order is not None:
        made["supportingInformation"] = [{"type": "ServiceRequest", "identifier": order}]
    drug = concept(ft1.value(29), context)
    if drug is not None:
        made["productCodeableConcept"] = drug
    modifiers = [one for one in (concept(value, context) for value in ft1.values(26)) if one is not None]
    if modifiers:
        made["code"] = {**code, "coding": [*code.get("coding", []), *_codings(modifiers)]}
    return made


def transaction_identifier(ft1: Segment, owner: str, context: Context) -> dict[str, Any]:
    """The number of the transaction; else what tells it from others of the patient."""
    value = told(ft1.value(2), 1)
    if value:
        system = authority(ft1.text(2, 2), ft1.text(2, 3), ft1.text(2, 4), context)
        return {"system": f"{system}/transaction" if system.startswith("http") else system, "value": value}
    return key(context, "FT1", owner, ft1.text(4), code_of(ft1.value(7), context), ft1.raw(10), ft1.text(1))


async def currency_of_house(draft: Draft) -> str:
    """The currency of prices that name none: that of the newest entry of `Basic/hospital-settings`; '' when it says none."""
    found = await draft.find("Basic", [("_id", SETTINGS)], 1)
    entries = [] if not found else [one for one in found[0].get("extension", []) if "extension" in one]
    told_ones = [
        {
            part["url"]: next((v for k, v in part.items() if k.startswith("value")), "")
            for part in one["extension"]
        }
        for one in entries
    ]
    newest = max(told_ones, key=lambda one: str(one.get("from", "")), default={})
    return str(newest.get("currency", ""))


def _amounts(ft1: Segment, draft: Draft, currency: str) -> Resource:
    found: Resource = {}
    quantity = number(ft1.value(10))
    if quantity is not None:
        found["quantity"] = {"value": quantity}
    price, unit = _money(ft1.value(11)), _money(ft1.value(12))
    if price is None and unit is not None:
        counted = Decimal(1) if quantity is None else quantity
        price = {**unit, "value": unit["value"] * counted}
    if price is not None and "currency" not in price and currency:
        price = {**price, "currency": currency}
    if price is not None and "currency" not in price:
        # an amount of no currency would be refused with all that the message says, and the currency would be a guess
        text = "The price names no currency, and the house has none for such prices (hospital-settings)."
        draft.problem("unreadable-value", text, "FT1-11", ft1.raw(11) or ft1.raw(12))
    elif price is not None:
        found["priceOverride"] = price
        found["overrideReason"] = "The price that the sender states."
    return found


def _money(value: Value) -> dict[str, Any] | None:
    amount = number(value) if "&" not in value.raw else None
    parts = value.raw_component(1).split(value.delimiters.subcomponent)
    if amount is None and parts[0]:
        amount = number(Value(parts[0], value.delimiters))
    if amount is None:
        return None
    currency = value.text(1, 2).strip()
    return {"value": amount} | ({"currency": currency} if len(currency) == 3 and currency.isupper() else {})


def _people(ft1: Segment, context: Context) -> Resource:
    found: Resource = {}
    performers = [
        {"function": {"text": function}, "actor": who}
        for field, function in ((20, "Performer"), (21, "Orderer"))
        for value in ft1.values(field)
        if (who := person(value, context)) is not None
    ]
    if performers:
        found["performer"] = performers
    enterer = person(ft1.value(24), context)
    if enterer is not None:
        found["enterer"] = enterer
    department = concept(ft1.value(13), context, "0049")
    if department is not None:
        shown = department.get("text") or department["coding"][0]["code"]
        found["performingOrganization"] = {"display": shown}
    else:
        where = organization(ft1.value(16), context)
        if where is not None and "display" in where:
            found["performingOrganization"] = {"display": where["display"]}
    return found


def _codings(concepts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for each in concepts for one in each.get("coding", [])]
