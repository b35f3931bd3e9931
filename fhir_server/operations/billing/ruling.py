"""Basic/$settings: by which rules the hospital bills on a day; and whether other settings could take their place, before they do.

Nothing is written. What is refused here is what a PUT of Basic/hospital-settings is refused.
"""

from __future__ import annotations

from datetime import date

from fhir_r4.errors import InvalidRequest
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.given import given
from fhir_server.operations.seeing import require_seen
from fhir_server.resources.billing.money import money
from fhir_server.resources.billing.settings import (
    CREDIT_LIMIT,
    DEFAULT,
    DISCOUNT_LIMIT,
    SETTINGS_ID,
    WRITE_OFF_LIMIT,
    BillingSettings,
    check_settings,
    day_at,
    settings_at,
)

SETTINGS = "https://osler.health/fhir/OperationDefinition/Basic-settings"
LIMITS = ("approval-limit", CREDIT_LIMIT, WRITE_OFF_LIMIT, DISCOUNT_LIMIT)


async def settings(call: OperationCall, services: Services) -> FhirResponse:
    """Parameters named as the parts of the settings. Raises BusinessRule for a `resource` that may not take their place."""
    asked = given(call, SETTINGS)
    await require_seen(call, services, asked)
    known = Plan(services, ())
    today = day_at(known.now, services.settings.default_timezone)
    day = today if asked.one("date") is None else _day(asked.one("date"))
    resource = await known.current("Basic", SETTINGS_ID)
    proposed = asked.one("resource")
    if proposed is not None:
        if proposed.get("resourceType") != "Basic":
            raise InvalidRequest("Settings are a Basic.", "resource")
        check_settings(resource, proposed, today)
        resource = proposed
    return FhirResponse(
        200, resource={"resourceType": "Parameters", "parameter": _told(settings_at(resource, day))}
    )


def _day(text: str) -> date:
    if len(text) != 10:
        raise InvalidRequest(f"The parameter date is a day; found {text}.", "date")
    return date.fromisoformat(text)


def _told(found: BillingSettings) -> list[Resource]:
    month, day = found.fiscal_year
    told: list[Resource] = []
    if found.since != DEFAULT.since:
        told.append({"name": "from", "valueDate": found.since.isoformat()})
    told += [
        {"name": "currency", "valueCode": found.currency},
        {"name": "rounding-mode", "valueCode": found.rounding.value},
        {"name": "rounding-level", "valueCode": found.level},
        {"name": "prices-include-tax", "valueBoolean": found.inclusive},
    ]
    for group in found.tax_groups.values():
        parts: list[Resource] = [
            {"name": "code", "valueCode": group.code},
            {"name": "rate", "valueDecimal": group.rate},
        ]
        parts += [] if group.name is None else [{"name": "name", "valueString": group.name}]
        told.append({"name": "tax-group", "part": parts})
    told += [
        {"name": "bed-day-rule", "valueCode": found.bed_day},
        {"name": "bed-day-same-day", "valueBoolean": found.same_day},
        {"name": "bed-day-discharge-day", "valueBoolean": found.discharge_day},
        {"name": "bed-day-leave", "valueBoolean": found.leave_days},
        {"name": "invoice-series", "valueString": found.invoice_series},
        {"name": "credit-series", "valueString": found.credit_series},
        {"name": "fiscal-year-start", "valueString": f"{month:02}-{day:02}"},
        {"name": "payment-days", "valueUnsignedInt": found.payment_days},
    ]
    for name in LIMITS:
        limit = found.limit_of(name)
        if limit is not None:
            told.append({"name": name, "valueMoney": money(limit.value, limit.currency)})
    return told
