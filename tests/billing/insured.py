"""Insured patients to test with: plans with their costs, coverages, claims."""

from __future__ import annotations

from typing import Any

from tests.billing.cash import Resource, euros

COPAY_TYPE = "http://terminology.hl7.org/CodeSystem/coverage-copay-type"
OWN = "https://osler.health/fhir/CodeSystem/"


def coded(code: str, system: str = "urn:services") -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def cost(kind: str, value: str | None = None) -> Resource:
    system = OWN + "benefit-cost" if kind in ("maxbenefit", "excluded", "preauthorization") else COPAY_TYPE
    made: Resource = {"type": coded(kind, system)}
    if value is not None:
        amount = euros(value)["value"]
        made["value"] = (
            {"value": amount, "unit": "%"} if kind == "copaypct" else {"value": amount, "code": "EUR"}
        )
    return made


def category(code: str, *costs: Resource) -> Resource:
    system = OWN + "benefit-category" if code == "all" else "urn:services"
    return {"category": coded(code, system), "benefit": [{"type": coded(code, system), "cost": list(costs)}]}


def plan(id: str, *categories: Resource) -> Resource:
    made: Resource = {"resourceType": "InsurancePlan", "id": id, "status": "active", "name": id}
    return {**made, "identifier": [{"value": f"plan-{id}"}], "plan": [{"specificCost": list(categories)}]}


def coverage(id: str, plan_id: str, order: int = 1, **more: Any) -> Resource:
    return {
        "resourceType": "Coverage",
        "id": id,
        "status": "active",
        "beneficiary": {"reference": "Patient/p1"},
        "payor": [{"reference": "Organization/payer", "display": "Payer"}],
        "class": [
            {
                "type": coded("plan", "http://terminology.hl7.org/CodeSystem/coverage-class"),
                "value": f"plan-{plan_id}",
            }
        ],
        "order": order,
        **more,
    }


def claim(
    id: str | None, coverage_id: str, *items: tuple[str, str], use: str = "claim", **more: Any
) -> Resource:
    """A claim; items are (code, net)."""
    made: Resource = {
        "resourceType": "Claim",
        "status": "active",
        "type": coded("institutional", "http://terminology.hl7.org/CodeSystem/claim-type"),
        "use": use,
        "patient": {"reference": "Patient/p1"},
        "created": "2026-01-07",
        "insurer": {"reference": "Organization/payer"},
        "provider": {"reference": "Organization/house"},
        "priority": coded("normal", "http://terminology.hl7.org/CodeSystem/processpriority"),
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"reference": f"Coverage/{coverage_id}"}}],
        "item": [
            {"sequence": n, "productOrService": coded(code), "net": euros(net)}
            for n, (code, net) in enumerate(items, 1)
        ],
        **more,
    }
    return made if id is None else {**made, "id": id}


def sole(resource: Resource) -> Resource:
    return {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": resource}]}


def told(adjudication: list[Resource]) -> dict[str, Any]:
    """Amounts by the code of the category."""
    return {a["category"]["coding"][0]["code"]: a["amount"]["value"] for a in adjudication}
