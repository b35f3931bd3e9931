"""An access policy woven into a search, so that nothing the actor may not see decides, appears in or is counted by it.

The policy is ANDed to the question for what is searched, and again wherever the question looks at another resource: in
chains, `_has` and includes. What is contained in a resource is seen with that resource. An invariant to keep: what the policy itself asks is never limited by the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fhir_server.search.contained import contained_type, is_contained
from fhir_server.search.tree import (
    And,
    Chain,
    ContainedIn,
    Everything,
    Expression,
    Has,
    Include,
    Not,
    Nothing,
    Or,
    Repeats,
    SearchQuery,
    TypeIs,
    all_of,
    any_of,
    negation,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an actor may see: for each type an expression that must hold, `default` for the types not named."""

    by_type: Mapping[str, Expression] = field(default_factory=dict)
    default: Expression = field(default_factory=Nothing)

    def of(self, type: str) -> Expression:
        """What must hold for a resource of the type."""
        return self.by_type.get(type, self.default)

    def over(self, types: Iterable[str]) -> Expression:
        """What must hold for a resource of one of the types (none: of any type)."""
        asked = tuple(types)
        inside = tuple(type for type in asked if is_contained(type))
        if inside:
            return self._over_contained(tuple(type for type in asked if not is_contained(type)), inside)
        if len(asked) == 1:
            return self.of(asked[0])
        named = asked or tuple(self.by_type)
        by_expression: dict[Expression, list[str]] = {}
        for type in named:
            by_expression.setdefault(self.of(type), []).append(type)
        if asked and len(by_expression) == 1:
            return next(iter(by_expression))
        parts = [all_of([TypeIs(tuple(own)), e]) for e, own in by_expression.items()]
        if not asked:
            others = negation(TypeIs(named)) if named else Everything()
            parts.append(all_of([others, self.default]))
        return any_of(parts)

    def _over_contained(self, types: tuple[str, ...], inside: tuple[str, ...]) -> Expression:
        contained: Expression = ContainedIn(self.over(()))
        if not types:
            return contained
        parts = ((types, self.over(types)), (inside, contained))
        return any_of([all_of([TypeIs(own), e]) for own, e in parts])


def apply_policy(query: SearchQuery, policy: Policy | None) -> SearchQuery:
    """The search as the actor may ask it; None: the actor may see everything."""
    if policy is None:
        return query
    return replace(
        query,
        where=limited(query.where, query.types, policy),
        includes=tuple(replace(i, where=all_of([i.where, _included(i, policy)])) for i in query.includes),
    )


def limited(where: Expression, types: Iterable[str], policy: Policy | None) -> Expression:
    """The question about resources of `types` (none: of any type) as the actor may ask it."""
    if policy is None:
        return where
    return all_of([policy.over(types), _inside(where, policy)])


def _inside(part: Expression, policy: Policy) -> Expression:
    """The policy wherever the expression looks at other resources."""
    match part:
        case And(parts):
            return And(tuple(_inside(p, policy) for p in parts))
        case Or(parts):
            return Or(tuple(_inside(p, policy) for p in parts))
        case Not(inner):
            return Not(_inside(inner, policy))
        case Chain(param, target, inner):
            # what is contained in a resource that is seen is seen
            seen = any_of([policy.of(target), TypeIs((contained_type(target),))])
            return Chain(param, target, all_of([seen, _inside(inner, policy)]))
        case Has(source, param, inner):
            return Has(source, param, limited(inner, (source,), policy))
        case ContainedIn(inner):
            return ContainedIn(_inside(inner, policy))
        case Repeats(types, inner):
            return Repeats(types, _inside(inner, policy))
        case _:
            return part


def _included(include: Include, policy: Policy) -> Expression:
    type = include.source if include.reverse else include.target
    return policy.over(() if type in (None, "*") else (str(type),))
