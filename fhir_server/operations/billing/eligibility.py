"""CoverageEligibilityRequest/$submit: does a coverage hold, what does it pay, what has been used of it?

https://hl7.org/fhir/R4/coverageeligibilityrequest-operation-submit.html. Asked of this server by the plan, or of a payer's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan as Looking
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.forwarding import forward, payer_address, taken_in
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import given
from fhir_server.resources.billing.covering import Covered, covered
from fhir_server.resources.billing.money import digits_of, money, of_units
from fhir_server.resources.billing.plans import (
    ALL,
    AUTHORIZATION,
    CATEGORY,
    COPAY,
    COSTS,
    DEDUCTIBLE,
    EXCLUDED,
    MOST_OF_PATIENT,
    MOST_OF_PAYER,
    PERCENT,
    codes_of,
)
from fhir_server.resources.billing.settings import SETTINGS_ID, day_at, settings_at
from fhir_server.resources.change import Known

SUBMIT = "http://hl7.org/fhir/OperationDefinition/CoverageEligibilityRequest-submit"


async def submit(call: OperationCall, services: Services) -> FhirResponse:
    """The CoverageEligibilityResponse; request and response are kept."""
    asked = given(call, SUBMIT)
    sent = asked.one("resource")
    if sent.get("resourceType") != "CoverageEligibilityRequest":
        raise InvalidRequest("What is submitted is a CoverageEligibilityRequest.", "resource")
    address = await payer_address(Looking(services, ()), sent.get("insurer"), services)
    outside = None
    if address is not None:
        outside = await forward(
            address, "CoverageEligibilityRequest/$submit", sent, "CoverageEligibilityResponse"
        )

    async def plan(known: Known) -> Sequence[Write]:
        id = sent.get("id", services.new_id())
        request = {**sent, "id": id}
        fresh = "id" not in sent
        own = {"request": {"reference": f"CoverageEligibilityRequest/{id}"}, "patient": request["patient"]}
        if outside is not None:
            response = taken_in(services, outside, id=services.new_id(), insurer=request["insurer"], **own)
        else:
            response = await _judged(request, own, known, services)
        return [Write(response, "POST", True), Write(request, "POST" if fresh else "PUT", fresh)]

    return await carry_out(call, services, asked, plan)


async def _judged(request: Resource, own: Resource, known: Known, services: Services) -> Resource:
    served = str(request.get("servicedDate", request.get("servicedPeriod", {}).get("start", "")))
    today = day_at(known.now, services.settings.default_timezone)
    day = date.fromisoformat(served[:10]) if len(served) >= 10 else today
    made: Resource = {
        "resourceType": "CoverageEligibilityResponse",
        "id": services.new_id(),
        "status": "active",
        "purpose": request["purpose"],
        **own,
        "servicedDate": day.isoformat(),
        "created": format_instant(known.now),
        "outcome": "complete",
        "insurer": request["insurer"],
    }
    if "provider" in request:
        made["requestor"] = request["provider"]
    insurance = [await _insurance(one, request, day, known, services) for one in request.get("insurance", ())]
    return {**made, "insurance": insurance} if insurance else {**made, "outcome": "error"}


async def _insurance(
    one: Resource, request: Resource, day: date, known: Known, services: Services
) -> Resource:
    bases = services.settings.local_bases
    id = local_id(one["coverage"], "Coverage", bases)
    coverage = None if id is None else await known.current("Coverage", id)
    if coverage is None:
        return {"coverage": one["coverage"], "inforce": False}
    currency = settings_at(await known.current("Basic", SETTINGS_ID), day).currency
    patient = local_id(request["patient"], "Patient", bases)
    try:
        cover = await covered(known, coverage, patient, day, currency, services)
    except BusinessRule:
        return {"coverage": one["coverage"], "inforce": False}
    made: Resource = {"coverage": one["coverage"], "inforce": True}
    period = {k: v for k, v in coverage.get("period", {}).items() if k in ("start", "end")}
    if period:
        made["benefitPeriod"] = period
    items = _items(cover, request, currency)
    return {**made, "item": items} if items else made


def _items(cover: Covered, request: Resource, currency: str) -> list[Resource]:
    """What the plan says of the services that were asked for; of the plan and all its categories without any."""
    asked = request.get("item", ())
    if not asked:
        general = _item(ALL, cover.plan.general, cover, currency)
        return [general, *(_item(r.name, r.costs, cover, currency) for r in cover.plan.rules)]
    found = []
    for item in asked:
        rule = cover.plan.rule_for(codes_of(item.get("productOrService", {}), item.get("category", {})))
        made = _item(rule.name, rule.costs, cover, currency)
        for member in ("category", "productOrService"):
            if member in item:
                made[member] = item[member]
        found.append(made)
    return found


def _item(name: str, costs: object, cover: Covered, currency: str) -> Resource:
    assert isinstance(costs, dict)
    used = {
        DEDUCTIBLE: cover.used.deductible,
        MOST_OF_PATIENT: cover.used.patient,
        MOST_OF_PAYER: cover.used.payer if name == ALL else cover.used.benefits.get(name),
    }
    benefits = [
        _benefit(kind, costs[kind], used.get(kind), currency)
        for kind in (DEDUCTIBLE, COPAY, PERCENT, MOST_OF_PATIENT, MOST_OF_PAYER)
        if kind in costs
    ]
    made: Resource = {
        "category": {"coding": [{"system": CATEGORY, "code": name}]},
        "excluded": EXCLUDED in costs,
    }
    if AUTHORIZATION in costs:
        made["authorizationRequired"] = True
    return {**made, "benefit": benefits} if benefits else made


def _benefit(kind: str, allowed: Decimal, used: Decimal | None, currency: str) -> Resource:
    system = COSTS[1] if kind == MOST_OF_PAYER else COSTS[0]
    made: Resource = {"type": {"coding": [{"system": system, "code": kind}]}}
    if kind == PERCENT:
        return {**made, "allowedString": f"{allowed} %"}
    made["allowedMoney"] = money(allowed, currency)
    if used is not None:
        made["usedMoney"] = money(used, currency)
    elif kind == MOST_OF_PAYER:
        made["usedMoney"] = money(of_units(0, digits_of(currency)), currency)
    return made
