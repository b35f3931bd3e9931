"""The code systems and value sets stored on this server, gathered for the terminology service, which does no I/O itself.

They come before those of the R4 definitions. Gathered are those that a request names, and those that these name in turn, as
far as the actor may see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirRequest, Resource, Services
from fhir_server.interactions.visibility import find_current
from fhir_server.search.rewrite import apply_policy
from fhir_server.search.tree import SearchQuery, SortKey, UriIs
from terminology.service import Terminology

MOST_GATHERED = 500
KINDS = ("CodeSystem", "ValueSet")


async def terminology_for(request: FhirRequest, services: Services, addresses: Iterable[str]) -> Terminology:
    """The service over the stored resources that the addresses lead to.

    An address is canonical, with or without `|version`, or `ValueSet/id` for one of this server. Raises InvalidRequest when
    that reaches too many.
    """
    found = await _gather(request, services, list(addresses))
    return services.terminology.with_resources(_finder(found)) if found else services.terminology


def addresses_in(node: Any) -> Iterator[str]:
    """Every text below `node` that may be a canonical address."""
    if isinstance(node, str):
        if ":" in node and len(node) < 500:
            yield node
    elif isinstance(node, dict):
        for name, value in node.items():
            if name not in ("concept", "text"):
                yield from addresses_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from addresses_in(value)


@lru_cache(maxsize=256)
def decoded(body: bytes) -> Resource:
    """The resource of a stored text; the same object for the same text, because indexes are kept by identity."""
    return decode_object(body)


async def _gather(request: FhirRequest, services: Services, todo: list[str]) -> list[Resource]:
    found: list[Resource] = []
    seen: set[str] = set()
    while todo:
        address = todo.pop().partition("|")[0]
        if address in seen:
            continue
        seen.add(address)
        for resource in await _stored_at(request, services, address):
            found.append(resource)
            named = [resource.get(name) for name in ("compose", "supplements", "extension")]
            todo += addresses_in(named)
        if len(found) > MOST_GATHERED:
            raise InvalidRequest(
                f"The request reaches more than {MOST_GATHERED} code systems and value sets."
            )
    return found


async def _stored_at(request: FhirRequest, services: Services, address: str) -> list[Resource]:
    kind, _, id = address.partition("/")
    if kind in KINDS:
        current = await find_current(request, services, kind, id)
        return [] if current is None or current.deleted else [decoded(current.body)]
    newest = (SortKey("_lastUpdated", "date", True),)
    found: list[Resource] = []
    for kind in KINDS:
        query = SearchQuery((kind,), UriIs("url", address), sort=newest, count=20)
        page = await services.store.search(apply_policy(query, request.actor.policy))
        found += [decoded(stored.body) for stored in page.matches]
    return found


def _finder(resources: list[Resource]) -> Callable[[str, str, str | None], Resource | None]:
    def find(kind: str, url: str, version: str | None) -> Resource | None:
        for resource in resources:
            named = resource.get("url") == url or f"{kind}/{resource['id']}" == url
            if resource["resourceType"] == kind and named and version in (None, resource.get("version")):
                return resource
        return None

    return find
