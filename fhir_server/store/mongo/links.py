"""Chains, `_has` and containers: following references between resources, from whichever side has fewer.

Where the other side is short it is listed, and what it lists takes the place of the link in the question; else candidates are
asked, a batch at a time, whether the link holds for them. References are read from the texts of `e`. An invariant to keep: only
live resources are followed, and versions of references are not looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from fhir_server.search.contained import CONTAINED, contained_type, container_of, is_contained
from fhir_server.search.tree import (
    And,
    Chain,
    ContainedIn,
    Everything,
    Expression,
    Has,
    IdIs,
    Not,
    Nothing,
    Or,
    RefersTo,
    Repeats,
    all_of,
    any_of,
    negation,
)
from fhir_server.store.mongo.compile import (
    Compiler,
    OneOf,
    Part,
    RefersToAny,
    both,
    hidden,
    is_linked,
    simplified,
)
from fhir_server.store.mongo.entries import reference_of, reference_text
from fhir_server.store.mongo.fulltext import Words, asks_for_words
from fhir_server.store.mongo.indexes import CONTAINER, ENTRIES, ID
from fhir_server.store.mongo.inside import Key, text_of
from fhir_server.store.mongo.leaves import Access, Filter, Range, below
from fhir_server.store.mongo.selection import Effort, Selection
from fhir_server.store.mongo.snapshots import Snapshot

# Resources that refer to a batch are listed together up to so many; beyond, each of the batch is asked for one that does.
_REFERRING = 20_000
_TOGETHER = 1_000


class Links:
    """Follows references in one snapshot."""

    def __init__(self, snapshot: Snapshot, words: Words, effort: Effort) -> None:
        self._snapshot = snapshot
        self._words = words
        self._effort = effort
        self._inside: dict[tuple[str, str], bool] = {}
        self._answers: dict[tuple[Part, str, int], Part | None] = {}
        self._live: dict[str, set[str]] = {}

    async def selection(self, type: str, where: Expression) -> Selection:
        """The matches among the resources of a type, prepared."""
        made = Selection(self._snapshot, self._words, self, type, where, self._effort)
        await made.prepare()
        return made

    # answering a link from its other side

    async def answered(self, part: Part, type: str, most: int) -> Part | None:
        """The part with what its links lead to in their place; None when that are more than `most`."""
        key = (part, type, most)
        if key not in self._answers:
            self._answers[key] = await self._answer(part, type, most)
        return self._answers[key]

    async def _answer(self, part: Part, type: str, most: int) -> Part | None:
        match part:
            case And(parts) | Or(parts):
                found: list[Any] = []
                for one in parts:
                    answer = await self.answered(one, type, most)
                    if answer is None:
                        return None
                    found.append(answer)
                return all_of(found) if isinstance(part, And) else any_of(found)
            case Not(inner):
                answer = await self.answered(inner, type, most)
                return None if answer is None else negation(answer)  # type: ignore[arg-type]
            case Chain(param, target, inner):
                ways = [(param, target)]
                if await self._refers_inside(type, param):
                    ways.append((param + CONTAINED, contained_type(target)))
                listed: list[Any] = []
                for code, of in ways:
                    ids = await (await self.selection(of, inner)).ids(most)
                    if ids is None:
                        return None
                    if ids:
                        listed.append(RefersToAny(code, of, tuple(ids)))
                return any_of(listed)
            case Has(source, param, inner):
                targets = await self._targets(source, param, inner, type, most)
                if targets is None:
                    return None
                if not targets:
                    return Nothing()
                return OneOf(targets) if is_contained(type) else IdIs(targets)
            case ContainedIn() | Repeats():
                return None
            case _:
                return part

    async def _refers_inside(self, type: str, param: str) -> bool:
        """Whether some resource of the type refers by the parameter to what is contained."""
        if (type, param) not in self._inside:
            refers = Access(ranges=(below(f"{param}{CONTAINED}\0r"),))
            self._inside[type, param] = await self._snapshot.numbers(type, [refers], 1) == [1]
        return self._inside[type, param]

    async def _targets(
        self, source: str, param: str, where: Expression, type: str, most: int
    ) -> tuple[str, ...] | None:
        """To whom of a type the matches refer."""
        ids = await (await self.selection(source, where)).ids(most)
        if ids is None:
            return None
        references = await self.references(source, ids, _code(param, type))
        found = (
            id for several in references.values() for _, to, id, base in several if to == type and not base
        )
        return tuple(dict.fromkeys(found))

    # asking candidates

    async def holding(self, type: str, where: Part, ids: Collection[str], *, live: bool = False) -> set[str]:
        """Those of the live resources for which `where` holds; with `live` all of them are known to be."""
        if live:
            self._live.setdefault(type, set()).update(ids)
        found: set[str] = set()
        listed = list(ids)
        for first in range(0, len(listed), _TOGETHER):
            found |= await self._holding(type, where, set(listed[first : first + _TOGETHER]))
        return found

    async def _holding(self, type: str, part: Part, ids: set[str]) -> set[str]:
        if not ids:
            return set()
        if isinstance(part, RefersToAny | OneOf):
            return await self._passing(type, part, ids)
        where = simplified(part, type)
        if not is_linked(where):
            return await self._passing(type, where, ids)
        match where:
            case And(parts):
                plain = all_of(part for part in parts if not is_linked(part))
                ids = await self._passing(type, plain, ids)
                for part in parts:
                    if is_linked(part):
                        ids = await self._holding(type, part, ids)
                return ids
            case Or(parts):
                found: set[str] = set()
                for part in parts:
                    found |= await self._holding(type, part, ids - found)
                return found
            case Not(part):
                live = await self._passing(type, Everything(), ids)
                return live - await self._holding(type, part, live)
            case Chain():
                return await self._chained(type, where, ids)
            case Has():
                return await self._referred(type, where, ids)
            case ContainedIn(part):
                return await self._contained_in(type, part, ids)
            case Repeats(types, part):
                return await self._repeating(type, types, part, ids)
            case _:
                raise AssertionError(f"no link: {where}")

    async def _passing(self, type: str, where: Part, ids: Collection[str]) -> set[str]:
        if isinstance(where, Nothing) or not ids:
            return set()
        live = self._live.setdefault(type, set())
        if isinstance(where, Everything) and live.issuperset(ids):
            return set(ids)
        if not isinstance(where, RefersToAny | OneOf) and asks_for_words(where):
            await self._words.look_at(self._snapshot, type)
        test = Compiler(type, self._words).condition(where).test
        asked = both({"_id": {"$in": list(ids)}, "d": False}, hidden(test))
        passing = {one["_id"] for one in await self._snapshot.find(type, asked, {"_id": 1}, hint=ID)}
        live |= passing
        return passing

    async def _chained(self, type: str, chain: Chain, ids: set[str]) -> set[str]:
        ways = [(chain.param, chain.target)]
        if await self._refers_inside(type, chain.param):
            ways.append((chain.param + CONTAINED, contained_type(chain.target)))
        found: set[str] = set()
        for param, target in ways:
            references = await self.references(type, ids, param)
            targets = {
                id: {to for _, of, to, base in several if of == target and not base}
                for id, several in references.items()
            }
            wanted = {to for several in targets.values() for to in several}
            held = await self.holding(target, chain.part, wanted)
            found |= {id for id, several in targets.items() if several & held}
        return await self._passing(type, Everything(), found)

    async def _referred(self, type: str, has: Has, ids: set[str]) -> set[str]:
        code = _code(has.param, type)
        points = [reference_text(code, type, id) for id in ids]
        access = Access(points=tuple(points))
        (number,) = await self._snapshot.numbers(has.source, [access], _REFERRING)
        live = await self._passing(type, Everything(), ids) if number else set()
        if number >= _REFERRING:
            return {id for id in live if await self._is_referred(type, has, id)}
        where = simplified(has.part, has.source)
        test: Filter = {}
        if not is_linked(where):
            if asks_for_words(where):
                await self._words.look_at(self._snapshot, has.source)
            test = hidden(Compiler(has.source, self._words).condition(where).test)
        refers = below(f"{code}\0r")
        found = await self._snapshot.aggregate(
            has.source,
            [{"$match": both(access.filter, test)}, {"$project": {"r": _texts_in(refers)}}],
            hint=ENTRIES,
        )
        if is_linked(where):
            held = await self.holding(has.source, where, {one["_id"] for one in found})
            found = [one for one in found if one["_id"] in held]
        there = {text for one in found for text in one["r"]}
        return {id for id in live if reference_text(code, type, id) in there}

    async def _is_referred(self, type: str, has: Has, id: str) -> bool:
        where = all_of((RefersTo(_code(has.param, type), type, id), has.part))
        selection = await self.selection(has.source, where)
        return bool(await selection.rows((), None, 1))

    # containers

    async def _contained_in(self, type: str, part: Expression, ids: set[str]) -> set[str]:
        live = await self._passing(type, Everything(), ids)
        held = await self._containers(part, live)
        return {id for id in live if container_of(id) in held}

    async def _containers(
        self, part: Expression, ids: Collection[str], types: Collection[str] | None = None
    ) -> set[Key]:
        """The containers of contained resources, as far as `part` holds for them and they are of `types` (None: any)."""
        by_type: dict[str, set[str]] = {}
        for type, id in {container_of(id) for id in ids}:
            if types is None or type in types:
                by_type.setdefault(type, set()).add(id)
        return {
            (type, id) for type, wanted in by_type.items() for id in await self.holding(type, part, wanted)
        }

    async def _repeating(
        self, type: str, types: Collection[str], part: Expression, ids: set[str]
    ) -> set[str]:
        """Those whose container holds, or something that was created before in the same one."""
        where: Filter = {"_id": {"$in": list(ids)}, "d": False}
        candidates = await self._snapshot.find(type, where, {"c": 1, "o": 1}, hint=ID)
        outside = await self._containers(part, ids, types)
        first: dict[str, float] = {text_of(container): -1 for container in outside}
        texts = list({one["o"] for one in candidates} - first.keys())
        for inner in filter(is_contained, dict.fromkeys(types)):
            beside: Filter = {"o": {"$in": texts}, "d": False}
            there = await self._snapshot.find(inner, beside, {"c": 1, "o": 1}, hint=CONTAINER)
            held = await self.holding(inner, part, [one["_id"] for one in there])
            for one in there:
                if one["_id"] in held:
                    first[one["o"]] = min(first.get(one["o"], one["c"]), one["c"])
        return {one["_id"] for one in candidates if first.get(one["o"], one["c"]) < one["c"]}

    # references

    async def references(
        self, type: str, ids: Iterable[str], param: str | None
    ) -> Mapping[str, Sequence[tuple[str, str, str, str]]]:
        """By id, the references of resources by a parameter (None: by any): (param, type, id, base)."""
        texts = {"$regexMatch": {"input": "$$this", "regex": r"^[^\x00]+\x00r"}}
        wanted: Any = {"$filter": {"input": "$e", "cond": texts}}
        if param is not None:
            wanted = _texts_in(below(f"{param}\0r"))
        where: Filter = {"_id": {"$in": list(ids)}, "d": False}
        found = await self._snapshot.aggregate(
            type, [{"$match": where}, {"$project": {"r": wanted}}], hint=ID
        )
        return {
            one["_id"]: [
                reference for text in one["r"] or () if (reference := reference_of(text)) is not None
            ]
            for one in found
        }


def _code(param: str, type: str) -> str:
    """By which code others refer to resources of the type."""
    return param + CONTAINED if is_contained(type) else param


def _texts_in(range: Range) -> Filter:
    """An expression for those texts of a document that are in a range."""
    within = [
        {"$gte": ["$$this", {"$literal": range.low}]},
        {"$lt": ["$$this", {"$literal": range.high}]},
    ]
    return {"$filter": {"input": "$e", "cond": {"$and": within}}}
