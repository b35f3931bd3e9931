"""What an operation is asked about must be there for who asks: what the access policy hides does not exist (404).

An invariant to keep: without a policy nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fhir_r4.errors import NotFound
from fhir_r4.references import local_id
from fhir_server.context import OperationCall, Resource, Services
from fhir_server.interactions.visibility import require_current, visible_ids
from fhir_server.operations.given import Given

Key = tuple[str, str]


async def require_seen(call: OperationCall, services: Services, given: Given) -> None:
    """Raise NotFound when the actor may not see the instance of the call, or a resource that a parameter names."""
    if call.request.actor.policy is None:
        return
    if call.type is not None and call.id is not None:
        await require_current(call.request, services, call.type, call.id)
    named = set(_named(given, services.settings.local_bases))
    stored = await services.store.read_many(sorted(named))
    await require_all_seen(call, services, stored)


async def require_all_seen(call: OperationCall, services: Services, keys: Iterable[Key]) -> None:
    """Raise NotFound unless the actor may see all of these resources, which exist."""
    by_type: dict[str, list[str]] = {}
    for type, id in keys:
        by_type.setdefault(type, []).append(id)
    for type, ids in by_type.items():
        hidden = set(ids) - await visible_ids(call.request.actor, services, type, ids)
        if hidden:
            raise NotFound(f"There is no {type}/{min(hidden)}.")


def _named(given: Given, bases: tuple[str, ...]) -> Iterator[Key]:
    for values in given.values.values():
        for value in values:
            if isinstance(value, Given):
                yield from _named(value, bases)
            elif isinstance(value, Mapping):
                yield from _key(value, bases)


def _key(value: Mapping[str, Any], bases: tuple[str, ...]) -> Iterator[Key]:
    """The resource that a Reference names, or that was sent with its id."""
    if "resourceType" in value:
        if "id" in value:
            yield value["resourceType"], value["id"]
        return
    type = str(value.get("reference", "")).rstrip("/").split("/")
    id = local_id(value, type[-2], bases) if len(type) > 1 else None
    if id is not None:
        yield type[-2], id


async def seen(
    call: OperationCall, services: Services, type: str, resources: Iterable[Resource]
) -> list[Resource]:
    """Those of the resources of one type that the actor may see, in their order."""
    asked = list(resources)
    ids = await visible_ids(call.request.actor, services, type, (r["id"] for r in asked))
    return [r for r in asked if r["id"] in ids]
