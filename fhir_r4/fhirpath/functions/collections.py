"""Existence, filtering, subsetting and combining: http://hl7.org/fhirpath/N1/#functions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cmp_to_key

from fhir_r4.fhirpath.focus import Function, Invocation
from fhir_r4.fhirpath.located import Collection, Located, singleton, truth
from fhir_r4.fhirpath.operators import contained, distinct, order, union
from fhir_r4.fhirpath.syntax import FhirPathError, Node, This, Unary


def _holds(call: Invocation, item: Located, index: int) -> bool:
    return truth(call.each(item, index), call.name) is True


def _where(call: Invocation) -> Collection:
    return [item for index, item in enumerate(call.items) if _holds(call, item, index)]


def _exists(call: Invocation) -> bool:
    return bool(_where(call) if call.args else call.items)


def _all(call: Invocation) -> bool:
    return all(_holds(call, item, index) for index, item in enumerate(call.items))


def _select(call: Invocation) -> Collection:
    return [found for index, item in enumerate(call.items) for found in call.each(item, index)]


def _booleans(call: Invocation) -> list[bool]:
    for item in call.items:
        if not isinstance(item.value, bool):
            raise FhirPathError(f"{call.name}() takes booleans")
    return [item.value for item in call.items]


def _repeat(call: Invocation) -> Collection:
    found: Collection = []
    level = call.items
    while level:
        fresh: Collection = []
        for item in level:
            for inner in call.each(item):
                call.focus.scope.budget.spend(len(found) + 1)
                if not _same_place_or_equal(inner, found):
                    found.append(inner)
                    fresh.append(inner)
        level = fresh
    return found


def _same_place_or_equal(item: Located, items: Collection) -> bool:
    return any(other.value is item.value and other.shape for other in items) or contained(item, items)


def _aggregate(call: Invocation) -> Collection:
    total = call.argument(1) if len(call.args) > 1 else []
    for index, item in enumerate(call.items):
        total = call.evaluate(call.args[0], call.focus.on(item, index, total))
    return total


def _iif(call: Invocation) -> Collection:
    item = singleton(call.items, "iif()")
    focus = call.focus if item is None else call.focus.on(item, call.focus.index)
    verdict = singleton(call.evaluate(call.args[0], focus), "iif()")
    if verdict is not None and not isinstance(verdict.value, bool):
        raise FhirPathError("iif() takes a boolean")
    if verdict is not None and verdict.value is True:
        return call.evaluate(call.args[1], focus)
    return call.evaluate(call.args[2], focus) if len(call.args) > 2 else []


def _sort(call: Invocation) -> Collection:
    """Sorted by each argument in turn, one with a minus downwards; items without a value come first in any case."""
    criteria = call.args or (This(),)
    keyed = [(item, [_sort_key(call, item, node) for node in criteria]) for item in call.items]
    signs = [-1 if isinstance(node, Unary) and node.op == "-" else 1 for node in criteria]

    def compared(left: tuple[Located, list[Collection]], right: tuple[Located, list[Collection]]) -> int:
        for sign, a, b in zip(signs, left[1], right[1], strict=True):
            found = sign * (order(a, b, "sort()") or 0) if a and b else len(a) - len(b)
            if found:
                return found
        return 0

    return [item for item, _ in sorted(keyed, key=cmp_to_key(compared))]


def _sort_key(call: Invocation, item: Located, node: Node) -> Collection:
    inner = node.operand if isinstance(node, Unary) else node
    return call.evaluate(inner, call.focus.on(item))


def _count_argument(call: Invocation) -> int:
    item = singleton(call.argument(0), f"{call.name}()")
    if item is None or not isinstance(item.value, int) or isinstance(item.value, bool):
        raise FhirPathError(f"{call.name}() takes a whole number")
    return max(0, item.value)


def _single(call: Invocation) -> Collection:
    singleton(call.items, "single()")
    return call.items


def _subset(items: Collection, of: Collection) -> bool:
    return all(contained(item, of) for item in items)


def _other(call: Invocation) -> Collection:
    other = call.argument(0)
    call.focus.scope.budget.spend(len(other) * len(call.items))
    return other


def _distinct(call: Invocation) -> Collection:
    call.focus.scope.budget.spend(len(call.items) ** 2 // 2)
    return distinct(call.items)


def _exclude(call: Invocation) -> Collection:
    other = _other(call)
    return [item for item in call.items if not contained(item, other)]


def _intersect(call: Invocation) -> Collection:
    other = _other(call)
    return [item for item in _distinct(call) if contained(item, other)]


def _not(call: Invocation) -> bool | None:
    verdict = truth(call.items, "not()")
    return None if verdict is None else not verdict


FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    "empty": (lambda call: not call.items, 0, 0),
    "exists": (_exists, 0, 1),
    "all": (_all, 1, 1),
    "allTrue": (lambda call: all(_booleans(call)), 0, 0),
    "anyTrue": (lambda call: any(_booleans(call)), 0, 0),
    "allFalse": (lambda call: not any(_booleans(call)), 0, 0),
    "anyFalse": (lambda call: not all(_booleans(call)), 0, 0),
    "subsetOf": (lambda call: _subset(call.items, _other(call)), 1, 1),
    "supersetOf": (lambda call: _subset(_other(call), call.items), 1, 1),
    "count": (lambda call: len(call.items), 0, 0),
    "distinct": (_distinct, 0, 0),
    "isDistinct": (lambda call: len(_distinct(call)) == len(call.items), 0, 0),
    "where": (_where, 1, 1),
    "select": (_select, 1, 1),
    "repeat": (_repeat, 1, 1),
    "aggregate": (_aggregate, 1, 2),
    "iif": (_iif, 2, 3),
    "sort": (_sort, 0, 9),
    "single": (_single, 0, 0),
    "first": (lambda call: call.items[:1], 0, 0),
    "last": (lambda call: call.items[-1:], 0, 0),
    "tail": (lambda call: call.items[1:], 0, 0),
    "skip": (lambda call: call.items[_count_argument(call) :], 1, 1),
    "take": (lambda call: call.items[: _count_argument(call)], 1, 1),
    "union": (lambda call: union(call.items, _other(call)), 1, 1),
    "combine": (lambda call: [*call.items, *call.argument(0)], 1, 1),
    "intersect": (_intersect, 1, 1),
    "exclude": (_exclude, 1, 1),
    "not": (_not, 0, 0),
    "trace": (lambda call: call.items, 1, 2),
}
