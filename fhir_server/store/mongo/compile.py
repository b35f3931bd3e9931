"""An expression as a filter on the documents of one type, and the best way in through an index.

Chains, `_has` and what asks about containers are no part of it: `links` answers them first, and puts what they found in their place
(`RefersToAny`, `OneOf`, IdIs).
Meaning: `fhir_server.search.match`. An invariant to keep: MongoDB is never left to choose between entries, because it remembers
a choice by the form of a query, not by its values: the way in is chosen here, and the rest is put so that no index serves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.contained import contained_type, is_contained
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    ContainedIn,
    DateIs,
    Everything,
    Expression,
    FullText,
    Has,
    IdIs,
    Not,
    Nothing,
    NumberIs,
    Or,
    Present,
    QuantityIs,
    Repeats,
    TokenIn,
    TypeIs,
    all_of,
    any_of,
    negation,
)
from fhir_server.store.mongo.composites import composite
from fhir_server.store.mongo.entries import member, reference_text
from fhir_server.store.mongo.fulltext import Words
from fhir_server.store.mongo.indexes import ID, SORTED, sort_index
from fhir_server.store.mongo.leaves import (
    NEVER,
    Access,
    Condition,
    Filter,
    Interval,
    condition_of,
    joint_access,
    listed,
)


@dataclass(frozen=True, slots=True)
class RefersToAny:
    """A reference to one of the local resources of a type: what a chain has become."""

    param: str
    type: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the contained resources whose documents have these ids: what a `_has` has become."""

    ids: tuple[str, ...]


Part = Expression | RefersToAny | OneOf


def simplified(where: Expression, type: str) -> Expression:
    """The expression for resources of one type, without what that decides."""
    match where:
        case And(parts):
            return all_of(simplified(part, type) for part in parts)
        case Or(parts):
            return any_of(simplified(part, type) for part in parts)
        case Not(part):
            return negation(simplified(part, type))
        case TypeIs(types):
            return Everything() if type in types else Nothing()
        case Chain(_, target, part):
            # it means something else for what is contained, so it stays as it is
            inner = any_of(simplified(part, of) for of in (target, contained_type(target)))
            return inner if isinstance(inner, Nothing) else where
        case ContainedIn(part) | Repeats(part=part):
            return where if is_contained(type) and not isinstance(part, Nothing) else Nothing()
        case Has(source, param, part):
            inner = simplified(part, source)
            return inner if isinstance(inner, Nothing) else Has(source, param, inner)
        case IdIs(ids):
            return where if ids else Nothing()
        case TokenIn(codes=codes):
            return where if codes else Nothing()
        case FullText(query=query):
            if any(not any(phrase for phrase in phrases) for phrases in query):
                return Everything()
            return where if query else Nothing()
        case _:
            return where


def conjuncts(where: Part) -> tuple[Part, ...]:
    """What must hold together."""
    if isinstance(where, And):
        return where.parts
    return () if isinstance(where, Everything) else (where,)


def is_linked(where: Part) -> bool:
    """Whether the expression asks about other resources somewhere."""
    match where:
        case And(parts) | Or(parts):
            return any(is_linked(part) for part in parts)
        case Not(part):
            return is_linked(part)
        case Chain() | Has() | ContainedIn() | Repeats():
            return True
        case _:
            return False


def hidden(test: Filter) -> Filter:
    """The same condition in a form that no index serves."""
    return {"$nor": [{"$nor": [test]}]} if test else {}


def both(*parts: Filter) -> Filter:
    """The conjunction of filters."""
    asked = [part for part in parts if part]
    if not asked:
        return {}
    return asked[0] if len(asked) == 1 else {"$and": asked}


class Compiler:
    """Compiles for the resources of one type; `words` answers searches for words."""

    def __init__(self, type: str, words: Words) -> None:
        self._type = type
        self._words = words

    def condition(self, part: Part) -> Condition:
        match part:
            case Everything():
                return Condition({})
            case Nothing():
                return Condition(NEVER, Access(), exact=True)
            case RefersToAny(param, type, ids):
                return listed(Access(points=tuple(reference_text(param, type, id) for id in ids)))
            case OneOf(ids):
                return listed(Access(others=((ID, {"_id": {"$in": list(ids)}, "d": False}),)))
            case FullText():
                return self._words.condition(part, self._type)
            case Composite():
                return composite(part)
            case Not(inner):
                return Condition({"$nor": [self.condition(inner).test]}, self._without(inner))
            case Or(parts):
                return self._either(parts)
            case And(parts):
                return self._all(parts)
            case Chain() | Has() | ContainedIn() | Repeats() | TypeIs():
                raise AssertionError(f"{part} is answered before")
            case _:
                return condition_of(part, self._type)

    def test(self, parts: Iterable[Part]) -> Filter:
        return both(*(self.condition(part).test for part in parts))

    def accesses(self, parts: Sequence[Part]) -> list[tuple[Access, Part | None]]:
        """The ways in to resources for which all parts hold; with the part that the way decides alone."""
        found: list[tuple[Access, Part | None]] = []
        grouped: dict[tuple[type[Any], str], list[Interval]] = {}
        for part in parts:
            if isinstance(part, DateIs | NumberIs | QuantityIs):
                grouped.setdefault((part.__class__, part.param), []).append(part)
                continue
            condition = self.condition(part)
            if condition.access is not None:
                found.append((condition.access, part if condition.exact else None))
        for several in grouped.values():
            access = joint_access(several) if len(several) > 1 else self.condition(several[0]).access
            if access is not None:
                found.append((access, None))
        return found

    def _without(self, part: Part) -> Access | None:
        """The way in to what has no value for a parameter that has an index by its values."""
        if not isinstance(part, Present) or part.param not in SORTED.get(self._type.rstrip("#"), ()):
            return None
        without: Filter = {f"k.{member(part.param)}.a": None, "d": False}
        return Access(others=((sort_index(part.param, "a"), without),))

    def _either(self, parts: Sequence[Part]) -> Condition:
        conditions = [self.condition(part) for part in parts]
        exact = all(one.exact for one in conditions)
        access: Access | None = Access()
        for one in conditions:
            access = None if access is None or one.access is None else access | one.access
        if exact and access is not None:
            return listed(access)
        return Condition({"$or": [one.test for one in conditions]}, access)

    def _all(self, parts: Sequence[Part]) -> Condition:
        """An And within an Or: its way in is that of the part which most likely has fewest."""
        found = [access for access, _ in self.accesses(parts)]
        best = min(found, key=_breadth, default=None)
        return Condition(self.test(parts), best)


def _breadth(access: Access) -> tuple[int, int]:
    """An order of ways in by what is known without counting."""
    if access.empty:
        return 0, 0
    by_id = all("_id" in condition for _, condition in access.others)
    if not access.ranges and by_id:
        return 1, len(access.points) + len(access.others)
    return 2, len(access.ranges) + len(access.others)
