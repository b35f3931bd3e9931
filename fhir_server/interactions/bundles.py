"""Searchset and history Bundles, joined from the stored bytes. https://hl7.org/fhir/R4/bundle.html"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from fhir_r4.errors import Issue
from fhir_r4.jsonio import decode_object, encode
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse
from fhir_server.interactions.answering import outcome
from fhir_server.search.contained import is_contained, logical_id
from fhir_server.store.records import Stored

Subset = Callable[[bytes], bytes]


def query_string(pairs: Iterable[tuple[str, str]]) -> str:
    return urlencode(list(pairs), quote_via=quote, safe=":/|,$")


def bundle(
    type: str, links: Sequence[tuple[str, str]], entries: Iterable[bytes], total: int | None = None
) -> FhirResponse:
    """A Bundle of ready-made entry texts."""
    head: dict[str, Any] = {"resourceType": "Bundle", "type": type}
    if total is not None:
        head["total"] = total
    if links:
        head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    text = b",".join(entries)
    body = encode(head)
    return FhirResponse(200, body=body[:-1] + b',"entry":[' + text + b"]}" if text else body)


def search_entry(base: str, stored: Stored, mode: str, subset: Subset | None = None) -> bytes:
    body = stored.body if subset is None else subset(stored.body)
    address = f'{{"fullUrl":"{base}/{stored.type}/{stored.id}","resource":'
    return b"%b%b%b" % (address.encode(), body, f',"search":{{"mode":"{mode}"}}}}'.encode())


def contained_entry(base: str, stored: Stored, mode: str, subset: Subset | None = None) -> bytes:
    """The same, with a contained resource taken out of its container: https://hl7.org/fhir/R4/search.html#contained."""
    if not is_contained(stored.type):
        return search_entry(base, stored, mode, subset)
    id = logical_id(stored.id)
    resource = next(one for one in decode_object(stored.body)["contained"] if one.get("id") == id)
    body = encode(resource)
    return encode({"fullUrl": f"{base}/{stored.id}"})[:-1] + b',"resource":%b,"search":{"mode":"%b"}}' % (
        body if subset is None else subset(body),
        mode.encode(),
    )


def outcome_entry(issues: Sequence[Issue]) -> bytes:
    """An entry that tells what a search did not do as asked."""
    return encode({"resource": outcome(issues), "search": {"mode": "outcome"}})


def status_line(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase}"


def history_entry(base: str, stored: Stored, subset: Subset | None = None) -> bytes:
    address = f"{stored.type}/{stored.id}"
    status = 204 if stored.deleted else 201 if stored.created else 200
    tail: dict[str, Any] = {
        "request": {"method": stored.method, "url": stored.type if stored.method == "POST" else address},
        "response": {
            "status": status_line(status),
            "location": f"{base}/{address}/_history/{stored.version}",
            "etag": f'W/"{stored.version}"',
            "lastModified": format_instant(stored.updated),
        },
    }
    head = encode({"fullUrl": f"{base}/{address}"})
    if not stored.deleted:
        body = stored.body if subset is None else subset(stored.body)
        head = head[:-1] + b',"resource":' + body + b"}"
    return head[:-1] + b"," + encode(tail)[1:]
