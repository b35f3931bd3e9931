"""Making the claims of resources anew, without a version, while servers work.

An invariant to keep: a resource that was written since it was looked at keeps the claims that its own write made.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.store.mongo.claims import Ledger, Replacement, claim_document
from fhir_server.store.mongo.connections import Connection, Session
from fhir_server.store.mongo.schema import SEQUENCE
from fhir_server.store.records import Claiming


async def reclaim(connection: Connection, session: Session, wanted: Sequence[Claiming], now: int) -> int:
    """Replace what differs; the number of resources whose claims were others."""
    # whoever writes meanwhile changes this too, so that one of the two begins again
    await connection.state.update_one({"_id": SEQUENCE}, {"$inc": {"reclaimed": 1}}, session=session)
    replacements = []
    for one in wanted:
        holder = (one.type, one.id)
        found = await connection.claims.find(
            {"type": one.type, "id": one.id}, {"_id": 0}, session=session
        ).to_list()
        present = {tuple(sorted(document.items())) for document in found}
        documents = [claim_document(holder, claim) for claim in one.claims]
        if present == {tuple(sorted(document.items())) for document in documents}:
            continue
        current = {"_id": one.id, "s": one.sequence, "d": False}
        noted = {"$set": {"h": len(one.claims)}}
        done = await connection.of_type(one.type).update_one(current, noted, session=session)
        if done.matched_count:
            replacements.append(Replacement(0, holder, one.claims, True))
    ledger = Ledger(connection, session, now)
    await ledger.look_up({claim.key for one in replacements for claim in one.claims})
    ledger.replace(replacements)
    await ledger.flush()
    return len(replacements)
