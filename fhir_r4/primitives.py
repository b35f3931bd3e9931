"""The primitive types: which JSON values are one, https://hl7.org/fhir/R4/datatypes.html#primitive.

One table, `PRIMITIVE`. An invariant to keep: `accepts` gives something truthy for a value of the type and for nothing
else; for a value of a wrong JSON type it may raise TypeError instead of giving something falsy, so that the tests
of most types can be the bare `fullmatch` of a pattern.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.jsonio import ExactDecimal

MAX_STRING = 1024 * 1024
MAX_INTEGER = 2**31 - 1
MIN_INTEGER = -(2**31)

Accepts = Callable[[Any], object]

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]").sub


@dataclass(frozen=True, slots=True)
class Primitive:
    """A primitive type: `json` is the kind of JSON value, `expected` completes "a date must be ..."."""

    name: str
    json: str
    expected: str
    accepts: Accepts

    def is_valid(self, value: Any) -> bool:
        """Whether `value` is one of this type, whatever it is."""
        try:
            return bool(self.accepts(value))
        except TypeError:
            return False


# Days that every month has come first: 28 of 30 dates take the shortest way.
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = r"(?:[1-9][0-9]{3}|0(?!000)[0-9]{3})"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    rf"|{_LEAP_YEAR}-02-29)"
)
_MONTH = rf"{_YEAR}(?:-(?:0[1-9]|1[0-2]))?"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_TEXT = rf"(?=[ \t\r\n]*[^ \t\r\n])[^\x00-\x08\x0b\x0c\x0e-\x1f]{{1,{MAX_STRING}}}"
_HEX = "[0-9A-Fa-f]"
UUID_PATTERN = rf"urn:uuid:{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
OID_PATTERN = r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"
ID_PATTERN = r"[A-Za-z0-9\-.]{1,64}"

REMEMBERED = 4096
REMEMBERED_LENGTH = 64

_NUMBERS = frozenset({int, Decimal, ExactDecimal})


def _is_boolean(value: Any) -> bool:
    return value is True or value is False


def _is_decimal(value: Any) -> bool:
    return type(value) in _NUMBERS


def _is_integer(value: Any) -> bool:
    return type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER


def _is_unsigned(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_positive(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_INTEGER


def _is_base64(value: Any) -> bool:
    """Characters outside of the alphabet, such as line ends, do not count (RFC 2045, 6.8); an empty value is not a value."""
    return type(value) is str and (_is_strict_base64(value) or _is_strict_base64(_NOT_BASE64("", value)))


def _is_strict_base64(value: str) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) > 0
    except ValueError:
        return False


def _is_text(value: Any) -> object:
    """Printable text needs no pattern; what has line breaks, tabs or other rare characters does."""
    if str.isprintable(value) and 0 < len(value) <= MAX_STRING and not value.isspace():
        return True
    return _some_text(value)


_some_text = re.compile(_TEXT).fullmatch


def _remembering(accepts: Accepts) -> Accepts:
    """`accepts` with a bounded memory for short values that it accepted: systems and codes repeat."""
    seen: set[str] = set()

    def accepts_again(value: Any) -> bool:
        if value in seen:
            return True
        if not accepts(value):
            return False
        if len(value) <= REMEMBERED_LENGTH:
            if len(seen) >= REMEMBERED:
                seen.clear()
            seen.add(value)
        return True

    return accepts_again


def _repeating(name: str, expected: str, pattern: str) -> Primitive:
    return Primitive(name, "a string", expected, _remembering(re.compile(pattern).fullmatch))


def _text(name: str, expected: str, pattern: str) -> Primitive:
    return Primitive(name, "a string", expected, re.compile(pattern).fullmatch)


def _number(name: str, expected: str, accepts: Accepts) -> Primitive:
    return Primitive(name, "a number", expected, accepts)


_SOME_TEXT = f"text that is not blank, without control characters, of {MAX_STRING} characters at the most"

PRIMITIVE: dict[str, Primitive] = {
    p.name: p
    for p in (
        Primitive("boolean", "true or false", "true or false", _is_boolean),
        _number("integer", f"a whole number from {MIN_INTEGER} to {MAX_INTEGER}", _is_integer),
        _number("unsignedInt", f"a whole number from 0 to {MAX_INTEGER}", _is_unsigned),
        _number("positiveInt", f"a whole number from 1 to {MAX_INTEGER}", _is_positive),
        _number("decimal", "a decimal number", _is_decimal),
        Primitive("string", "a string", _SOME_TEXT, _is_text),
        Primitive("markdown", "a string", _SOME_TEXT, _is_text),
        _repeating(
            "code", "text without blanks at its ends and with single spaces only", r"[^\s]+(?: [^\s]+)*"
        ),
        _text("id", "1 to 64 of the characters A-Z, a-z, 0-9, - and .", ID_PATTERN),
        _repeating("uri", "a URI without blanks", r"\S+"),
        _text("url", "a URL without blanks", r"\S+"),
        _repeating(
            "canonical", "a canonical URL, url or url|version, without blanks", r"[^\s|]+(?:\|[^\s|]+)?"
        ),
        _text("oid", "an OID written as urn:oid:1.2.3", OID_PATTERN),
        _text("uuid", "a UUID written as urn:uuid:c757873d-ec9a-4326-a141-556f43239520", UUID_PATTERN),
        Primitive("base64Binary", "a string", "base64 (RFC 4648, RFC 2045)", _is_base64),
        _text("date", "a day of the calendar written YYYY, YYYY-MM or YYYY-MM-DD", rf"{_DAY}|{_MONTH}"),
        _text(
            "dateTime",
            "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz (with seconds and zone) of a day that exists",
            rf"{_DAY}(?:T{_TIME}{_ZONE})?|{_MONTH}",
        ),
        _text(
            "instant",
            "YYYY-MM-DDThh:mm:ss+zz:zz (with seconds and zone) of a day that exists",
            rf"{_DAY}T{_TIME}{_ZONE}",
        ),
        _text("time", "hh:mm:ss", _TIME),
    )
}
