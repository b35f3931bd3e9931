"""ChargeItemDefinitions: which of their prices apply to a charge, and the manner that keeps them what they were.

https://hl7.org/fhir/R4/chargeitemdefinition.html. An invariant to keep: at any time of service one version of a definition is
in force, and its prices are the same whenever they are looked at: another price is another version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.fhirpath.evaluate import evaluate
from fhir_r4.fhirpath.located import truth
from fhir_r4.fhirpath.navigation import root
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
    """Whether all conditions hold: not when one does not. Raises BusinessRule when that hangs on one that cannot be judged here."""
    unknown: BusinessRule | None = None
    for condition in conditions:
        try:
            if not _holds(condition, charge, around):
                return False
        except BusinessRule as problem:
            unknown = unknown or problem
    if unknown is not None:
        raise unknown
    return True


def _holds(condition: Resource, charge: Resource, around: Surroundings) -> bool:
    expression, language = condition.get("expression"), str(condition.get("language", LANGUAGE))
    if expression is None:
        told = condition.get("description", "without an expression")
        raise BusinessRule(f"The condition {told!r} has no expression and cannot be judged.", "applicability")
    if language.lower() != LANGUAGE:
        raise BusinessRule(
            f"The condition {expression!r} cannot be judged: it is written in {language}; conditions are judged in {LANGUAGE}.",
            "applicability",
        )
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
    warnings = _check(after)
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
        return Consequence(warnings=warnings)
    interval = interval_of(after, services.settings.default_timezone)
    return Consequence((Claim(f"price:{after['url']}", interval=interval),), warnings=warnings)


def _check(definition: Resource) -> tuple[Issue, ...]:
    """Raise BusinessRule for prices that cannot be; told are conditions that cannot be judged here, whatever the charge is."""
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
    return tuple(told for condition in conditions for told in _cannot_be_judged(condition))


def _cannot_be_judged(condition: Resource) -> Iterator[Issue]:
    """A warning about a condition that cannot be judged over any charge."""
    try:
        _holds(condition, {"resourceType": "ChargeItem"}, Surroundings({}, 0))
    except BusinessRule as problem:
        told = f"{problem} Charges that hang on it are not priced here."
        yield Issue("warning", "not-supported", told, ("ChargeItemDefinition.applicability",))


DEFINITION = Manners(judge_definition)
