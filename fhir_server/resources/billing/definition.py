"""ChargeItemDefinitions: which of their prices apply to a charge, and the manner that keeps them what they were.

https://hl7.org/fhir/R4/chargeitemdefinition.html. An invariant to keep: at any time of service one version of a definition is
in force, and its prices are the same whenever they are looked at: another price is another version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fhir_r4.errors import BusinessRule
from fhir_r4.fhirpath.evaluate import evaluate
from fhir_r4.fhirpath.located import truth
from fhir_r4.fhirpath.navigation import root
from fhir_r4.fhirpath.parser import parse
from fhir_r4.fhirpath.syntax import FhirPathError
from fhir_r4.temporal import period_interval
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.lifecycle import require_frozen
from fhir_server.resources.billing.pricing import BASE, Component, component_of, currency_among
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.store.records import Claim

LANGUAGE = "text/fhirpath"
IN_FORCE = ("active", "retired")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a charge is judged with: the resources around it by the names that expressions call them, and the time."""

    resources: Mapping[str, Resource]
    now: int


def canonical_of(definition: Resource) -> str:
    """The canonical address with the version."""
    version = definition.get("version")
    return str(definition["url"]) if version is None else f"{definition['url']}|{version}"


def is_in_force(definition: Resource, at: int, zone: str) -> bool:
    """Whether the definition holds for a service at an instant."""
    low, high = interval_of(definition, zone)
    return definition.get("status") in IN_FORCE and low <= at < high


def interval_of(definition: Resource, zone: str) -> tuple[int, int]:
    period = definition.get("effectivePeriod") or {}
    return period_interval(period.get("start"), period.get("end"), zone)


def in_force(definitions: Sequence[Resource], at: int, zone: str) -> Resource | None:
    """The version that holds for a service at an instant: active ones before retired ones, later before earlier."""
    found = [d for d in definitions if is_in_force(d, at, zone)]
    return max(
        found,
        key=lambda d: (
            d.get("status") == "active",
            interval_of(d, zone)[0],
            str(d.get("version", "")),
            d["id"],
        ),
        default=None,
    )


def applies(conditions: Sequence[Resource], charge: Resource, around: Surroundings) -> bool:
    """Whether all conditions hold. Raises BusinessRule for one that cannot be judged."""
    return all(_holds(condition, charge, around) for condition in conditions)


def _holds(condition: Resource, charge: Resource, around: Surroundings) -> bool:
    expression = condition.get("expression")
    if expression is None:
        raise BusinessRule("A condition without an expression cannot be judged.", "applicability")
    variables = {name: [root(resource)] for name, resource in around.resources.items()}
    by_address = {f"{r['resourceType']}/{r.get('id')}": r for r in around.resources.values()}
    for name in NAMES:
        variables.setdefault(name, [])
    try:
        found = evaluate(
            str(expression),
            charge,
            variables=variables,
            now=datetime.fromtimestamp(around.now // 1_000_000, UTC),
            resolve=by_address.get,
        )
        return truth(found, "applicability") is True
    except FhirPathError as error:
        raise BusinessRule(
            f"The condition {expression!r} cannot be judged: {error}", "applicability"
        ) from error


# what expressions may name besides the ChargeItem itself
NAMES = ("event", "encounter", "patient", "ward", "room", "bed", "account", "coverage")


def components_for(
    definition: Resource, charge: Resource, around: Surroundings
) -> tuple[str | None, tuple[Component, ...]]:
    """The currency and the components of the groups that apply; none when the definition itself does not."""
    if not applies(definition.get("applicability", ()), charge, around):
        return None, ()
    stated = [
        component
        for group in definition.get("propertyGroup", ())
        if applies(group.get("applicability", ()), charge, around)
        for component in group.get("priceComponent", ())
    ]
    currency = currency_among(stated, "ChargeItemDefinition.propertyGroup.priceComponent")
    return currency, tuple(
        component_of(c, f"ChargeItemDefinition.priceComponent[{n}]", currency) for n, c in enumerate(stated)
    )


# The manner

INSTEAD = "Write another version with its own effectivePeriod, and end this one."


async def judge_definition(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of a ChargeItemDefinition. Raises BusinessRule."""
    before, after = change.before, change.after
    if after is None:
        return NOTHING
    _check(after)
    if before is not None and before.get("status") in IN_FORCE:
        if after.get("status") not in IN_FORCE:
            raise BusinessRule(
                f"Prices that were in force do not go back to {after.get('status')}; retire them.",
                "ChargeItemDefinition.status",
            )
        kept = ("url", "version", "code", "applicability", "propertyGroup")
        one, other = (
            {k: v for k, v in d.items() if k in (*kept, "resourceType", "id", "status")}
            for d in (before, after)
        )
        require_frozen(one, other, INSTEAD)
    if after.get("status") != "active":
        return NOTHING
    interval = interval_of(after, services.settings.default_timezone)
    return Consequence((Claim(f"price:{after['url']}", interval=interval),))


def _check(definition: Resource) -> None:
    groups = [*enumerate(definition.get("propertyGroup", ()))]
    conditions = [*definition.get("applicability", ())]
    for index, group in groups:
        place = f"ChargeItemDefinition.propertyGroup[{index}]"
        conditions += group.get("applicability", ())
        stated = group.get("priceComponent", ())
        currency = currency_among(stated, place)
        components = [component_of(c, f"{place}.priceComponent[{n}]", currency) for n, c in enumerate(stated)]
        if sum(c.type == BASE for c in components) > 1:
            raise BusinessRule("Under the same conditions there is one base price.", place)
    currency_among([c for _, g in groups for c in g.get("priceComponent", ())], "ChargeItemDefinition")
    for condition in conditions:
        language, expression = condition.get("language", LANGUAGE), condition.get("expression")
        if expression is None:
            continue
        if language != LANGUAGE:
            raise BusinessRule(
                f"Conditions are written in {LANGUAGE}; found {language}.", "applicability.language"
            )
        try:
            parse(str(expression))
        except FhirPathError as error:
            raise BusinessRule(
                f"The condition {expression!r} is no FHIRPath: {error}", "applicability"
            ) from error


DEFINITION = Manners(judge_definition)
