"""What a group has gathered and not written yet, as far as it matters to questions for an identifier or another token.

https://hl7.org/fhir/R4/search.html#token. Conditional creates ask for what nobody has; written rows answer them when nothing that is
gathered can have it. An invariant to keep: what is not surely without effect matters.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeGuard

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression, Or, TokenIs


class Gathered:
    """The tokens of new resources by their type, and the types of which others were changed.

    Types are named as the store names them.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Hashable, Entries]] = []
        self._tokens: set[tuple[Hashable, str, str, str]] = set()
        self._changed: set[Hashable] = set()

    def add(self, type: Hashable, entries: Entries, *, new: bool) -> None:
        """Something was gathered; what is not `new` may have had other tokens."""
        if new:
            self._waiting.append((type, entries))
        else:
            self._changed.add(type)

    def matters(self, type: Hashable | None, where: Expression) -> bool:
        """Whether the answer to a question about a type may depend on what was gathered."""
        if type is None or type in self._changed:
            return True
        for own, entries in self._waiting:
            self._tokens.update((own, *token) for token in entries.tokens)
        self._waiting = []
        return any(
            not asks_for_token(part) or (type, part.param, part.system, part.code) in self._tokens
            for part in alternatives(where)
        )


def alternatives(where: Expression) -> tuple[Expression, ...]:
    """What it is enough to satisfy one of."""
    return where.parts if isinstance(where, Or) else (where,)


def asks_for_token(part: Expression) -> TypeGuard[TokenIs]:
    """Whether only resources with one system and code can satisfy it."""
    return isinstance(part, TokenIs) and part.system is not None and part.code is not None
