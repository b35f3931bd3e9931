"""Making index entries anew from the stored resources, while servers work.

A stretch of resources is read and indexed beside the writers, then the entries are written in one transaction. An
invariant to keep: a resource that was written in between keeps the entries that its own write made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from pymongo import InsertOne, UpdateOne

from fhir_r4.jsonio import decode_object
from fhir_server.search.contained import contained_type
from fhir_server.search.entries import Entries
from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.entries import MEMBERS, indexed
from fhir_server.store.mongo.indexes import CONTAINERS, ORDER
from fhir_server.store.mongo.inside import Inside, document_of, known_inside, mark, plan
from fhir_server.store.mongo.read import by_sequence
from fhir_server.store.mongo.schema import SEQUENCE
from fhir_server.store.protocol import Extract, Stale
from fhir_server.store.records import NewestIs, Reindexed, Stored


class Found(NamedTuple):
    """A live resource as it was read; `first` is the sequence of its first version."""

    first: int
    stored: Stored


async def stretch(connection: Connection, types: Collection[str], after: int, limit: int) -> list[Found]:
    """The next `limit` live resources of `types` (none: all) in order of creation, after the place `after`.

    Resources that contain one of the types, or did, are among them.
    """
    inside = [contained_type(type) for type in types]
    places: list[tuple[int, int]] = []
    for type in await connection.types():
        if not types or type in types:
            asked: Document = {"d": False}
        else:
            asked = {"d": False, "i": {"$in": inside}}
        found = connection.of_type(type).find({**asked, "c": {"$gt": after}}, {"c": 1, "s": 1})
        hint = ORDER if "i" not in asked else CONTAINERS
        places += [(d["c"], d["s"]) for d in await found.hint(hint).sort("c").limit(limit).to_list()]
    places.sort()
    places = places[:limit]
    stored = await by_sequence(connection, [sequence for _, sequence in places])
    return [Found(first, one) for (first, _), one in zip(places, stored, strict=True)]


async def entries_of(found: Sequence[Found], extract: Extract) -> list[Entries]:
    """The entries that the resources should have; made on another thread, since it takes a while."""

    def make() -> list[Entries]:
        return [extract(decode_object(one.stored.body)) for one in found]

    return await asyncio.to_thread(make)


async def write(
    connection: Connection,
    session: Session,
    newest: NewestIs,
    found: Sequence[Found],
    made: Sequence[Entries],
    limit: int,
) -> Reindexed:
    """Bring the entries of what has not changed since it was read up to date. Raises Stale when `newest` does not hold."""
    state = await connection.state.find_one_and_update(
        {"_id": SEQUENCE}, {"$inc": {"reindexed": 1}}, session=session
    )
    assert state is not None
    sequence = state["types"].get(newest.type, 0)
    if sequence != newest.sequence:
        raise Stale(newest, sequence)
    inside = await _inside(connection, session, found)
    changed = 0
    wanted: dict[str, dict[str, _Wanted]] = {}
    for one, entries in zip(found, made, strict=True):
        stored, container = one.stored, (one.stored.type, one.stored.id)
        if container not in inside:
            continue
        known = inside[container]
        there = {key for key, inner in known.items() if inner.stored}
        for key, own in plan(container, known, stored.sequence, entries).items():
            document = document_of(key, known[key], stored, own)
            wanted.setdefault(key[0], {})[key[1]] = _Wanted(document, key in there)
        outer: Document = indexed(entries)
        mark(outer, known)
        wanted.setdefault(stored.type, {})[stored.id] = _Wanted(outer, True)
    for type, documents in wanted.items():
        changed += await _write(connection, session, type, documents)
    return Reindexed(found[-1].first if len(found) == limit else None, len(found), changed)


class _Wanted(NamedTuple):
    """What a document should have, and whether it is there already."""

    document: Document
    present: bool


async def _inside(
    connection: Connection, session: Session, found: Sequence[Found]
) -> dict[tuple[str, str], Inside]:
    """Of those that have not changed since they were read: what they contain."""
    by_type: dict[str, dict[str, int]] = {}
    for one in found:
        by_type.setdefault(one.stored.type, {})[one.stored.id] = one.stored.sequence
    containers: dict[tuple[str, str], Sequence[str]] = {}
    for type, sequences in by_type.items():
        there = connection.of_type(type).find(
            {"_id": {"$in": list(sequences)}}, {"s": 1, "i": 1}, session=session
        )
        async for document in there:
            if document["s"] == sequences[document["_id"]]:
                containers[type, document["_id"]] = document.get("i", ())
    return await known_inside(connection, session, containers)


async def _write(connection: Connection, session: Session, type: str, wanted: dict[str, _Wanted]) -> int:
    collection = connection.of_type(type)
    names = ("d", "f", "i", *MEMBERS)
    writes: list[UpdateOne | InsertOne[Document]] = []
    changed = 0
    ids = [id for id, one in wanted.items() if one.present]
    async for document in collection.find({"_id": {"$in": ids}}, dict.fromkeys(names, 1), session=session):
        after = wanted[document["_id"]].document
        before = {name: document[name] for name in names if name in document}
        members = {"d": before["d"]} | {name: after[name] for name in names if name in after}
        if before == members:
            continue
        changed += len(_found_by(before) ^ _found_by(members))
        gone = {name: "" for name in before if name not in members}
        update: dict[str, Any] = {"$set": after}
        if gone:
            update["$unset"] = gone
        writes.append(UpdateOne({"_id": document["_id"]}, update))
    for one in wanted.values():
        if not one.present:
            changed += len(_found_by(one.document))
            writes.append(InsertOne(one.document))
    if writes:
        await collection.bulk_write(writes, ordered=False, session=session)
    return changed


def _found_by(members: Document) -> set[str]:
    texts: Iterable[str] = members.get("e", ())
    return set(texts)
