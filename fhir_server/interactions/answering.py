"""What a write answers: status, location, version and the body that `Prefer: return` asks for.

https://hl7.org/fhir/R4/http.html#ops
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import Issue
from fhir_server.context import FhirRequest, FhirResponse, Resource
from fhir_server.store.records import Stored


def preference(request: FhirRequest, name: str) -> str | None:
    """The value of a preference in the Prefer headers (`return`, `handling`), lower case; None when not given."""
    header = request.headers.get("prefer")
    if header is None:
        return None
    for part in header.replace(";", ",").split(","):
        key, _, value = part.strip().partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"').lower()
    return None


def outcome(issues: Sequence[Issue]) -> Resource:
    """An OperationOutcome of `issues`."""
    return {"resourceType": "OperationOutcome", "issue": [i.as_fhir() for i in issues]}


def information(text: str) -> Issue:
    return Issue("information", "informational", text)


def location_of(stored: Stored) -> str:
    """The address of the version, relative to the base."""
    return f"{stored.type}/{stored.id}/_history/{stored.version}"


def written(
    request: FhirRequest, stored: Stored, status: int, warnings: Sequence[Issue] = ()
) -> FhirResponse:
    """The answer to a create, update or patch."""
    wanted = preference(request, "return")
    body: bytes | None = stored.body
    resource: Resource | None = None
    if wanted == "minimal":
        body = None
    elif wanted == "operationoutcome":
        body = None
        resource = outcome(
            [*warnings, information(f"{stored.type}/{stored.id} is version {stored.version}.")]
        )
    return FhirResponse(
        status,
        body=body,
        resource=resource,
        version=stored.version,
        updated=stored.updated,
        location=location_of(stored),
    )
