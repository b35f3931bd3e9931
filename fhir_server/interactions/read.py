"""read: the current version of a resource. https://hl7.org/fhir/R4/http.html#read"""

from __future__ import annotations

from fhir_server.context import FhirRequest, FhirResponse, Services
from fhir_server.interactions.conditional import if_modified_since, parse_etag
from fhir_server.interactions.subsetting import subset_body
from fhir_server.interactions.visibility import require_current
from fhir_server.store.records import Stored


async def read(request: FhirRequest, services: Services, type: str, id: str) -> FhirResponse:
    """Answer with the current version; 304 when the client has it already. Raises NotFound or Gone."""
    stored = await require_current(request, services, type, id)
    headers = request.headers
    if ("if-none-match" in headers or "if-modified-since" in headers) and is_unchanged(request, stored):
        return FhirResponse(304, version=stored.version, updated=stored.updated)
    body = stored.body if not request.query else subset_body(stored.body, request.query)
    return FhirResponse(200, body=body, version=stored.version, updated=stored.updated)


def is_unchanged(request: FhirRequest, stored: Stored) -> bool:
    """Whether If-None-Match or else If-Modified-Since says that the client has this version."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or stored.version in [parse_etag(t) for t in tags.split(",")]
    return stored.updated // 1_000_000 * 1_000_000 <= if_modified_since(request.headers["if-modified-since"])
