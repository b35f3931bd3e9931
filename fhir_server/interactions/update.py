"""update, also as create with a client's id, and conditional. https://hl7.org/fhir/R4/http.html#update"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import InvalidRequest, InvalidResource, PreconditionFailed
from fhir_server.context import FhirRequest, FhirResponse, Resource, Services
from fhir_server.interactions.answering import written
from fhir_server.interactions.conditional import find_matches, if_match, require_single
from fhir_server.interactions.create import require_resource
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.writing import commit, prepare
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Precondition, VersionIs


async def update(request: FhirRequest, services: Services, type: str, id: str) -> FhirResponse:
    """Write a new version under `id`. Raises PreconditionFailed (412) when If-Match is stale."""
    resource = require_resource(request, type)
    if "id" not in resource:
        raise InvalidResource(f"An update needs the id in the resource; expected {id!r}.", f"{type}.id")
    if resource["id"] != id:
        raise InvalidResource(
            f"The resource has the id {resource['id']!r}, the address {id!r}.", f"{type}.id"
        )
    return await write_update(request, services, resource, id, version_preconditions(request, type, id))


def version_preconditions(request: FhirRequest, type: str, id: str) -> list[Precondition]:
    """What If-Match and If-None-Match: * ask of the current version."""
    expected = if_match(request)
    if expected is not None:
        return [VersionIs(type, id, expected)]
    if request.headers.get("if-none-match", "").strip() == "*":
        return [VersionIs(type, id, None)]
    return []


async def write_update(
    request: FhirRequest,
    services: Services,
    resource: Resource,
    id: str,
    preconditions: Sequence[Precondition],
) -> FhirResponse:
    """Commit the update; a stale version is the client's (412), stale criteria are the caller's to try again."""
    op = prepare(services, "PUT", resource, id)
    try:
        (stored,), warnings = await commit(services, [op], preconditions, [resource], actor=request.actor)
    except Stale as stale:
        if isinstance(stale.precondition, VersionIs):
            raise stale_version(stale.precondition, stale.found) from stale
        raise
    return written(request, stored, 201 if stored.created else 200, warnings)


def stale_version(precondition: VersionIs, found: object) -> PreconditionFailed:
    wanted = "absent" if precondition.version is None else f"version {precondition.version}"
    have = "it does not exist" if found is None else f"the current version is {found}"
    return PreconditionFailed(
        f"{precondition.type}/{precondition.id} was expected to be {wanted}, but {have}.", precondition.type
    )


async def conditional_update(request: FhirRequest, services: Services, type: str) -> FhirResponse:
    """Update what the criteria find, or create. https://hl7.org/fhir/R4/http.html#cond-update"""
    resource = require_resource(request, type)

    async def attempt() -> FhirResponse:
        matches = await find_matches(request, services, type, request.query)
        found = require_single(matches, type)
        id = resource.get("id")
        if found is not None and id is not None and id != found:
            raise InvalidRequest(
                f"The criteria match {type}/{found}, but the resource has the id {id!r}.", f"{type}.id"
            )
        target = found or id or services.new_id()
        more: list[Precondition] = [matches.precondition]
        if found is not None:
            more += version_preconditions(request, type, found)
        elif if_match(request) is not None:
            raise PreconditionFailed(f"If-Match was given, but the criteria match no {type}.")
        return await write_update(request, services, resource, target, more)

    return await retrying(attempt)
