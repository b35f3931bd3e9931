"""The history of a resource, a type or everything, newest first, and the change feed.

https://hl7.org/fhir/R4/http.html#history. Sequences have no gaps and times never go back along them, so a time is a place
in the sequence, found by halving.
"""

from __future__ import annotations

from typing import Any

from fhir_server.search.paging import Cursors
from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.documents import stored_of
from fhir_server.store.mongo.schema import SEQUENCE
from fhir_server.store.records import HistoryPage, HistoryQuery, Stored


async def last_sequence(connection: Connection, session: Session, type: str | None = None) -> int:
    """The sequence of the newest version, of all or of a type; 0 when there is none."""
    wanted = "n" if type is None else f"types.{type}"
    found = await connection.state.find_one({"_id": SEQUENCE}, {wanted: 1}, session=session)
    assert found is not None
    return int(found["n"] if type is None else found.get("types", {}).get(type, 0))


async def first_since(connection: Connection, session: Session, instant: int, last: int) -> int:
    """The sequence of the first version whose time is not before `instant`; one above `last` when there is none."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        found = await connection.versions.find_one({"_id": middle}, {"u": 1}, session=session)
        assert found is not None
        if found["u"] < instant:
            low = middle + 1
        else:
            high = middle
    return low


async def page(
    connection: Connection, session: Session, query: HistoryQuery, cursors: Cursors
) -> HistoryPage:
    """The versions that the query asks for. Raises InvalidParameter for a cursor of another history."""
    scope = f"history {query.type} {query.id}"
    before = None if query.cursor is None else int(cursors.read(scope, query.cursor)[0])
    last = await last_sequence(connection, session)
    low, high = 1, last + 1
    if query.since is not None:
        low = await first_since(connection, session, query.since, last)
    if query.at is not None:
        high = await first_since(connection, session, query.at[1], last)
    where: Document = {}
    if query.type is not None:
        where["t"] = query.type
    if query.id is not None:
        where["i"] = query.id
    total = await _total(connection, session, query, where, low, high)
    end = high if before is None else min(high, before)
    found = await _found(connection, session, query, {**where, "_id": {"$gte": low, "$lt": end}})
    versions = tuple(stored_of(document) for document in found[: query.count])
    more = bool(versions) and len(found) > query.count
    return HistoryPage(versions, total, cursors.write(scope, [versions[-1].sequence]) if more else None)


async def _found(
    connection: Connection, session: Session, query: HistoryQuery, where: Document
) -> list[Document]:
    pipeline: list[dict[str, Any]] = [{"$match": where}, {"$sort": {"_id": -1}}]
    pipeline += _current(query)
    pipeline.append({"$limit": query.count + 1})
    cursor = await connection.versions.aggregate(pipeline, session=session)
    return await cursor.to_list()


async def _total(
    connection: Connection, session: Session, query: HistoryQuery, where: Document, low: int, high: int
) -> int:
    if not where and query.at is None:
        return max(0, high - low)
    pipeline: list[dict[str, Any]] = [
        {"$match": {**where, "_id": {"$gte": low, "$lt": high}}},
        *_current(query),
        {"$count": "n"},
    ]
    found = await (await connection.versions.aggregate(pipeline, session=session)).to_list()
    return int(found[0]["n"]) if found else 0


def _current(query: HistoryQuery) -> list[dict[str, Any]]:
    """What leaves those versions alone that no other had followed when `at` began."""
    if query.at is None:
        return []
    follows = [
        {"$eq": ["$t", "$$t"]},
        {"$eq": ["$i", "$$i"]},
        {"$eq": ["$v", {"$add": ["$$v", 1]}]},
    ]
    lookup = {
        "from": "osler.versions",
        "let": {"t": "$t", "i": "$i", "v": "$v"},
        "pipeline": [
            {"$match": {"$expr": {"$and": follows}, "u": {"$lte": query.at[0]}}},
            {"$project": {"_id": 1}},
        ],
        "as": "followed",
    }
    return [{"$lookup": lookup}, {"$match": {"followed": []}}, {"$unset": "followed"}]


async def changes(connection: Connection, session: Session, after: int, limit: int) -> list[Stored]:
    """The next versions after a sequence, in order.

    Where one is missing, another shard shows its part of a commit already; a snapshot waits for all parts.
    """
    found = await _changes(connection, session, after, limit)
    if found and found[-1].sequence - after > len(found):
        async with connection.snapshot() as whole:
            found = await _changes(connection, whole, after, limit)
    return found


async def _changes(connection: Connection, session: Session, after: int, limit: int) -> list[Stored]:
    found = connection.versions.find({"_id": {"$gt": after}}, session=session).sort("_id").limit(limit)
    return [stored_of(document) for document in await found.to_list()]
