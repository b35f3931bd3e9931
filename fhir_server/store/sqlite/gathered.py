"""What a group has gathered and not written yet, as far as it matters to questions for an identifier or another token.

https://hl7.org/fhir/R4/search.html#token. Conditional creates ask for what nobody has; written rows answer them when nothing that is
gathered can have it. An invariant to keep: what is not surely without effect matters.
"""

from __future__ import annotations

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression, Or, TokenIs


class Gathered:
    """The tokens of new resources, by the number of their type, and the types of which others were changed."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Entries]] = []
        self._tokens: set[tuple[int, str, str, str]] = set()
        self._changed: set[int] = set()

    def add(self, type_number: int, entries: Entries, *, new: bool) -> None:
        """Something was gathered; what is not `new` may have had other tokens."""
        if new:
            self._waiting.append((type_number, entries))
        else:
            self._changed.add(type_number)

    def matters(self, type_number: int | None, where: Expression) -> bool:
        """Whether the answer to a question about a type may depend on what was gathered."""
        if type_number is None or type_number in self._changed:
            return True
        for number, entries in self._waiting:
            self._tokens.update((number, *token) for token in entries.tokens)
        self._waiting = []
        parts = where.parts if isinstance(where, Or) else (where,)
        return any(
            not isinstance(part, TokenIs)
            or part.system is None
            or part.code is None
            or (type_number, part.param, part.system, part.code) in self._tokens
            for part in parts
        )
