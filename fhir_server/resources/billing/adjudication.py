"""Claims and what is answered to them: items with their amounts, adjudications, totals, explanations of benefit. Pure.

https://hl7.org/fhir/R4/claim.html, https://hl7.org/fhir/R4/claimresponse.html, https://hl7.org/fhir/R4/explanationofbenefit.html. An invariant to
keep: of each item, what the patient bears and the benefit add up to what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.money import (
    ZERO,
    Rounding,
    amount_of,
    currency_of,
    digits_of,
    money,
    number_of,
    rounded,
    spread,
    sum_of,
)
from fhir_server.resources.billing.plans import Code, Used, codes_of
from fhir_server.resources.billing.shares import Part

ADJUDICATION = "http://terminology.hl7.org/CodeSystem/adjudication"
OWN = "https://osler.health/fhir/CodeSystem/adjudication"
BENEFIT = "https://osler.health/fhir/CodeSystem/benefit-category"
PAYMENT_KIND = "http://terminology.hl7.org/CodeSystem/ex-paymenttype"
# the parts of an item by the category that tells them
CATEGORIES: Mapping[str, tuple[str, str]] = {
    "excluded": (OWN, "excluded"),
    "deductible": (ADJUDICATION, "deductible"),
    "copay": (ADJUDICATION, "copay"),
    "coinsurance": (OWN, "coinsurance"),
    "beyond_limit": (OWN, "beyond-limit"),
    "paid": (ADJUDICATION, "benefit"),
}
BORNE = ("deductible", "copay", "coinsurance")


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a Claim: what is asked for it, and by which codes plans know it."""

    sequence: int
    amount: Decimal
    codes: frozenset[Code]


def items_of(claim: Mapping[str, Any]) -> tuple[tuple[Item, ...], str]:
    """The items of a Claim and their currency. Raises BusinessRule for items without amounts, or totals that are not theirs."""
    currencies = {
        currency_of(item[name], f"Claim.item.{name}")
        for item in claim.get("item", ())
        for name in ("net", "unitPrice")
        if name in item
    }
    if len(currencies) != 1:
        raise BusinessRule("The items of a claim have amounts in one currency.", "Claim.item")
    (currency,) = currencies
    items = tuple(_item(item, n, currency) for n, item in enumerate(claim["item"]))
    if len({item.sequence for item in items}) != len(items):
        raise BusinessRule("Two items have the same sequence.", "Claim.item.sequence")
    total = sum_of(item.amount for item in items)
    stated = claim.get("total")
    if stated is not None and amount_of(stated, "Claim.total", currency) != total:
        raise BusinessRule(
            f"The items add up to {total} {currency}; Claim.total is {stated['value']}.", "Claim.total"
        )
    return items, currency


def _item(item: Mapping[str, Any], number: int, currency: str) -> Item:
    place = f"Claim.item[{number}]"
    codes = codes_of(item.get("productOrService", {}), item.get("category", {}), item.get("revenue", {}))
    if "net" in item:
        amount = amount_of(item["net"], f"{place}.net", currency)
    elif "unitPrice" in item:
        exact = Fraction(amount_of(item["unitPrice"], f"{place}.unitPrice", currency))
        exact *= Fraction(number_of(item.get("quantity", {}).get("value", 1), f"{place}.quantity"))
        exact *= Fraction(number_of(item.get("factor", 1), f"{place}.factor"))
        amount = rounded(exact, digits_of(currency), Rounding.HALF_UP)
    else:
        raise BusinessRule("An item has a net or a unitPrice.", f"{place}.net")
    if amount < ZERO:
        raise BusinessRule("An item is not below nothing.", f"{place}.net")
    return Item(int(item["sequence"]), amount, codes)


def adjudications(submitted: Decimal, part: Part, currency: str) -> list[Resource]:
    """What is answered to an item: what was submitted, what the patient bears and why, what is paid."""
    found = [_told((ADJUDICATION, "submitted"), submitted, currency)]
    if submitted != part.asked:  # what other coverages have paid
        found.append(_told((ADJUDICATION, "eligible"), part.asked, currency))
    for name, category in CATEGORIES.items():
        amount: Decimal = getattr(part, name)
        if amount != ZERO or name == "paid":
            found.append(_told(category, amount, currency))
    return found


def _told(category: tuple[str, str], amount: Decimal, currency: str) -> Resource:
    coding = {"system": category[0], "code": category[1]}
    return {"category": {"coding": [coding]}, "amount": money(amount, currency)}


def totals(items: Sequence[Item], parts: Sequence[Part], currency: str) -> list[Resource]:
    """The sums by category."""
    sums = {(ADJUDICATION, "submitted"): sum_of(i.amount for i in items)}
    for name, category in CATEGORIES.items():
        total = sum_of(getattr(p, name) for p in parts)
        if total != ZERO or name == "paid":
            sums[category] = total
    return [_told(category, amount, currency) for category, amount in sums.items()]


def amounts_by_category(adjudication: Iterable[Mapping[str, Any]], currency: str) -> dict[str, Decimal]:
    """Amounts by the code of their category."""
    found: dict[str, Decimal] = {}
    for one in adjudication:
        value = one.get("amount")
        if not isinstance(value, dict) or value.get("currency") != currency:
            continue
        for coding in one.get("category", {}).get("coding", ()):
            code = str(coding.get("code"))
            found[code] = sum_of((found.get(code, ZERO), amount_of(value, "adjudication.amount")))
    return found


def used_of(explanations: Iterable[Mapping[str, Any]], currency: str) -> Used:
    """What ExplanationOfBenefits of claims say was used of a coverage."""
    deductible, patient, payer = [], [], []
    benefits: dict[str, Decimal] = {}
    for eob in explanations:
        if eob.get("use") != "claim":
            continue
        for item in eob.get("item", ()):
            told = amounts_by_category(item.get("adjudication", ()), currency)
            deductible.append(told.get("deductible", ZERO))
            patient += [told.get(code, ZERO) for code in BORNE]
            payer.append(told.get("benefit", ZERO))
            for system, name in codes_of(item.get("category", {})):
                if system == BENEFIT:
                    benefits[name] = sum_of((benefits.get(name, ZERO), told.get("benefit", ZERO)))
    return Used(sum_of(deductible), sum_of(patient), sum_of(payer), benefits)


def paid_by_item(response: Mapping[str, Any], currency: str) -> dict[int, Decimal]:
    """The benefit of each item of a ClaimResponse."""
    return {
        int(item["itemSequence"]): amounts_by_category(item.get("adjudication", ()), currency).get(
            "benefit", ZERO
        )
        for item in response.get("item", ())
    }


# What is written


def response_to(
    id: str,
    claim: Resource,
    items: Sequence[Item],
    parts: Sequence[Part],
    currency: str,
    at: str,
    preauthorized: tuple[str, str, str] | None = None,
) -> Resource:
    """The ClaimResponse of a claim that was adjudicated; `preauthorized` is (reference, first day, last day)."""
    made = _answer(id, claim, at, "complete")
    made["item"] = [
        {"itemSequence": i.sequence, "adjudication": adjudications(i.amount, p, currency)}
        for i, p in zip(items, parts, strict=True)
    ]
    made["total"] = totals(items, parts, currency)
    if claim["use"] == "claim":
        paid = sum_of(p.paid for p in parts)
        kind = "complete" if paid == sum_of(i.amount for i in items) else "partial"
        made["payment"] = {
            "type": {"coding": [{"system": PAYMENT_KIND, "code": kind}]},
            "date": at[:10],
            "amount": money(paid, currency),
        }
    if preauthorized is not None:
        made["preAuthRef"] = preauthorized[0]
        made["preAuthPeriod"] = {"start": preauthorized[1], "end": preauthorized[2]}
    return made


def refusal_of(id: str, claim: Resource, at: str, why: str) -> Resource:
    """The ClaimResponse of a claim that cannot be adjudicated."""
    return {
        **_answer(id, claim, at, "error"),
        "disposition": why,
        "error": [{"code": {"coding": [{"system": OWN, "code": "not-covered"}], "text": why}}],
    }


def _answer(id: str, claim: Resource, at: str, outcome: str) -> Resource:
    made: Resource = {
        "resourceType": "ClaimResponse",
        "id": id,
        "status": "active",
        "type": claim["type"],
        "use": claim["use"],
        "patient": claim["patient"],
        "created": at,
        "insurer": claim.get("insurer", {"display": "the payer of the coverage"}),
        "requestor": claim["provider"],
        "request": {"reference": f"Claim/{claim['id']}"},
        "outcome": outcome,
    }
    return made


def explanation_of(
    id: str, claim: Resource, response: Resource, coverage: Resource, names: Sequence[str], year: int
) -> Resource:
    """The ExplanationOfBenefit of a claim; `names` are the benefits of its items."""
    adjudicated = {item["itemSequence"]: item["adjudication"] for item in response["item"]}
    return {
        "resourceType": "ExplanationOfBenefit",
        "id": id,
        "status": "active",
        "type": claim["type"],
        "use": claim["use"],
        "patient": claim["patient"],
        "created": response["created"],
        "insurer": response["insurer"],
        "provider": claim["provider"],
        "claim": {"reference": f"Claim/{claim['id']}"},
        "claimResponse": {"reference": f"ClaimResponse/{response['id']}"},
        "outcome": response["outcome"],
        "insurance": [{"focal": True, "coverage": {"reference": f"Coverage/{coverage['id']}"}}],
        "item": [
            {
                "sequence": item["sequence"],
                "category": {"coding": [{"system": BENEFIT, "code": name}]},
                "productOrService": item["productOrService"],
                "adjudication": adjudicated[item["sequence"]],
            }
            for item, name in zip(claim["item"], names, strict=True)
        ],
        "total": response["total"],
        "payment": response["payment"],
        "benefitPeriod": {"start": f"{year}-01-01", "end": f"{year}-12-31"},
    }


def explanation_of_answer(
    id: str,
    claim: Resource,
    response: Resource,
    coverage: Resource,
    names: Sequence[str],
    items: Sequence[Item],
    year: int,
) -> Resource:
    """The ExplanationOfBenefit of what another payer has answered: its adjudications, or its payment spread over the items."""
    currency = items_of(claim)[1]
    told = {int(i["itemSequence"]): list(i.get("adjudication", ())) for i in response.get("item", ())}
    paid = response.get("payment", {}).get("amount")
    benefits = paid_by_item(response, currency)
    if paid is not None and not any(benefits.values()):
        amount = amount_of(paid, "ClaimResponse.payment.amount", currency)
        parts = spread(amount, [item.amount for item in items], digits_of(currency)) if items else ()
        for item, part in zip(items, parts, strict=True):
            told.setdefault(item.sequence, []).append(_told(CATEGORIES["paid"], part, currency))
    whole = {
        "item": [
            {"itemSequence": item.sequence, "adjudication": told.get(item.sequence, [])} for item in items
        ],
        "total": response.get("total", []),
        "payment": response.get("payment", {}),
    }
    made = explanation_of(id, claim, {**response, **whole}, coverage, names, year)
    made["item"] = [_without_empty(item) for item in made["item"]]
    return _without_empty(made)


def _without_empty(element: Resource) -> Resource:
    return {k: v for k, v in element.items() if v not in ([], {})}
