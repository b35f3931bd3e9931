"""What every store can do. The contract tests in tests/store hold for each; no caller knows which one it has.

`transact` is the only write. All reads see committed states only; a search and its includes see one snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.records import (
    Explanation,
    HistoryPage,
    HistoryQuery,
    NewestIs,
    Page,
    Precondition,
    Reindexed,
    Stored,
    WriteOp,
)

Extract = Callable[[dict[str, Any]], Entries]


class Stale(Exception):
    """A precondition of `transact` does not hold any more; nothing was written. `precondition` says which."""

    def __init__(self, precondition: Precondition, found: object) -> None:
        super().__init__(f"{precondition} does not hold: {found}")
        self.precondition = precondition
        self.found = found


class ClaimRefused(Exception):
    """A claim is beyond the capacity of its key; nothing was written.

    `op` is the position of the write in the transaction; `holders` are (type, id) of the resources whose live claims are
    in the way.
    """

    def __init__(self, op: int, key: str, holders: tuple[tuple[str, str], ...]) -> None:
        super().__init__(f"claim on {key} refused")
        self.op = op
        self.key = key
        self.holders = holders


class Store(Protocol):
    async def open(self) -> None:
        """Make the store ready: migrate its schema, load what it keeps in memory. Raises Unavailable."""

    async def close(self) -> None:
        """Finish what was accepted, then let go of files and connections."""

    async def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition] = ()
    ) -> tuple[Stored, ...]:
        """Write all `ops` or none; returns when they are durable, in the order of `ops`.

        A delete of what does not exist is not written and not in the result's place: it yields a Stored with version 0.
        Raises Stale, ClaimRefused, or Unavailable (nothing written).
        """

    async def read(self, type: str, id: str) -> Stored | None:
        """The current version (a deletion too), or None when there never was one."""

    async def read_version(self, type: str, id: str, version: int) -> Stored | None: ...

    async def read_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Stored]:
        """Current versions of those (type, id) that exist and are not deleted."""

    async def search(self, query: SearchQuery) -> Page: ...

    async def matching_ids(self, type: str, where: Expression, limit: int = 2) -> tuple[str, ...]:
        """The ids of the first `limit` matches, in order of creation: the question of conditional interactions."""

    async def history(self, query: HistoryQuery) -> HistoryPage: ...

    def changes(self, after: int = 0, limit: int | None = None) -> AsyncIterator[Stored]:
        """Committed versions with a sequence above `after`, in order; ends when there are no more."""

    async def last_sequence(self, type: str | None = None) -> int:
        """The sequence of the newest version, of all or of a type; 0 when there is none. Cheap enough for every search."""

    async def reindex(
        self,
        extract: Extract,
        newest: NewestIs,
        types: Collection[str] = (),
        after: int = 0,
        limit: int = 100,
    ) -> Reindexed:
        """Make the index entries of the next `limit` live resources of `types` (empty: all) anew, in one transaction.

        Resources that contain one of the types are among them.

        Resources are taken in order of creation; `after` is `Reindexed.next` of the stretch before, 0 to begin. No
        version is written. What is written meanwhile keeps its own entries. Raises Stale when `newest` does not hold.
        """

    async def indexed_fingerprints(self) -> Mapping[str, str]:
        """By which definitions the index was made: what `set_fingerprints` was told."""

    async def set_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Keep these beside those that are kept; one that is there already is replaced."""

    async def explain(self, query: SearchQuery) -> Explanation:
        """Answer the search and tell how."""

    async def counts(self, *, contained: bool = False) -> dict[str, int]:
        """Number of live resources by type; with `contained` also of what they contain, under its own types."""

    async def ping(self) -> None:
        """Raise Unavailable when the store cannot be written to just now."""
