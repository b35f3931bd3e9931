"""create, also conditional. https://hl7.org/fhir/R4/http.html#create, https://hl7.org/fhir/R4/http.html#ccreate"""

from __future__ import annotations

from fhir_r4.errors import InvalidRequest
from fhir_server.context import FhirRequest, FhirResponse, Resource, Services
from fhir_server.interactions.answering import written
from fhir_server.interactions.conditional import find_matches, require_single
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.writing import commit, prepare
from fhir_server.store.protocol import Stale


def require_resource(request: FhirRequest, type: str) -> Resource:
    """The resource that was sent. Raises InvalidRequest when there is none or it is of another type."""
    resource = request.resource
    if resource is None:
        raise InvalidRequest(f"A {type} resource was expected in the body, which is empty.")
    if resource.get("resourceType") != type:
        raise InvalidRequest(
            f"The body is {resource.get('resourceType', 'of no resource type')}; the address asks for {type}.",
            "resourceType",
        )
    return resource


async def create(request: FhirRequest, services: Services, type: str) -> FhirResponse:
    """Write a new resource under an id of the server's; If-None-Exist makes it conditional."""
    resource = require_resource(request, type)
    criteria = request.headers.get("if-none-exist")
    op = prepare(services, "POST", resource, services.new_id(), fresh=True)
    if criteria is None:
        (stored,), warnings = await commit(services, [op], [], [resource], actor=request.actor)
        return written(request, stored, 201, warnings)

    async def attempt() -> FhirResponse:
        matches = await find_matches(request, services, type, criteria)
        existing = require_single(matches, type)
        if existing is None:
            (stored,), warnings = await commit(
                services, [op], [matches.precondition], [resource], actor=request.actor
            )
            return written(request, stored, 201, warnings)
        current = await services.store.read(type, existing)
        if current is None or current.deleted:
            raise Stale(matches.precondition, existing)
        return written(request, current, 200)

    return await retrying(attempt)
