"""JSON in and out without loss: numbers keep their digits, members are unique, nothing is guessed.

Source: https://hl7.org/fhir/R4/json.html. `decode` gives plain dicts, lists, str, bool, None, int and Decimal; a number
whose text Decimal would print in another way (`1e3`, `1.0E-3`) is an `ExactDecimal`, which remembers it. `encode` writes
every number as it was read. An invariant to keep: decode(encode(x)) == x, and for compact JSON without escapes
encode(decode(b)) == b.
"""

from __future__ import annotations

import decimal
import json
import re
from decimal import Decimal
from typing import Any

import msgspec

from fhir_r4.errors import MalformedJson

BOM = b"\xef\xbb\xbf"


class ExactDecimal(Decimal):
    """A Decimal that is written with the digits it was read with."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> ExactDecimal:
        self = super().__new__(cls, text)
        self.text = text
        return self

    def __reduce__(self) -> tuple[type[ExactDecimal], tuple[str]]:
        return ExactDecimal, (self.text,)


_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def parse_number(text: str) -> Decimal:
    """The decimal that `text` writes, with its digits kept. Raises MalformedJson when it is out of every range."""
    try:
        value = _EXACT.create_decimal(text)
    except decimal.DecimalException as error:
        raise MalformedJson(f"The number {text[:40]} is not one that a decimal can hold.") from error
    return value if str(value) == text else ExactDecimal(text)


def _encode_other(value: object) -> msgspec.Raw:
    if isinstance(value, ExactDecimal):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_decoder = msgspec.json.Decoder(float_hook=parse_number)
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_encode_other)

encode = _encoder.encode

_KEY_END = re.compile(rb'"\s*:')
TOO_DEEP = "The content is nested too deep; some hundred levels are what is taken."


def decode(body: bytes) -> Any:
    """The value of a JSON text in UTF-8 (a byte order mark is tolerated).

    Raises MalformedJson for what is not JSON, for a member that stands twice in an object, for nesting deeper than the
    interpreter's recursion limit, for lone surrogates and for bytes that are not UTF-8.
    """
    if body.startswith(BOM):
        body = body[3:]
    try:
        value = _decoder.decode(body)
    except MalformedJson:
        raise
    except UnicodeDecodeError as error:
        raise MalformedJson(
            f"The body is not UTF-8: byte {error.start} of a text cannot be decoded."
        ) from error
    except RecursionError as error:
        raise MalformedJson(TOO_DEEP) from error
    except msgspec.DecodeError as error:
        raise MalformedJson(f"{error}.") from error
    _refuse_repeated_members(body, value)
    return value


def decode_object(body: bytes) -> dict[str, Any]:
    """Like `decode`, for a text that must be an object."""
    value = decode(body)
    if type(value) is not dict:
        raise MalformedJson(f"A JSON object was expected, not {_kind(value)}.")
    return value


def decode_written(body: bytes) -> dict[str, Any]:
    """The object of a text that `encode` wrote: nothing is left to be checked."""
    value: dict[str, Any] = _decoder.decode(body)
    return value


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _refuse_repeated_members(body: bytes, value: Any) -> None:
    """Compare the text with our compact encoding of its value; where blanks or escapes differ, count member names.

    A name ends in `":`, in the text and in our compact encoding of the value; the same letters inside a string are
    escaped the same way in both unless the text writes them as `\\u`, so equal counts prove that no member was lost.
    """
    try:
        compact = encode(value)
    except RecursionError as error:
        raise MalformedJson(TOO_DEEP) from error
    if compact == body:
        return
    if b"\\u" not in body:
        plain = not (b" :" in body or b"\n:" in body or b"\t:" in body or b"\r:" in body)
        names = body.count(b'":') if plain else len(_KEY_END.findall(body))
        if names == compact.count(b'":'):
            return
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise MalformedJson(TOO_DEEP) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(n for n in names if names.count(n) > 1)
        raise MalformedJson(f"The member {repeated!r} stands more than once in one object.")
    return members
