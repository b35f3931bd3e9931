"""The bytes of an XML document as UTF-8, and the parser that reads them.

Source: https://www.w3.org/TR/xml/#charencoding; FHIR asks for UTF-8, but documents of older systems that say what they
are in are understood.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from fhir_r4.errors import MalformedXml

_DECLARED = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_ENCODINGS = frozenset(["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"])


def utf8(body: bytes) -> bytes:
    """The document in UTF-8, without byte order mark. Raises MalformedXml for an encoding that is not read here."""
    if body.startswith(b"\xef\xbb\xbf"):
        return body[3:]
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _transcoded(body, "utf-16")
    declared = _DECLARED.match(body[:200])
    encoding = declared[1].decode().lower() if declared else "utf-8"
    if encoding not in _ENCODINGS:
        raise MalformedXml(f"The XML is in {encoding}; UTF-8 was expected.")
    return body if encoding in ("utf-8", "utf8") else _transcoded(body, encoding)


def _transcoded(body: bytes, encoding: str) -> bytes:
    try:
        return body.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise MalformedXml(f"The body is not {encoding}: byte {error.start} cannot be decoded.") from error


def new_parser() -> expat.XMLParserType:
    """A parser that names elements `namespace name` and gives attributes as a list of names and values in turn."""
    parser = expat.ParserCreate("utf-8", " ")
    parser.ordered_attributes = True
    parser.buffer_text = True
    return parser
