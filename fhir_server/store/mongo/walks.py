"""Reading candidates of one type: in the order of creation, in the order of an index, or all of them put in order.

A walk with a window ends after so many candidates: where that is, is looked up in the index, so that MongoDB may stop at the last
row of the page and never reads further than the window. An invariant to keep: a stretch begins after the sort values and the
creation of a row, never at an offset, so it neither repeats nor skips what does not change meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_server.store.mongo.compile import both, hidden
from fhir_server.store.mongo.connections import Document
from fhir_server.store.mongo.indexes import ORDER
from fhir_server.store.mongo.leaves import Access, Filter
from fhir_server.store.mongo.snapshots import Pipeline, Snapshot
from fhir_server.store.mongo.sorting import (
    Key,
    Place,
    Row,
    Segment,
    beyond,
    computed,
    in_order,
    order_of,
    row_of,
)


class Walk:
    """Walks through the resources of a type."""

    def __init__(self, snapshot: Snapshot, type: str) -> None:
        self._snapshot = snapshot
        self._type = type
        # a window is the same for all batches of a search
        self._ends: dict[tuple[str, ...], Filter] = {}

    async def listed(
        self, access: Access, rest: Filter, place: Place | None, limit: int, window: int = 0
    ) -> tuple[list[Row], bool]:
        """Candidates of a way in that pass `rest`, in order of creation; and whether there are no more of them.

        A `window` is for a way that is in that order.
        """
        backwards = place is not None and place.backwards
        onwards = -1 if backwards else 1
        after: Filter = {} if place is None else {"c": {"$lt" if backwards else "$gt": place.created}}
        where = both(access.filter, after)
        until: Filter = {}
        if window and rest:
            segment = Segment(access.index, where, {"c": onwards}, where, "c")
            until = await self._end(segment, window)
        found = await self._snapshot.find(
            self._type,
            both(where, until, hidden(rest)),
            {"c": 1, "s": 1},
            sort=[("c", onwards)],
            limit=limit,
            hint=access.index,
        )
        return [row_of(self._type, one, ()) for one in found], not until and len(found) < limit

    async def picked(
        self, created: Sequence[float], rest: Filter, limit: int, *, backwards: bool
    ) -> list[Row]:
        """Of the resources that were created then the first that pass `rest`, in order of creation."""
        where: Filter = {"d": False, "c": {"$in": list(created)}}
        found = await self._snapshot.find(
            self._type,
            both(where, hidden(rest)),
            {"c": 1, "s": 1},
            sort=[("c", -1 if backwards else 1)],
            limit=limit,
            hint=ORDER,
        )
        return [row_of(self._type, one, ()) for one in found]

    async def sorted(
        self, where: Filter, hint: str, rest: Filter, keys: Sequence[Key], place: Place | None, limit: int
    ) -> list[Row]:
        """All candidates that pass `rest`, put in order."""
        pipeline: Pipeline = [{"$match": both(where, hidden(rest))}, {"$project": computed(keys)}]
        if place is not None:
            pipeline.append({"$match": beyond(keys, place)})
        backwards = place is not None and place.backwards
        pipeline += [{"$sort": order_of(keys, backwards)}, {"$limit": limit}]
        found = await self._snapshot.aggregate(self._type, pipeline, hint=hint)
        return [row_of(self._type, one, keys) for one in found]

    async def along(
        self,
        walk: Sequence[Segment],
        keys: Sequence[Key],
        rest: Filter,
        place: Place | None,
        limit: int,
        window: int = 0,
    ) -> tuple[list[Row], bool]:
        """What passes `rest` in the order of an index; and whether there is no more of it."""
        found: list[Row] = []
        for segment in walk:
            until: Filter = {}
            if window and rest and segment.path:
                until = await self._end(segment, window)
            where = both(segment.where, until, hidden(rest))
            act = self._in_order if len(keys) <= 1 else self._by_first
            found += await act(segment, where, keys, place, limit - len(found))
            if until or len(found) == limit:
                return found, False
        return found, True

    async def _in_order(
        self, segment: Segment, where: Filter, keys: Sequence[Key], place: Place | None, limit: int
    ) -> list[Row]:
        """The first of a stretch that is in the order asked for and begins after the place."""
        return await self._asked(
            segment,
            [{"$match": where}, {"$sort": segment.order}, {"$limit": limit}, {"$project": computed(keys)}],
            keys,
        )

    async def _by_first(
        self, segment: Segment, where: Filter, keys: Sequence[Key], place: Place | None, limit: int
    ) -> list[Row]:
        """The first of a stretch that is in the order of the first key: what has one value of it is put in order."""
        backwards = place is not None and place.backwards
        after: Pipeline = [] if place is None else [{"$match": beyond(keys, place)}]
        sorted_: Pipeline = [
            {"$project": computed(keys)},
            *after,
            {"$sort": order_of(keys, backwards)},
            {"$limit": limit},
        ]
        if not segment.path:
            return await self._asked(segment, [{"$match": where}, *sorted_], keys)
        met = await self._asked(
            segment,
            [
                {"$match": where},
                {"$sort": segment.order},
                {"$project": computed(keys)},
                *after,
                {"$limit": limit},
            ],
            keys,
        )
        last: list[Row] = []
        if len(met) == limit:
            value = met[-1].values[0]
            met = [row for row in met if row.values[0] != value]
            alike = both(where, {segment.path: value})
            last = await self._asked(segment, [{"$match": alike}, *sorted_], keys)
        return [*in_order(met, keys, backwards=backwards), *last][:limit]

    async def _asked(self, segment: Segment, pipeline: Pipeline, keys: Sequence[Key]) -> list[Row]:
        found = await self._snapshot.aggregate(self._type, pipeline, hint=segment.index)
        return [row_of(self._type, one, keys) for one in found]

    async def _end(self, segment: Segment, window: int) -> Filter:
        """What holds within the window; nothing when the stretch ends before."""
        key = (segment.index, str(window), *map(str, segment.order.items()))
        if key not in self._ends:
            self._ends[key] = await self._look_up_end(segment, window)
        return self._ends[key]

    async def _look_up_end(self, segment: Segment, window: int) -> Filter:
        projection = {"_id": 0, segment.path: 1}
        found = await self._snapshot.find(
            self._type,
            segment.bounds,
            {"_id": 1} if segment.path == "_id" else projection,
            sort=list(segment.order.items()),
            skip=window,
            limit=1,
            hint=segment.index,
        )
        if not found:
            return {}
        return segment.until(value_at(found[0], segment.path))


def value_at(document: Document, path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value[name]
    return value
