"""Which parameters of which types a search stands on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fhir_server.search.contained import outer_type
from fhir_server.search.parameters import STORE_PARAMETERS, Parameters
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    ContainedIn,
    Expression,
    Has,
    Include,
    Not,
    Or,
    Repeats,
    SearchQuery,
)

Use = tuple[str, str]


def parameters_used(query: SearchQuery, parameters: Parameters) -> frozenset[Use]:
    """(type, code) of every parameter whose index entries the answer depends on; type '' is any type."""
    types = query.types or ("",)
    found = {(type, key.param) for type in types for key in query.sort}
    found.update(_of(query.where, types))
    for include in query.includes:
        found.update(_of_include(include, types, parameters))
        found.update(_of(include.where, ("",)))
    # what a modifier looks for, and the inner side of some parameters, stands under a name with a suffix
    codes = ((outer_type(type), param.partition(":")[0]) for type, param in found)
    return frozenset(use for use in codes if use[1] not in STORE_PARAMETERS)


def _of(expression: Expression, types: Iterable[str]) -> Iterator[Use]:
    match expression:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _of(part, types)
        case Not(part):
            yield from _of(part, types)
        case Chain(param, target, part):
            yield from ((type, param) for type in types)
            yield from _of(part, (target,))
        case Has(source, param, part):
            yield source, param
            yield from _of(part, (source,))
        case ContainedIn(part):
            yield from _of(part, ("",))
        case Repeats(types, part):
            yield from _of(part, types)
        case Composite(param=param):
            yield from ((type, param) for type in types)
        case _:
            code = getattr(expression, "param", None)
            if isinstance(code, str):
                yield from ((type, code) for type in types)


def _of_include(include: Include, types: Iterable[str], parameters: Parameters) -> Iterator[Use]:
    sources = types if include.source == "*" else (outer_type(include.source),)
    for source in sources:
        if include.param is not None:
            yield source, include.param
            continue
        known = parameters.of(outer_type(source) or "Resource")
        yield from ((source, code) for code, one in known.items() if one.type == "reference")
