"""Bytes to `FhirRequest`: path, query, headers, body. https://hl7.org/fhir/R4/http.html

The body is read up to the limit `max_body`, decompressed under the same limit, and decoded when it is FHIR.
"""

from __future__ import annotations

import itertools
import os
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from fhir_r4.errors import InvalidRequest, MalformedJson, TooLarge, UnsupportedMediaType
from fhir_r4.jsonio import decode_object
from fhir_server.context import Actor, FhirRequest, Resource
from fhir_server.http.negotiation import JSON, charset, fhir_format, media_type

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
FORM = "application/x-www-form-urlencoded"
ANONYMOUS = Actor()
# unique without a system call for each request
_PROCESS = os.urandom(6).hex()
_NUMBERS = itertools.count(1)
_REQUEST_ID = re.compile(r"[A-Za-z0-9\-._]{1,64}")


def header_map(scope: Scope) -> dict[str, str]:
    """Lower-case names to values; repeated headers are joined by a comma."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def read_request(
    scope: Scope, receive: Receive, *, prefix: str, base_url: str, max_body: int
) -> FhirRequest:
    """The request of an ASGI scope whose path begins with `prefix`. Raises FhirError for what cannot be read."""
    headers = header_map(scope)
    method: str = scope["method"]
    raw: bytes = scope["raw_path"] if scope.get("raw_path") is not None else scope["path"].encode()
    path = segments(raw.partition(b"?")[0].decode("latin-1")[len(prefix) :])
    query_string: bytes = scope["query_string"]
    query = parse_query(query_string) if query_string else ()
    body, content_type, resource = b"", "", None
    if method in WITH_BODY:
        body = await read_body(receive, headers, max_body)
        content_type = headers.get("content-type", "")
        resource = decode_body(body, content_type, method, path)
    return FhirRequest(
        method=method,
        path=path,
        query=query,
        headers=headers,
        body=body,
        content_type=media_type(content_type),
        resource=resource,
        base=base_url or _own_base(scope, headers, prefix),
        actor=ANONYMOUS,
        request_id=request_id_of(headers),
    )


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's X-Request-Id where it has a harmless form, else a new one."""
    sent = headers.get("x-request-id")
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return f"{_PROCESS}-{next(_NUMBERS):x}"


def segments(path: str) -> tuple[str, ...]:
    """The decoded segments of a path; an encoded slash stays inside its segment."""
    if "%" not in path:
        return tuple([s for s in path.split("/") if s])
    try:
        return tuple(unquote(s, errors="strict") for s in path.split("/") if s)
    except UnicodeDecodeError as error:
        raise InvalidRequest("The path is not UTF-8.") from error


def parse_query(query: bytes) -> tuple[tuple[str, str], ...]:
    """The decoded pairs of a query string. Raises InvalidRequest when it is not UTF-8."""
    try:
        return tuple(parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest("The query is not percent-encoded UTF-8.") from error


def _own_base(scope: Scope, headers: Mapping[str, str], prefix: str) -> str:
    host = headers.get("host")
    if host is None:
        server = scope.get("server") or ("localhost", None)
        host = f"{server[0]}:{server[1]}" if server[1] else str(server[0])
    return f"{scope['scheme']}://{host}{prefix}"


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body. Raises TooLarge beyond `limit` bytes, before or after decompression."""
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InvalidRequest("The client went away before the body was complete.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
        body = b"".join(parts)
    if len(body) > limit:
        raise _too_large(limit)
    coding = headers.get("content-encoding", "identity").strip().lower()
    return body if coding == "identity" else decompress(body, coding, limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than {limit} bytes, which is the most that this server takes (setting max_body)."
    )


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """The body without its Content-Encoding (gzip, deflate or zstd), at most `limit` bytes of it."""
    if coding == "zstd":
        return _decompress_zstd(body, limit)
    if coding not in ("gzip", "deflate"):
        raise UnsupportedMediaType(
            f"The Content-Encoding {coding[:40]!r} is not known; gzip, deflate and zstd are."
        )
    stream = zlib.decompressobj(wbits=47 if coding == "gzip" or body[:1] == b"\x78" else -15)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"The body is not {coding}.") from error
    if len(plain) > limit:
        raise _too_large(limit)
    if not stream.eof:
        raise InvalidRequest(f"The {coding} body ends too early.")
    return plain


def _decompress_zstd(body: bytes, limit: int) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            plain = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise InvalidRequest("The body is not zstd.") from error
    if len(plain) > limit:
        raise _too_large(limit)
    return plain


def decode_body(body: bytes, content_type: str, method: str, path: tuple[str, ...]) -> Resource | None:
    """The resource in a body, or None for what is not a resource: forms, patches, raw Binary content, nothing.

    Raises MalformedJson, MalformedXml or UnsupportedMediaType.
    """
    media = media_type(content_type)
    if not body:
        return None
    if (path and path[-1] == "_search") or media == FORM:
        return None
    if method == "PATCH":
        return None
    format = fhir_format(media)
    if (
        path
        and path[0] == "Binary"
        and not path[-1].startswith("$")
        and not is_fhir_binary(format, media, body)
    ):
        return None
    if media == "":
        format = JSON if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else fhir_format("xml")
    if format is None:
        raise UnsupportedMediaType(
            f"The body is {media[:60]!r}; application/fhir+json or application/fhir+xml was expected."
        )
    if charset(content_type) not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(f"The charset {charset(content_type)[:20]!r} is not taken; FHIR is UTF-8.")
    if format == JSON:
        return _resource(decode_object(body))
    from fhir_r4.xmlio import from_xml

    return from_xml(body)


def _resource(value: Resource) -> Resource:
    if not isinstance(value.get("resourceType"), str):
        raise MalformedJson("The object has no resourceType, so it is no FHIR resource.", "resourceType")
    return value


def is_fhir_binary(format: str | None, media: str, body: bytes) -> bool:
    """Whether what was sent to a Binary address is a Binary resource rather than raw content."""
    if format is None:
        return False
    if media in ("application/fhir+json", "application/fhir+xml"):
        return True
    return b'"resourceType"' in body[:4096] or b"http://hl7.org/fhir" in body[:4096]
