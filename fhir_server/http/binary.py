"""Binary in raw form: content goes in and comes out as what it is. https://hl7.org/fhir/R4/binary.html#rest"""

from __future__ import annotations

import base64

from msgspec.structs import replace

from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirRequest, FhirResponse, Resource
from fhir_server.http.negotiation import fhir_format


def as_resource(request: FhirRequest) -> FhirRequest:
    """The request with raw content wrapped into a Binary resource; every other request as it is."""
    if request.resource is not None or request.method not in ("POST", "PUT") or not request.body:
        return request
    if len(request.path) > 2 or request.path[-1][0] in "_$":
        return request
    binary: Resource = {"resourceType": "Binary"}
    if len(request.path) == 2:
        binary["id"] = request.path[1]
    binary["contentType"] = request.content_type or "application/octet-stream"
    context = request.headers.get("x-security-context")
    if context is not None:
        binary["securityContext"] = {"reference": context}
    binary["data"] = base64.b64encode(request.body).decode()
    return replace(request, resource=binary)


def wants_raw(request: FhirRequest) -> bool:
    """Whether the content itself is asked for: a read of a Binary that names no FHIR format."""
    path = request.path
    if path[:1] != ("Binary",) or request.method not in ("GET", "HEAD"):
        return False
    if not (len(path) == 2 and path[1][0] not in "_$") and not (len(path) == 4 and path[2] == "_history"):
        return False
    if any(name == "_format" for name, _ in request.query):
        return False
    accepted = request.headers.get("accept", "*/*").lower().split(",")
    return not any(fhir_format(part.partition(";")[0].strip()) for part in accepted)


def raw(response: FhirResponse) -> FhirResponse:
    """The content of the Binary in a response."""
    if response.status != 200 or response.body is None:
        return response
    binary = decode_object(response.body)
    headers = dict(response.headers)
    context = (binary.get("securityContext") or {}).get("reference")
    if context is not None:
        headers["X-Security-Context"] = context
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Disposition"] = "attachment"
    return replace(
        response,
        body=base64.b64decode(binary.get("data", "")),
        media_type=binary["contentType"],
        headers=headers,
    )
