"""Which format an answer has, and which one a body is in. https://hl7.org/fhir/R4/http.html#mime-type

`_format` wins over Accept. Pure; results are cached by the header's text.
"""

from __future__ import annotations

from functools import lru_cache

from fhir_r4.errors import InvalidParameter, NotAcceptable

JSON = "application/fhir+json"
XML = "application/fhir+xml"

MEDIA_TYPES = {
    "json": JSON,
    "application/json": JSON,
    "application/fhir+json": JSON,
    "application/json+fhir": JSON,
    "text/json": JSON,
    "xml": XML,
    "application/xml": XML,
    "text/xml": XML,
    "application/fhir+xml": XML,
    "application/xml+fhir": XML,
}
# Browsers ask for pages; they get JSON, which they can show.
ANYTHING = ("*/*", "application/*", "text/html", "application/xhtml+xml", "text/*")


@lru_cache(maxsize=256)
def media_type(content_type: str) -> str:
    """The media type of a Content-Type header, lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def charset(content_type: str) -> str:
    """The charset parameter of a Content-Type header, lower case; `utf-8` when there is none."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def fhir_format(media: str) -> str | None:
    """JSON or XML for the media type of a FHIR resource, else None."""
    return MEDIA_TYPES.get(media)


@lru_cache(maxsize=512)
def response_format(accept: str, format: str | None) -> str:
    """The format to answer in. Raises NotAcceptable, or InvalidParameter for an unknown `_format`."""
    if format is not None:
        text = format.strip().lower().replace(" ", "+")
        found = MEDIA_TYPES.get(text.partition(";")[0].strip())
        if found is None and text in ("html", "text/html"):
            found = JSON
        if found is None:
            raise InvalidParameter(
                f"_format is json or xml (or their media types); found {format[:60]!r}.", "_format"
            )
        _require_r4(text)
        return found
    best, weight = None, 0.0
    for part in accept.lower().split(","):
        media, _, rest = part.partition(";")
        media = media.strip()
        found = MEDIA_TYPES.get(media) or (JSON if media in ANYTHING or media == "" else None)
        quality = _quality(rest)
        if found is not None and quality > weight:
            _require_r4(rest)
            best, weight = found, quality
    if best is None:
        raise NotAcceptable(
            f"This server answers in {JSON} and {XML}; the client accepts {accept[:100]!r} only."
        )
    return best


def _require_r4(parameters: str) -> None:
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == "fhirversion" and value.strip().strip('"') not in ("4.0", "4.0.1"):
            raise NotAcceptable(
                f"This server speaks FHIR 4.0; fhirVersion={value.strip()[:20]} was asked for."
            )


def _quality(parameters: str) -> float:
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


@lru_cache(maxsize=256)
def content_encoding(accept_encoding: str) -> str | None:
    """The compression to answer with (zstd, gzip or deflate), or None."""
    best, weight = None, 0.0
    for part in accept_encoding.lower().split(","):
        coding, _, rest = part.partition(";")
        coding = coding.strip()
        if coding == "*":
            coding = "gzip"
        quality = _quality(rest)
        rank = quality + {"zstd": 0.0003, "gzip": 0.0002, "deflate": 0.0001}.get(coding, -2)
        if quality > 0 and rank > weight:
            best, weight = coding, rank
    return best
