"""The reference store: everything in memory, every search answered by `fhir_server.search.match`.

It says what the other stores must do, and serves tests and `osler serve --store memory:`; nothing outlives the process. One
lock makes every call a single step, so a search with its includes sees one state. A cursor carries the sequence number that
the first page saw, so that every page of a search is cut from the same matches.
"""

from __future__ import annotations

import secrets
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cmp_to_key, partial
from typing import Any

from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import format_instant
from fhir_server.search.contained import is_contained
from fhir_server.search.fulltext import full_texts
from fhir_server.search.match import Candidate
from fhir_server.search.order import position, position_order
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import Expression, SearchQuery
from fhir_server.store.feed import watch_by_asking
from fhir_server.store.held import Held, Key, View, included_with
from fhir_server.store.judging import ALWAYS, is_live
from fhir_server.store.protocol import ClaimRefused, Extract, Stale
from fhir_server.store.records import (
    Claim,
    Claiming,
    Explanation,
    HistoryPage,
    HistoryQuery,
    NewestIs,
    Page,
    Precondition,
    Reindexed,
    Stored,
    VersionIs,
    WriteOp,
)

# which way a cursor goes from the row that it names
AFTER, BEFORE = "after", "before"


def _now() -> int:
    return time.time_ns() // 1000


def _texts(body: bytes) -> tuple[str, str]:
    return full_texts(decode_object(body))


class MemoryStore:
    """A Store in memory. `clock` gives microseconds since 1970 UTC; `cursor_key` signs cursors."""

    def __init__(self, clock: Callable[[], int] = _now, cursor_key: bytes = b"") -> None:
        self._clock = clock
        self._cursors = Cursors(cursor_key or secrets.token_bytes(32))
        self._lock = threading.RLock()
        self._held = Held()
        self._log: list[Stored] = []
        self._claims: dict[str, dict[Key, tuple[Claim, ...]]] = {}
        self._claimed: dict[Key, frozenset[str]] = {}
        self._updated = 0
        self._fingerprints: Mapping[str, str] = {}
        self._feeds: dict[str, tuple[str, float, int]] = {}

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Nothing to finish: what was accepted is there as long as the process."""

    async def ping(self) -> None:
        """Memory can always be written to."""

    # Writing

    async def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition] = (), rehearse: bool = False
    ) -> tuple[Stored, ...]:
        with self._lock:
            for precondition in preconditions:
                self._check(precondition)
            now = self._clock() // 1000 * 1000
            replacing = self._judge_claims(ops, now)
            if rehearse:
                return tuple(self._version(op, max(now, self._updated), 0) for op in ops)
            self._replace_claims(*replacing)
            self._updated = max(now, self._updated)
            return tuple(self._write(op) for op in ops)

    def _check(self, precondition: Precondition) -> None:
        if isinstance(precondition, VersionIs):
            current = self._held.resources.get((precondition.type, precondition.id))
            found = None if current is None or current.candidate is None else current.versions[-1].version
            if found != precondition.version:
                raise Stale(precondition, found)
        elif isinstance(precondition, NewestIs):
            newest = self._newest(precondition.type)
            if newest != precondition.sequence:
                raise Stale(precondition, newest)
        else:
            ids = self._first_matches(precondition.type, precondition.where, precondition.limit)
            if set(ids) != set(precondition.ids):
                raise Stale(precondition, ids)

    def _version(self, op: WriteOp, updated: int, sequence: int) -> Stored:
        """The version that a write makes; version 0 when there is nothing to delete."""
        resource = self._held.resources.get((op.type, op.id))
        exists = resource is not None and resource.candidate is not None
        if op.body is None and not exists:
            return Stored(op.type, op.id, 0, 0, updated, op.method, b"")
        version = 1 if resource is None else len(resource.versions) + 1
        body = b""
        if op.body is not None:
            meta = f'"versionId":"{version}","lastUpdated":"{format_instant(updated)}"'
            body = op.body.before + meta.encode() + op.body.after
        created = not exists and op.body is not None
        return Stored(op.type, op.id, version, sequence, updated, op.method, body, created=created)

    def _write(self, op: WriteOp) -> Stored:
        key = op.type, op.id
        stored = self._version(op, self._updated, len(self._log) + 1)
        if stored.version == 0:
            return stored
        resource = self._held.resources.get(key) or self._held.create(key)
        candidate = None
        if op.body is not None:
            texts = partial(_texts, stored.body)
            candidate = Candidate(op.type, op.id, self._updated, resource.created, op.entries, texts)
        self._log.append(stored)
        self._held.put(key, stored, candidate)
        return stored

    # Claims

    def _judge_claims(
        self, ops: Sequence[WriteOp], now: int
    ) -> tuple[dict[str, dict[Key, tuple[Claim, ...]]], dict[Key, tuple[Claim, ...]]]:
        """What the claims touched would be by key, and those of each resource written. Raises ClaimRefused."""
        last = {(op.type, op.id): position for position, op in enumerate(ops)}
        written = {
            key: ops[position].claims if ops[position].body is not None else ()
            for key, position in last.items()
        }
        staged: dict[str, dict[Key, tuple[Claim, ...]]] = {}
        touched = {name for key in written for name in self._claimed.get(key, ())}
        touched |= {claim.key for claims in written.values() for claim in claims}
        for name in touched:
            kept = {k: c for k, c in self._claims.get(name, {}).items() if k not in written}
            staged[name] = {k: live for k, claims in kept.items() if (live := _live_claims(claims, now))}
        for key, claims in written.items():
            for claim in claims:
                staged[claim.key][key] = (*staged[claim.key].get(key, ()), claim)
        for key, position_ in sorted(last.items(), key=lambda item: item[1]):
            before = self._held_before(key, now)
            for claim in _live_claims(written[key], now):
                if not _kept(claim, before):
                    _require_room(claim, key, position_, staged[claim.key], now)
        return staged, written

    def _held_before(self, key: Key, now: int) -> list[Claim]:
        """The live claims of a resource as it is, in order of their extent."""
        names = self._claimed.get(key, ())
        held = [claim for name in names for claim in self._claims.get(name, {}).get(key, ())]
        return sorted(_live_claims(held, now), key=_extent)

    def _replace_claims(
        self, staged: dict[str, dict[Key, tuple[Claim, ...]]], written: dict[Key, tuple[Claim, ...]]
    ) -> None:
        for name, held in staged.items():
            if held:
                self._claims[name] = held
            else:
                self._claims.pop(name, None)
        for key, claims in written.items():
            self._claimed[key] = frozenset(claim.key for claim in claims)

    # Reading

    async def read(self, type: str, id: str) -> Stored | None:
        with self._lock:
            resource = self._held.resources.get((type, id))
            return None if resource is None else resource.versions[-1]

    async def read_version(self, type: str, id: str, version: int) -> Stored | None:
        with self._lock:
            resource = self._held.resources.get((type, id))
            if resource is None or not 0 < version <= len(resource.versions):
                return None
            return resource.versions[version - 1]

    async def read_many(self, keys: Collection[Key]) -> dict[Key, Stored]:
        with self._lock:
            found = {key: self._held.resources.get(key) for key in keys}
            return {
                key: resource.versions[-1]
                for key, resource in found.items()
                if resource is not None and resource.candidate is not None
            }

    async def last_sequence(self, type: str | None = None) -> int:
        with self._lock:
            return len(self._log) if type is None else self._newest(type)

    def _newest(self, type: str) -> int:
        return max((r.versions[-1].sequence for r in self._held.by_type.get(type, ())), default=0)

    async def counts(self, *, contained: bool = False) -> dict[str, int]:
        with self._lock:
            found: dict[str, int] = {}
            for (type, _), resource in self._held.resources.items():
                if resource.candidate is not None and (contained or not is_contained(type)):
                    found[type] = found.get(type, 0) + 1
            return found

    async def changes(self, after: int = 0, limit: int | None = None) -> AsyncIterator[Stored]:
        with self._lock:
            found = self._log[after:] if limit is None else self._log[after : after + limit]
        for stored in found:
            yield stored

    def watch(self, after: int = 0) -> AsyncGenerator[Stored, None]:
        return watch_by_asking(self, after)

    async def take_feed(self, name: str, owner: str, seconds: float) -> int | None:
        with self._lock:
            held_by, until, cursor = self._feeds.get(name, (owner, 0.0, 0))
            if held_by != owner and until > time.monotonic():
                return None
            self._feeds[name] = (owner, time.monotonic() + seconds, cursor)
            return cursor

    async def keep_feed(self, name: str, owner: str, cursor: int, seconds: float) -> bool:
        with self._lock:
            if self._feeds.get(name, ("",))[0] != owner:
                return False
            self._feeds[name] = (owner, time.monotonic() + seconds, cursor)
            return True

    # Searching

    async def claims(
        self, keys: Collection[str], interval: tuple[int, int], without: Collection[Key] = ()
    ) -> dict[str, list[tuple[Decimal, int, int]]]:
        now = self._clock() // 1000 * 1000
        low, high = max(interval[0], now), interval[1]
        found: dict[str, list[tuple[Decimal, int, int]]] = {}
        with self._lock:
            for key in keys:
                live = (
                    claim
                    for holder, claims in self._claims.get(key, {}).items()
                    if holder not in without
                    for claim in _live_claims(claims, now)
                )
                spans = [(claim.units, *(claim.interval or (low, high))) for claim in live]
                found[key] = [(units, a, b) for units, a, b in spans if a < high and b > low]
        return found

    async def search(self, query: SearchQuery) -> Page:
        with self._lock:
            scope = search_scope(query)
            cursor = None if query.cursor is None else self._cursors.read(scope, query.cursor)
            sequence: int = len(self._log) if cursor is None else cursor[0]
            view = View(self._held, sequence)
            found = view.matching(query.types, query.where)
            if query.count == 0:
                return Page((), total=len(found))
            order = cmp_to_key(position_order(query.sort))
            places = {c.created: position(c, query.sort) for c in found}
            found.sort(key=lambda c: order(places[c.created]))
            first, last = _bounds(cursor, [order(places[c.created]) for c in found], query)
            page = found[first:last]

            def link(goes: str, candidate: Candidate) -> str:
                return self._cursors.write(scope, [sequence, goes, *places[candidate.created]])

            included, truncated = included_with(view, page, query)
            return Page(
                matches=view.stored(page),
                included=view.stored(included),
                next=link(AFTER, page[-1]) if page and last < len(found) else None,
                previous=link(BEFORE, page[0]) if first > 0 and page else None,
                total=len(found),
                included_truncated=truncated,
            )

    async def matching_ids(self, type: str, where: Expression, limit: int = 2) -> tuple[str, ...]:
        with self._lock:
            return self._first_matches(type, where, limit)

    def _first_matches(self, type: str, where: Expression, limit: int) -> tuple[str, ...]:
        found = View(self._held, len(self._log)).matching((type,), where)
        return tuple(candidate.id for candidate in found[:limit])

    async def explain(self, query: SearchQuery) -> Explanation:
        began = time.perf_counter_ns()
        page = await self.search(query)
        counts = await self.counts(contained=bool(query.types))
        looked_at = sum(n for type, n in counts.items() if type in (query.types or (type,)))
        microseconds = (time.perf_counter_ns() - began) // 1000
        return Explanation((), looked_at, "resources", microseconds, len(page.matches), page.total)

    # Indexing anew

    async def reindex(
        self,
        extract: Extract,
        newest: NewestIs,
        types: Collection[str] = (),
        after: int = 0,
        limit: int = 100,
    ) -> Reindexed:
        with self._lock:
            self._check(newest)
            due = [one for one in self._held.with_entries_of(types) if one.created > after]
            changed = sum(self._held.index_anew(resource, extract) for resource in due[:limit])
            next = due[limit - 1].created if len(due) > limit else None
            return Reindexed(next, len(due[:limit]), changed)

    async def reclaim(self, wanted: Sequence[Claiming]) -> int:
        changed = 0
        with self._lock:
            for one in wanted:
                key = (one.type, one.id)
                resource = self._held.resources.get(key)
                if resource is None or resource.versions[-1].sequence != one.sequence:
                    continue
                names = self._claimed.get(key, frozenset())
                before = [c for name in names for c in self._claims.get(name, {}).get(key, ())]
                changed += set(before) != set(one.claims)
                self._hold(key, names, one.claims)
        return changed

    def _hold(self, key: Key, before: Collection[str], claims: Sequence[Claim]) -> None:
        for name in before:
            self._claims.get(name, {}).pop(key, None)
        for claim in claims:
            held = self._claims.setdefault(claim.key, {})
            held[key] = (*held.get(key, ()), claim)
        self._claimed[key] = frozenset(claim.key for claim in claims)

    async def indexed_fingerprints(self) -> Mapping[str, str]:
        with self._lock:
            return self._fingerprints

    async def set_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        with self._lock:
            self._fingerprints = {**self._fingerprints, **fingerprints}

    # History

    async def history(self, query: HistoryQuery) -> HistoryPage:
        with self._lock:
            found = [stored for stored in reversed(self._log) if self._in_history(stored, query)]
            scope = f"history {query.type} {query.id}"
            rest = found
            if query.cursor is not None:
                before: int = self._cursors.read(scope, query.cursor)[0]
                rest = [stored for stored in found if stored.sequence < before]
            page = tuple(rest[: query.count])
            more = bool(page) and len(rest) > len(page)
            next = self._cursors.write(scope, [page[-1].sequence]) if more else None
            return HistoryPage(page, len(found), next)

    def _in_history(self, stored: Stored, query: HistoryQuery) -> bool:
        if query.type not in (None, stored.type) or query.id not in (None, stored.id):
            return False
        if query.since is not None and stored.updated < query.since:
            return False
        if query.at is None:
            return True
        low, high = query.at
        versions = self._held.resources[stored.type, stored.id].versions
        follows = versions[stored.version] if stored.version < len(versions) else None
        return stored.updated < high and (follows is None or follows.updated > low)


def _live_claims(claims: Iterable[Claim], now: int) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims if is_live(claim, now))


def _extent(claim: Claim) -> tuple[int, int, Decimal]:
    return *(ALWAYS if claim.interval is None else claim.interval), claim.units


def _kept(claim: Claim, before: list[Claim]) -> bool:
    """Whether the resource held as much already; what is kept so is taken out of `before`."""
    low, high, units = _extent(claim)
    for held in before:
        held_low, held_high, held_units = _extent(held)
        if held.key == claim.key and held_low <= low and high <= held_high and units <= held_units:
            before.remove(held)
            return True
    return False


def _require_room(claim: Claim, key: Key, op: int, held: dict[Key, tuple[Claim, ...]], now: int) -> None:
    """Raise ClaimRefused when at some instant of `claim` the units held are more than its capacity."""
    live = [(holder, one) for holder, claims in held.items() for one in _live_claims(claims, now)]
    for instant in _instants(claim, [one for _, one in live]):
        there = [(holder, one) for holder, one in live if _covers(one, instant)]
        if sum(one.units for _, one in there) > claim.capacity:
            others = dict.fromkeys(holder for holder, _ in there if holder != key)
            raise ClaimRefused(op, claim.key, tuple(others))


def _instants(claim: Claim, held: Iterable[Claim]) -> list[int | None]:
    """The instants of `claim` at which the units held can be at their most: where some claim begins. None: always."""
    if claim.interval is None:
        starts: list[int | None] = [one.interval[0] for one in held if one.interval is not None]
        return [None, *starts]
    low, high = claim.interval
    return [low, *(o.interval[0] for o in held if o.interval is not None and low < o.interval[0] < high)]


def _covers(claim: Claim, instant: int | None) -> bool:
    if claim.interval is None:
        return True
    return instant is not None and claim.interval[0] <= instant < claim.interval[1]


def _bounds(cursor: Sequence[Any] | None, places: Sequence[Any], query: SearchQuery) -> tuple[int, int]:
    """Where in all matches a page begins and ends; `places` are theirs, in order."""
    if cursor is None:
        return 0, query.count
    _, goes, *place = cursor
    mark = cmp_to_key(position_order(query.sort))(tuple(place))
    if goes == AFTER:
        first = bisect_right(places, mark)
        return first, first + query.count
    last = bisect_left(places, mark)
    return max(0, last - query.count), last
