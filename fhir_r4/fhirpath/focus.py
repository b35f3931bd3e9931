"""What an expression sees while it runs: the item in focus, the resource around it, variables, and how much it may still do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from fhir_r4.fhirpath.located import Collection, Located
from fhir_r4.fhirpath.syntax import FhirPathError, Node

if TYPE_CHECKING:
    from fhir_r4.fhirpath.located import System

MAX_STEPS = 300_000

Resolver = Callable[[str], Mapping[str, object] | None]


@dataclass(slots=True)
class Budget:
    """Items that one evaluation may still visit: no expression runs without end."""

    left: int = MAX_STEPS

    def spend(self, items: int) -> None:
        self.left -= items
        if self.left < 0:
            raise FhirPathError(f"The expression visits more than {MAX_STEPS} items")


@dataclass(frozen=True, slots=True)
class Scope:
    """What stays the same in all parts of an expression.

    `resource` is `%resource`, `root` `%rootResource`. `strict`: an element that the definitions do not have is an error,
    not the empty collection. `now` None: now(), today() and timeOfDay() are refused. `resolve` None: resolve() yields
    nothing but contained resources.
    """

    resource: Located
    root: Located
    variables: Mapping[str, Collection] = field(default_factory=dict)
    strict: bool = False
    now: datetime | None = None
    resolve: Resolver | None = None
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class Focus:
    """What a part of an expression is evaluated on: `this` are the items in focus (`$this`), with `$index` and `$total`."""

    this: Collection
    scope: Scope
    index: int | None = None
    total: Collection | None = None

    def on(self, item: Located, index: int | None = None, total: Collection | None = None) -> Focus:
        """The focus of an argument that is evaluated for each item."""
        return Focus([item], self.scope, index, self.total if total is None else total)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of a function: on `items`, with arguments that are evaluated as the function asks."""

    name: str
    items: Collection
    args: tuple[Node, ...]
    focus: Focus
    evaluate: Callable[[Node, Focus], Collection]

    def argument(self, number: int) -> Collection:
        """An argument evaluated once, in the focus of the caller."""
        return self.evaluate(self.args[number], self.focus)

    def each(self, item: Located, index: int | None = None, number: int = 0) -> Collection:
        """An argument evaluated with `item` as $this."""
        return self.evaluate(self.args[number], self.focus.on(item, index))


Function = Callable[[Invocation], "Collection | System | None"]
