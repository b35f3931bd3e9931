"""The change feed as it is written by any server, and the leases and cursors of its consumers.

https://www.mongodb.com/docs/manual/changeStreams/. A change stream tells of versions as soon as a majority has them, and goes
on by its resume token when the primary changes. Sequences have no gaps: where one is missing, or the stream has lost its
place, the versions themselves are read. Leases are judged by the clock of the database, so those of servers may differ.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from fhir_server.store.mongo.connections import Connection, Document
from fhir_server.store.mongo.documents import stored_of
from fhir_server.store.records import Stored

Changes = Callable[[int], AsyncIterator[Stored]]

# the stream's place is not in the log of operations any more, or its resume token is of no use
_LOST = (136, 260, 280, 286)
_INSERTS = [{"$match": {"operationType": "insert"}}]
# How long the server waits for a change before it answers that there was none.
_WAIT_MS = 1_000


async def watch(connection: Connection, changes: Changes, after: int) -> AsyncGenerator[Stored, None]:
    """Versions above `after` and those that come."""
    while True:
        try:
            async with await connection.versions.watch(_INSERTS, max_await_time_ms=_WAIT_MS) as stream:
                # the stream is open: what is not read here comes by it
                async for stored in changes(after):
                    yield stored
                    after = stored.sequence
                async for change in stream:
                    stored = stored_of(change["fullDocument"])
                    if stored.sequence == after + 1:
                        yield stored
                        after = stored.sequence
                    elif stored.sequence > after:
                        async for missed in changes(after):
                            yield missed
                            after = missed.sequence
        except OperationFailure as error:
            if error.code not in _LOST:
                raise


async def take(connection: Connection, name: str, owner: str, seconds: float) -> int | None:
    """The cursor, when nobody else holds the lease; the owner holds it for `seconds` then."""
    mine: Document = {
        "$or": [{"$eq": ["$owner", owner]}, {"$lte": [{"$ifNull": ["$until", "$$NOW"]}, "$$NOW"]}]
    }
    update: list[dict[str, Any]] = [
        {"$set": {"mine": mine}},
        {
            "$set": {
                "owner": {"$cond": ["$mine", owner, "$owner"]},
                "until": {"$cond": ["$mine", _until(seconds), "$until"]},
                "cursor": {"$ifNull": ["$cursor", 0]},
            }
        },
        {"$unset": "mine"},
    ]
    try:
        found = await connection.state.find_one_and_update(
            {"_id": f"feed {name}"}, update, upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:
        # another has just made it
        return None
    assert found is not None
    return int(found["cursor"]) if found["owner"] == owner else None


async def keep(connection: Connection, name: str, owner: str, cursor: int, seconds: float) -> bool:
    """Move the cursor, when the owner still holds the lease."""
    done = await connection.state.update_one(
        {"_id": f"feed {name}", "owner": owner}, [{"$set": {"cursor": cursor, "until": _until(seconds)}}]
    )
    return done.matched_count == 1


def _until(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
