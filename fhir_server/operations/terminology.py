"""$expand, $lookup, $validate-code and $subsumes: the server's side of the terminology service.

https://hl7.org/fhir/R4/terminology-service.html. Code systems and value sets stored on this server are gathered here and
handed to the service, which does no I/O; they come before those of the R4 definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.patch import require_current
from fhir_server.search.tree import SearchQuery, SortKey, UriIs
from terminology.service import Terminology

MOST_GATHERED = 500
KINDS = ("CodeSystem", "ValueSet")


async def expand(call: OperationCall, services: Services) -> FhirResponse:
    """ValueSet/$expand and ValueSet/[id]/$expand."""
    parameters = _in_language(call, await _with_instance(call, services, "valueSet"))
    terminology = await _terminology(services, parameters)
    return FhirResponse(200, resource=terminology.expand(parameters))


async def lookup(call: OperationCall, services: Services) -> FhirResponse:
    """CodeSystem/$lookup."""
    parameters = _in_language(call, call.parameters)
    terminology = await _terminology(services, parameters)
    return FhirResponse(200, resource=terminology.lookup(parameters))


async def validate_code(call: OperationCall, services: Services) -> FhirResponse:
    """$validate-code of ValueSet and CodeSystem, on the type or an instance."""
    kind = call.type or "ValueSet"
    parameters = await _with_instance(call, services, "valueSet" if kind == "ValueSet" else "codeSystem")
    parameters = _in_language(call, parameters)
    terminology = await _terminology(services, parameters)
    return FhirResponse(200, resource=terminology.validate_code(parameters, kind))


async def subsumes(call: OperationCall, services: Services) -> FhirResponse:
    """CodeSystem/$subsumes, on the type or an instance (which then gives the system)."""
    parameters = call.parameters
    if call.id is not None:
        system = await _instance(call, services)
        if system.get("url") is None:
            raise InvalidRequest(f"CodeSystem/{call.id} has no url.", "CodeSystem.url")
        parameters = _plus(parameters, {"name": "system", "valueUri": system["url"]})
    terminology = await _terminology(services, parameters)
    return FhirResponse(200, resource=terminology.subsumes(parameters))


async def _instance(call: OperationCall, services: Services) -> Resource:
    assert call.type is not None
    assert call.id is not None
    return decode_object((await require_current(services, call.type, call.id)).body)


async def _with_instance(call: OperationCall, services: Services, name: str) -> Resource:
    if call.id is None:
        return call.parameters
    return _plus(call.parameters, {"name": name, "resource": await _instance(call, services)})


def _in_language(call: OperationCall, parameters: Resource) -> Resource:
    """Accept-Language as `displayLanguage`, where the call names no language itself."""
    accepted = call.request.headers.get("accept-language")
    named = any(p["name"] == "displayLanguage" for p in parameters.get("parameter", ()))
    if accepted is None or named or accepted.strip() in ("", "*"):
        return parameters
    return _plus(parameters, {"name": "displayLanguage", "valueCode": accepted})


def _plus(parameters: Resource, parameter: Resource) -> Resource:
    return {**parameters, "parameter": [*parameters.get("parameter", ()), parameter]}


async def _terminology(services: Services, parameters: Resource) -> Terminology:
    """The service over the stored resources that the request can reach."""
    found = await _gather(services, parameters)
    return services.terminology.with_resources(_finder(found)) if found else services.terminology


async def _gather(services: Services, parameters: Resource) -> list[Resource]:
    """Stored code systems and value sets named in the request, and those that they name in turn."""
    found: list[Resource] = []
    seen: set[str] = set()
    todo = list(_addresses(parameters))
    while todo:
        url = todo.pop().partition("|")[0]
        if url in seen:
            continue
        seen.add(url)
        for kind in KINDS:
            query = SearchQuery(
                (kind,), UriIs("url", url), sort=(SortKey("_lastUpdated", "date", True),), count=20
            )
            for stored in (await services.store.search(query)).matches:
                resource = decoded(stored.body)
                found.append(resource)
                todo += _addresses([resource.get(name) for name in ("compose", "supplements", "extension")])
        if len(found) > MOST_GATHERED:
            raise InvalidRequest(
                f"The request reaches more than {MOST_GATHERED} code systems and value sets."
            )
    return found


@lru_cache(maxsize=256)
def decoded(body: bytes) -> Resource:
    """The resource of a stored text; the same object for the same text, because indexes are kept by identity."""
    return decode_object(body)


def _addresses(node: Any) -> Iterator[str]:
    """Every text below `node` that may be a canonical address."""
    if isinstance(node, str):
        if ":" in node and len(node) < 500:
            yield node
    elif isinstance(node, dict):
        for name, value in node.items():
            if name not in ("concept", "text"):
                yield from _addresses(value)
    elif isinstance(node, list):
        for value in node:
            yield from _addresses(value)


def _finder(resources: list[Resource]) -> Callable[[str, str, str | None], Resource | None]:
    def find(kind: str, url: str, version: str | None) -> Resource | None:
        for resource in resources:
            named = resource["resourceType"] == kind and resource.get("url") == url
            if named and version in (None, resource.get("version")):
                return resource
        return None

    return find
