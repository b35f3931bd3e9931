"""Which resources of one type match, in which order: the rows of a stretch of the matches, and how many there are.

Few candidates are read whole and put in order; when there are many, a page is first looked for among the first resources in the
order asked for. An invariant to keep: whatever plan is taken, the rows are the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from fhir_server.search.bounds import bounds_of, highest, lowest
from fhir_server.search.contained import CONTAINED
from fhir_server.search.tree import (
    Chain,
    DateIs,
    Expression,
    Nothing,
    QuantityIs,
    SortKey,
    Updated,
    all_of,
)
from fhir_server.store.mongo.compile import (
    Compiler,
    Part,
    both,
    conjuncts,
    hidden,
    is_linked,
    simplified,
)
from fhir_server.store.mongo.composites import joint
from fhir_server.store.mongo.entries import PAIRED_TYPE, SPAN, bounded, of_integer, several_text
from fhir_server.store.mongo.fulltext import Words, asks_for_words
from fhir_server.store.mongo.leaves import Access, Filter, Range, below, updated_within
from fhir_server.store.mongo.snapshots import Snapshot
from fhir_server.store.mongo.sorting import Key, Place, Row, bind, in_order, segments
from fhir_server.store.mongo.walks import Walk, value_at

# Counting begins with so many: most questions have a part that lists fewer.
_FIRST = 60
# A page is looked for in the order asked for when that looks at so many times as many resources as were counted.
_SOON = 1.5
# A code without its system has so many systems at the most, as a rule.
_FEW_TEXTS = 5
# A batch of candidates is so many times what is likely to be enough, up to so many.
_AMPLE, _BATCH = 1.5, 1_000
# So many texts of a condition one resource has at the most, as a rule.
_ALIKE = 2
# What there are so many of is counted in so many parts beside each other, since a query has one core of MongoDB's machine.
_MANY, _SHARES = 10_000, 2


@dataclass(frozen=True, slots=True)
class Effort:
    """From which sizes on a plan changes; the answers are the same with any.

    What a part lists is counted up to `few` and, where all list more, up to `counted`; fewer candidates are read whole and put in
    order. When there are more, a page is first looked for among the first `window` resources in the order asked for.

    A chain or `_has` whose other side has `tested` resources or fewer is answered from there. Else candidates are asked: when
    `tested` were not enough for a page, other sides of up to `listed` resources are listed, and of up to `pressed` when a whole
    window was not enough. Up to `late` resources whose words are not indexed are looked at by the search itself.
    """

    few: int = 1_000
    counted: int = 5_000
    window: int = 5_000
    tested: int = 200
    listed: int = 1_000
    pressed: int = 50_000
    late: int = 50


class Linking(Protocol):
    """What a selection asks about chains and `_has`."""

    async def answered(self, part: Part, type: str, most: int) -> Part | None:
        """The part with what its links lead to in their place; None when that are more than `most`."""

    async def holding(self, type: str, where: Part, ids: Collection[str], *, live: bool = False) -> set[str]:
        """Those of the resources for which `where` holds; with `live` all of them are known not to be deleted."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way in through an index; `decides` is the part that need not be tested any more."""

    access: Access
    decides: Part | None
    number: int


class Selection:
    """The matches of one expression among the resources of one type. `prepare` it first."""

    def __init__(
        self, snapshot: Snapshot, words: Words, links: Linking, type: str, where: Expression, effort: Effort
    ) -> None:
        self._snapshot = snapshot
        self._words = words
        self._links = links
        self.type = type
        self._where = simplified(where, type)
        self._effort = effort
        self._compiler = Compiler(type, words)
        self._walk = Walk(snapshot, type)
        self._parts: list[Part] = []
        self._linked: list[Part] = []
        self._ways: list[tuple[Access, Part | None]] = []
        self._numbers: list[int] = []
        self._counted = 0
        self._size: int | None = None
        self._window = 0

    def is_empty(self) -> bool:
        """Whether nothing can match, as far as that is known without asking."""
        return isinstance(self._where, Nothing) or any(access.empty for access, _ in self._ways)

    async def prepare(self) -> None:
        """Answer the links that lead to few resources, unless there are few candidates anyway."""
        if asks_for_words(self._where):
            await self._words.look_at(self._snapshot, self.type)
        for part in conjuncts(self._where):
            (self._linked if is_linked(part) else self._parts).append(part)
        self._ways = self._accesses()
        if self._linked and not self.is_empty():
            await self._join_chains()
            if self._ways and (await self._best()).number <= self._effort.tested:
                return
            await self._answer(self._effort.tested)

    def _accesses(self) -> list[tuple[Access, Part | None]]:
        """The ways in; of a code and a quantity of one Observation the composite of both, in the place of the quantity's own."""
        parts = self._parts
        pair = None
        if self._snapshot.connection.paired and self.type.rstrip("#") == PAIRED_TYPE:
            pair = joint(parts)
        if pair is None:
            return self._compiler.accesses(parts)
        access, quantity = pair
        others = [p for p in parts if not (isinstance(p, QuantityIs) and p.param == quantity.param)]
        return [*self._compiler.accesses(others), (access, None)]

    async def _join_chains(self) -> None:
        """Make conditions on what one reference leads to one chain, where no resource has several references of the kind."""
        grouped: dict[tuple[str, str], list[Chain]] = {}
        for part in self._linked:
            if isinstance(part, Chain):
                grouped.setdefault((part.param, part.target), []).append(part)
        for (param, target), several in grouped.items():
            if len(several) > 1:
                mark = Access(points=(several_text(param), several_text(param + CONTAINED)))
                if await self._snapshot.numbers(self.type, [mark], 1) == [0]:
                    joined = Chain(param, target, all_of(chain.part for chain in several))
                    self._linked = [part for part in self._linked if part not in several] + [joined]

    async def _answer(self, most: int) -> None:
        left: list[Part] = []
        answers = await self._snapshot.together(
            [partial(self._links.answered, part, self.type, most) for part in self._linked]
        )
        for part, found in zip(self._linked, answers, strict=True):
            if found is None:
                left.append(part)
            else:
                self._parts += conjuncts(found)
        if len(left) < len(self._linked):
            self._linked = left
            self._ways = self._accesses()
            self._counted = 0

    async def _best(self, most: int = 0) -> Way:
        """The way with the fewest candidates, counted up to `most`, by default as many as are read without a thought."""
        most = min(most or self._effort.few, self._effort.counted)
        for bound in (_FIRST if len(self._ways) > 1 else most, self._effort.few, most):
            if self._counted and min(self._numbers) < self._counted:
                break
            if self._counted < min(bound, most):
                accesses = [access for access, _ in self._ways]
                self._counted = min(bound, most)
                self._numbers = await self._snapshot.numbers(self.type, accesses, self._counted)
        number, n = min((number, n) for n, number in enumerate(self._numbers))
        access, decides = self._ways[n]
        return Way(access, decides, number)

    def _rest(self, way: Way | None) -> Filter:
        decided = None if way is None else way.decides
        return self._compiler.test(part for part in self._parts if part is not decided)

    # pages

    async def rows(self, sort: Sequence[SortKey], place: Place | None, limit: int) -> list[Row]:
        """The first rows from the beginning, or on from the place, in the order they are met."""
        keys = [bind(key, self.type) for key in sort]
        if self.is_empty():
            return []
        if not self._linked:
            return await self._stretch(keys, place, limit)
        return await self._tested(keys, place, limit)

    async def _tested(self, keys: Sequence[Key], place: Place | None, limit: int) -> list[Row]:
        """Rows of which every batch is asked whether its links hold; the more were asked in vain, the more is listed instead."""
        effort = self._effort
        harder = [(effort.window, effort.pressed), (effort.tested, effort.listed)]
        found: list[Row] = []
        at, size, seen = place, 2 * limit, 0
        while True:
            rows = await self._stretch(keys, at, size)
            held = {row.id for row in rows}
            for part in self._linked:
                held = await self._links.holding(self.type, part, held, live=True)
            found += [row for row in rows if row.id in held]
            seen += len(rows)
            if len(found) >= limit or len(rows) < size:
                return found[:limit]
            if harder and seen >= harder[-1][0]:
                await self._answer(harder.pop()[1])
                if not self._linked:
                    return [] if self.is_empty() else await self._stretch(keys, place, limit)
            at = Place(rows[-1].values, rows[-1].created, place is not None and place.backwards)
            if self._ways and (await self._best()).number < effort.few:
                size = effort.few
            else:
                # as many as are likely to have what is missing
                likely = int(_AMPLE * (limit - len(found)) * (seen + 1) / (len(found) + 1))
                size = min(size * 4, max(limit, likely), _BATCH)

    async def _stretch(self, keys: Sequence[Key], place: Place | None, limit: int) -> list[Row]:
        walk, effort = self._walk, self._effort
        if not self._ways:
            stretches = segments(keys, place)
            if stretches:
                return (await walk.along(stretches, keys, self._rest(None), place, limit))[0]
            return await walk.sorted({"d": False}, "", self._rest(None), keys, place, limit)
        if self._within_order(keys):
            return (await self._in_turn(keys, place, limit, 0))[0]
        by_creation = [Way(*way, 0) for way in self._ways if way[0].ordered and not keys]
        if by_creation and len(self._ways) == 1:
            return (await walk.listed(by_creation[0].access, self._rest(by_creation[0]), place, limit))[0]
        way = await self._best()
        if way.number == self._counted:
            found: list[Row] = []
            complete = False
            if by_creation:
                first = by_creation[0]
                found, complete = await walk.listed(
                    first.access, self._rest(first), place, limit, effort.window
                )
            elif self._window or await self._looked_at(limit) <= _SOON * way.number:
                # the same for all batches
                self._window = self._window or int(2 * _SOON * way.number)
                found, complete = await self._in_turn(keys, place, limit, self._window)
            if len(found) == limit or complete:
                return found
            way = await self._best(effort.counted)
            counted = way.number == self._counted
            if counted and by_creation:
                way = by_creation[0]
            elif counted or 4 * await self._looked_at(limit) <= way.number:
                window = effort.window if counted else way.number
                found, complete = await self._in_turn(keys, place, limit, window)
                if len(found) == limit or complete:
                    return found
        access, rest = way.access, self._rest(way)
        if not keys:
            picked = None if access.ordered else await self._picked(access, rest, place, limit)
            return (await walk.listed(access, rest, place, limit))[0] if picked is None else picked
        return await walk.sorted(access.filter, access.index, rest, keys, place, limit)

    async def _picked(
        self, access: Access, rest: Filter, place: Place | None, limit: int
    ) -> list[Row] | None:
        """The first of what a way in lists, which the index tells without documents: these are read until there are enough.

        None when the index does not tell.
        """
        most = self._effort.counted
        created = await self._snapshot.created(self.type, access, most)
        if created is None:
            return None
        backwards = place is not None and place.backwards
        if place is not None:
            at = place.created
            created = [one for one in created if (one < at if backwards else one > at)]
        if backwards:
            created.reverse()
        found: list[Row] = []
        size, narrowed = 2 * limit if rest else limit, False
        while created and len(found) < limit:
            found += await self._walk.picked(created[:size], rest, limit - len(found), backwards=backwards)
            created, size = created[size:], min(4 * size, _BATCH)
            if not narrowed and len(created) > self._effort.tested and len(found) < limit:
                narrowed = True
                for other, _ in self._ways:
                    also = None if other is access else await self._snapshot.created(self.type, other, most)
                    if also is not None:
                        within = set(also)
                        created = [one for one in created if one in within]
        return found

    async def _looked_at(self, limit: int) -> float:
        """How many resources are looked at in the order asked for until a page is met, at the most, so far as chance goes."""
        if self._size is None:
            self._size = await self._snapshot.size(self.type) or 2**63
        expected = float(limit)
        for number in self._numbers:
            expected *= max(1.0, self._size / max(1, number))
        return expected

    async def _in_turn(
        self, keys: Sequence[Key], place: Place | None, limit: int, window: int
    ) -> tuple[list[Row], bool]:
        """The page looked for in the order asked for, and whether there is no more of it."""
        rest = self._rest(None)
        stretch = self._bounds_of(keys)
        if stretch is None:
            stretches = segments(keys, place)
            if not stretches:
                return [], False
            return await self._walk.along(stretches, keys, rest, place, limit, window)
        if place is not None and place.values[0] is None:
            return [], True
        low, high, outside = stretch
        stretches = segments(keys, place, low, high)
        found, complete = await self._walk.along(stretches, keys, rest, place, limit, window)
        if outside is None or not (complete or len(found) == limit):
            return found, complete
        access, beside = outside
        where = both(access.filter, hidden(beside))
        more = await self._walk.sorted(where, access.index, rest, keys, place, limit)
        rows = in_order([*found, *more], keys, backwards=place is not None and place.backwards)
        return rows[:limit], complete and len(rows) < limit

    # the order asked for, where the question bounds it

    def _within_order(self, keys: Sequence[Key]) -> bool:
        """Whether all that is asked for is a stretch of the order itself, so that a walk along it finds without searching."""
        if self._bounds_of(keys) is None:
            return False
        if keys[0].param == "_lastUpdated":
            return all(isinstance(part, Updated) for part in self._parts)
        return all(isinstance(part, DateIs) and part.param == keys[0].param for part in self._parts)

    def _bounds_of(self, keys: Sequence[Key]) -> tuple[Any, Any, tuple[Access, Filter] | None] | None:
        """From where to where the matches are in the order of a date, and how those are found that are not there.

        A date that is short and the only one of its resource is where its either end is. The others are found by
        their upper end, or as having several.
        """
        if len(keys) != 1 or not keys[0].index or keys[0].param == "_id":
            return None
        (key,) = keys
        if key.param == "_lastUpdated":
            return self._updates()
        leaves = [part for part in self._parts if isinstance(part, DateIs) and part.param == key.param]
        first: int | None = None
        last: int | None = None
        for leaf in leaves:
            bounds = bounds_of(leaf)
            first = highest(first, highest(bounds.high_from, bounds.low_from))
            last = lowest(last, lowest(bounds.low_to, bounds.high_to))
        if first is None and last is None:
            return None
        long = below(f"{key.param}\0D")
        several = several_text(key.param)
        if key.descending:
            if last is None:
                return first, None, None
            reach = last + SPAN
            beyond_reach = Range(long.low + of_integer(reach), long.high)
            return first, reach, (Access((several,), (beyond_reach,)), {key.path: {"$gt": reach}})
        if first is None:
            return None, last, None
        reach = first - SPAN
        reaching = Range(long.low + of_integer(first), long.high)
        return reach, last, (Access((several,), (reaching,)), {key.path: {"$lt": reach}})

    def _updates(self) -> tuple[int | None, int | None, None] | None:
        """From when to when the matches were updated."""
        first: int | None = None
        last: int | None = None
        for part in self._parts:
            within = updated_within(part) if isinstance(part, Updated) else None
            if within is not None:
                first, last = highest(first, within[0]), lowest(last, within[1])
        return None if first is None and last is None else (first, last, None)

    # numbers

    async def counted(self, limit: int) -> int:
        """How many matches there are, counted up to `limit`."""
        rows = await self.rows((), None, limit)
        return len(rows)

    async def total(self) -> int:
        if self.is_empty():
            return 0
        if self._linked:
            await self._answer(self._effort.pressed)
            if self.is_empty():
                return 0
            if self._linked:
                return len(await self._tested((), None, 2**31 - 1))
        if len(self._parts) == 1 and isinstance(self._parts[0], DateIs):
            number = await self._number_of(self._parts[0])
            if number is not None:
                return number
        if not self._ways:
            rest = self._rest(None)
            return await self._snapshot.count(self.type, both({"d": False}, hidden(rest)))
        way = Way(*self._ways[0], 0) if len(self._ways) == 1 else await self._best(self._effort.counted)
        access, rest = way.access, self._rest(way)
        if not rest:
            access = await self._counted_as(access)
            if len(access.points) == 1 and access.ordered:
                return await self._shared(access.filter, "c", access.index, self._by_creation)
        return await self._snapshot.count(self.type, both(access.filter, hidden(rest)), hint=access.index)

    async def _by_creation(self) -> tuple[float, float]:
        return 0, (await self._snapshot.moment()).sequence

    async def _shared(
        self,
        where: Filter,
        path: str,
        index: str,
        span: Callable[[], Awaitable[tuple[float, float]]],
    ) -> int:
        """How many the filter finds in an index; when they were many before, counted in parts of `path` between about `span`."""
        frequent, key = self._snapshot.connection.frequent, (self.type, index, str(where))
        several: list[Filter] = [where]
        if frequent.least(key) >= _MANY:
            low, high = await span()
            ends = [int(low + (high - low) * n / _SHARES) for n in range(1, _SHARES)]
            parts = [
                {"$lt": ends[0]},
                *({"$gte": a, "$lt": b} for a, b in pairwise(ends)),
                {"$gte": ends[-1]},
            ]
            several = [both(where, {path: part}) for part in parts]
        number = sum(await self._snapshot.counts(self.type, several, hint=index))
        frequent.saw(key, number)
        return number

    async def _counted_as(self, access: Access) -> Access:
        """The same way in, by the texts that are in a range where those are few: they are counted without the documents."""
        if len(access.ranges) != 1 or access.others:
            return access
        texts = await self._snapshot.texts(self.type, access.ranges[0], _FEW_TEXTS)
        return access if texts is None else Access((*access.points, *texts))

    async def _number_of(self, leaf: DateIs) -> int | None:
        """How many have a date on one side of another: the index by that end tells, but for the few near it."""
        if leaf.prefix not in ("gt", "ge", "lt", "le"):
            return None
        upper = leaf.prefix in ("gt", "ge")
        key = bind(SortKey(leaf.param, "date", upper), self.type)
        if not key.index:
            return None
        low, high = bounded(leaf.low), bounded(leaf.high)
        beyond_it: Filter = {key.path: {"$gt": high} if upper else {"$lt": low}}

        async def span() -> tuple[float, float]:
            found = await self._snapshot.find(
                self.type,
                beyond_it,
                {"_id": 0, key.path: 1},
                sort=[(key.path, -1 if upper else 1)],
                limit=1,
                hint=key.index,
            )
            end = int(value_at(found[0], key.path)) if found else low
            return (high, end) if upper else (end, low)

        number = await self._shared(beyond_it, key.path, key.index, span)
        if leaf.prefix in ("ge", "le"):
            near = both({key.path: {"$gte": low, "$lte": high}}, hidden(self._rest(None)))
            number += await self._snapshot.count(self.type, near, hint=key.index)
        return number

    async def ids(self, most: int) -> list[str] | None:
        """The ids of all matches in no order; None when there are more than `most`, or far more candidates."""
        rows = await self.unordered(most)
        return None if rows is None else [row.id for row in rows]

    async def unordered(self, most: int) -> list[Row] | None:
        if self.is_empty():
            return []
        if not self._linked and self._ways:
            # more candidates than that are not read in vain; where all of them match they are too many sooner
            alone = len(self._ways) == 1 and not self._rest(Way(*self._ways[0], 0))
            far = max(1, min(self._effort.counted, (_ALIKE if alone else 5) * most))
            way = await self._best(far)
            if way.number >= far and most <= self._effort.listed:
                return None
        elif not self._ways and most <= self._effort.listed:
            return None
        rows = await self.rows((), None, most + 1)
        return None if len(rows) > most else rows
