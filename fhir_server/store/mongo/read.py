"""Point reads: a resource or a version by its identity, from the versions, which are never rewritten."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fhir_server.store.mongo.connections import Connection, Session
from fhir_server.store.mongo.documents import stored_of
from fhir_server.store.records import Stored


async def read(connection: Connection, session: Session, type: str, id: str) -> Stored | None:
    """The newest version."""
    found = await connection.versions.find_one({"t": type, "i": id}, sort=[("v", -1)], session=session)
    return None if found is None else stored_of(found)


async def read_version(
    connection: Connection, session: Session, type: str, id: str, version: int
) -> Stored | None:
    found = await connection.versions.find_one({"t": type, "i": id, "v": version}, session=session)
    return None if found is None else stored_of(found)


async def read_many(
    connection: Connection, session: Session, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Stored]:
    """Current versions of those that exist and are not deleted."""
    by_type: dict[str, list[str]] = {}
    for type, id in keys:
        by_type.setdefault(type, []).append(id)
    sequences: list[int] = []
    for type, ids in by_type.items():
        found = connection.of_type(type).find({"_id": {"$in": ids}, "d": False}, {"s": 1}, session=session)
        sequences += [document["s"] for document in await found.to_list()]
    return {(stored.type, stored.id): stored for stored in await by_sequence(connection, sequences, session)}


async def by_sequence(
    connection: Connection, sequences: Sequence[int], session: Session | None = None
) -> tuple[Stored, ...]:
    """The versions with these sequences, in their order.

    When a transaction commits on several shards, one may show it before another does; a snapshot waits for all.
    """
    if not sequences:
        return ()
    versions = await _versions(connection, sequences, session)
    missing = [sequence for sequence in sequences if sequence not in versions]
    if missing:
        async with connection.snapshot() as whole:
            versions |= await _versions(connection, missing, whole)
    return tuple(versions[sequence] for sequence in sequences)


async def _versions(
    connection: Connection, sequences: Sequence[int], session: Session | None
) -> dict[int, Stored]:
    found = connection.versions.find({"_id": {"$in": list(sequences)}}, session=session)
    return {document["_id"]: stored_of(document) for document in await found.to_list()}
