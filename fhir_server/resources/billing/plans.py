"""What an insurance plan pays, as InsurancePlan and Coverage say it: the terms for the lines of an invoice or a claim. Pure.

https://hl7.org/fhir/R4/insuranceplan.html, https://hl7.org/fhir/R4/coverage.html. `plan.specificCost` has a category (which services) and
costs by type: `copay`, `copaypct`, `deductible`, `maxoutofpocket` of HL7's coverage-copay-type, and our own `maxbenefit`, `excluded` and
`preauthorization` (what is not authorized beforehand is not paid).
The category `all` speaks of every service that no other names, and of the plan as a whole. What Coverage.costToBeneficiary says goes before the
plan; an exception in force waives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import parse_interval
from fhir_server.resources.billing.money import ZERO, amount_of, number_of, sum_of
from fhir_server.resources.billing.shares import Benefit, Terms

OSLER = "https://osler.health/fhir/StructureDefinition/"
PLAN = OSLER + "coverage-plan"
CATEGORY = "https://osler.health/fhir/CodeSystem/benefit-category"
COSTS = (
    "http://terminology.hl7.org/CodeSystem/coverage-copay-type",
    "https://osler.health/fhir/CodeSystem/benefit-cost",
)
ALL = "all"
COPAY, PERCENT, DEDUCTIBLE, MOST_OF_PATIENT, MOST_OF_PAYER, EXCLUDED, AUTHORIZATION = (
    "copay",
    "copaypct",
    "deductible",
    "maxoutofpocket",
    "maxbenefit",
    "excluded",
    "preauthorization",
)
# costs that say something without an amount
PLAIN = (EXCLUDED, AUTHORIZATION)
Code = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a plan says of the services with one of the codes (all others when there are none); amounts by the type of cost."""

    name: str
    codes: frozenset[Code]
    costs: Mapping[str, Decimal]

    def covers(self, codes: Iterable[Code]) -> bool:
        return any(
            code == other and (not system or not wanted or system == wanted)
            for system, code in codes
            for wanted, other in self.codes
        )


@dataclass(frozen=True, slots=True)
class Used:
    """What a coverage has been used for this year: borne by the patient, and paid by the plan, also by benefit."""

    deductible: Decimal = ZERO
    patient: Decimal = ZERO
    payer: Decimal = ZERO
    benefits: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of a coverage on a day."""

    rules: tuple[Rule, ...]
    general: Mapping[str, Decimal]

    def rule_for(self, codes: Iterable[Code]) -> Rule:
        """The first rule for a service; the general one when no other is."""
        asked = tuple(codes)
        found = next((rule for rule in self.rules if rule.covers(asked)), None)
        return Rule(ALL, frozenset(), self.general) if found is None else found

    def terms(self, lines: Sequence[Sequence[Code]], used: Used, *, authorized: bool = True) -> Terms:
        """The terms for lines with these codes, that were authorized beforehand or not."""
        return Terms(
            tuple(self._benefit(self.rule_for(codes), used, authorized) for codes in lines),
            _left(self.general.get(DEDUCTIBLE, ZERO), used.deductible),
            _perhaps_left(self.general.get(MOST_OF_PATIENT), used.patient),
            _perhaps_left(self.general.get(MOST_OF_PAYER), used.payer),
        )

    def _benefit(self, rule: Rule, used: Used, authorized: bool) -> Benefit:
        costs = rule.costs if rule.name == ALL else {**_of_each(self.general), **rule.costs}
        limit = None if rule.name == ALL else rule.costs.get(MOST_OF_PAYER)
        return Benefit(
            rule.name,
            costs.get(COPAY, ZERO),
            costs.get(PERCENT, ZERO),
            _perhaps_left(limit, used.benefits.get(rule.name, ZERO)),
            EXCLUDED in costs or (AUTHORIZATION in costs and not authorized),
        )


def _of_each(general: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """What the general rule says of a service that has a rule of its own, which says nothing else."""
    return {kind: general[kind] for kind in (PERCENT,) if kind in general}


def _left(whole: Decimal, used: Decimal) -> Decimal:
    return max(sum_of((whole, -used)), ZERO)


def _perhaps_left(whole: Decimal | None, used: Decimal) -> Decimal | None:
    return None if whole is None else _left(whole, used)


def plan_of(
    insurance_plan: Mapping[str, Any] | None, coverage: Mapping[str, Any], day: date, currency: str
) -> Plan:
    """The rules of a Coverage under its InsurancePlan on a day. Raises BusinessRule for rules that make no sense."""
    rules: list[Rule] = []
    general: dict[str, Decimal] = {}
    for plan in () if insurance_plan is None else insurance_plan.get("plan", ()):
        for cost in plan.get("specificCost", ()):
            rule = _rule(cost, currency)
            if rule.name == ALL:
                general |= rule.costs
            else:
                rules.append(rule)
    general |= _of_beneficiary(coverage, day, currency)
    return Plan(tuple(rules), general)


def _rule(cost: Mapping[str, Any], currency: str) -> Rule:
    place = "InsurancePlan.plan.specificCost"
    codes = codes_of(cost.get("category", {}))
    found: dict[str, Decimal] = {}
    for benefit in cost.get("benefit", ()):
        for one in benefit.get("cost", ()):
            kind = _kind(one.get("type", {}))
            if kind is None:
                raise BusinessRule(
                    "A cost of a plan is of the type copay, copaypct, deductible, maxoutofpocket, maxbenefit, excluded or preauthorization.",
                    f"{place}.benefit.cost.type",
                )
            found[kind] = _value(kind, one.get("value"), f"{place}.benefit.cost.value", currency)
    if any(code == ALL for _, code in codes) or not codes:
        return Rule(ALL, frozenset(), found)
    return Rule("|".join(sorted(code for _, code in codes)), codes, found)


def _of_beneficiary(coverage: Mapping[str, Any], day: date, currency: str) -> dict[str, Decimal]:
    found = {}
    for cost in coverage.get("costToBeneficiary", ()):
        kind = _kind(cost.get("type", {}))
        if kind is None:
            continue
        waived = any(in_period(e.get("period"), day) for e in cost.get("exception", ()))
        value = cost.get("valueMoney", cost.get("valueQuantity"))
        place = "Coverage.costToBeneficiary.value"
        found[kind] = ZERO if waived else _value(kind, value, place, currency)
    return found


def _kind(concept: Mapping[str, Any]) -> str | None:
    known = (COPAY, PERCENT, DEDUCTIBLE, MOST_OF_PATIENT, MOST_OF_PAYER, *PLAIN)
    return next(
        (
            c["code"]
            for c in concept.get("coding", ())
            if c.get("code") in known and c.get("system", COSTS[0]) in COSTS
        ),
        None,
    )


def _value(kind: str, value: Any, place: str, currency: str) -> Decimal:
    if kind in PLAIN:
        return ZERO
    if not isinstance(value, dict) or value.get("value") is None:
        raise BusinessRule(f"{place} is needed for {kind}.", place)
    if kind == PERCENT:
        percent = number_of(value["value"], place)
        if not 0 <= percent <= 100:
            raise BusinessRule(f"{percent} % is no share.", place)
        return percent
    own = value.get("currency", value.get("code", value.get("unit")))
    amount = amount_of({"value": value["value"], "currency": own}, place, currency)
    if amount < ZERO:
        raise BusinessRule(f"{place} is not below nothing.", place)
    return amount


def codes_of(*concepts: Mapping[str, Any]) -> frozenset[Code]:
    """The (system, code) of CodeableConcepts."""
    return frozenset(
        (str(c.get("system", "")), str(c["code"]))
        for concept in concepts
        for c in concept.get("coding", ())
        if "code" in c
    )


def in_period(period: Any, day: date) -> bool:
    """Whether a day lies in a Period; one that says nothing holds always."""
    if not isinstance(period, dict):
        return True
    noon = parse_interval(f"{day.isoformat()}T12:00:00Z")[0]
    start, end = period.get("start"), period.get("end")
    return (start is None or parse_interval(start)[0] <= noon) and (
        end is None or parse_interval(end)[1] > noon
    )


def why_not_in_force(coverage: Mapping[str, Any], day: date) -> str | None:
    """Why a Coverage does not hold on a day; None when it does."""
    if coverage.get("status") != "active":
        return f"Coverage/{coverage['id']} is {coverage.get('status')}"
    if not in_period(coverage.get("period"), day):
        return f"Coverage/{coverage['id']} does not hold on {day.isoformat()}"
    return None


def plan_named(coverage: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
    """How a Coverage names its InsurancePlan: by a Reference (extension), or by an identifier (class `plan`)."""
    for extension in coverage.get("extension", ()):
        if extension.get("url") == PLAN:
            return extension.get("valueReference"), None
    for one in coverage.get("class", ()):
        if any(c.get("code") == "plan" for c in one.get("type", {}).get("coding", ())):
            return None, one.get("value")
    return None, None
