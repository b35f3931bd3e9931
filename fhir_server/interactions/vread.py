"""vread: one version of a resource. https://hl7.org/fhir/R4/http.html#vread"""

from __future__ import annotations

from fhir_r4.errors import Gone, NotFound
from fhir_server.context import FhirRequest, FhirResponse, Services
from fhir_server.interactions.read import is_unchanged
from fhir_server.interactions.subsetting import subset_body
from fhir_server.interactions.visibility import find_version


async def vread(request: FhirRequest, services: Services, type: str, id: str, version: str) -> FhirResponse:
    """Answer with the version. Raises NotFound when there is none, Gone when the version is a deletion."""
    known = version.isdigit() and len(version) < 19
    stored = await find_version(request, services, type, id, int(version)) if known else None
    if stored is None:
        raise NotFound(f"There is no version {version[:64]} of {type}/{id} on this server.")
    if stored.deleted:
        raise Gone(f"Version {version} of {type}/{id} is its deletion.")
    if "if-none-match" in request.headers and is_unchanged(request, stored):
        return FhirResponse(304, version=stored.version, updated=stored.updated)
    body = stored.body if not request.query else subset_body(stored.body, request.query)
    return FhirResponse(200, body=body, version=stored.version, updated=stored.updated)
