"""Who pays what of an invoice: the coverages in their order, and the patient.

A coverage takes what is left of each line and applies, in this order, what it excludes, the deductible, the co-pay, the
co-insurance, the patient's yearly maximum, and the limits of what it pays; the next coverage sees what is left then. Pure.
An invariant to keep: of every line, the parts of a coverage add up to what it was asked for, and the patient's share is the
total without the payers' shares, never a figure of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from fhir_server.resources.billing.money import ZERO, Rounding, rounded, spread


@dataclass(frozen=True, slots=True)
class Benefit:
    """What a plan says of a kind of service.

    `copay` is taken once of all lines of the benefit, `percent` (0 to 100) is the patient's part of what is left then, `limit` what
    the plan still pays of this kind; None without a limit.
    """

    name: str
    copay: Decimal = ZERO
    percent: Decimal = ZERO
    limit: Decimal | None = None
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What a coverage says of the lines of an invoice, `benefits` in their order.

    `deductible` is what the patient has yet to bear before the plan pays, `most_of_patient` how much more of deductible, co-pay and
    co-insurance the patient bears this year, `most_of_payer` how much more the plan pays this year; None without a limit.
    """

    benefits: tuple[Benefit, ...]
    deductible: Decimal = ZERO
    most_of_patient: Decimal | None = None
    most_of_payer: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a coverage says of one line: `asked` is the sum of all other members."""

    asked: Decimal
    excluded: Decimal = ZERO
    deductible: Decimal = ZERO
    copay: Decimal = ZERO
    coinsurance: Decimal = ZERO
    beyond_limit: Decimal = ZERO
    paid: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Shares:
    """The parts of each coverage by line, in the order of both, and what is left to the patient of each line."""

    parts: tuple[tuple[Part, ...], ...]
    patient: tuple[Decimal, ...]

    @property
    def payers(self) -> tuple[Decimal, ...]:
        """What each coverage pays."""
        return tuple(sum((part.paid for part in parts), ZERO) for parts in self.parts)


def shares(amounts: Sequence[Decimal], coverages: Iterable[Terms], digits: int, mode: Rounding) -> Shares:
    """Share the amounts of the lines between the coverages and the patient; `digits` digits, rounded by `mode`.

    The amounts have `digits` digits at the most and none is below zero. Raises ValueError.
    """
    if any(amount < 0 or amount != rounded(amount, digits, mode) for amount in amounts):
        raise ValueError("amounts to share are whole units of the currency and not below zero")
    left = list(amounts)
    found = []
    for terms in coverages:
        parts = _of_coverage(left, terms, digits, mode)
        found.append(parts)
        left = [amount - part.paid for amount, part in zip(left, parts, strict=True)]
    return Shares(tuple(found), tuple(left))


def _of_coverage(asked: Sequence[Decimal], terms: Terms, digits: int, mode: Rounding) -> tuple[Part, ...]:
    benefits = terms.benefits
    excluded = [a if b.excluded else ZERO for a, b in zip(asked, benefits, strict=True)]
    rest = _less(asked, excluded)
    deductible = _in_turn(terms.deductible, rest)
    rest = _less(rest, deductible)
    copay = [ZERO] * len(rest)
    for lines in _by_benefit(benefits).values():
        for line, taken in zip(
            lines, _in_turn(benefits[lines[0]].copay, [rest[n] for n in lines]), strict=True
        ):
            copay[line] = taken
    rest = _less(rest, copay)
    coinsurance = _coinsurance(rest, benefits, digits, mode)
    if terms.most_of_patient is not None:
        borne = (coinsurance, copay, deductible)
        coinsurance, copay, deductible = _relieved(borne, terms.most_of_patient, digits)
    bearing = [sum(b, ZERO) for b in zip(excluded, deductible, copay, coinsurance, strict=True)]
    paid = _less(asked, bearing)
    kept = _limited(paid, terms, digits)
    beyond = _less(paid, kept)
    return tuple(
        Part(*parts)
        for parts in zip(asked, excluded, deductible, copay, coinsurance, beyond, kept, strict=True)
    )


def _less(amounts: Sequence[Decimal], others: Sequence[Decimal]) -> list[Decimal]:
    return [amount - other for amount, other in zip(amounts, others, strict=True)]


def _in_turn(amount: Decimal, lines: Sequence[Decimal]) -> list[Decimal]:
    """What each line bears of an amount when the first bears all it can, then the next."""
    taken = []
    for line in lines:
        part = min(amount, line)
        taken.append(part)
        amount -= part
    return taken


def _by_benefit(benefits: Sequence[Benefit]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line, benefit in enumerate(benefits):
        found.setdefault(benefit.name, []).append(line)
    return found


def _coinsurance(
    rest: Sequence[Decimal], benefits: Sequence[Benefit], digits: int, mode: Rounding
) -> list[Decimal]:
    """The patient's part by percent: the payer's part of a benefit is rounded once and spread over its lines."""
    borne = [ZERO] * len(rest)
    for lines in _by_benefit(benefits).values():
        amounts = [rest[n] for n in lines]
        part_of_payer = (100 - Fraction(benefits[lines[0]].percent)) / 100
        payer = rounded(Fraction(sum(amounts, ZERO)) * part_of_payer, digits, mode)
        for line, amount, part in zip(lines, amounts, spread(payer, amounts, digits), strict=True):
            borne[line] = amount - part
    return borne


def _relieved(
    borne: tuple[list[Decimal], ...], most: Decimal, digits: int
) -> tuple[list[Decimal], list[Decimal], list[Decimal]]:
    """What the patient bears with a maximum: what comes first is relieved first."""
    beyond = max(sum((sum(b, ZERO) for b in borne), ZERO) - max(most, ZERO), ZERO)
    kept = []
    for amounts in borne:
        total = sum(amounts, ZERO)
        relief = min(beyond, total)
        kept.append(spread(total - relief, amounts, digits))
        beyond -= relief
    first, second, third = kept
    return list(first), list(second), list(third)


def _limited(paid: Sequence[Decimal], terms: Terms, digits: int) -> list[Decimal]:
    """What a plan pays within the limits of its benefits and its own."""
    kept = list(paid)
    for lines in _by_benefit(terms.benefits).values():
        limit = terms.benefits[lines[0]].limit
        amounts = [kept[n] for n in lines]
        if limit is not None and sum(amounts, ZERO) > limit:
            for line, part in zip(lines, spread(max(limit, ZERO), amounts, digits), strict=True):
                kept[line] = part
    most = terms.most_of_payer
    if most is not None and sum(kept, ZERO) > most:
        return list(spread(max(most, ZERO), kept, digits))
    return kept
