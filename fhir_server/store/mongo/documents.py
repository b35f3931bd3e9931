"""Documents: how a version of a resource is kept, and how its current state is.

A version's document has the exact bytes and is never rewritten; everything that is read comes from it. The document of the
current state, one for each resource that ever was, has the resource as native BSON for people and their aggregations, and
what a search looks for. An invariant to keep: nothing that the server answers with is made from the native form, because
BSON cannot hold every number that JSON can.
"""

from __future__ import annotations

import decimal
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from bson.decimal128 import Decimal128, create_decimal128_context

from fhir_r4.temporal import format_instant
from fhir_server.search.entries import Entries
from fhir_server.store.mongo.connections import Document
from fhir_server.store.mongo.entries import indexed
from fhir_server.store.records import Stored, WriteOp

_NEAREST = create_decimal128_context()
_NEAREST.traps[decimal.Inexact] = False
_NEAREST.traps[decimal.Rounded] = False
_NEAREST.traps[decimal.Overflow] = False
_LARGEST = 2**63 - 1
_MAYBE_LARGER = re.compile(rb"\d{19}")


# Decimal128: from which bit on its exponent stands, how much higher than it is, and the bit of its sign.
_EXPONENT, _BIAS = 113, 6176
_NEGATIVE = 1 << 127


def _number(text: str) -> Decimal128:
    """The decimal with the digits it was written with, the nearest one when there are more than 34 of them."""
    if len(text) < 19 and "e" not in text and "E" not in text:
        # by hand what is commonest, since the conversion takes longer than all the rest of a small resource
        whole, _, part = text.partition(".")
        digits = int(whole + part)
        bits = abs(digits) | (_BIAS - len(part)) << _EXPONENT | (_NEGATIVE if text[0] == "-" else 0)
        return Decimal128.from_bid(bits.to_bytes(16, "little"))
    try:
        return Decimal128(text)
    except decimal.DecimalException:
        return Decimal128(_NEAREST.create_decimal(text))


_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=_number)


def version_document(stored: Stored) -> Document:
    return {
        "_id": stored.sequence,
        "t": stored.type,
        "i": stored.id,
        "v": stored.version,
        "u": stored.updated,
        "m": stored.method,
        "n": stored.created,
        "b": stored.body,
    }


def stored_of(document: Document) -> Stored:
    """The version that a document of `osler.versions` holds."""
    return Stored(
        document["t"],
        document["i"],
        document["v"],
        document["_id"],
        document["u"],
        document["m"],
        document["b"],
        document["n"],
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What of the current state does not depend on its version: the native form but for that, and the members of the index."""

    resource: Document
    index: Document


def prepare(op: WriteOp) -> Prepared | None:
    """What can be made of a write before its turn comes."""
    if op.body is None:
        return None
    body = b'%b"versionId":"","lastUpdated":""%b' % (op.body.before, op.body.after)
    return Prepared(native_form(body), indexed(op.entries))


def state_document(
    stored: Stored, made: Entries | Prepared, first: int, claims: int, *, native: bool
) -> Document:
    """The current state: `first` is the sequence of the first version, `claims` how many claims it has.

    Without `native` the resource itself is left out, which MongoDB cannot hold when it is nested too deep. What was prepared
    belongs to the document then.
    """
    document: Document = {
        "_id": stored.id,
        "v": stored.version,
        "s": stored.sequence,
        "u": stored.updated,
        "c": first,
        "d": stored.deleted,
        "h": claims,
    }
    if not stored.deleted:
        if isinstance(made, Prepared):
            if native:
                document["resource"] = _of_version(made.resource, stored)
            document.update(made.index)
        else:
            if native:
                document["resource"] = native_form(stored.body)
            document.update(indexed(made))
        # its words are still to be indexed (fulltext.py)
        document["late"] = True
    return document


def _of_version(resource: Document, stored: Stored) -> Document:
    """The native form that was prepared, with the version in its place among the members of `meta`."""
    meta = resource["meta"]
    meta["versionId"], meta["lastUpdated"] = str(stored.version), format_instant(stored.updated)
    return resource


def native_form(body: bytes) -> Document:
    """The resource as BSON has it: decimals with their digits, integers beyond 64 bits as decimals."""
    resource: Document = _decoder.decode(body)
    return _without_large(resource) if _MAYBE_LARGER.search(body) else resource


def _without_large(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_large(member) for name, member in value.items()}
        case list():
            return [_without_large(item) for item in value]
        case int() if abs(value) > _LARGEST:
            return _number(str(value))
    return value
