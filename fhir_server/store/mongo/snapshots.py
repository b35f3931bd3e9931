"""Reading the database as it was at one moment: every query of a search, its total and its includes.

https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/. The first query takes the newest state that a majority of
the members has, all others are asked for the same instant; inside a transaction they see what that transaction sees. An
invariant to keep: values travel in commands as values, never as text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from bson.min_key import MinKey
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.explain import Record
from fhir_server.store.mongo.indexes import ENTRIES, POSITIONS
from fhir_server.store.mongo.leaves import Access, Range
from fhir_server.store.mongo.read import by_sequence
from fhir_server.store.records import Stored

Filter = dict[str, Any]
Pipeline = list[dict[str, Any]]

VERSIONS = "osler.versions"
TOO_OLD, NOT_AVAILABLE = 239, 246
# One answer holds as many as 16 MB allow; the rest is fetched.
_BATCH = 100_000
# Of so many the index is asked whether it has them, and does not send them to be counted.
_SENT = 100
# A way in with more texts is not asked for again.
_REMEMBERED = 20
# One with more stretches is not listed by the index alone.
_STRETCHES = 8

T = TypeVar("T")


class Moment(NamedTuple):
    """A state of the database: its instant, and the newest sequence that it has."""

    at: Timestamp
    sequence: int


class Snapshot:
    """`moment`: the state that is looked at, None for the newest. `record` keeps what was asked.

    Inside a transaction `session` is its session, and queries must follow each other.
    """

    def __init__(
        self,
        connection: Connection,
        moment: Moment | None = None,
        session: Session | None = None,
        record: Record | None = None,
    ) -> None:
        self.connection = connection
        self.at = None if moment is None else moment.at
        self._moment = moment
        self._session = session
        self._record = record
        # when what is in a stretch of the index of entries was created
        self._listed: dict[tuple[str, Range], list[float]] = {}

    async def moment(self) -> Moment:
        """The state that is looked at."""
        if self._moment is None:
            sequence = await self.last_sequence()
            assert self.at is not None, "something was read"
            self._moment = Moment(self.at, sequence)
        return self._moment

    async def last_sequence(self) -> int:
        """The newest sequence that the state has; 0 when nothing was ever written."""
        found = await self.find(VERSIONS, {}, {"_id": 1}, sort=[("_id", -1)], limit=1)
        return int(found[0]["_id"]) if found else 0

    async def deleted(self, keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the resources that are deleted now."""
        by_type: dict[str, list[str]] = {}
        for type, id in keys:
            by_type.setdefault(type, []).append(id)
        found: set[tuple[str, str]] = set()
        for type, ids in by_type.items():
            cursor = self.connection.of_type(type).find({"_id": {"$in": ids}, "d": True}, {"_id": 1})
            found.update((type, one["_id"]) for one in await cursor.to_list())
        return found

    async def find(
        self,
        collection: str,
        where: Filter,
        projection: Document,
        *,
        sort: Sequence[tuple[str, int]] = (),
        skip: int = 0,
        limit: int = 0,
        hint: str = "",
    ) -> list[Document]:
        command: Document = {"find": collection, "filter": where, "projection": projection}
        if sort:
            command["sort"] = dict(sort)
            command["allowDiskUse"] = True
        if skip:
            command["skip"] = skip
        if limit:
            command["limit"] = limit
        if hint:
            command["hint"] = hint
        command["batchSize"] = limit or _BATCH
        return await self._run(collection, command)

    async def aggregate(self, collection: str, pipeline: Pipeline, *, hint: str = "") -> list[Document]:
        command: Document = {"aggregate": collection, "pipeline": pipeline, "allowDiskUse": True}
        if hint:
            command["hint"] = hint
        command["cursor"] = {"batchSize": _BATCH}
        return await self._run(collection, command)

    async def bodies(self, sequences: Sequence[int]) -> tuple[Stored, ...]:
        """The versions with these sequences, in their order; they never change, so any state that has them will do."""
        return await by_sequence(self.connection, sequences, self._session)

    async def numbers(self, collection: str, accesses: Sequence[Access], limit: int) -> list[int]:
        """How many documents each way in lists, about, counted up to `limit`."""
        return await self.together([partial(self._number, collection, access, limit) for access in accesses])

    async def together(self, acts: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """What each gives; they are done beside each other once it is known which state is looked at."""
        found: list[T] = []
        for act in acts:
            if self.at is not None and self._session is None:
                break
            found.append(await act())
        return found + await asyncio.gather(*(act() for act in acts[len(found) :]))

    async def _number(self, collection: str, access: Access, limit: int) -> int:
        if access.others or len(access.points) > _REMEMBERED:
            return await self._count_up_to(collection, access, limit)
        frequent, key = self.connection.frequent, (collection, access.points, access.ranges)
        if frequent.least(key) >= limit:
            return limit
        number = await self._count_up_to(collection, access, limit)
        if number == limit:
            frequent.saw(key, number)
        return number

    async def _count_up_to(self, collection: str, access: Access, limit: int) -> int:
        number = 0
        if access.points:
            number += await self._limited({"e": {"$in": list(access.points)}}, collection, limit)
        for index, where in access.others:
            if number < limit:
                number += await self._limited(where, collection, limit, index)
        for range in access.ranges:
            if number < limit:
                number += await self._within_range(collection, range, limit - number)
        return min(number, limit)

    async def _within_range(self, collection: str, range: Range, limit: int) -> int:
        # what is skipped is not sent
        if limit > _SENT and await self.within(collection, range, 1, skip=limit - 1):
            return limit
        found = await self.within(collection, range, limit)
        if len(found) < limit:
            self._listed[collection, range] = [one["c"] for one in found]
        return len(found)

    async def created(self, collection: str, access: Access, most: int) -> list[float] | None:
        """When what a way in lists was created, in order; None when the index alone does not tell, or of `most` and more."""
        texts = [Range(text, text, closed=True) for text in access.points]
        stretches = [*access.ranges, *texts]
        if access.others or len(stretches) > _STRETCHES:
            return None
        missing = [one for one in stretches if (collection, one) not in self._listed]
        await self.together([partial(self._within_range, collection, one, most) for one in missing])
        if any((collection, one) not in self._listed for one in stretches):
            return None
        return sorted({at for one in stretches for at in self._listed[collection, one]})

    async def size(self, collection: str) -> int | None:
        """About how many documents a collection has; None inside a transaction, which cannot ask."""
        if self._session is not None:
            return None
        return await self.connection.of_type(collection).estimated_document_count()

    async def _limited(self, where: Filter, collection: str, limit: int, hint: str = ENTRIES) -> int:
        pipeline: Pipeline = [{"$match": where}, {"$limit": limit}, {"$count": "n"}]
        found = await self.aggregate(collection, pipeline, hint="" if hint == POSITIONS else hint)
        return int(found[0]["n"]) if found else 0

    async def within(
        self, collection: str, range: Range, limit: int, *, skip: int = 0, texts: bool = False
    ) -> list[Document]:
        """What the index of entries has in a range, without looking at documents: their creation, or with `texts` the texts.

        The bounds are told as such: for a condition on an array MongoDB would fetch each document.
        """
        end = range.high + "\0" if range.closed else range.high
        if end <= range.low:
            return []
        command: Document = {
            "find": collection,
            "projection": {"_id": 0, "c": 1},
            "min": {"e": range.low, "c": MinKey()},
            "max": {"e": end, "c": MinKey()},
            "hint": ENTRIES,
            "skip": skip,
            "limit": limit,
            "batchSize": limit,
        }
        if texts:
            del command["projection"]
            command["returnKey"] = True
        return await self._run(collection, command)

    async def texts(self, collection: str, range: Range, most: int) -> list[str] | None:
        """The different texts that the index of entries has in a range; None when there are more than `most`.

        None also where shards have an index each: the first text of one of them need not be the first of all.
        """
        if self.connection.routed:
            return None
        found: list[str] = []
        while len(found) <= most:
            following = await self.within(collection, range, 1, texts=True)
            if not following:
                return found
            found.append(following[0]["e"])
            range = replace(range, low=found[-1] + "\0")
        return None

    async def count(self, collection: str, where: Filter, *, hint: str = "") -> int:
        """How many documents the filter finds, all of them."""
        return sum(await self.counts(collection, [where], hint=hint))

    async def counts(self, collection: str, several: Sequence[Filter], *, hint: str) -> list[int]:
        """How many documents each filter finds."""
        return await self.together([partial(self._counted, collection, where, hint) for where in several])

    async def _counted(self, collection: str, where: Filter, hint: str) -> int:
        found = await self.aggregate(collection, [{"$match": where}, {"$count": "n"}], hint=hint)
        return int(found[0]["n"]) if found else 0

    async def _run(self, collection: str, command: Document) -> list[Document]:
        try:
            return await self._ask(collection, command)
        except OperationFailure as error:
            if error.code == NOT_AVAILABLE and await self._is_newer(collection):
                return []
            raise

    async def _is_newer(self, collection: str) -> bool:
        """Whether the collection has nothing of the state that is looked at, because it was made later."""
        if self._moment is None:
            return False
        older = {"c": {"$lt": self._moment.sequence + 1}}
        return await self.connection.of_type(collection).find_one(older, {"_id": 1}) is None

    async def _ask(self, collection: str, command: Document) -> list[Document]:
        if self._session is not None:
            return await self._answer(collection, command, command, self._session)
        # one for each, because queries beside each other cannot share it
        async with self.connection.client.start_session(causal_consistency=False) as session:
            asked = {**command, "readConcern": self._concern()}
            return await self._answer(collection, command, asked, session)

    async def _answer(
        self, collection: str, command: Document, asked: Document, session: Session
    ) -> list[Document]:
        database = self.connection.database
        began = time.perf_counter_ns()
        # what the address prefers is not that of a command, unless it is told; a transaction has its own
        preference = None if session.in_transaction else database.read_preference
        answer = (await database.command(asked, read_preference=preference, session=session))["cursor"]
        if self.at is None and self._session is None:
            self.at = answer.get("atClusterTime")
        found: list[Document] = answer["firstBatch"]
        while answer["id"]:
            more = {"getMore": answer["id"], "collection": collection, "batchSize": _BATCH}
            answer = (await database.command(more, read_preference=preference, session=session))["cursor"]
            found += answer["nextBatch"]
        if self._record is not None:
            self._record.add(command, len(found), (time.perf_counter_ns() - began) // 1000)
        return found

    def _concern(self) -> Document:
        if self.at is not None:
            return {"level": "snapshot", "atClusterTime": self.at}
        seen = self.connection.seen
        return {"level": "snapshot"} if seen is None else {"level": "snapshot", "afterClusterTime": seen}


def is_gone(error: OperationFailure) -> bool:
    """Whether the instant cannot be looked at any more, or not in every collection."""
    return error.code in (TOO_OLD, NOT_AVAILABLE)
