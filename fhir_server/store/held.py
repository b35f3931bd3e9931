"""What the reference store holds, and how it was at a sequence number.

No version is ever let go of, so any moment can be looked at again. What a resource contains is held beside it, under a type
of its own (`search.contained`), with the versions of its container. An invariant to keep: a View of a sequence shows the same
whenever it is made, but for entries that were made anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as replace_fields

from fhir_r4.jsonio import decode_object
from fhir_server.search.contained import contained_key, contained_type, is_contained
from fhir_server.search.entries import Entries
from fhir_server.search.match import Candidate, all_kinds, followed, matches
from fhir_server.search.tree import Expression, Include, SearchQuery
from fhir_server.store.protocol import Extract
from fhir_server.store.records import Stored

Key = tuple[str, str]


@dataclass(slots=True)
class Resource:
    """All versions of a resource, the oldest first, each with what a search sees of it (None: deleted)."""

    created: int
    versions: list[Stored] = field(default_factory=list)
    candidates: list[Candidate | None] = field(default_factory=list)

    @property
    def candidate(self) -> Candidate | None:
        return self.candidates[-1] if self.candidates else None

    def at(self, sequence: int) -> int:
        """The position of the version that was current at `sequence`, -1 when there was none yet."""
        return bisect_right(self.versions, sequence, key=lambda stored: stored.sequence) - 1


class Held:
    """Everything that was ever written."""

    def __init__(self) -> None:
        self.resources: dict[Key, Resource] = {}
        # in the order of creation
        self.by_type: dict[str, list[Resource]] = {}
        # what a resource contains, or has contained
        self.inside: dict[Key, dict[Key, None]] = {}
        # who refers, or has referred, to a local resource, by whatever parameter
        self.referrers: dict[Key, dict[Key, None]] = {}

    def put(self, key: Key, stored: Stored, candidate: Candidate | None) -> None:
        resource = self.resources[key]
        resource.versions.append(stored)
        resource.candidates.append(candidate)
        if candidate is not None:
            for target in _targets(candidate):
                self.referrers.setdefault(target, {})[key] = None
        if not is_contained(key[0]):
            self._put_inside(key, stored, Entries() if candidate is None else candidate.entries)

    def _put_inside(self, key: Key, stored: Stored, entries: Entries) -> None:
        """What the resource contains as of this version, and that it contains others no more."""
        now = {contained_key(key, c.type, c.id): c.entries for c in entries.contained}
        if now:
            self.inside.setdefault(key, {}).update(dict.fromkeys(now))
        for own in self.inside.get(key, ()):
            resource = self.resources.get(own) or self.create(own)
            type, id = own
            if own in now:
                seen = Candidate(type, id, stored.updated, resource.created, now[own])
                self.put(own, replace_fields(stored, type=type, id=id), seen)
            elif resource.candidate is not None:
                self.put(own, replace_fields(stored, type=type, id=id, method="DELETE", body=b""), None)

    def with_entries_of(self, types: Collection[str]) -> list[Resource]:
        """The live resources of `types` (none: all) and those that contain one of them, in order of creation."""
        inside = {contained_type(type) for type in types}
        return [
            resource
            for (type, id), resource in self.resources.items()
            if resource.candidate is not None
            and not is_contained(type)
            and (
                not types or type in types or any(self._holds(own, inside) for own in self._inside(type, id))
            )
        ]

    def _inside(self, type: str, id: str) -> Iterable[Key]:
        return self.inside.get((type, id), ())

    def _holds(self, key: Key, types: Collection[str]) -> bool:
        return key[0] in types and self.resources[key].candidate is not None

    def index_anew(self, resource: Resource, extract: Extract) -> int:
        """Replace the entries of a live resource and of what it contains; how many were added or removed."""
        before, stored = resource.candidate, resource.versions[-1]
        assert before is not None
        entries = extract(decode_object(stored.body))
        resource.candidates[-1] = candidate = replace(before, entries=entries)
        key = stored.type, stored.id
        for target in _targets(candidate):
            self.referrers.setdefault(target, {})[key] = None
        self._put_inside(key, stored, entries)
        return len(_by_place(before.entries) ^ _by_place(entries))

    def create(self, key: Key) -> Resource:
        resource = self.resources[key] = Resource(len(self.resources) + 1)
        self.by_type.setdefault(key[0], []).append(resource)
        return resource


class View:
    """The resources as they were at a sequence number: the lookup that `match` asks for chains and `_has`."""

    def __init__(self, held: Held, sequence: int) -> None:
        self._held = held
        self._sequence = sequence

    def find(self, type: str, id: str) -> Candidate | None:
        resource = self._held.resources.get((type, id))
        return None if resource is None else self._seen(resource)

    def _seen(self, resource: Resource) -> Candidate | None:
        position = resource.at(self._sequence)
        return None if position < 0 else resource.candidates[position]

    def referring(self, source: str, param: str | None, type: str, id: str) -> list[Candidate]:
        found = []
        for key in self._held.referrers.get((type, id), ()):
            asked = not is_contained(key[0]) if source == "*" else source == key[0]
            candidate = self.find(*key) if asked else None
            if candidate is not None and any(
                param in (None, code) and (t, i, base) == (type, id, "")
                for code, t, i, base, _ in candidate.entries.references
            ):
                found.append(candidate)
        return found

    def matching(self, types: Sequence[str], where: Expression) -> list[Candidate]:
        """All matches in the order of creation."""
        found = [
            candidate
            for type in types or [type for type in self._held.by_type if not is_contained(type)]
            for resource in self._held.by_type.get(type, ())
            if (candidate := self._seen(resource)) is not None and matches(where, candidate, self)
        ]
        return found if len(types) == 1 else sorted(found, key=lambda candidate: candidate.created)

    def stored(self, candidates: Iterable[Candidate]) -> tuple[Stored, ...]:
        """The versions of the candidates, without those of resources that are deleted now."""
        resources = [self._held.resources[c.type, c.id] for c in candidates]
        return tuple(r.versions[r.at(self._sequence)] for r in resources if r.candidate is not None)


def _targets(candidate: Candidate) -> Iterable[Key]:
    return {(type, id) for _, type, id, base, _ in candidate.entries.references if type and base == ""}


def _by_place(entries: Entries) -> set[object]:
    """All entries of a resource and of what it contains, each with where it stands."""
    found: set[object] = {(n, entry) for n, kind in enumerate(all_kinds(entries)) for entry in kind}
    for one in entries.contained:
        found.update((one.type, one.id, entry) for entry in _by_place(one.entries))
    return found


def included_with(view: View, found: Sequence[Candidate], query: SearchQuery) -> tuple[list[Candidate], bool]:
    """What the includes add to a page: round by round, each in the order of creation."""
    included: list[Candidate] = []
    seen = {(c.type, c.id) for c in found}
    includes: Sequence[Include] = query.includes
    while found and includes:
        new = {(c.type, c.id): c for i in includes for one in found for c in _include(view, i, one)}
        found = sorted((c for key, c in new.items() if key not in seen), key=lambda c: c.created)
        seen |= new.keys()
        included += found
        if len(included) > query.include_limit:
            return included[: query.include_limit], True
        includes = [i for i in query.includes if i.iterate]
    return included, False


def _include(view: View, include: Include, one: Candidate) -> Iterable[Candidate]:
    """What one include adds for one resource, as far as its `where` holds."""
    return [c for c in followed(include, one, view) if matches(include.where, c, view)]
