"""What the reference store holds, and how it was at a sequence number.

No version is ever let go of, so any moment can be looked at again. An invariant to keep: a View of a sequence shows the same
whenever it is made, but for entries that were made anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from fhir_r4.jsonio import decode_object
from fhir_server.search.match import Candidate, all_kinds, matches
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
        # who refers, or has referred, to a local resource, by whatever parameter
        self.referrers: dict[Key, dict[Key, None]] = {}

    def put(self, key: Key, stored: Stored, candidate: Candidate | None) -> None:
        resource = self.resources[key]
        resource.versions.append(stored)
        resource.candidates.append(candidate)
        if candidate is not None:
            for target in _targets(candidate):
                self.referrers.setdefault(target, {})[key] = None

    def index_anew(self, resource: Resource, extract: Extract) -> int:
        """Replace the entries of a live resource; how many were added or removed."""
        before, stored = resource.candidate, resource.versions[-1]
        assert before is not None
        entries = extract(decode_object(stored.body))
        resource.candidates[-1] = candidate = replace(before, entries=entries)
        for target in _targets(candidate):
            self.referrers.setdefault(target, {})[stored.type, stored.id] = None
        kinds = zip(all_kinds(before.entries), all_kinds(entries), strict=True)
        return sum(len(set(old) ^ set(new)) for old, new in kinds)

    def create(self, key: Key, created: int) -> Resource:
        resource = self.resources[key] = Resource(created)
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
            candidate = self.find(*key) if source in ("*", key[0]) else None
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
            for type in types or self._held.by_type
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
    return [c for c in _joined(view, include, one) if matches(include.where, c, view)]


def _joined(view: View, include: Include, one: Candidate) -> Iterable[Candidate]:
    if include.reverse:
        if include.target in (None, one.type):
            yield from view.referring(include.source, include.param, one.type, one.id)
        return
    if include.source not in ("*", one.type):
        return
    for code, type, id, base, _ in one.entries.references:
        if include.param in (None, code) and include.target in (None, type) and base == "":
            found = view.find(type, id)
            if found is not None:
                yield found
