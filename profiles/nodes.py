"""The nodes of a compiled structure: each accepts a JSON value fast, or tells everything that is wrong with it.

An invariant to keep: `accepts(value)` is truthy exactly when `problems(value, path)` yields nothing; what `accepts` does
not expect (another JSON type) it may answer with TypeError, KeyError or AttributeError instead of something falsy.
`accepts` runs on every write and allocates as little as it can; `problems` runs for what was refused and is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Protocol

from fhir_r4.errors import Issue
from fhir_r4.primitives import Primitive
from profiles.narrative import is_narrative, narrative_faults

Accepts = Callable[[Any], object]


class Node(Protocol):
    """What may stand at one place."""

    @property
    def accepts(self) -> Accepts: ...

    def problems(self, value: Any, path: str) -> Iterator[Issue]: ...


def error(code: str, diagnostics: str, path: str) -> Issue:
    return Issue("error", code, diagnostics, (path,))


def kind_of(value: Any) -> str:
    """The kind of a JSON value, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int() | float() | Decimal():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"


def quoted(value: Any) -> str:
    """A value for a message, cut when long."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:76]}...'"


def suggestion(name: str, known: list[str]) -> str:
    """` Did you mean ...?` with the nearest of `known`, or nothing."""
    lowered = {k.lower(): k for k in known}
    near = lowered.get(name.lower())
    if near is None:
        close = get_close_matches(name, known, n=1, cutoff=0.75)
        near = close[0] if close else None
    return f" Did you mean {near}?" if near is not None else ""


class PrimitiveNode:
    """A value of a primitive type."""

    __slots__ = ("_primitive", "accepts")

    def __init__(self, primitive: Primitive) -> None:
        self._primitive = primitive
        self.accepts: Accepts = primitive.accepts

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        if self._primitive.is_valid(value):
            return
        wrong = wrong_kind(value, self._primitive.json, path)
        expected = f"{self._primitive.name}: expected {self._primitive.expected}."
        yield wrong or error("value", f"{quoted(value)} is not a valid {expected}", path)


def wrong_kind(value: Any, expected: str, path: str) -> Issue | None:
    """The problem of a value of another JSON kind than `expected`, or None."""
    found = kind_of(value)
    if found == expected:
        return None
    if value is None:
        return error("structure", "null is not allowed here: leave the element out.", path)
    return error("structure", f"Expected {expected}, found {found}.", path)


class CodeNode:
    """A code with a required binding to a set of codes that is known completely."""

    __slots__ = ("_codes", "_value_set", "accepts")

    def __init__(self, codes: frozenset[str], value_set: str) -> None:
        self._codes = codes
        self._value_set = value_set
        self.accepts: Accepts = codes.__contains__

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        wrong = wrong_kind(value, "a string", path)
        if wrong is not None:
            yield wrong
        elif value not in self._codes:
            codes = sorted(self._codes)
            listed = f" Allowed: {', '.join(codes)}." if len(codes) <= 20 else suggestion(value, codes)
            yield error(
                "code-invalid",
                f"{quoted(value)} is not a code of the value set {self._value_set}.{listed}",
                path,
            )


class NarrativeNode:
    """The XHTML of a narrative."""

    __slots__ = ()

    @property
    def accepts(self) -> Accepts:
        return is_narrative

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        wrong = wrong_kind(value, "a string", path)
        if wrong is not None:
            yield wrong
            return
        for fault in narrative_faults(value):
            yield error("invalid", f"The narrative is not allowed XHTML: {fault}.", path)


class ListNode:
    """A JSON array with at least one item; `nullable` lets items be null, for primitives whose `_x` stands beside."""

    __slots__ = ("_item", "_nullable", "accepts")

    def __init__(self, item: Node, *, nullable: bool = False) -> None:
        self._item = item
        self._nullable = nullable
        self.accepts: Accepts = _accept_nullable_items(item) if nullable else _accept_items(item)

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        if type(value) is not list:
            yield error("structure", f"Expected an array, found {kind_of(value)}.", path)
            return
        if not value:
            yield error("structure", "An array may not be empty: leave the element out.", path)
        for index, item in enumerate(value):
            if not (item is None and self._nullable):
                yield from self._item.problems(item, f"{path}[{index}]")


def _accept_items(node: Node) -> Accepts:
    accepts = node.accepts

    def accept_items(value: Any) -> bool:
        if type(value) is not list or not value:
            return False
        for item in value:  # noqa: SIM110 (a loop costs half of `all` with a generator)
            if not accepts(item):
                return False
        return True

    return accept_items


def _accept_nullable_items(node: Node) -> Accepts:
    accepts = node.accepts

    def accept_items(value: Any) -> bool:
        return type(value) is list and len(value) > 0 and all(item is None or accepts(item) for item in value)

    return accept_items
