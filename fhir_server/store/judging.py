"""Whether the claims of a transaction fit beside those that are held (ARCHITECTURE.md, Claims): the one rule of the stores.

An invariant to keep: at no instant do the units of live claims on a key exceed the capacity that a claim written now
states, unless the resource held as much before; the transaction's own claims count before it is judged. Pure.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from fhir_server.store.protocol import ClaimRefused
from fhir_server.store.records import Claim

Holder = tuple[str, str]

# the extent of a claim that has no interval
ALWAYS = (-(2**80), 2**80)
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


@dataclass(frozen=True, slots=True)
class Held:
    """A live claim: who holds how much in [low, high); `op` is the position of the write that made it."""

    holder: Holder
    units: Decimal
    low: int
    high: int
    op: int = 0


def is_live(claim: Claim, now: int) -> bool:
    """Whether the claim counts at `now`, microseconds."""
    if claim.expires is not None and claim.expires <= now:
        return False
    return claim.interval is None or claim.interval[1] > now


def held_by(holder: Holder, claim: Claim, op: int = 0) -> Held:
    """The claim as it is held."""
    low, high = ALWAYS if claim.interval is None else claim.interval
    return Held(holder, claim.units, low, high, op)


class Replacing(Protocol):
    """The claims that a write leaves a resource with; `op` is its position in the transaction."""

    @property
    def op(self) -> int: ...

    @property
    def holder(self) -> Holder: ...

    @property
    def claims(self) -> tuple[Claim, ...]: ...


def judge(
    replacements: Sequence[Replacing],
    now: int,
    held_on: Callable[[str], Iterable[Held]],
) -> None:
    """Raise ClaimRefused when the claims of a transaction do not fit at `now`.

    `held_on` gives the live claims on a key as they are without the transaction.
    """
    leaving = {replacement.holder for replacement in replacements}
    claimed = [
        (claim, held_by(replacement.holder, claim, replacement.op))
        for replacement in replacements
        for claim in replacement.claims
        if is_live(claim, now)
    ]
    holding: dict[str, list[Held]] = {}
    before: dict[tuple[str, Holder], list[Held]] = {}
    for claim, _ in claimed:
        if claim.key not in holding:
            holding[claim.key] = []
            for held in sorted(held_on(claim.key), key=_extent):
                own = before.setdefault((claim.key, held.holder), []) if held.holder in leaving else None
                (holding[claim.key] if own is None else own).append(held)
    for claim, held in claimed:
        holding[claim.key].append(held)
    for claim, held in claimed:
        if not _kept(held, before.get((claim.key, held.holder), [])):
            _judge_one(claim, held, holding[claim.key])


def _extent(held: Held) -> tuple[int, int, Decimal]:
    return held.low, held.high, held.units


def _kept(claimed: Held, before: list[Held]) -> bool:
    """Whether the resource held as much already; what is kept so is taken out of `before`."""
    for held in before:
        if held.low <= claimed.low and claimed.high <= held.high and claimed.units <= held.units:
            before.remove(held)
            return True
    return False


def _judge_one(claim: Claim, claimed: Held, holding: Sequence[Held]) -> None:
    """Walk the instants of the claim's interval at which a claim begins, and sum what is held there."""
    beside = [held for held in holding if held.low < claimed.high and held.high > claimed.low]
    if _sum(beside) <= claim.capacity:
        return
    for instant in sorted({max(held.low, claimed.low) for held in beside}):
        there = [held for held in beside if held.low <= instant < held.high]
        if _sum(there) > claim.capacity:
            holders = dict.fromkeys(held.holder for held in there if held.holder != claimed.holder)
            raise ClaimRefused(claimed.op, claim.key, tuple(holders))


def _sum(held: Iterable[Held]) -> Decimal:
    total = Decimal(0)
    for one in held:
        total = _EXACT.add(total, one.units)
    return total
