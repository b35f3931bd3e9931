"""delete, also conditional (single and multiple). https://hl7.org/fhir/R4/http.html#delete

A deleted resource keeps its history; reading it answers 410.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import Issue, MultipleMatches
from fhir_server.context import FhirRequest, FhirResponse, Services
from fhir_server.interactions.answering import information, outcome, preference
from fhir_server.interactions.conditional import find_matches
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.update import stale_version, version_preconditions
from fhir_server.interactions.writing import commit, deletion
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored, VersionIs

MOST_DELETED = 10_000


async def delete(request: FhirRequest, services: Services, type: str, id: str) -> FhirResponse:
    """Delete the resource; deleting what is not there answers 204 too."""
    try:
        (stored,), warnings = await commit(
            services, [deletion(type, id)], version_preconditions(request, type, id), actor=request.actor
        )
    except Stale as stale:
        if isinstance(stale.precondition, VersionIs):
            raise stale_version(stale.precondition, stale.found) from stale
        raise
    return deleted(request, [stored] if stored.version else [], warnings)


def deleted(request: FhirRequest, versions: Sequence[Stored], warnings: Sequence[Issue]) -> FhirResponse:
    """The answer to a deletion: 204, or 200 with an OperationOutcome where one was preferred or there is more to say."""
    single = versions[0] if len(versions) == 1 else None
    if preference(request, "return") == "operationoutcome" or warnings:
        text = f"{len(versions)} resource{'s' if len(versions) != 1 else ''} deleted."
        body = outcome([information(text), *warnings])
        return FhirResponse(200, resource=body, version=single.version if single else None)
    return FhirResponse(204, version=single.version if single else None)


async def conditional_delete(request: FhirRequest, services: Services, type: str) -> FhirResponse:
    """Delete what the criteria find: all of it, or at most one when the setting `conditional_delete` is `single`."""
    single = services.settings.conditional_delete == "single"
    limit = 2 if single else MOST_DELETED + 1

    async def attempt() -> FhirResponse:
        matches = await find_matches(request, services, type, request.query, limit)
        if len(matches.ids) == limit:
            most = 1 if single else MOST_DELETED
            raise MultipleMatches(f"The criteria match more than {most} {type}; nothing was deleted.")
        ops = [deletion(type, id) for id in matches.ids]
        versions, warnings = await commit(services, ops, [matches.precondition], actor=request.actor)
        return deleted(request, versions, warnings)

    return await retrying(attempt)
