"""The modifiers of tokens that ask a terminology: `:in`, `:not-in`, `:below` and `:above`, and their like in `_filter`.

Source: https://hl7.org/fhir/R4/search.html#token. A set of codes is put into the question as it is when the question is asked.
What the terminology cannot list it refuses with an error of its own. An invariant to keep: the codes of a set are complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from fhir_r4.errors import NotSupported
from fhir_r4.references import split_reference
from fhir_server.search.tree import Expression, Nothing, TokenIn


class Codes(Protocol):
    """What of a terminology service is asked here."""

    def expansion_codes(self, value_set: str) -> frozenset[tuple[str, str]]: ...

    def descendants(self, system: str, code: str) -> frozenset[str]: ...

    def ancestors(self, system: str, code: str) -> frozenset[str]: ...


class Addresses:
    """A terminology that knows no codes but keeps in mind what it was asked about."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def expansion_codes(self, value_set: str) -> frozenset[tuple[str, str]]:
        self.found.add(value_set)
        return frozenset()

    def descendants(self, system: str, code: str) -> frozenset[str]:
        self.found.add(system)
        return frozenset()

    ancestors = descendants


def in_value_set(
    param: str, implied: frozenset[str], value_set: str, local_bases: Sequence[str], codes: Codes | None
) -> Expression:
    """A code of the value set at an address (canonical, or one of this server). Raises what `expansion_codes` raises."""
    if value_set == "":
        raise ValueError("expected the address of a value set")
    type, id, base, version = split_reference(value_set, local_bases)
    address = f"ValueSet/{id}" if type == "ValueSet" and base == "" and not version else value_set
    return _one_of(param, implied, _required(codes).expansion_codes(address))


def related_codes(
    param: str,
    implied: frozenset[str],
    system: str,
    code: str,
    modifier: str,
    codes: Codes | None,
) -> Expression:
    """The code itself, and the codes that it subsumes (`below`) or that subsume it (`above`)."""
    known = _required(codes)
    others = known.descendants(system, code) if modifier == "below" else known.ancestors(system, code)
    return _one_of(param, implied, {(system, one) for one in (code, *others)})


def _required(codes: Codes | None) -> Codes:
    if codes is None:
        raise NotSupported("There is no terminology here that could list codes.")
    return codes


def _one_of(param: str, implied: frozenset[str], codes: Iterable[tuple[str, str]]) -> Expression:
    """An index entry with one of the codes; `code` elements are indexed without the system that their binding implies."""
    pairs = set(codes)
    pairs |= {("", code) for system, code in pairs if system in implied}
    return TokenIn(param, frozenset(pairs)) if pairs else Nothing()
