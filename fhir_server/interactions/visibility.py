"""What of the store the actor of a request may see: the access policy for resources that are read by their id.

Searches have the policy inside their question (`search.rewrite`). A resource that the actor may not see does not exist for the
actor: 404, with the same words. A version is seen when the policy holds for it and for the current state of its resource.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from fhir_r4.errors import Gone, NotFound
from fhir_r4.jsonio import decode_object
from fhir_server.context import Actor, FhirRequest, Services
from fhir_server.search.contained import CONTAINED, contained_key
from fhir_server.search.fulltext import full_texts
from fhir_server.search.match import Candidate, NoLookup, matches
from fhir_server.search.tree import (
    And,
    Chain,
    Everything,
    Expression,
    Has,
    IdIs,
    Not,
    Nothing,
    Or,
    RefersTo,
    all_of,
    any_of,
    negation,
)
from fhir_server.store.records import Stored

# ids in one question
ASKED_AT_ONCE = 500


async def may_see(actor: Actor, services: Services, stored: Stored) -> bool:
    """Whether the policy holds for a version that is no deletion, as it is."""
    if actor.policy is None:
        return True
    wanted = actor.policy.of(stored.type)
    if isinstance(wanted, Everything):
        return True
    resource = decode_object(stored.body)
    candidate = Candidate(
        stored.type,
        stored.id,
        stored.updated,
        stored.sequence,
        services.extractor.extract(resource),
        partial(full_texts, resource),
    )
    return matches(await _without_others(wanted, candidate, services), candidate, NoLookup())


async def visible_ids(actor: Actor, services: Services, type: str, ids: Iterable[str]) -> frozenset[str]:
    """Those of the ids of current resources of the type that the actor may see."""
    wanted = list(dict.fromkeys(ids))
    if actor.policy is None or isinstance(actor.policy.of(type), Everything):
        return frozenset(wanted)
    found: set[str] = set()
    for at in range(0, len(wanted), ASKED_AT_ONCE):
        some = tuple(wanted[at : at + ASKED_AT_ONCE])
        where = all_of([IdIs(some), actor.policy.of(type)])
        found.update(await services.store.matching_ids(type, where, len(some)))
    return frozenset(found)


async def _without_others(wanted: Expression, candidate: Candidate, services: Services) -> Expression:
    """The expression with what it asks of other resources answered by the store."""
    match wanted:
        case And(parts):
            return all_of([await _without_others(part, candidate, services) for part in parts])
        case Or(parts):
            return any_of([await _without_others(part, candidate, services) for part in parts])
        case Not(part):
            return negation(await _without_others(part, candidate, services))
        case Chain(param, target, part):
            ids = tuple(
                dict.fromkeys(
                    id
                    for code, type, id, base, _ in candidate.entries.references
                    if (code, type, base) == (param, target, "")
                )
            )
            found = await _any(services, target, all_of([IdIs(ids), part])) if ids else Nothing()
            return any_of([found, await _any_inside(param, target, part, candidate, services)])
        case Has(source, param, part):
            refers = RefersTo(param, candidate.type, candidate.id)
            return await _any(services, source, all_of([refers, part]))
        case _:
            return wanted


async def _any_inside(
    param: str, target: str, part: Expression, candidate: Candidate, services: Services
) -> Expression:
    """Whether the part holds for a resource that the candidate contains and refers to by the parameter."""
    referred = {
        (type, id) for code, type, id, _, _ in candidate.entries.references if code == param + CONTAINED
    }
    for one in candidate.entries.contained:
        type, id = contained_key((candidate.type, candidate.id), one.type, one.id)
        if one.type == target and (type, id) in referred:
            inner = Candidate(type, id, candidate.updated, candidate.created, one.entries)
            if matches(await _without_others(part, inner, services), inner, NoLookup()):
                return Everything()
    return Nothing()


async def _any(services: Services, type: str, where: Expression) -> Expression:
    found = await services.store.matching_ids(type, where, 1)
    return Everything() if found else Nothing()


async def is_hidden(request: FhirRequest, services: Services, current: Stored) -> bool:
    """Whether the resource does not exist for the actor; a deleted one is judged by its last state."""
    if request.actor.policy is None:
        return False
    last: Stored | None = current
    if current.deleted:
        last = await services.store.read_version(current.type, current.id, current.version - 1)
    return last is None or not await may_see(request.actor, services, last)


async def find_current(request: FhirRequest, services: Services, type: str, id: str) -> Stored | None:
    """The newest version (a deletion too) of a resource that the actor may see, or None."""
    current = await services.store.read(type, id)
    if current is None or (request.actor.policy is not None and await is_hidden(request, services, current)):
        return None
    return current


async def find_version(
    request: FhirRequest, services: Services, type: str, id: str, version: int
) -> Stored | None:
    """A version (a deletion too) of a resource, when the actor may see both; or None."""
    found = await services.store.read_version(type, id, version)
    if found is None or request.actor.policy is None:
        return found
    return found if await _sees_version(request, services, found) else None


async def _sees_version(request: FhirRequest, services: Services, version: Stored) -> bool:
    current = await find_current(request, services, version.type, version.id)
    if current is None:
        return False
    return current.version == version.version or not await is_hidden(request, services, version)


async def visible_versions(
    request: FhirRequest, services: Services, versions: tuple[Stored, ...]
) -> tuple[Stored, ...]:
    """Those of the versions that the actor may see."""
    if request.actor.policy is None:
        return versions
    return tuple([v for v in versions if await _sees_version(request, services, v)])


async def require_current(request: FhirRequest, services: Services, type: str, id: str) -> Stored:
    """The current version. Raises NotFound or Gone."""
    current = await find_current(request, services, type, id)
    if current is None:
        raise NotFound(f"There is no {type}/{id} on this server.")
    if current.deleted:
        raise Gone(f"{type}/{id} was deleted.", headers={"ETag": f'W/"{current.version}"'})
    return current
