"""The records that go into a store and come out of it: writes, claims, preconditions, versions, pages."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression

Method = Literal["POST", "PUT", "PATCH", "DELETE"]


class Body(Struct, frozen=True, gc=False):
    """The JSON text of a resource, cut where the store puts what only it knows.

    The version's bytes are `before + b'"versionId":"3","lastUpdated":"2026-01-31T09:30:00.123Z"' + after`; both halves
    are compact UTF-8 JSON.
    """

    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What a resource holds of something scarce (ARCHITECTURE.md, Claims).

    At no instant may the units of live claims on `key` exceed `capacity` by a claim that is new: one that lies within a live
    claim that the same resource held just before, in interval and units, is kept whatever the capacity. `interval` is [low, high) in microseconds since
    1970 UTC, None for always; a claim whose `expires` (microseconds) is not after the time of the writing transaction,
    or whose interval has ended by then, is not live.
    """

    key: str
    units: Decimal = Decimal(1)
    capacity: Decimal = Decimal(1)
    interval: tuple[int, int] | None = None
    expires: int | None = None


class WriteOp(Struct, frozen=True, gc=False):
    """One version to write. `body` None deletes. The claims and entries replace those of the version before.

    `fresh` says that the id was made for this write, so that a store need not look for a version before; `parameters` is
    the sequence of the newest SearchParameter that was known when the entries were made.
    """

    method: Method
    type: str
    id: str
    body: Body | None
    entries: Entries
    claims: tuple[Claim, ...] = ()
    fresh: bool = False
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class VersionIs:
    """Precondition: the current version of the resource is `version`; None: it does not exist (never did, or deleted)."""

    type: str
    id: str
    version: int | None


@dataclass(frozen=True, slots=True)
class MatchesAre:
    """Precondition: a search of `type` by `where` finds exactly the resources with `ids` (at most `limit` are looked at)."""

    type: str
    where: Expression
    ids: tuple[str, ...]
    limit: int = 2


@dataclass(frozen=True, slots=True)
class NewestIs:
    """Precondition: `sequence` is that of the newest version of any resource of `type`; 0: there never was one."""

    type: str
    sequence: int


Precondition = VersionIs | MatchesAre | NewestIs


class Stored(Struct, frozen=True, gc=False):
    """One version of a resource as it is kept. Never rewritten.

    A match of a search for contained resources has the type and id of the contained one (`search.contained`), with the
    version and the body of its container. `sequence` orders all versions of the store; `updated` is the instant of the commit in microseconds since 1970 UTC
    (whole milliseconds); `body` is the JSON text, b'' for a deletion; `created` says whether the resource did not exist
    before this version (first version, or written again after a deletion).
    """

    type: str
    id: str
    version: int
    sequence: int
    updated: int
    method: Method
    body: bytes
    created: bool = False

    @property
    def deleted(self) -> bool:
        return self.method == "DELETE"


@dataclass(frozen=True, slots=True)
class Copied:
    """A version of another store, to be kept as it is.

    `entries` and `claims` are those of the version if it is to be found by them; `entries` None for one that another in the
    same stretch follows.
    """

    stored: Stored
    entries: Entries | None = None
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a search. `next` is the cursor of the page after, `previous` of the page before; None at the ends.

    All pages of a search show the store as it was when the first page was made: rows that were written, changed or
    deleted since neither repeat nor hide a row that matched then (a row deleted since is left out of its page). `total` is
    None when it was not asked for (a store gives it where it costs nothing); `total_estimated` says that it is a guess;
    `included_truncated` that `include_limit` cut the included resources; `unstable` that so much was written since the
    first page that the promise could not be kept.
    """

    matches: tuple[Stored, ...]
    included: tuple[Stored, ...] = ()
    next: str | None = None
    previous: str | None = None
    total: int | None = None
    total_estimated: bool = False
    included_truncated: bool = False
    unstable: bool = False


@dataclass(frozen=True, slots=True)
class Claiming:
    """The claims that a resource should hold, as its version with this sequence has it."""

    type: str
    id: str
    sequence: int
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Reindexed:
    """A stretch of resources whose index entries were made anew.

    `next` is the cursor of what follows, None at the end; `resources` were looked at, `changed` entries were added or
    removed.
    """

    next: int | None
    resources: int
    changed: int


@dataclass(frozen=True, slots=True)
class Step:
    """A statement that answered a search, with marks in the place of its values.

    `plan` is how the store carries it out; `rows` is what it gave, `work` what it took in the store's own unit.
    """

    text: str
    plan: tuple[str, ...]
    rows: int
    work: int
    microseconds: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a store answered a search: its statements in order (none where it has no statements).

    `unit` says what `work` counts; `matches` and `total` are those of the page.
    """

    steps: tuple[Step, ...]
    work: int
    unit: str
    microseconds: int
    matches: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Versions of one resource (type and id), a type, or everything; newest first.

    `since` (inclusive) and `at` (the versions current at some moment of [low, high)) are microseconds; `cursor` is the
    opaque text of the page before.
    """

    type: str | None = None
    id: str | None = None
    since: int | None = None
    at: tuple[int, int] | None = None
    count: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    versions: tuple[Stored, ...]
    total: int
    next: str | None = None
