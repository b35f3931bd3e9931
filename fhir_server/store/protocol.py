"""What every store can do. The contract tests in tests/store hold for each; no caller knows which one it has.

`transact` is the only write. All reads see committed states only; a search and its includes see one snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.records import (
    Claiming,
    Copied,
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


class OutOfStep(Exception):
    """A version to be copied does not follow the newest one of the store; nothing was written."""

    def __init__(self, newest: int, given: int) -> None:
        super().__init__(f"The store's newest version is {newest}; {given} does not follow it.")


class Recipient(Protocol):
    """A store that another can be copied into."""

    async def copy(self, versions: Sequence[Copied]) -> None:
        """Keep the next versions of another store, in order, with their sequences, times and bytes; all or none.

        Claims are not judged: they were when the versions were written. Raises OutOfStep when the first does not follow
        the newest version here, Unavailable.
        """


class Store(Protocol):
    async def open(self) -> None:
        """Make the store ready: migrate its schema, load what it keeps in memory. Raises Unavailable."""

    async def close(self) -> None:
        """Finish what was accepted, then let go of files and connections."""

    async def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition] = (), rehearse: bool = False
    ) -> tuple[Stored, ...]:
        """Write all `ops` or none; returns when they are durable, in the order of `ops`.

        With `rehearse` everything is judged as for a write, and nothing is written: the result is what would be, with
        sequence 0.

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

    async def claims(
        self,
        keys: Collection[str],
        interval: tuple[int, int],
        without: Collection[tuple[str, str]] = (),
    ) -> dict[str, list[tuple[Decimal, int, int]]]:
        """What the live claims on each of `keys` hold within `interval`: (units, low, high), in no order.

        Claims for always hold all of the interval, from now on; those of the resources `without` are left out. The lists
        are not to be changed: a store may give the same ones again.
        """

    def changes(self, after: int = 0, limit: int | None = None) -> AsyncIterator[Stored]:
        """Committed versions with a sequence above `after`, in order; ends when there are no more."""

    def watch(self, after: int = 0) -> AsyncGenerator[Stored, None]:
        """Committed versions with a sequence above `after`, in order, and then those that come, whoever writes them.

        Never ends; close it when done. Raises Unavailable.
        """

    async def take_feed(self, name: str, owner: str, seconds: float) -> int | None:
        """Take or renew the lease of a consumer of the feed: its cursor, or None while another owner holds the lease.

        A lease ends `seconds` after it was taken or renewed, by the clock of the store.
        """

    async def keep_feed(self, name: str, owner: str, cursor: int, seconds: float) -> bool:
        """Move a consumer's cursor and renew its lease; False, and nothing moved, when `owner` does not hold it any more."""

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

    async def reclaim(self, wanted: Sequence[Claiming]) -> int:
        """Give resources the claims that they should hold, in one transaction; how many held others.

        No version is written, and nothing is judged: what is held twice by then stays so. Resources that were written
        since are left as they are.
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
