"""Claims in the database: replacing those of a resource and judging those of a transaction (ARCHITECTURE.md, Claims).

An invariant to keep: what is judged (`store.judging`) is what the transactions before have left. Units are kept
as text, which is exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pymongo import InsertOne, UpdateOne

from fhir_server.store.judging import ALWAYS, Held, Holder, held_by, is_live, judge
from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.entries import bounded
from fhir_server.store.records import Claim


@dataclass(frozen=True, slots=True)
class Replacement:
    """The claims that a write leaves the resource with. `known`: the database may have claims of it."""

    op: int
    holder: Holder
    claims: tuple[Claim, ...]
    known: bool


class Ledger:
    """The claims on the keys that a group of transactions is about, as the transactions before leave them."""

    def __init__(self, connection: Connection, session: Session, now: int) -> None:
        self._connection = connection
        self._session = session
        self._now = now
        self._held: dict[str, list[Held]] = {}
        self._keys_of: dict[Holder, set[str]] = {}
        self._replaced: set[Holder] = set()
        self._added: dict[Holder, Replacement] = {}
        self._written: set[Holder] = set()

    async def look_up(self, keys: Collection[str]) -> None:
        """Read the live claims on keys that transactions will ask for."""
        missing = [key for key in keys if key not in self._held]
        if not missing:
            return
        self._held.update((key, []) for key in missing)
        found = await self._connection.claims.find(
            live(missing, self._now, self._now), session=self._session
        ).to_list()
        for document in found:
            low, high = ALWAYS if document["low"] is None else (document["low"], document["high"])
            holder = (document["type"], document["id"])
            self._hold(document["key"], Held(holder, Decimal(document["units"]), low, high))

    def _hold(self, key: str, held: Held) -> None:
        self._held[key].append(held)
        self._keys_of.setdefault(held.holder, set()).add(key)

    def judge(self, replacements: Sequence[Replacement]) -> None:
        """Raise ClaimRefused when the claims of a transaction do not fit; changes nothing."""
        judge(replacements, self._now, self._held.__getitem__)

    def replace(self, replacements: Iterable[Replacement]) -> None:
        for replacement in replacements:
            holder = replacement.holder
            for key in self._keys_of.pop(holder, ()):
                self._held[key] = [held for held in self._held[key] if held.holder != holder]
            for claim in replacement.claims:
                if is_live(claim, self._now):
                    self._hold(claim.key, held_by(holder, claim, replacement.op))
            if replacement.known or holder in self._written:
                self._replaced.add(holder)
            if replacement.claims:
                self._added[holder] = replacement
            else:
                self._added.pop(holder, None)

    async def flush(self) -> None:
        """Bring the database up to date.

        The document of each key that is claimed changes, in the order of the keys: whoever else claims one of them
        meanwhile cannot commit.
        """
        if self._replaced:
            holders = [{"type": type, "id": id} for type, id in sorted(self._replaced)]
            await self._connection.claims.delete_many({"$or": holders}, session=self._session)
        documents = [
            claim_document(holder, claim)
            for holder, replacement in self._added.items()
            for claim in replacement.claims
        ]
        if documents:
            heads = [
                UpdateOne({"_id": key}, {"$inc": {"n": 1}}, upsert=True)
                for key in sorted({document["key"] for document in documents})
            ]
            await self._connection.heads.bulk_write(heads, session=self._session)
            inserts = [InsertOne(document) for document in documents]
            await self._connection.claims.bulk_write(inserts, session=self._session)
        self._written.update(self._added)
        self._replaced = set()
        self._added = {}


def live(keys: Collection[str], now: int, after: int) -> Document:
    """What holds for the claims on `keys` that are live at `now` and end later than `after`; both ways are by index."""
    lasting = {"key": {"$in": list(keys)}, "expires": {"$not": {"$lte": now}}}
    return {"$or": [{**lasting, "high": {"$gt": bounded(after)}}, {**lasting, "high": None}]}


async def live_claims(
    connection: Connection,
    session: Session,
    keys: Collection[str],
    interval: tuple[int, int],
    now: int,
    without: Collection[Holder] = (),
) -> dict[str, list[tuple[Decimal, int, int]]]:
    """What `Store.claims` promises."""
    low, high = max(interval[0], now), interval[1]
    found: dict[str, list[tuple[Decimal, int, int]]] = {key: [] for key in keys}
    holders = set(without)
    async for document in connection.claims.find(live(found, now, low), {"_id": 0}, session=session):
        if (document["type"], document["id"]) in holders:
            continue
        begin, end = (low, high) if document["low"] is None else (document["low"], document["high"])
        if begin < high and end > low:
            found[document["key"]].append((Decimal(document["units"]), int(begin), int(end)))
    return found


def claim_document(holder: Holder, claim: Claim) -> Document:
    low, high = claim.interval if claim.interval is not None else (None, None)
    return {
        "key": claim.key,
        "type": holder[0],
        "id": holder[1],
        "units": str(claim.units),
        "capacity": str(claim.capacity),
        "low": low,
        "high": high,
        "expires": claim.expires,
    }
