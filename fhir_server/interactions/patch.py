"""patch, also conditional: JSON Patch, XML Patch and FHIRPath Patch. https://hl7.org/fhir/R4/http.html#patch"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import InvalidPatch, NotFound
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirRequest, FhirResponse, Resource, Services
from fhir_server.interactions.answering import written
from fhir_server.interactions.conditional import find_matches, if_match, require_single
from fhir_server.interactions.patching import apply_patch
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.update import stale_version
from fhir_server.interactions.visibility import require_current
from fhir_server.interactions.writing import commit, prepare
from fhir_server.store.records import Precondition, Stored, VersionIs


def patched(current: Stored, content_type: str, body: bytes) -> Resource:
    """The resource after the patch. Raises InvalidPatch when the patch would change its type or id."""
    resource = apply_patch(decode_object(current.body), content_type, body)
    for name, kept in (("resourceType", current.type), ("id", current.id)):
        if resource.get(name) != kept:
            raise InvalidPatch(f"A patch may not change {name}; it is {kept!r}.", f"{current.type}.{name}")
    return resource


async def patch(request: FhirRequest, services: Services, type: str, id: str) -> FhirResponse:
    """Apply the patch to the current version; tried again when another write comes between."""
    return await retrying(lambda: _patch_once(request, services, type, id, ()))


async def conditional_patch(request: FhirRequest, services: Services, type: str) -> FhirResponse:
    """Patch the one resource that the criteria find. Raises NotFound or MultipleMatches."""

    async def attempt() -> FhirResponse:
        matches = await find_matches(request, services, type, request.query)
        id = require_single(matches, type)
        if id is None:
            raise NotFound(f"The criteria match no {type}.")
        return await _patch_once(request, services, type, id, (matches.precondition,))

    return await retrying(attempt)


async def _patch_once(
    request: FhirRequest, services: Services, type: str, id: str, preconditions: Sequence[Precondition]
) -> FhirResponse:
    current = await require_current(request, services, type, id)
    expected = if_match(request)
    if expected is not None and expected != current.version:
        raise stale_version(VersionIs(type, id, expected), current.version)
    resource = patched(current, request.content_type, request.body)
    op = prepare(services, "PATCH", resource, id)
    preconditions = (*preconditions, VersionIs(type, id, current.version))
    (stored,), warnings = await commit(services, [op], preconditions, [resource], actor=request.actor)
    return written(request, stored, 200, warnings)
