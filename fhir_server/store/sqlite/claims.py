"""Claims in the file: replacing those of a resource and judging those of a transaction (ARCHITECTURE.md, Claims).

An invariant to keep: at no instant do the units of live claims on a key exceed the capacity that a claim written now
states; the transaction's own replacements count before it is judged.
"""

from __future__ import annotations

import decimal
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_server.store.protocol import ClaimRefused
from fhir_server.store.records import Claim
from fhir_server.store.sqlite.rows import Statement

_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_ALWAYS = (-(2**80), 2**80)

_HELD = """
SELECT c.rid, r.id, n.text, c.units, c.lo, c.hi FROM claim c JOIN resource r ON r.rid=c.rid JOIN name n ON n.nid=r.type
WHERE c.key=? AND (c.expires IS NULL OR c.expires>?) AND (c.hi IS NULL OR c.hi>?)
"""
_INSERT = Statement("INSERT INTO claim(rid,n,key,units,capacity,lo,hi,expires) VALUES ", 8)
_DELETE = Statement("DELETE FROM claim WHERE rid IN (", 1, ")", tuples=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A live claim: who holds how much in [low, high); `op` is the position of the write that made it."""

    rid: int
    holder: tuple[str, str]
    units: Decimal
    low: int
    high: int
    op: int = 0


@dataclass(frozen=True, slots=True)
class Replacement:
    """The claims that a write leaves the resource with. `known`: it may have had claims before."""

    op: int
    rid: int
    holder: tuple[str, str]
    claims: tuple[Claim, ...]
    known: bool


def is_live(claim: Claim, now: int) -> bool:
    if claim.expires is not None and claim.expires <= now:
        return False
    return claim.interval is None or claim.interval[1] > now


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
        leaving = {replacement.rid for replacement in replacements}
        claimed = [
            (claim, _held(replacement, claim))
            for replacement in replacements
            for claim in replacement.claims
            if is_live(claim, self._now)
        ]
        holding: dict[str, list[Held]] = {}
        for claim, _ in claimed:
            if claim.key not in holding:
                holding[claim.key] = [held for held in self._held(claim.key) if held.rid not in leaving]
        for claim, held in claimed:
            holding[claim.key].append(held)
        for claim, held in claimed:
            _judge_one(claim, held, holding[claim.key])

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
            Held(rid, (type_name, id), Decimal(units), *(_ALWAYS if low is None else (low, high)))
            for rid, id, type_name, units, low, high in self._connection.execute(
                _HELD, (key, now, now)
            ).fetchall()
            if rid not in self._replaced
        ]
        for rid in self._by_key.get(key, ()):
            kept = self._added[rid]
            found += [_held(kept, claim) for claim in kept.claims if claim.key == key and is_live(claim, now)]
        return found


def claim_row(rid: int, n: int, claim: Claim) -> tuple[Any, ...]:
    low, high = claim.interval if claim.interval is not None else (None, None)
    return (rid, n, claim.key, str(claim.units), str(claim.capacity), low, high, claim.expires)


def _held(replacement: Replacement, claim: Claim) -> Held:
    low, high = _ALWAYS if claim.interval is None else claim.interval
    return Held(replacement.rid, replacement.holder, claim.units, low, high, replacement.op)


def _judge_one(claim: Claim, claimed: Held, holding: Sequence[Held]) -> None:
    """Walk the instants of the claim's interval at which a claim begins, and sum what is held there."""
    beside = [held for held in holding if held.low < claimed.high and held.high > claimed.low]
    if _sum(beside) <= claim.capacity:
        return
    for instant in sorted({max(held.low, claimed.low) for held in beside}):
        there = [held for held in beside if held.low <= instant < held.high]
        if _sum(there) > claim.capacity:
            holders = dict.fromkeys(held.holder for held in there if held.rid != claimed.rid)
            raise ClaimRefused(claimed.op, claim.key, tuple(holders))


def _sum(held: Iterable[Held]) -> Decimal:
    total = Decimal(0)
    for one in held:
        total = _EXACT.add(total, one.units)
    return total
