"""The resources that includes add to a page, round by round, each round in order of creation.

https://hl7.org/fhir/R4/search.html#include. The first round follows every include from the matches, the later ones those
that iterate, from what the round before has found.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.search.tree import Everything, Include, Nothing
from fhir_server.store.mongo.compile import simplified
from fhir_server.store.mongo.entries import reference_text
from fhir_server.store.mongo.indexes import ENTRIES, ID
from fhir_server.store.mongo.leaves import Filter
from fhir_server.store.mongo.links import Links
from fhir_server.store.mongo.snapshots import Snapshot
from fhir_server.store.mongo.sorting import Row, row_of

Key = tuple[str, str]


class Includes:
    """Follows includes in one snapshot; `types` are those that there are."""

    def __init__(self, snapshot: Snapshot, links: Links, types: Sequence[str]) -> None:
        self._snapshot = snapshot
        self._links = links
        self._types = types

    async def added(
        self, matches: Sequence[Row], includes: Sequence[Include], limit: int
    ) -> tuple[list[Row], bool]:
        """What the includes add, at most `limit`, and whether there would be more."""
        seen = {(row.type, row.id) for row in matches}
        added: list[Row] = []
        found: Sequence[Row] = matches
        following = includes
        while found and following:
            new: dict[Key, Row] = {}
            # as many as could be needed, since those that were seen do not count
            most = limit - len(added) + 1 + len(seen)
            for include in following:
                for row in await self._follow(include, found, most):
                    new[row.type, row.id] = row
            found = sorted((row for key, row in new.items() if key not in seen), key=lambda row: row.created)
            seen |= new.keys()
            added += found
            if len(added) > limit:
                return added[:limit], True
            following = [include for include in includes if include.iterate]
        return added, False

    async def _follow(self, include: Include, found: Sequence[Row], most: int) -> list[Row]:
        by_type: dict[str, list[str]] = {}
        for row in found:
            by_type.setdefault(row.type, []).append(row.id)
        follow = self._reverse if include.reverse else self._forward
        return await follow(include, by_type, most)

    async def _forward(self, include: Include, by_type: dict[str, list[str]], most: int) -> list[Row]:
        targets: dict[str, dict[str, None]] = {}
        for type, ids in by_type.items():
            if include.source in ("*", type):
                references = await self._links.references(type, ids, include.param)
                for several in references.values():
                    for _, to, id, base in several:
                        if base == "" and include.target in (None, to):
                            targets.setdefault(to, {})[id] = None
        added: list[Row] = []
        for type, wanted in targets.items():
            if type in self._types:
                where: Filter = {"_id": {"$in": list(wanted)}, "d": False}
                added += await self._rows(include, type, where, ID, most)
        return added

    async def _reverse(self, include: Include, by_type: dict[str, list[str]], most: int) -> list[Row]:
        points = [
            reference_text(include.param or "", type, id)
            for type, ids in by_type.items()
            if include.target in (None, type)
            for id in ids
        ]
        added: list[Row] = []
        if points:
            for type in self._types if include.source == "*" else (include.source,):
                added += await self._rows(include, type, {"e": {"$in": points}}, ENTRIES, most)
        return added

    async def _rows(self, include: Include, type: str, where: Filter, hint: str, most: int) -> list[Row]:
        """The first resources of a type, in order of creation, for which the include's own condition holds."""
        asked = simplified(include.where, type)
        if isinstance(asked, Nothing):
            return []
        limited = isinstance(asked, Everything)
        found = await self._snapshot.find(
            type, where, {"c": 1, "s": 1}, sort=[("c", 1)], limit=most if limited else 0, hint=hint
        )
        rows = [row_of(type, one, ()) for one in found]
        if limited:
            return rows
        held = await self._links.holding(type, asked, {row.id for row in rows})
        return [row for row in rows if row.id in held]
