"""The value attribute of a primitive element and its JSON value, digits and all.

Source: https://hl7.org/fhir/R4/datatypes.html#primitive. Only what JSON writes in another way than XML is looked at here:
booleans and numbers. Whether a date is a date is for the validator to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from fhir_r4.jsonio import ExactDecimal, parse_number
from fhir_r4.xmlio.members import INTEGERS

Primitive = str | bool | int | Decimal

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,99})", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL = re.compile('[&<>"\t\n\r\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


class Unwritable(ValueError):
    """A value that XML has no way to write; the text says why, `steps` where (innermost first)."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.steps: list[str] = []


def _boolean(text: str) -> bool:
    if text == "true":
        return True
    if text == "false":
        return False
    raise ValueError("true or false was expected")


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("a whole number in plain digits was expected")
    return int(text)


def _decimal(text: str) -> int | Decimal:
    """A number as JSON would read it: without fraction and exponent it is an int, but for minus zero."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError("a decimal number was expected")
    if match[2] is None and match[3] is None and len(text) < 19 and text != "-0":
        return int(text)
    return parse_number(text)


# types without an entry are strings in JSON too
PARSERS: Mapping[str, Callable[[str], Primitive]] = {
    "boolean": _boolean,
    "decimal": _decimal,
    **dict.fromkeys(INTEGERS, _integer),
}


def attribute_text(value: object) -> str:
    """A primitive value as it stands between the quotes of an attribute. Raises Unwritable."""
    if type(value) is str:
        return value if _SPECIAL.search(value) is None else _escaped(value)
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, ExactDecimal):
        return value.text
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, str):
        return attribute_text(str(value))
    raise Unwritable(f"holds {type(value).__name__} where a primitive value belongs")


def _escaped(text: str) -> str:
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        raise Unwritable(f"has the character U+{ord(forbidden[0]):04X}, which XML cannot hold")
    return _SPECIAL.sub(lambda m: _ESCAPES[m[0]], text)
