"""Who pays for a charge first: the payer of the first coverage that holds on its day and does not exclude it; else the patient."""

from __future__ import annotations

from datetime import date

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.charges import currencies_of, service_day
from fhir_server.resources.billing.covering import coverages_of, insurance_plan
from fhir_server.resources.billing.plans import (
    ALL,
    EXCLUDED,
    PERCENT,
    Plan,
    codes_of,
    plan_of,
    why_not_in_force,
)
from fhir_server.resources.billing.settings import SETTINGS_ID, day_at, settings_at
from fhir_server.resources.change import Known


class Payers:
    """Looks up payers of charges; what was looked up is kept for the next."""

    def __init__(self, known: Known, services: Services) -> None:
        self._known = known
        self._services = services
        self._coverages: dict[str, list[Resource]] = {}
        self._plans: dict[tuple[str, date, str], Plan] = {}

    async def of(self, charge: Resource) -> str:
        """The reference of the payer of a charge; '' for the patient."""
        bases, zone = self._services.settings.local_bases, self._services.settings.default_timezone
        patient = local_id(charge.get("subject"), "Patient", bases)
        if patient is None:
            return ""
        if patient not in self._coverages:
            self._coverages[patient] = await coverages_of(self._known, patient)
        day = service_day(charge, zone) or day_at(self._known.now, zone)
        for coverage in self._coverages[patient]:
            payer = coverage["payor"][0].get("reference")
            if payer is None or why_not_in_force(coverage, day) is not None:
                continue
            if await self._pays(coverage, charge, day):
                return str(payer)
        return ""

    async def _pays(self, coverage: Resource, charge: Resource, day: date) -> bool:
        """Whether the plan of a coverage pays some of a charge; one without rules pays nothing."""
        try:
            plan = await self._plan(coverage, charge, day)
        except BusinessRule:
            return False
        rule = plan.rule_for(codes_of(charge.get("code", {})))
        costs = rule.costs if rule.name == ALL else {**plan.general, **rule.costs}
        excluded = EXCLUDED in rule.costs
        return not excluded and costs.get(PERCENT, 0) < 100

    async def _plan(self, coverage: Resource, charge: Resource, day: date) -> Plan:
        settings = settings_at(await self._known.current("Basic", SETTINGS_ID), day)
        currency = next(currencies_of(charge), settings.currency)
        key = coverage["id"], day, currency
        if key not in self._plans:
            found = await insurance_plan(self._known, coverage, self._services.settings.local_bases)
            if found is None and "costToBeneficiary" not in coverage:
                raise BusinessRule(f"Coverage/{coverage['id']} has no rules.", "Coverage")
            self._plans[key] = plan_of(found, coverage, day, currency)
        return self._plans[key]
