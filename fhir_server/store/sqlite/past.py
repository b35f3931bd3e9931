"""The store as a search saw it when its first page was made, for the pages after.

What has not changed since is answered by SQL. What has, and what its change can have an effect on through chains and
`_has`, is taken out of that answer and judged here by `match`, with entries made anew of the versions of then. An invariant to
keep: a resource whose truth may differ from that moment is in `affected`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fhir_r4.jsonio import decode_object
from fhir_server.search.contained import (
    CONTAINED,
    contained_key,
    contained_type,
    container_of,
    is_contained,
)
from fhir_server.search.entries import Entries
from fhir_server.search.fulltext import full_texts
from fhir_server.search.match import Candidate, followed, matches, no_texts
from fhir_server.search.order import SortPosition, position
from fhir_server.search.tree import (
    And,
    Chain,
    ContainedIn,
    Everything,
    Expression,
    Has,
    Include,
    Not,
    Or,
    Repeats,
    SearchQuery,
)
from fhir_server.store.protocol import Extract
from fhir_server.store.records import Stored
from fhir_server.store.sqlite.leaves import one_of
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.read import stored_of

_CHANGED = """
SELECT rid FROM resource INDEXED BY {index} WHERE type=? AND deleted={deleted} AND updated>=? AND rid<=? AND seq>? LIMIT ?
"""
# What is contained has the versions of its container.
_VERSION = """
SELECT r.type, r.id, v.version, v.seq, v.updated, v.method, v.body, v.created
FROM resource r CROSS JOIN version n ON n.seq=r.seq CROSS JOIN version v ON v.rid=n.rid
WHERE r.rid=? AND v.seq<=? ORDER BY v.version DESC LIMIT 1
"""
_INSIDE = """
SELECT s.rid FROM resource o CROSS JOIN version v ON v.seq=o.seq CROSS JOIN resource c ON c.rid=v.rid
CROSS JOIN name t ON t.nid=c.type CROSS JOIN resource s INDEXED BY resource_inside
ON s.type<0 AND s.id>t.text || '/' || c.id || '#' AND s.id<t.text || '/' || c.id || '$'
WHERE o.rid IN (SELECT value FROM json_each(?)) AND s.rid<=?
"""


class TooMany(Exception):
    """More has changed than is judged one by one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A state of the store: the newest sequence and the highest rid that it has."""

    sequence: int
    rid: int


def present(connection: sqlite3.Connection) -> Moment:
    """The state that the connection sees."""
    found = connection.execute(
        "SELECT coalesce((SELECT max(seq) FROM version), 0), coalesce((SELECT max(rid) FROM resource), 0)"
    ).fetchone()
    return Moment(*found)


class Past:
    """What changed since a moment, and how it was; the lookup that `match` asks for chains and `_has`."""

    def __init__(
        self, connection: sqlite3.Connection, names: Names, moment: Moment, extract: Extract, most: int
    ) -> None:
        self._connection = connection
        self._names = names
        self._extract = extract
        self._most = most
        self.moment = moment
        row = connection.execute("SELECT updated FROM version WHERE seq=?", (moment.sequence,)).fetchone()
        self._since: int = 0 if row is None else row[0]
        self._changed: dict[int, frozenset[int]] = {}
        self._candidates: dict[int, Candidate | None] = {}
        self._versions: dict[int, Stored | None] = {}
        self._made: dict[int, tuple[dict[str, Any], Entries]] = {}

    # What may differ

    def affected(self, where: Expression, types: Sequence[str]) -> frozenset[int]:
        """The rids of resources of `types` (none: of all) whose truth may have been another. Raises TooMany."""
        found = set(self._changed_of(types))
        self._spread(where, types, found)
        return frozenset(self._bounded(found))

    def _spread(self, where: Expression, types: Sequence[str], into: set[int]) -> None:
        match where:
            case And(parts) | Or(parts):
                for part in parts:
                    self._spread(part, types, into)
            case Not(part):
                self._spread(part, types, into)
            case Chain(param, target, part):
                others = self.affected(part, (target,))
                into.update(self._referring(types, param, others))
                # what is contained itself has changed with what refers to it
                if self._names.pids(tuple(types), param + CONTAINED):
                    inside: set[int] = set()
                    self._spread(part, (contained_type(target),), inside)
                    into.update(self._referring(types, param + CONTAINED, self._bounded(inside)))
            case Has(source, param, part):
                others = self.affected(part, (source,))
                into.update(self._referred(types, param, others))
            case ContainedIn(part):
                self._spread_inside(part, (), into)
            case Repeats(of, part):
                self._spread_inside(part, of, into)
            case _:
                pass

    def _spread_inside(self, part: Expression, types: Sequence[str], into: set[int]) -> None:
        """What shares a container with something that is affected; what has changed itself is affected anyway."""
        found: set[int] = set()
        self._spread(part, types, found)
        if found:
            rids = json.dumps(list(self._bounded(found)))
            rows = self._connection.execute(_INSIDE, (rids, self.moment.rid))
            into.update(row[0] for row in rows.fetchall())

    def _bounded(self, rids: set[int]) -> set[int]:
        if len(rids) > self._most:
            raise TooMany
        return rids

    def _changed_of(self, types: Sequence[str]) -> Iterable[int]:
        numbers = (self._names.number(name) for name in types) if types else self._all_types()
        for number in numbers:
            if number is not None:
                yield from self._changed_of_type(number)

    def _all_types(self) -> list[int]:
        found: list[int] = []
        while True:
            row = self._connection.execute(
                "SELECT min(type) FROM resource INDEXED BY resource_id WHERE type>?",
                (found[-1] if found else -1,),
            ).fetchone()
            if row[0] is None:
                return found
            found.append(row[0])

    def _changed_of_type(self, number: int) -> frozenset[int]:
        found = self._changed.get(number)
        if found is None:
            rids: set[int] = set()
            for index, deleted in (("resource_updated", 0), ("resource_deleted", 1)):
                rows = self._connection.execute(
                    _CHANGED.format(index=index, deleted=deleted),
                    (number, self._since, self.moment.rid, self.moment.sequence, self._most + 1),
                )
                rids.update(row[0] for row in rows.fetchall())
            found = self._changed[number] = frozenset(self._bounded(rids))
        return found

    def _has_changed(self, rid: int) -> bool:
        row = self._connection.execute("SELECT seq FROM resource WHERE rid=?", (rid,)).fetchone()
        return bool(row[0] > self.moment.sequence)

    def _referring(self, types: Sequence[str], param: str, rids: Collection[int]) -> list[int]:
        """Who of `types` refers to one of them now: what has changed itself is affected anyway."""
        pids = self._names.pids(tuple(types), param)
        if not pids or not rids:
            return []
        pid = one_of("x.pid", pids)
        rows = self._connection.execute(
            "SELECT x.rid FROM resource o CROSS JOIN ix_reference x INDEXED BY ix_reference_value"
            " ON x.id=o.id AND x.type=o.type WHERE o.rid IN (SELECT value FROM json_each(?)) AND x.base=0"
            f" AND x.rid<=? AND {pid.text} LIMIT ?",
            (json.dumps(list(rids)), self.moment.rid, *pid.values, self._most + 1),
        )
        return [row[0] for row in rows.fetchall()]

    def _referred(self, types: Sequence[str], param: str, rids: Collection[int]) -> list[int]:
        """To whom of `types` one of them refers, now or then."""
        if not rids:
            return []
        rows = self._connection.execute(
            "SELECT t.rid FROM ix_reference x CROSS JOIN resource t INDEXED BY resource_id ON t.type=x.type AND t.id=x.id"
            " WHERE x.rid IN (SELECT value FROM json_each(?)) AND x.base=0 AND t.rid<=?",
            (json.dumps(list(rids)), self.moment.rid),
        )
        found = [row[0] for row in rows.fetchall()]
        for rid in rids:
            if self._has_changed(rid) and (candidate := self.candidate(rid)) is not None:
                for code, type, id, base, _ in candidate.entries.references:
                    asked = code in (param, param + CONTAINED) and base == ""
                    target = self._rid(type, id) if asked else None
                    if target is not None and (not types or type in types):
                        found.append(target)
        return found

    # How it was

    def matching(self, query: SearchQuery, rids: Collection[int]) -> list[tuple[SortPosition, int]]:
        """Those of the rids that matched then, with their places in the order asked for."""
        found = []
        for rid in rids:
            candidate = self.candidate(rid)
            if candidate is None or not self._is_asked(candidate.type, query.types):
                continue
            if matches(query.where, candidate, self):
                found.append((position(candidate, query.sort), rid))
        return found

    @staticmethod
    def _is_asked(type: str, types: Collection[str]) -> bool:
        return type in types if types else not is_contained(type)

    def version(self, rid: int) -> Stored | None:
        """The version of then; None when there was none or it was a deletion."""
        if rid not in self._versions:
            row = self._connection.execute(_VERSION, (rid, self.moment.sequence)).fetchone()
            stored = None if row is None else stored_of(self._names, row)
            if stored is not None and (stored.deleted or self._is_absent(stored)):
                stored = None
            self._versions[rid] = stored
        return self._versions[rid]

    def _is_absent(self, stored: Stored) -> bool:
        """Whether it is a contained resource that was not in this version of its container."""
        return is_contained(stored.type) and self._entries(stored) is None

    def _entries(self, stored: Stored) -> Entries | None:
        """What a version could be found by; None for a contained resource that was not in it."""
        if not is_contained(stored.type):
            return self._extracted(stored)[1]
        container = container_of(stored.id)
        for one in self._extracted(stored)[1].contained:
            if contained_key(container, one.type, one.id) == (stored.type, stored.id):
                return one.entries
        return None

    def _extracted(self, stored: Stored) -> tuple[dict[str, Any], Entries]:
        found = self._made.get(stored.sequence)
        if found is None:
            resource = decode_object(stored.body)
            found = self._made[stored.sequence] = (resource, self._extract(resource))
        return found

    def shown(self, rids: Sequence[int]) -> tuple[Stored, ...]:
        """The versions of then, without those of resources that are deleted now."""
        rows = self._connection.execute(
            "SELECT rid FROM resource WHERE rid IN (SELECT value FROM json_each(?)) AND deleted=0",
            (json.dumps(list(rids)),),
        )
        live = {row[0] for row in rows.fetchall()}
        found = (self.version(rid) for rid in rids if rid in live)
        return tuple(stored for stored in found if stored is not None)

    def candidate(self, rid: int) -> Candidate | None:
        if rid not in self._candidates:
            stored = self.version(rid)
            self._candidates[rid] = None if stored is None else self._candidate(rid, stored)
        return self._candidates[rid]

    def _candidate(self, rid: int, stored: Stored) -> Candidate | None:
        entries = self._entries(stored)
        if entries is None:
            return None
        resource = self._extracted(stored)[0]
        texts = no_texts if is_contained(stored.type) else partial(full_texts, resource)
        return Candidate(stored.type, stored.id, stored.updated, rid, entries, texts)

    def find(self, type: str, id: str) -> Candidate | None:
        rid = self._rid(type, id)
        return None if rid is None else self.candidate(rid)

    def _rid(self, type: str, id: str) -> int | None:
        row = self._connection.execute(
            "SELECT rid FROM resource WHERE type=? AND id=? AND rid<=?",
            (self._names.number(type), id, self.moment.rid),
        ).fetchone()
        return None if row is None else int(row[0])

    def referring(self, source: str, param: str | None, type: str, id: str) -> list[Candidate]:
        types = () if source == "*" else (source,)
        rows = self._connection.execute(
            "SELECT DISTINCT rid FROM ix_reference WHERE id=? AND type=? AND base=0 AND rid<=?",
            (id, self._names.number(type), self.moment.rid),
        )
        rids = {row[0] for row in rows.fetchall()} | set(self._changed_of(types))
        found = []
        for rid in rids:
            candidate = self.candidate(rid)
            if candidate is None or (candidate.type != source if types else is_contained(candidate.type)):
                continue
            if any(
                param in (None, code) and (t, i, base) == (type, id, "")
                for code, t, i, base, _ in candidate.entries.references
            ):
                found.append(candidate)
        return found

    # What it includes

    def included(self, rids: Sequence[int], query: SearchQuery) -> tuple[tuple[int, ...], bool]:
        """The rids that the includes added then, at most as many as the limit, and whether there were more."""
        found = [c for c in map(self.candidate, rids) if c is not None]
        seen = set(rids)
        added: list[int] = []
        following: Sequence[Include] = query.includes
        while found and following:
            new = {
                c.created: c for include in following for one in found for c in self._include(include, one)
            }
            found = [new[rid] for rid in sorted(new.keys() - seen)]
            seen |= new.keys()
            added += [c.created for c in found]
            if len(added) > query.include_limit:
                return tuple(added[: query.include_limit]), True
            following = [include for include in query.includes if include.iterate]
        return tuple(added), False

    def _include(self, include: Include, one: Candidate) -> list[Candidate]:
        where = include.where
        found = followed(include, one, self)
        return list(found) if isinstance(where, Everything) else [c for c in found if matches(where, c, self)]
