"""Price a ChargeItem: the version of its definition at the time of the service, with what its conditions look at.

An invariant to keep: the price follows from the time of the service, not from the time at which somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id, parse_reference
from fhir_r4.temporal import parse_interval
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.places import parent_of
from fhir_server.resources.beds.stays import places_of
from fhir_server.resources.beds.surroundings import MOST_LEVELS
from fhir_server.resources.billing.charges import (
    definition_of,
    event_of,
    price_of,
    quantity_of,
    service_time,
    with_price,
)
from fhir_server.resources.billing.definition import (
    Surroundings,
    canonical_of,
    components_for,
    in_force,
)
from fhir_server.resources.billing.money import amount_of, currency_of, number_of
from fhir_server.resources.billing.price_list import price_list
from fhir_server.resources.billing.pricing import Charge, Component, calculated
from fhir_server.resources.billing.settings import SETTINGS_ID, BillingSettings, day_at, settings_at
from fhir_server.resources.change import Known

PLACES = {"wa": "ward", "ro": "room", "bd": "bed"}


async def settings_for(at: int, known: Known, services: Services) -> BillingSettings:
    """The settings of the hospital in force at an instant."""
    day = day_at(at, services.settings.default_timezone)
    return settings_at(await known.current("Basic", SETTINGS_ID), day)


def instant_of(charge: Resource, known: Known, zone: str) -> int:
    """When the service was, microseconds; now when the ChargeItem does not say."""
    text = service_time(charge)
    return known.now if text is None else parse_interval(text, zone)[0]


async def priced(
    charge: Resource, url: str, known: Known, services: Services, location: str | None = None
) -> Resource | None:
    """The ChargeItem with the price of the definition at `url`; None when its conditions do not hold.

    `location` is where the patient lay, when that is known. Raises BusinessRule when there is no price or no version in force.
    """
    zone = services.settings.default_timezone
    at = instant_of(charge, known, zone)
    definition = in_force((await price_list(services)).versions(url), at, zone)
    if definition is not None:
        definition = await known.current("ChargeItemDefinition", definition["id"])
    if definition is None:
        raise BusinessRule(
            f"No version of {url} was in force at the time of the service.", "definitionCanonical"
        )
    around = Surroundings(await _around(definition, charge, known, services, location), known.now)
    listed_in, listed = components_for(definition, charge, around)
    if not listed:
        return None
    settings = await settings_for(at, known, services)
    price = _calculated(charge, listed_in, listed, settings)
    made = {**charge, "definitionCanonical": [canonical_of(definition)]}
    return with_price(made, price, settings)


async def price_for_invoice(charge: Resource, known: Known, services: Services) -> Charge:
    """The price that a charge has, or that its definition or override gives it. Raises BusinessRule when there is none."""
    found = price_of(charge)
    if found is not None:
        return found
    url = definition_of(charge)
    if url is not None:
        priced_charge = await priced(charge, url, known, services)
        if priced_charge is None:
            raise BusinessRule(
                f"The conditions of {url} do not hold for ChargeItem/{charge['id']}.", "ChargeItem"
            )
        made = price_of(priced_charge)
        assert made is not None
        return made
    if "priceOverride" in charge:
        at = instant_of(charge, known, services.settings.default_timezone)
        return _calculated(charge, None, (), await settings_for(at, known, services))
    raise BusinessRule(
        f"ChargeItem/{charge['id']} has no price: ChargeItemDefinition/[id]/$apply gives it one.",
        "ChargeItem",
    )


def _calculated(
    charge: Resource, currency: str | None, listed: Sequence[Component], settings: BillingSettings
) -> Charge:
    factor: Decimal | None = None
    override: Decimal | None = None
    if "factorOverride" in charge:
        factor = number_of(charge["factorOverride"], "ChargeItem.factorOverride")
    if "priceOverride" in charge:
        currency = currency or currency_of(charge["priceOverride"], "ChargeItem.priceOverride")
        override = amount_of(charge["priceOverride"], "ChargeItem.priceOverride", currency)
    return calculated(listed, quantity_of(charge), settings, currency or settings.currency, factor, override)


async def _around(
    definition: Resource, charge: Resource, known: Known, services: Services, location: str | None
) -> Mapping[str, Resource]:
    """The resources that the conditions of a definition name, and no others."""
    conditions = [*definition.get("applicability", ())]
    for group in definition.get("propertyGroup", ()):
        conditions += group.get("applicability", ())
    text = " ".join(str(c.get("expression", "")) for c in conditions)
    everything = "resolve" in text
    bases = services.settings.local_bases
    found: dict[str, Resource] = {}

    async def look(name: str, reference: object, type: str) -> Resource | None:
        id = local_id(reference, type, bases)
        resource = None if id is None else await known.current(type, id)
        if resource is not None:
            found[name] = resource
        return resource

    if "%patient" in text or everything:
        await look("patient", charge.get("subject"), "Patient")
    if "%account" in text or "%coverage" in text or everything:
        account = await look("account", next(iter(charge.get("account", ())), None), "Account")
        covers = [] if account is None else account.get("coverage", [])
        if covers:
            first = min(covers, key=lambda c: c.get("priority", 1))
            await look("coverage", first.get("coverage"), "Coverage")
    if "%event" in text or everything:
        told = event_of(charge)
        named = (
            told[0]
            if told is not None
            else next((s.get("reference") for s in charge.get("service", ())), None)
        )
        if named is not None:
            await look("event", {"reference": named}, parse_reference(named, bases).type)
    if any(f"%{name}" in text for name in ("encounter", "ward", "room", "bed")) or everything:
        encounter = await look("encounter", charge.get("context"), "Encounter")
        at = instant_of(charge, known, services.settings.default_timezone)
        place = location or (None if encounter is None else _lay(encounter, at, bases))
        await _places(found, place, known, bases)
    return found


def _lay(encounter: Resource, at: int, bases: Sequence[str]) -> str | None:
    """Where the patient was at an instant."""
    return next(
        (
            p.location
            for p in reversed(places_of(encounter, bases))
            if p.state != "reserved" and (p.start is None or p.start <= at) and (p.end is None or at < p.end)
        ),
        None,
    )


async def _places(found: dict[str, Resource], id: str | None, known: Known, bases: Sequence[str]) -> None:
    """The bed, the room and the ward at or above a place."""
    for _ in range(MOST_LEVELS):
        location = None if id is None else await known.current("Location", id)
        if location is None:
            return
        codings = location.get("physicalType", {}).get("coding", ())
        for name in {PLACES[c["code"]] for c in codings if c.get("code") in PLACES}:
            found.setdefault(name, location)
        id = parent_of(location, bases)
