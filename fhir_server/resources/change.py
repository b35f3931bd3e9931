"""A change of a resource, what may be known to judge it, and what follows from it.

An invariant to keep: a manner writes nothing and remembers nothing; what it has asked of `Known` still holds when the change
is committed, or the change is judged anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from fhir_r4.errors import Issue
from fhir_server.context import Actor, Resource, Services
from fhir_server.search.tree import Expression
from fhir_server.store.records import Claim, Method


@dataclass(frozen=True, slots=True)
class Change:
    """The state of a resource before and after: None where it does not exist.

    `derived` says that another change of the same commit made this one (`Consequence.writes`): it is the server's own.
    `actor` is who asks for the change, None where that is the server itself.
    """

    type: str
    id: str
    method: Method
    before: Resource | None
    after: Resource | None
    derived: bool = False
    actor: Actor | None = None


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows from a change, in the same commit.

    `claims` are held by the changed resource besides those that follow from it alone; `resource` takes the place of what
    was sent, for members that the server owns; `writes` are other resources as they are to be from then on;
    `warnings` are told to who asked for the change.
    """

    claims: tuple[Claim, ...] = ()
    resource: Resource | None = None
    writes: tuple[Resource, ...] = ()
    warnings: tuple[Issue, ...] = ()


NOTHING = Consequence()


class Known(Protocol):
    """The other resources, as they will be with the commit that is being judged."""

    @property
    def now(self) -> int:
        """Microseconds since 1970 UTC, the same as often as it is asked."""

    async def current(self, type: str, id: str) -> Resource | None:
        """The resource, or None when there is none."""

    async def ahead(self, type: str, ids: Collection[str]) -> None:
        """Read so many resources at once; `current` has them then."""

    async def find(self, type: str, where: Expression, most: int = 100) -> list[Resource]:
        """The resources of `type` for which `where` holds, in the order of creation; no chains, no full text.

        Raises BusinessRule when there are more than `most`.
        """


Manner = Callable[[Change, Known, Services], Awaitable[Consequence]]


@dataclass(frozen=True, slots=True)
class Manners:
    """`judge` sees every change of a resource of the type; raises BusinessRule (422) or Conflict (409) to refuse it.

    `first` orders the types within a commit: what others look at is judged before them.
    """

    judge: Manner
    first: int = field(default=0)
