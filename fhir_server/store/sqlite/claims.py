"""Claims in the file: replacing those of a resource and judging those of a transaction (ARCHITECTURE.md, Claims).

An invariant to keep: what is judged (`store.judging`) is what the transactions before have left.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec

from fhir_server.store.judging import ALWAYS, Held, held_by, is_live, judge
from fhir_server.store.records import Claim
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import Statement

_HELD = """
SELECT c.rid, r.id, n.text, c.units, c.lo, c.hi FROM claim c JOIN resource r ON r.rid=c.rid JOIN name n ON n.nid=r.type
WHERE c.key=?1 AND c.hi>?2 AND (c.expires IS NULL OR c.expires>?2)
UNION ALL
SELECT c.rid, r.id, n.text, c.units, c.lo, c.hi FROM claim c JOIN resource r ON r.rid=c.rid JOIN name n ON n.nid=r.type
WHERE c.key=?1 AND c.hi IS NULL AND (c.expires IS NULL OR c.expires>?2)
"""
# one walk along the index; the numbers come as one text, because a row for each costs more than all the rest
_LIVE = """
SELECT min(units), max(units), group_concat(lo), group_concat(hi) FROM claim
WHERE key=?1 AND hi>?2 AND lo<?3 AND (expires IS NULL OR expires>?4)
"""
_LIVE_ROWS = """
SELECT units, lo, hi FROM claim
WHERE key=?1 AND hi>?2 AND lo<?3 AND (expires IS NULL OR expires>?4) AND rid NOT IN (SELECT value FROM json_each(?5))
"""
_ALWAYS_LIVE = """
SELECT key, units FROM claim
WHERE key IN (SELECT value FROM json_each(?1)) AND hi IS NULL AND (expires IS NULL OR expires>?2)
AND rid NOT IN (SELECT value FROM json_each(?3))
"""
_RID = "SELECT rid FROM resource WHERE type=? AND id=?"
_INSERT = Statement("INSERT INTO claim(rid,n,key,units,capacity,lo,hi,expires) VALUES ", 8)
_DELETE = Statement("DELETE FROM claim WHERE rid IN (", 1, ")", tuples=False)


@dataclass(frozen=True, slots=True)
class Replacement:
    """The claims that a write leaves the resource with. `known`: it may have had claims before."""

    op: int
    rid: int
    holder: tuple[str, str]
    claims: tuple[Claim, ...]
    known: bool


class Ledger:
    """The claims as the transactions of a group leave them; what is not yet in the file is kept here."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._replaced: set[int] = set()
        self._added: dict[int, Replacement] = {}
        self._by_key: dict[str, set[int]] = {}

    def judge(self, replacements: Sequence[Replacement]) -> None:
        """Raise ClaimRefused when the claims of a transaction do not fit; changes nothing."""
        judge(replacements, self._now, self._held)

    def replace(self, replacements: Iterable[Replacement]) -> None:
        for replacement in replacements:
            before = self._added.pop(replacement.rid, None)
            if before is not None:
                for claim in before.claims:
                    self._by_key[claim.key].discard(replacement.rid)
            if replacement.known:
                self._replaced.add(replacement.rid)
            if replacement.claims:
                self._added[replacement.rid] = replacement
                for claim in replacement.claims:
                    self._by_key.setdefault(claim.key, set()).add(replacement.rid)

    def flush(self) -> None:
        """Bring the file up to date."""
        if self._replaced:
            _DELETE.run(self._connection, sorted(self._replaced))
        if self._added:
            flat: list[Any] = []
            for rid, replacement in self._added.items():
                for n, claim in enumerate(replacement.claims):
                    flat += claim_row(rid, n, claim)
            _INSERT.run(self._connection, flat)
        self._replaced = set()
        self._added = {}
        self._by_key = {}

    def _held(self, key: str) -> list[Held]:
        now = self._now
        found = [
            Held((type_name, id), Decimal(units), *(ALWAYS if low is None else (low, high)))
            for rid, id, type_name, units, low, high in self._connection.execute(_HELD, (key, now)).fetchall()
            if rid not in self._replaced
        ]
        for rid in self._by_key.get(key, ()):
            kept = self._added[rid]
            found += [
                held_by(kept.holder, claim)
                for claim in kept.claims
                if claim.key == key and is_live(claim, now)
            ]
        return found


def live_claims(
    connection: sqlite3.Connection,
    names: Names,
    keys: Collection[str],
    interval: tuple[int, int],
    now: int,
    without: Collection[tuple[str, str]] = (),
) -> dict[str, list[tuple[Decimal, int, int]]]:
    """What `Store.claims` promises."""
    low, high = max(interval[0], now), interval[1]
    rids = [
        row[0]
        for type_name, id in without
        for row in connection.execute(_RID, (names.number(type_name), id)).fetchall()
    ]
    left_out = json.dumps(rids)
    always: dict[str, list[tuple[Decimal, int, int]]] = {}
    if low < high:
        for key, units in connection.execute(_ALWAYS_LIVE, (json.dumps(list(keys)), now, left_out)):
            always.setdefault(key, []).append((Decimal(units), low, high))
    found: dict[str, list[tuple[Decimal, int, int]]] = {}
    for key in keys:
        live = None if rids else _alike(connection, (key, low, high, now))
        if live is None:
            rows = connection.execute(_LIVE_ROWS, (key, low, high, now, left_out)).fetchall()
            live = [(Decimal(units), begin, end) for units, begin, end in rows]
        found[key] = live + always[key] if key in always else live
    return found


def _alike(
    connection: sqlite3.Connection, asked: tuple[str, int, int, int]
) -> list[tuple[Decimal, int, int]] | None:
    """The live claims on a key when all are of as many units; None when they are not."""
    least, most, lows, highs = connection.execute(_LIVE, asked).fetchone()
    if least is None:
        return []
    if least != most:
        return None
    return _spans(least, lows, highs)


# what is held of somebody's time mostly is what it was a moment ago
@lru_cache(256)
def _spans(units: str, lows: str, highs: str) -> list[tuple[Decimal, int, int]]:
    begins, ends = (msgspec.json.decode(f"[{numbers}]", type=list[int]) for numbers in (lows, highs))
    return list(zip(repeat(Decimal(units)), begins, ends))


def claim_row(rid: int, n: int, claim: Claim) -> tuple[Any, ...]:
    low, high = claim.interval if claim.interval is not None else (None, None)
    return (rid, n, claim.key, str(claim.units), str(claim.capacity), low, high, claim.expires)
