"""Look up what decides the shares of a patient: coverages in their order, their plans, what was used of them this year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.adjudication import used_of
from fhir_server.resources.billing.plans import Plan, Used, plan_named, plan_of, why_not_in_force
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo, TokenIs, all_of

MOST = 1000


@dataclass(frozen=True, slots=True)
class Covered:
    """A coverage of a patient on a day, with its plan and what was used of it."""

    coverage: Resource
    plan: Plan
    used: Used


async def coverages_of(known: Known, patient: str) -> list[Resource]:
    """The Coverages of a patient that are active, in their order."""
    where = all_of([RefersTo("beneficiary", "Patient", patient), TokenIs("status", None, "active")])
    found = await known.find("Coverage", where)
    return sorted(found, key=lambda c: (int(c.get("order", 10**9)), str(c["id"])))


async def covered(
    known: Known, coverage: Resource, patient: str | None, day: date, currency: str, services: Services
) -> Covered:
    """What a Coverage comes to on a day. Raises BusinessRule when it does not hold, or has no rules."""
    why = why_not_in_force(coverage, day)
    if why is not None:
        raise BusinessRule(f"{why}.", "Coverage")
    bases = services.settings.local_bases
    beneficiary = local_id(coverage.get("beneficiary"), "Patient", bases)
    if patient is not None and beneficiary != patient:
        raise BusinessRule(f"Coverage/{coverage['id']} is not Patient/{patient}'s.", "Coverage.beneficiary")
    plan = await insurance_plan(known, coverage, bases)
    if plan is None and "costToBeneficiary" not in coverage:
        raise BusinessRule(
            f"Coverage/{coverage['id']} names no InsurancePlan that is here and says no costToBeneficiary.",
            "Coverage",
        )
    return Covered(
        coverage, plan_of(plan, coverage, day, currency), await used(known, coverage["id"], day, currency)
    )


async def insurance_plan(known: Known, coverage: Resource, bases: Sequence[str]) -> Resource | None:
    """The InsurancePlan of a Coverage; None when it names none that is here. Raises BusinessRule when there are two."""
    reference, identifier = plan_named(coverage)
    id = local_id(reference, "InsurancePlan", bases)
    if id is not None:
        return await known.current("InsurancePlan", id)
    if identifier is None:
        return None
    found = await known.find("InsurancePlan", TokenIs("identifier", None, identifier))
    active = [p for p in found if p.get("status", "active") == "active"]
    if len(active) > 1:
        raise BusinessRule(f"There are {len(active)} InsurancePlans {identifier}.", "Coverage.class")
    return active[0] if active else None


async def used(known: Known, coverage: str, day: date, currency: str) -> Used:
    """What was used of a Coverage in the year of the day, by the ExplanationOfBenefits that are here."""
    where = all_of([RefersTo("coverage", "Coverage", coverage), TokenIs("status", None, "active")])
    found = await known.find("ExplanationOfBenefit", where, MOST)
    return used_of([e for e in found if _year(e) == day.year], currency)


def _year(eob: Resource) -> int:
    start = str(eob.get("benefitPeriod", {}).get("start", eob.get("created", "0001")))
    return int(start[:4])


def line_amounts(amounts: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """The amounts as a tuple; refuses those below nothing. Raises BusinessRule."""
    if any(a < 0 for a in amounts):
        raise BusinessRule("A line below nothing cannot be shared.", "lineItem")
    return tuple(amounts)
