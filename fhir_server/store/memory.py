"""The reference store: everything in memory, every search answered by `fhir_server.search.match`.

It says what the other stores must do, and serves tests and `osler serve --store memory:`; nothing outlives the process. One
lock makes every call a single step, so a search with its includes sees one state.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key

from fhir_r4.temporal import format_instant
from fhir_server.search.match import Candidate, matches
from fhir_server.search.order import position, position_order
from fhir_server.search.paging import Cursors, search_scope
from fhir_server.search.tree import Expression, Include, SearchQuery
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import (
    Claim,
    HistoryPage,
    HistoryQuery,
    Page,
    Precondition,
    Stored,
    VersionIs,
    WriteOp,
)

Key = tuple[str, str]


def _now() -> int:
    return time.time_ns() // 1000


@dataclass(slots=True)
class _Resource:
    """All versions of a resource, the oldest first; `candidate` is None while it is deleted."""

    created: int
    versions: list[Stored] = field(default_factory=list)
    candidate: Candidate | None = None


class _Live:
    """The lookup that `match` asks for chains and `_has`."""

    def __init__(self) -> None:
        self.resources: dict[Key, _Resource] = {}
        # in the order of creation
        self.by_type: dict[str, list[_Resource]] = {}
        # who refers to a local resource, by whatever parameter
        self.referrers: dict[Key, dict[Key, None]] = {}

    def find(self, type: str, id: str) -> Candidate | None:
        resource = self.resources.get((type, id))
        return None if resource is None else resource.candidate

    def referring(self, source: str, param: str | None, type: str, id: str) -> list[Candidate]:
        found = []
        for key in self.referrers.get((type, id), ()):
            candidate = self.find(*key) if source in ("*", key[0]) else None
            if candidate is not None and any(
                param in (None, code) and (t, i, base) == (type, id, "")
                for code, t, i, base, _ in candidate.entries.references
            ):
                found.append(candidate)
        return found

    def create(self, key: Key, created: int) -> _Resource:
        resource = self.resources[key] = _Resource(created)
        self.by_type.setdefault(key[0], []).append(resource)
        return resource

    def put(self, key: Key, candidate: Candidate | None) -> None:
        resource = self.resources[key]
        if resource.candidate is not None:
            for target in _targets(resource.candidate):
                self.referrers.get(target, {}).pop(key, None)
        resource.candidate = candidate
        if candidate is not None:
            for target in _targets(candidate):
                self.referrers.setdefault(target, {})[key] = None


def _targets(candidate: Candidate) -> Iterable[Key]:
    return {(type, id) for _, type, id, base, _ in candidate.entries.references if type and base == ""}


class MemoryStore:
    """A Store in memory. `clock` gives microseconds since 1970 UTC; `cursor_key` signs cursors."""

    def __init__(self, clock: Callable[[], int] = _now, cursor_key: bytes = b"") -> None:
        self._clock = clock
        self._cursors = Cursors(cursor_key or secrets.token_bytes(32))
        self._lock = threading.RLock()
        self._live = _Live()
        self._log: list[Stored] = []
        self._claims: dict[str, dict[Key, tuple[Claim, ...]]] = {}
        self._claimed: dict[Key, frozenset[str]] = {}
        self._updated = 0

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Nothing to finish: what was accepted is there as long as the process."""

    async def ping(self) -> None:
        """Memory can always be written to."""

    # Writing

    async def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition] = ()
    ) -> tuple[Stored, ...]:
        with self._lock:
            for precondition in preconditions:
                self._check(precondition)
            now = self._clock() // 1000 * 1000
            self._claim(ops, now)
            self._updated = max(now, self._updated)
            return tuple(self._write(op) for op in ops)

    def _check(self, precondition: Precondition) -> None:
        if isinstance(precondition, VersionIs):
            current = self._live.resources.get((precondition.type, precondition.id))
            found = None if current is None or current.candidate is None else current.versions[-1].version
            if found != precondition.version:
                raise Stale(precondition, found)
        else:
            ids = self._first_matches(precondition.type, precondition.where, precondition.limit)
            if set(ids) != set(precondition.ids):
                raise Stale(precondition, ids)

    def _write(self, op: WriteOp) -> Stored:
        key = op.type, op.id
        resource = self._live.resources.get(key)
        exists = resource is not None and resource.candidate is not None
        if op.body is None and not exists:
            return Stored(op.type, op.id, 0, 0, self._updated, op.method, b"")
        sequence = len(self._log) + 1
        if resource is None:
            resource = self._live.create(key, sequence)
        version = len(resource.versions) + 1
        body = b""
        candidate = None
        if op.body is not None:
            meta = f'"versionId":"{version}","lastUpdated":"{format_instant(self._updated)}"'
            body = op.body.before + meta.encode() + op.body.after
            candidate = Candidate(op.type, op.id, self._updated, resource.created, op.entries)
        stored = Stored(
            op.type,
            op.id,
            version,
            sequence,
            self._updated,
            op.method,
            body,
            created=not exists and op.body is not None,
        )
        resource.versions.append(stored)
        self._log.append(stored)
        self._live.put(key, candidate)
        return stored

    # Claims

    def _claim(self, ops: Sequence[WriteOp], now: int) -> None:
        """Replace the claims of what is written, or raise ClaimRefused and leave everything as it was."""
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
            for claim in _live_claims(written[key], now):
                _require_room(claim, key, position_, staged[claim.key], now)
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
            resource = self._live.resources.get((type, id))
            return None if resource is None else resource.versions[-1]

    async def read_version(self, type: str, id: str, version: int) -> Stored | None:
        with self._lock:
            resource = self._live.resources.get((type, id))
            if resource is None or not 0 < version <= len(resource.versions):
                return None
            return resource.versions[version - 1]

    async def read_many(self, keys: Collection[Key]) -> dict[Key, Stored]:
        with self._lock:
            return {key: self._current(*key) for key in keys if self._live.find(*key) is not None}

    def _current(self, type: str, id: str) -> Stored:
        return self._live.resources[type, id].versions[-1]

    async def last_sequence(self) -> int:
        with self._lock:
            return len(self._log)

    async def counts(self) -> dict[str, int]:
        with self._lock:
            found: dict[str, int] = {}
            for (type, _), resource in self._live.resources.items():
                if resource.candidate is not None:
                    found[type] = found.get(type, 0) + 1
            return found

    async def changes(self, after: int = 0, limit: int | None = None) -> AsyncIterator[Stored]:
        with self._lock:
            found = self._log[after:] if limit is None else self._log[after : after + limit]
        for stored in found:
            yield stored

    # Searching

    async def search(self, query: SearchQuery) -> Page:
        with self._lock:
            found = self._matching(query.types, query.where)
            if query.count == 0:
                return Page((), total=len(found))
            order = cmp_to_key(position_order(query.sort))
            placed = sorted(((position(c, query.sort), c) for c in found), key=lambda item: order(item[0]))
            if query.cursor is not None:
                after = order(tuple(self._cursors.read(search_scope(query), query.cursor)))
                placed = [item for item in placed if order(item[0]) > after]
            page, rest = placed[: query.count], placed[query.count :]
            next = self._cursors.write(search_scope(query), list(page[-1][0])) if rest else None
            chosen = [candidate for _, candidate in page]
            included, truncated = self._included(chosen, query)
            return Page(
                matches=tuple(self._current(c.type, c.id) for c in chosen),
                included=tuple(self._current(c.type, c.id) for c in included),
                next=next,
                total=len(found),
                included_truncated=truncated,
            )

    def _matching(self, types: Sequence[str], where: Expression) -> list[Candidate]:
        """All matches in the order of creation."""
        live = self._live
        found = [
            resource.candidate
            for type in types or live.by_type
            for resource in live.by_type.get(type, ())
            if resource.candidate is not None and matches(where, resource.candidate, live)
        ]
        return found if len(types) == 1 else sorted(found, key=lambda candidate: candidate.created)

    async def matching_ids(self, type: str, where: Expression, limit: int = 2) -> tuple[str, ...]:
        with self._lock:
            return self._first_matches(type, where, limit)

    def _first_matches(self, type: str, where: Expression, limit: int) -> tuple[str, ...]:
        return tuple(candidate.id for candidate in self._matching((type,), where)[:limit])

    def _included(self, found: list[Candidate], query: SearchQuery) -> tuple[list[Candidate], bool]:
        """What the includes add to a page: round by round, each in the order of creation."""
        included: list[Candidate] = []
        seen = {(c.type, c.id) for c in found}
        includes: Sequence[Include] = query.includes
        while found and includes:
            new = {(c.type, c.id): c for i in includes for one in found for c in self._include(i, one)}
            found = sorted((c for key, c in new.items() if key not in seen), key=lambda c: c.created)
            seen |= new.keys()
            included += found
            if len(included) > query.include_limit:
                return included[: query.include_limit], True
            includes = [i for i in query.includes if i.iterate]
        return included, False

    def _include(self, include: Include, one: Candidate) -> Iterable[Candidate]:
        if include.reverse:
            if include.target in (None, one.type):
                yield from self._live.referring(include.source, include.param, one.type, one.id)
            return
        if include.source not in ("*", one.type):
            return
        for code, type, id, base, _ in one.entries.references:
            if include.param in (None, code) and include.target in (None, type) and base == "":
                found = self._live.find(type, id)
                if found is not None:
                    yield found

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
        versions = self._live.resources[stored.type, stored.id].versions
        follows = versions[stored.version] if stored.version < len(versions) else None
        return stored.updated < high and (follows is None or follows.updated > low)


def _live_claims(claims: Iterable[Claim], now: int) -> tuple[Claim, ...]:
    return tuple(
        claim
        for claim in claims
        if (claim.expires is None or claim.expires > now)
        and (claim.interval is None or claim.interval[1] > now)
    )


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
