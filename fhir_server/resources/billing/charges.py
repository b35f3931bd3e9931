"""ChargeItems: what they charge for, what they cost, and what they claim.

https://hl7.org/fhir/R4/chargeitem.html. Pure. The extension `charge-price` has the price as it was calculated, `charge-event`
the event and the day that are charged. An invariant to keep: an event is charged once a day by each definition, whoever
writes the ChargeItem, unless it is entered in error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.references import parse_reference
from fhir_r4.temporal import parse_interval
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import extension, with_extension
from fhir_server.resources.billing.money import money, number_of
from fhir_server.resources.billing.pricing import (
    INFORMATIONAL,
    TAX,
    Charge,
    Component,
    as_fhir,
    component_of,
    currency_among,
    gross_of,
    lines_of,
    net_of,
)
from fhir_server.resources.billing.settings import BillingSettings, day_at
from fhir_server.store.records import Claim

OSLER = "https://osler.health/fhir/StructureDefinition/"
PRICE = OSLER + "charge-price"
EVENT = OSLER + "charge-event"
BILLED_BY = OSLER + "billed-by"
CURRENCY = OSLER + "account-currency"


def event_of(charge: Resource) -> tuple[str, str] | None:
    """The reference of the event that is charged, and the day (`2026-01-31`, '' when it is not told)."""
    found = extension(charge, EVENT)
    if found is None:
        return None
    parts = {p.get("url"): p for p in found.get("extension", ())}
    reference = parts.get("event", {}).get("valueReference", {}).get("reference")
    return None if reference is None else (str(reference), str(parts.get("day", {}).get("valueDate", "")))


def event_extension(reference: str, day: str) -> Resource:
    return {
        "url": EVENT,
        "extension": [
            {"url": "event", "valueReference": {"reference": reference}},
            {"url": "day", "valueDate": day},
        ],
    }


def definition_of(charge: Resource) -> str | None:
    """The canonical address of the definition, without version."""
    canonical = next(iter(charge.get("definitionCanonical", ())), None)
    return None if canonical is None else str(canonical).partition("|")[0]


def charged_for(charge: Resource) -> str:
    """What makes two charges of an event the same: the definition, or the code."""
    named = definition_of(charge) or next(iter(charge.get("definitionUri", ())), None)
    if named is not None:
        return str(named)
    code = charge.get("code", {})
    coding = next((c for c in code.get("coding", ()) if "code" in c), None)
    return str(code.get("text", "")) if coding is None else f"{coding.get('system', '')}#{coding['code']}"


def charge_key(event: str, definition: str, day: str) -> str:
    return f"charge:{event}|{definition}|{day}"


def event_keys(charge: Resource, zone: str, bases: Sequence[str] = ()) -> tuple[str, ...]:
    """The keys of the events that a ChargeItem charges: of `charge-event`, else of each `service` on its day."""
    told = event_of(charge)
    what = charged_for(charge)
    if told is not None:
        return (charge_key(_local(told[0], bases), what, told[1]),)
    day = service_day(charge, zone)
    services = {_local(s["reference"], bases) for s in charge.get("service", ()) if "reference" in s}
    return tuple(charge_key(s, what, "" if day is None else day.isoformat()) for s in sorted(services))


def _local(reference: str, bases: Sequence[str]) -> str:
    found = parse_reference(reference, bases)
    return f"{found.type}/{found.id}" if found.local else reference


def claims_of_charge(charge: Resource, zone: str, bases: Sequence[str] = ()) -> tuple[Claim, ...]:
    if charge.get("status") == "entered-in-error":
        return ()
    return tuple(Claim(key) for key in event_keys(charge, zone, bases))


def service_day(charge: Resource, zone: str) -> date | None:
    """The day of the service by the clocks of `zone`; None when the ChargeItem does not say when."""
    text = service_time(charge)
    return None if text is None else day_of(text, zone)


def service_time(charge: Resource) -> str | None:
    """When the service was: occurrence, its beginning for a period."""
    if "occurrenceDateTime" in charge:
        return str(charge["occurrenceDateTime"])
    if "start" in charge.get("occurrencePeriod", {}):
        return str(charge["occurrencePeriod"]["start"])
    event = next(iter(charge.get("occurrenceTiming", {}).get("event", ())), None)
    return None if event is None else str(event)


def day_of(text: str, zone: str) -> date:
    """The day that a dateTime falls on by the clocks of `zone`."""
    return day_at(parse_interval(text, zone)[0], zone)


def quantity_of(charge: Resource) -> Decimal:
    """How many; one when it is not told. Raises BusinessRule for a quantity below nothing."""
    value = charge.get("quantity", {}).get("value")
    found = Decimal(1) if value is None else number_of(value, "ChargeItem.quantity")
    if found < 0:
        raise BusinessRule(
            "ChargeItem.quantity is not below nothing; a credit takes charges back.", "quantity"
        )
    return found


# The price


def with_price(charge: Resource, price: Charge, settings: BillingSettings) -> Resource:
    """The ChargeItem with the price as calculated, net and gross as if it were invoiced alone."""
    (line,) = lines_of([price], settings)
    parts: list[Resource] = [
        _part(c, price.currency) for c in (*price.parts, *price.taxes, *price.informational)
    ]
    if price.inclusive:
        parts.append({"url": "inclusive", "valueBoolean": True})
    parts.append({"url": "net", "valueMoney": money(net_of(line), price.currency)})
    parts.append({"url": "gross", "valueMoney": money(gross_of(line), price.currency)})
    return with_extension(charge, {"url": PRICE, "extension": parts})


def _part(component: Component, currency: str) -> Resource:
    stated = as_fhir(component, currency)
    kinds = {
        "type": "valueCode",
        "code": "valueCodeableConcept",
        "factor": "valueDecimal",
        "amount": "valueMoney",
    }
    return {
        "url": "component",
        "extension": [{"url": name, kinds[name]: value} for name, value in stated.items()],
    }


def price_of(charge: Resource) -> Charge | None:
    """The price that a ChargeItem has; None without any. Raises BusinessRule."""
    found = extension(charge, PRICE)
    if found is None:
        return None
    stated: list[Resource] = []
    inclusive = False
    for part in found.get("extension", ()):
        if part.get("url") == "component":
            stated.append({p["url"]: _value(p) for p in part.get("extension", ())})
        elif part.get("url") == "inclusive":
            inclusive = part.get("valueBoolean") is True
    currency = currency_among(stated, "ChargeItem.extension:charge-price")
    if currency is None:
        raise BusinessRule("The price of the ChargeItem has no amount.", "ChargeItem.extension:charge-price")
    components = [component_of(c, f"charge-price.component[{n}]", currency) for n, c in enumerate(stated)]
    return Charge(
        currency,
        tuple(c for c in components if c.type not in (TAX, INFORMATIONAL)),
        tuple(replace(c, amount=None) if c.factor is not None else c for c in components if c.type == TAX),
        tuple(c for c in components if c.type == INFORMATIONAL),
        inclusive,
    )


def currencies_of(charge: Resource) -> Iterator[str]:
    """The currencies that a ChargeItem names. Raises BusinessRule."""
    price = price_of(charge)
    if price is not None:
        yield price.currency
    if "priceOverride" in charge:
        found = currency_among([{"amount": charge["priceOverride"]}], "ChargeItem.priceOverride")
        if found is not None:
            yield found


def account_currency(account: Resource | None) -> str | None:
    """The currency of an Account; None before the first charge."""
    found = extension(account, CURRENCY)
    return None if found is None else str(found.get("valueCode"))


def _value(part: Resource) -> Any:
    return next((v for k, v in part.items() if k.startswith("value")), None)
