"""Cursors: where a page ended, as an opaque text that only the server that signed it can have made.

A cursor carries the values of the last item, no offset, so pages neither repeat nor skip what others write meanwhile. It
is bound to a scope (types and sort order, or a history), because the values mean nothing elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from fhir_r4.errors import InvalidParameter
from fhir_server.search.tree import SearchQuery

_SIGNATURE = 12


class Cursors:
    """Signs and reads cursors with `key`; servers that share a store share the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, scope: str, values: list[Any]) -> str:
        """The cursor for values (numbers, texts, None) within a scope."""
        payload = msgspec.msgpack.encode(values)
        return base64.urlsafe_b64encode(self._signature(scope, payload) + payload).decode().rstrip("=")

    def read(self, scope: str, cursor: str) -> list[Any]:
        """The values of a cursor. Raises InvalidParameter when it was not made here for this scope."""
        try:
            signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            signed = b""
        payload = signed[_SIGNATURE:]
        if not hmac.compare_digest(signed[:_SIGNATURE], self._signature(scope, payload)):
            raise InvalidParameter(
                "The cursor is not one of this search; follow the links of its first page.", "_cursor"
            )
        values: list[Any] = msgspec.msgpack.decode(payload)
        return values

    def _signature(self, scope: str, payload: bytes) -> bytes:
        text = scope.encode() + b"\0" + payload
        return hmac.new(self._key, text, hashlib.sha256).digest()[:_SIGNATURE]


def search_scope(query: SearchQuery) -> str:
    """What a search cursor is bound to; not the criteria, whose `ap` moves with the clock and which the link repeats."""
    return f"search {query.types} {query.sort}"
