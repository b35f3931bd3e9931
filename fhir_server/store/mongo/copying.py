"""Keeping the versions of another store as they are, in the transaction of a session (protocol.Recipient)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pymongo import ReplaceOne

from fhir_server.search.entries import Entries
from fhir_server.store.mongo.claims import Ledger, Replacement
from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.documents import state_document, version_document
from fhir_server.store.mongo.inside import Inside, document_of, known_inside, mark, plan
from fhir_server.store.mongo.schema import SEQUENCE
from fhir_server.store.protocol import OutOfStep
from fhir_server.store.records import Copied

Key = tuple[str, str]


async def write(
    connection: Connection, session: Session, versions: Sequence[Copied], *, native: bool = True
) -> None:
    """Write the next versions of the other store. Raises OutOfStep when the first does not follow the newest here."""
    last = versions[-1].stored
    newest = {f"types.{one.stored.type}": one.stored.sequence for one in versions}
    before = await connection.state.find_one_and_update(
        {"_id": SEQUENCE}, {"$set": {"n": last.sequence, "u": last.updated, **newest}}, session=session
    )
    assert before is not None
    for wanted, one in enumerate(versions, before["n"] + 1):
        if one.stored.sequence != wanted:
            raise OutOfStep(wanted - 1, one.stored.sequence)
    current = {(one.stored.type, one.stored.id): one for one in versions}
    heads = await _heads(connection, session, set(current))
    firsts: dict[Key, int] = {}
    for one in versions:
        key = (one.stored.type, one.stored.id)
        firsts.setdefault(key, heads[key].first if key in heads else one.stored.sequence)
    await connection.versions.insert_many([version_document(one.stored) for one in versions], session=session)
    by_type: dict[str, list[ReplaceOne[Document]]] = {}
    for (type, id), one in current.items():
        entries = one.entries or Entries()
        document = state_document(one.stored, entries, firsts[type, id], len(one.claims), native=native)
        inside = heads[type, id].inside if (type, id) in heads else {}
        for own, made in plan((type, id), inside, one.stored.sequence, entries).items():
            inner = ReplaceOne({"_id": own[1]}, document_of(own, inside[own], one.stored, made), upsert=True)
            by_type.setdefault(own[0], []).append(inner)
        mark(document, inside)
        by_type.setdefault(type, []).append(ReplaceOne({"_id": id}, document, upsert=True))
    for type, writes in by_type.items():
        await connection.of_type(type).bulk_write(writes, ordered=False, session=session)
    ledger = Ledger(connection, session, last.updated)
    await ledger.look_up({claim.key for one in current.values() for claim in one.claims})
    ledger.replace(
        Replacement(0, key, one.claims, key in heads and heads[key].claims > 0)
        for key, one in current.items()
    )
    await ledger.flush()


class _Head(NamedTuple):
    """Of a resource that is here already: the sequence of its first version, how many claims it has, and what it contains."""

    first: int
    claims: int
    inside: Inside


async def _heads(connection: Connection, session: Session, keys: set[Key]) -> dict[Key, _Head]:
    by_type: dict[str, list[str]] = {}
    for type, id in keys:
        by_type.setdefault(type, []).append(id)
    found: dict[Key, Document] = {}
    for type, ids in by_type.items():
        cursor = connection.of_type(type).find(
            {"_id": {"$in": ids}}, {"c": 1, "h": 1, "i": 1}, session=session
        )
        found |= {(type, document["_id"]): document for document in await cursor.to_list()}
    inside = await known_inside(
        connection, session, {key: document.get("i", ()) for key, document in found.items()}
    )
    return {key: _Head(document["c"], document["h"], inside[key]) for key, document in found.items()}
