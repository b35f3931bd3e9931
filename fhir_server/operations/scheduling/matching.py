"""Which Schedules meet the criteria of a question, and how well: their places in the orders of preference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource, Services
from fhir_server.operations.scheduling.bookable import Bookable, read_bookables
from fhir_server.operations.scheduling.question import Code, Criteria
from fhir_server.search.rewrite import Policy, limited
from fhir_server.search.text import normalise
from fhir_server.search.tree import Expression, IdIs, RefersTo, TokenIs, any_of, negation

MOST_SCHEDULES = 1000
EVERYTHING = Criteria()

# a Schedule, and its places in the orders of preference: smaller is better
Ranked = tuple[Bookable, tuple[int, ...]]


async def matching(
    services: Services, criteria: Criteria, service: str | None = None, policy: Policy | None = None
) -> tuple[Ranked, ...]:
    """The active Schedules that meet the criteria and that `policy` shows, in order of creation, with their rules for a service.

    Raises BusinessRule when there are too many to look at.
    """
    bookables = await read_bookables(services, await _candidates(services, criteria, policy), service)
    ranked = ((bookable, rank_of(bookable, criteria)) for bookable in bookables)
    return tuple((bookable, rank) for bookable, rank in ranked if rank is not None)


async def _candidates(services: Services, criteria: Criteria, policy: Policy | None) -> tuple[str, ...]:
    """The ids of the Schedules to look at: those of the nearest criterion that the index knows."""
    if criteria.schedules:
        named = tuple(reference.partition("/")[2] for reference in criteria.schedules)
        if policy is None:
            return named
        seen = limited(IdIs(named), ("Schedule",), policy)
        return await services.store.matching_ids("Schedule", seen, len(named))
    where: Expression = negation(TokenIs("active", None, "false"))
    if criteria.practitioners:
        keys = [reference.partition("/")[::2] for reference in criteria.practitioners]
        people = any_of(RefersTo("practitioner", *key) for key in keys if key[0] == "Practitioner")
        roles = await services.store.matching_ids("PractitionerRole", people, MOST_SCHEDULES)
        keys += [("PractitionerRole", id) for id in roles]
        where = any_of(RefersTo("actor", *key) for key in keys)
    ids = await services.store.matching_ids(
        "Schedule", limited(where, ("Schedule",), policy), MOST_SCHEDULES + 1
    )
    if len(ids) > MOST_SCHEDULES:
        raise BusinessRule(
            f"More than {MOST_SCHEDULES} schedules would have to be looked at; name practitioners or schedules."
        )
    return ids


def rank_of(bookable: Bookable, criteria: Criteria) -> tuple[int, ...] | None:
    """The places of a Schedule in the orders of preference; None when it does not meet the criteria."""
    if criteria == EVERYTHING:
        return ()
    names = _names(bookable)
    places = (
        _place(criteria.schedules, {bookable.reference}),
        _place(criteria.practitioners, names),
        _place(criteria.locations, names),
        _place(criteria.organizations, names),
        _place(criteria.services, names),
        _place_of_code(
            criteria.specialties, _stated(bookable, "specialty") if criteria.specialties else set()
        ),
        _place_of_code(criteria.visit_types, _visits(bookable) if criteria.visit_types else set()),
        _place_of_text(criteria.places, bookable),
        0 if criteria.actor_type is None or _has_actor(bookable, criteria.actor_type) else None,
    )
    found = tuple(place for place in places if place is not None)
    return found if len(found) == len(places) else None


def _names(bookable: Bookable) -> set[str]:
    """Every reference by which a Schedule may be meant: its actors, and what these belong to."""
    return {*bookable.people, *bookable.rules.actors, *bookable.related}


def _place(wanted: tuple[str, ...], names: set[str]) -> int | None:
    if not wanted:
        return 0
    return next((n for n, reference in enumerate(wanted) if reference in names), None)


def _place_of_code(wanted: tuple[Code, ...], stated: set[tuple[str, str]]) -> int | None:
    if not wanted:
        return 0
    for n, (system, code) in enumerate(wanted):
        if any(code == own and system in (None, of) for of, own in stated):
            return n
    return None


def _place_of_text(wanted: tuple[str, ...], bookable: Bookable) -> int | None:
    """Where the name or address of one of its places has a part that begins with a text, as a string search has it."""
    if not wanted:
        return 0
    parts = [
        normalise(part)
        for resource in bookable.related.values()
        if resource["resourceType"] == "Location"
        for part in _texts(resource)
    ]
    for n, text in enumerate(wanted):
        if any(part.startswith(normalise(text)) for part in parts):
            return n
    return None


def _texts(location: Resource) -> Iterable[str]:
    address = location.get("address", {})
    yield from (str(location[name]) for name in ("name", "description") if name in location)
    yield from (str(line) for line in address.get("line", ()))
    yield from (
        str(address[name])
        for name in ("text", "city", "district", "state", "postalCode", "country")
        if name in address
    )


def _stated(bookable: Bookable, member: str) -> set[tuple[str, str]]:
    resources: list[Mapping[str, Any]] = [bookable.schedule]
    resources += [
        r for r in bookable.related.values() if r["resourceType"] in ("PractitionerRole", "HealthcareService")
    ]
    return {code for resource in resources for code in _codes(resource.get(member, ()))}


def _visits(bookable: Bookable) -> set[tuple[str, str]]:
    """What can be had there: service types and categories, and what its actors are."""
    found = _stated(bookable, "serviceType") | _stated(bookable, "serviceCategory")
    for reference, resource in bookable.related.items():
        type = reference.partition("/")[0]
        if type in ("HealthcareService", "Location", "Device") and (
            type == "HealthcareService" or reference in bookable.rules.actors
        ):
            found |= _codes(resource.get("type", ()))
            found |= _codes(resource.get("characteristic", ()))
        if type == "PractitionerRole":
            found |= _codes(resource.get("code", ()))
    return found


def _codes(concepts: Any) -> set[tuple[str, str]]:
    listed = concepts if isinstance(concepts, (list, tuple)) else [concepts]
    return {
        (coding.get("system", ""), coding.get("code", ""))
        for concept in listed
        for coding in concept.get("coding", ())
    }


def _has_actor(bookable: Bookable, type: str) -> bool:
    return any(reference.startswith(f"{type}/") for reference in (*bookable.people, *bookable.rules.actors))
