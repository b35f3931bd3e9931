"""`FhirResponse` to bytes: format, compression, ETag, Last-Modified, Location. https://hl7.org/fhir/R4/http.html"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from fhir_r4.jsonio import decode_object, encode
from fhir_server.context import FhirResponse
from fhir_server.http.negotiation import XML

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_HEADER = (b"content-type", b"application/fhir+json; charset=utf-8")
XML_HEADER = (b"content-type", b"application/fhir+xml; charset=utf-8")
LEAST_COMPRESSED = 1024


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def body_bytes(response: FhirResponse, format: str, pretty: bool) -> bytes | None:
    """The body in the format asked for; None when there is none."""
    if response.media_type is not None:
        return response.body
    if format == XML:
        resource = response.resource
        if resource is None and response.body is not None:
            resource = decode_object(response.body)
        if resource is None:
            return None
        from fhir_r4.xmlio import to_xml

        return to_xml(resource, pretty=pretty)
    body = response.body
    if body is None:
        if response.resource is None:
            return None
        body = encode(response.resource)
    return indent(body) if pretty else body


def indent(body: bytes) -> bytes:
    """The same JSON with line breaks and two blanks a level; numbers keep their digits."""
    import msgspec

    return msgspec.json.format(body, indent=2)


def header_list(response: FhirResponse, body: bytes | None, format: str, base: str) -> Headers:
    """The headers that follow from the response itself."""
    headers: Headers = []
    if body is not None:
        if response.media_type is not None:
            headers.append((b"content-type", response.media_type.encode("latin-1", "replace")))
        else:
            headers.append(XML_HEADER if format == XML else JSON_HEADER)
    if response.version is not None:
        headers.append((b"etag", b'W/"%d"' % response.version))
    if response.updated is not None:
        headers.append((b"last-modified", http_date(response.updated // 1_000_000)))
    if response.location is not None:
        headers.append((b"location", f"{base}/{response.location}".encode()))
    for name, value in response.headers.items():
        headers.append((name.lower().encode(), value.encode()))
    return headers


def compress(body: bytes, coding: str) -> bytes:
    """The body in a Content-Encoding: zstd, gzip or deflate."""
    if coding == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=3).compress(body)
    stream = zlib.compressobj(level=4, wbits=31 if coding == "gzip" else 15)
    return stream.compress(body) + stream.flush()
