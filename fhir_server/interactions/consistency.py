"""Proof that what follows from resources is there: each is judged as if it were written again, and nothing may change.

An orphan is a Slot that is busy for nobody, a claim that no resource holds, a bed that is taken by nobody. Nothing is
written. What others write meanwhile may look like a problem: ask again, or stop writing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from fhir_r4.errors import FhirError
from fhir_r4.jsonio import decode_object
from fhir_server.context import Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.resources.change import Change
from fhir_server.resources.claims import claims_of
from fhir_server.resources.manners import MANNERS
from fhir_server.search.tree import Everything, SearchQuery
from fhir_server.store.judging import is_live
from fhir_server.store.records import Claim, Claiming, Stored

ALWAYS = (-(2**62), 2**62)
BATCH = 500


async def inconsistencies(services: Services) -> list[str]:
    """What is not as it should be, a sentence each; empty when everything is."""
    problems: list[str] = []
    claims: dict[str, list[Claim]] = {}
    for type in MANNERS:
        async for _, resource in _all(services, type):
            problems += await _judged(services, resource, claims)
    problems += await _claims(services, claims)
    return problems


async def reclaim(services: Services, progress: Callable[[int], None] = lambda _: None) -> int:
    """Make the claims anew that follow from other resources too; how many resources held others.

    For stores whose claims were made by older rules, or that were copied. What cannot be judged keeps what it holds.
    """
    done = changed = 0
    waiting: list[Claiming] = []
    for type in MANNERS:
        async for stored, resource in _all(services, type):
            claims = await _claims_of(services, resource)
            if claims is not None:
                waiting.append(Claiming(stored.type, stored.id, stored.sequence, claims))
            done += 1
            if len(waiting) == BATCH:
                changed += await services.store.reclaim(waiting)
                waiting = []
                progress(done)
    return changed + await services.store.reclaim(waiting)


async def _claims_of(services: Services, resource: Resource) -> tuple[Claim, ...] | None:
    type = resource["resourceType"]
    change = Change(type, resource["id"], "PUT", resource, resource)
    try:
        consequence = await MANNERS[type].judge(change, Plan(services, ()), services)
    except FhirError:
        return None
    return claims_of(resource, services.settings) + consequence.claims


async def _all(services: Services, type: str) -> AsyncIterator[tuple[Stored, Resource]]:
    cursor: str | None = None
    while True:
        query = SearchQuery(types=(type,), where=Everything(), count=BATCH, cursor=cursor)
        page = await services.store.search(query)
        for stored in page.matches:
            yield stored, decode_object(stored.body)
        cursor = page.next
        if cursor is None:
            return


async def _judged(services: Services, resource: Resource, claims: dict[str, list[Claim]]) -> list[str]:
    type, id = resource["resourceType"], resource["id"]
    change = Change(type, id, "PUT", resource, resource)
    known = Plan(services, ())
    try:
        consequence = await MANNERS[type].judge(change, known, services)
    except FhirError as error:
        return [f"{type}/{id}: {error}"]
    for claim in consequence.claims:
        claims.setdefault(claim.key, []).append(claim)
    problems = []
    if consequence.resource is not None and _differ(consequence.resource, resource):
        problems.append(f"{type}/{id} is not as it should be")
    for write in consequence.writes:
        other = await known.current(write["resourceType"], write["id"])
        if other is None or _differ(write, other):
            problems.append(f"{write['resourceType']}/{write['id']} does not follow {type}/{id}")
    return problems


def _differ(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return {k: v for k, v in one.items() if k != "meta"} != {k: v for k, v in other.items() if k != "meta"}


async def _claims(services: Services, claims: Mapping[str, Sequence[Claim]]) -> list[str]:
    """Claims that are missing, and those that nobody should hold.

    They are compared by their times alone: rules that have changed since leave what was claimed as it is.
    """
    now = services.clock()
    problems = []
    held = await services.store.claims(list(claims), ALWAYS)
    for key, wanted in claims.items():
        live = [c.interval or ALWAYS for c in wanted if is_live(c, now)]
        present = [(low, high) for _, low, high in held.get(key, ())]
        problems += [f"a claim on {key} is missing" for low, high in live if not _meets(low, high, present)]
        problems += [f"a claim on {key} is nobody's" for low, high in present if not _meets(low, high, live)]
    return problems


def _meets(low: int, high: int, others: Sequence[tuple[int, int]]) -> bool:
    return any(low < other[1] and other[0] < high for other in others)
