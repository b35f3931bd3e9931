"""`_explain=true` on a search: how the search was understood and how the store answered it, in place of the answer.

An extension of Osler for administrators (docs/search.md#explain). The bound values of statements are never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from fhir_r4.errors import Forbidden, InvalidParameter, Issue
from fhir_server.context import FhirRequest, FhirResponse, Services
from fhir_server.interactions.answering import outcome
from fhir_server.search.tree import SearchQuery
from fhir_server.store.records import Explanation, Step

EXPLAIN = "_explain"
MOST_SHOWN = 20

Pairs = tuple[tuple[str, str], ...]


def explain_asked(pairs: Sequence[tuple[str, str]]) -> tuple[bool, Pairs]:
    """Whether an explanation is wanted, and the other parameters. Raises InvalidParameter."""
    asked = [value for name, value in pairs if name == EXPLAIN]
    if not asked:
        return False, tuple(pairs)
    if len(asked) > 1 or asked[0] not in ("true", "false"):
        raise InvalidParameter(f"{EXPLAIN} is `true` or `false`, once; found {asked[0][:40]!r}.", EXPLAIN)
    return asked[0] == "true", tuple(pair for pair in pairs if pair[0] != EXPLAIN)


def require_administrator(request: FhirRequest, services: Services) -> None:
    """Raise Forbidden for an actor who may not look behind the scenes.

    While access control is off the server listens to this machine alone, and its user is the administrator.
    """
    actor = request.actor
    if not actor.administrator and (services.settings.auth != "off" or actor.policy is not None):
        raise Forbidden(f"{EXPLAIN} is for administrators.", EXPLAIN)


def explained(query: SearchQuery, explanation: Explanation, issues: Sequence[Issue]) -> FhirResponse:
    """A Parameters resource: the tree, the statements with their plans, and what it took."""
    parameter: list[dict[str, Any]] = [
        {"name": "tree", "valueString": "\n".join(tree_text(query))},
        {"name": "matches", "valueInteger": explanation.matches},
    ]
    if explanation.total is not None:
        parameter.append({"name": "total", "valueInteger": explanation.total})
    parameter += [
        {"name": "microseconds", "valueInteger": explanation.microseconds},
        {"name": "read", "valueInteger": explanation.work},
        {"name": "unit", "valueString": explanation.unit},
    ]
    parameter += [{"name": "statement", "part": _parts(step)} for step in explanation.steps]
    if issues:
        parameter.append({"name": "outcome", "resource": outcome(issues)})
    return FhirResponse(200, resource={"resourceType": "Parameters", "parameter": parameter})


def _parts(step: Step) -> list[dict[str, Any]]:
    return [
        {"name": "sql", "valueString": step.text},
        *({"name": "plan", "valueString": line} for line in step.plan),
        {"name": "rows", "valueInteger": step.rows},
        {"name": "read", "valueInteger": step.work},
        {"name": "microseconds", "valueInteger": step.microseconds},
    ]


def tree_text(node: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """A query or expression as lines, one for each node, set in by depth; long collections are cut, and say so."""
    values = [(f.name, getattr(node, f.name)) for f in fields(node)]
    inner = [(key, _children(value)) for key, value in values]
    own = [
        f"{key}={_shown(value)}" for (key, value), (_, below) in zip(values, inner, strict=True) if not below
    ]
    head = f"{name}: {type(node).__name__}" if name else type(node).__name__
    yield "  " * depth + f"{head} {' '.join(own)}".rstrip()
    for key, below in inner:
        label = "" if key in ("part", "parts") else key
        for child in below:
            yield from tree_text(child, label, depth + 1)


def _children(value: Any) -> list[Any]:
    if is_dataclass(value):
        return [value]
    if isinstance(value, tuple) and value and all(is_dataclass(v) for v in value):
        return list(value)
    return []


def _shown(value: Any) -> str:
    if isinstance(value, frozenset | tuple) and len(value) > MOST_SHOWN:
        return f"({len(value)} values)"
    if isinstance(value, frozenset):
        return repr(tuple(sorted(value)))
    return repr(value)
