"""Composite searches: texts with the first two components lead to candidates, the entry kept whole decides.

https://hl7.org/fhir/R4/search.html#composite. An invariant to keep: what a part means for a component is what it means for an entry
of its own, so the conditions are those of `leaves`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from fhir_server.search.bounds import Bounds, bounds_of
from fhir_server.search.text import normalise
from fhir_server.search.tree import (
    Composite,
    DateIs,
    Expression,
    NumberIs,
    Or,
    QuantityIs,
    RefersTo,
    TextIs,
    TokenIn,
    TokenIs,
    UriIs,
)
from fhir_server.store.mongo.entries import (
    PAIRED,
    SPAN,
    escaped,
    letter_of,
    of_integer,
    of_number,
    pair_of,
    several_text,
)
from fhir_server.store.mongo.leaves import (
    NEVER,
    Access,
    Condition,
    Filter,
    Range,
    below,
    held_by,
    spread,
)

# More ranges than this are not worth their number: those of the first component alone are taken.
_MOST_RANGES = 400
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KINDS: Mapping[type[Any], str] = {
    TokenIs: "token",
    TokenIn: "token",
    TextIs: "string",
    DateIs: "date",
    NumberIs: "number",
    QuantityIs: "quantity",
    RefersTo: "reference",
    UriIs: "uri",
}


def composite(where: Composite) -> Condition:
    parts = [part.parts if isinstance(part, Or) else (part,) for part in where.parts]
    if not all(parts) or len(parts) > len(_LETTERS):
        return Condition(NEVER, Access(), exact=True)
    kinds = "".join(letter_of(_KINDS[alternatives[0].__class__]) for alternatives in parts)
    held: list[Filter] = []
    for letter, alternatives in zip(_LETTERS, parts, strict=False):
        several = [held_by(leaf, f"{letter}.") for leaf in alternatives]
        # an alternative that asks for nothing in particular holds for every component
        if all(several):
            held.append(several[0] if len(several) == 1 else {"$or": several})
    test: Filter = {"p": where.param, "n": kinds}
    if held:
        test["$and"] = held
    return Condition({"ix.c": {"$elemMatch": test}}, _access(where.param, kinds, parts))


def joint(parts: Iterable[Any]) -> tuple[Access, QuantityIs] | None:
    """Where Observations are that have the code and the quantity of two conditions, and the latter; None without such two.

    A resource that has both has them as a composite, or is marked (entries.PAIRED).
    """
    asked = tuple(parts)
    kinds = letter_of("token") + letter_of("quantity")
    for part in asked:
        if not isinstance(part, QuantityIs) or part.param not in PAIRED:
            continue
        first, code = PAIRED[part.param]
        for other in asked:
            codes = other.parts if isinstance(other, Or) else (other,)
            if all(_is_code(one, first) for one in codes):
                marked = Access(points=(several_text(pair_of(first, part.param)),))
                return _access(code, kinds, [codes, [part]]) | marked, part
    return None


def _is_code(part: Expression, param: str) -> bool:
    return isinstance(part, TokenIs | TokenIn) and part.param == param and _main(part) is not None


def _access(param: str, kinds: str, parts: Sequence[Sequence[Expression]]) -> Access:
    every, high_end = f"{param}\0c{kinds}\0", f"{param}\0C{kinds}\0"
    firsts = [_main(leaf) for leaf in parts[0]]
    if any(found is None for found in firsts):
        return Access(ranges=(below(every),))
    starts = [(f"{every}{main}\0", f"{high_end}{main}\0") for found in firsts for main in found or ()]
    second = parts[1] if len(parts) > 1 else ()
    if not second or len(starts) * len(second) > _MOST_RANGES:
        return Access(ranges=tuple(below(start) for start, _ in starts))
    found = Access()
    for (start, high_start), leaf in product(starts, second):
        found |= _by_second(start, high_start, leaf)
    return found


def _by_second(start: str, high_start: str, leaf: Expression) -> Access:
    mains = _main(leaf)
    if mains is not None:
        return Access(points=tuple(start + main for main in mains))
    if isinstance(leaf, TextIs) and leaf.mode == "starts":
        return Access(ranges=(below(start + escaped(leaf.text)),))
    if isinstance(leaf, DateIs | NumberIs | QuantityIs):
        bounds = bounds_of(leaf)
        if bounds != Bounds():
            is_date = isinstance(leaf, DateIs)
            write = of_integer if is_date else of_number
            return Access(ranges=spread(bounds, SPAN if is_date else 0, start, high_start, write))
    return Access(ranges=(Range(start, below(start).high),))


def _main(leaf: Expression) -> tuple[str, ...] | None:
    """The main texts of components that may satisfy the leaf; None when it may be any."""
    match leaf:
        case TokenIs(code=code) if code is not None:
            return (escaped(code),)
        case TokenIn(codes=codes):
            return tuple(sorted({escaped(code) for _, code in codes}))
        case RefersTo(id=id) if id is not None:
            return (escaped(id),)
        case UriIs(value=value, mode="exact"):
            return (escaped(value),)
        case TextIs(text=text, mode="exact"):
            return (escaped(normalise(text)),)
        case TextIs(text=text, mode="equals"):
            return (escaped(text),)
        case _:
            return None
