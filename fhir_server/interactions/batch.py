"""batch: independent requests in one Bundle, each with its own answer. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import decode_object, encode
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirRequest, FhirResponse, Resource
from fhir_server.interactions.bundles import status_line

Dispatch = Callable[[FhirRequest], Awaitable[FhirResponse]]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

# Bundle.entry.request member -> HTTP header
CONDITIONS = {
    "ifNoneMatch": "if-none-match",
    "ifModifiedSince": "if-modified-since",
    "ifMatch": "if-match",
    "ifNoneExist": "if-none-exist",
}


def bundle_entries(bundle: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a Bundle. Raises InvalidRequest when `entry` is not an array of objects."""
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise InvalidRequest("Bundle.entry is an array of objects.", "Bundle.entry")
    for n, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InvalidRequest("An entry is an object.", f"Bundle.entry[{n}]")
    return entries


def entry_request(outer: FhirRequest, entry: Mapping[str, Any], position: int) -> FhirRequest:
    """The request that an entry makes. Raises InvalidRequest with the place."""
    place = f"Bundle.entry[{position}].request"
    asked = entry.get("request")
    if not isinstance(asked, dict):
        raise InvalidRequest("The entry has no request with method and url.", place)
    method, url = asked.get("method"), asked.get("url")
    if method not in METHODS:
        raise InvalidRequest(
            f"method is one of {', '.join(METHODS)}; found {str(method)[:20]!r}.", f"{place}.method"
        )
    if not isinstance(url, str) or not url:
        raise InvalidRequest("The request has no url.", f"{place}.url")
    path, pairs = split_url(url, outer.base, f"{place}.url")
    headers = {k: v for k, v in outer.headers.items() if k in ("prefer", "accept")}
    for member, header in CONDITIONS.items():
        value = asked.get(member)
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidRequest(f"{member} is a string.", f"{place}.{member}")
        headers[header] = _http_date(value) if member == "ifModifiedSince" else value
    resource = entry.get("resource")
    if resource is not None and not isinstance(resource, dict):
        raise InvalidRequest("A resource is an object.", f"Bundle.entry[{position}].resource")
    body, content_type = b"", ""
    if method == "PATCH" and resource is not None:
        body, content_type = patch_body(resource, position)
        resource = None
    return FhirRequest(
        method=method,
        path=path,
        query=pairs,
        headers=headers,
        body=body,
        content_type=content_type,
        resource=resource,
        base=outer.base,
        actor=outer.actor,
        request_id=outer.request_id,
    )


def split_url(url: str, base: str, place: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Path segments and query pairs of an address relative to the base, or absolute below it."""
    if url.isalpha():
        return (url,), ()
    if url.startswith(base + "/"):
        url = url[len(base) + 1 :]
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        raise InvalidRequest(f"The address {url[:100]!r} is not below this server's base {base}.", place)
    path = tuple(unquote(s) for s in parts.path.split("/") if s)
    return path, tuple(parse_qsl(parts.query, keep_blank_values=True))


def _http_date(instant: str) -> str:
    from datetime import datetime
    from email.utils import format_datetime

    try:
        return format_datetime(datetime.fromisoformat(instant))
    except ValueError as error:
        raise InvalidRequest(f"ifModifiedSince is an instant; found {instant[:40]!r}.") from error


def patch_body(resource: Resource, position: int) -> tuple[bytes, str]:
    """The patch document of an entry: a Binary that holds one, or the Parameters of a FHIRPath Patch."""
    if resource.get("resourceType") != "Binary":
        return encode(resource), "application/fhir+json"
    try:
        data = base64.b64decode(resource.get("data", ""), validate=False)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidRequest(
            "The data of the Binary is not base64.", f"Bundle.entry[{position}].resource.data"
        ) from error
    return data, str(resource.get("contentType", ""))


def response_entry(response: FhirResponse, base: str) -> Resource:
    """Bundle.entry of an answer; the body goes into `resource`, or into `response.outcome` when it is an outcome."""
    answer: Resource = {"status": status_line(response.status)}
    if response.location is not None:
        answer["location"] = f"{base}/{response.location}"
    if response.version is not None:
        answer["etag"] = f'W/"{response.version}"'
    if response.updated is not None:
        answer["lastModified"] = format_instant(response.updated)
    resource = response.resource
    if resource is None and response.body is not None and response.status != 304:
        resource = decode_object(response.body)
    if resource is None:
        return {"response": answer}
    if resource["resourceType"] == "OperationOutcome":
        return {"response": {**answer, "outcome": resource}}
    return {"resource": resource, "response": answer}


async def batch(
    request: FhirRequest, dispatch: Dispatch, answer_error: Callable[[Exception], FhirResponse]
) -> FhirResponse:
    """Carry out each entry on its own, in order; a failure is that entry's answer alone."""
    assert request.resource is not None
    answers: list[Resource] = []
    for position, entry in enumerate(bundle_entries(request.resource)):
        try:
            asked = entry_request(request, entry, position)
            if not asked.path and asked.method == "POST":
                raise InvalidRequest(
                    "A Bundle inside a batch is not carried out.", f"Bundle.entry[{position}]"
                )
            response = await dispatch(asked)
        except Exception as error:
            response = answer_error(error)
        answers.append(response_entry(response, request.base))
    return FhirResponse(200, resource={"resourceType": "Bundle", "type": "batch-response", "entry": answers})
