"""Which bed suits whom: all beds of some wards, the best first, and what stands against the others. Pure.

The rules are those that an admission is judged by (`resources.beds.wards`), so a bed that is found can be had as long as
nobody else takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fhir_r4.temporal import OPEN_HIGH
from fhir_server.operations.beds.board import Board
from fhir_server.resources.beds.places import in_use, kind_of, status_of
from fhir_server.resources.beds.wards import Needs, Room, Rules, Situation, Violation, violations

FULL = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for: a bed for `needs` from one instant until another (microseconds; None: without end).

    `stay` is the Encounter that it is for, whose own reservations are not in its way. Wards in the order of preference.
    """

    needs: Needs
    wards: tuple[str, ...] = ()
    start: int = 0
    end: int | None = None
    stay: str | None = None
    kind: str = "bed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bed as it suits: `score` of FULL, or the reasons why it does not."""

    bed: str
    score: int
    reasons: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()


def candidates(board: Board, wish: Wish, now: int, today: date) -> list[Candidate]:
    """Every bed of the wards, those that suit first, the best of them first."""
    seen: dict[str, int] = {}
    for rank, ward in enumerate(wish.wards or (None,)):
        for bed in board.beds(ward):
            seen.setdefault(bed, rank)
    found = [
        _judged(board, bed, rank, wish, now, today) for bed, rank in seen.items() if _counts(board, bed, wish)
    ]
    return sorted(found, key=lambda c: (bool(c.reasons), -c.score))


def _counts(board: Board, bed: str, wish: Wish) -> bool:
    return kind_of(board.locations[bed]) == wish.kind


def _judged(board: Board, bed: str, rank: int, wish: Wish, now: int, today: date) -> Candidate:
    location = board.locations[bed]
    occupied = _occupied(board, bed, wish, now)
    if occupied is not None:
        return Candidate(bed, 0, (occupied,))
    rules, room = board.rules(bed), board.room(bed, wish.stay)
    later = wish.start > now
    code = "U" if later else status_of(location) or "U"
    reasons = list(violations(wish.needs, Situation(code, rules, room), today))
    if not in_use(location):
        reasons.append(Violation("bed-closed", f"The bed is {location['status']}."))
    reasons += _reserved(board, bed, wish, now)
    if reasons:
        return Candidate(bed, 0, tuple(reasons))
    score, notes = _score(board, bed, rank, wish, rules, room, now)
    return Candidate(bed, score, notes=notes)


def _occupied(board: Board, bed: str, wish: Wish, now: int) -> Violation | None:
    lying = board.lying(bed)
    if lying is None or lying.id == wish.stay:
        return None
    if wish.start > now and lying.leaves is not None and lying.leaves <= wish.start:
        return None
    return Violation("bed-occupied", f"The bed is occupied by Encounter/{lying.id}.", lying.id)


def _reserved(board: Board, bed: str, wish: Wish, now: int) -> list[Violation]:
    end = OPEN_HIGH if wish.end is None else wish.end
    for stay, place in board.reserved(bed, now):
        low, high = place.interval
        if stay.id != wish.stay and low < end and high > wish.start:
            return [Violation("bed-reserved", f"The bed is reserved for Encounter/{stay.id}.", stay.id)]
    return []


def anonymous(reason: Violation) -> Violation:
    """The reason without the stay that it names."""
    return Violation(reason.rule, f"The bed is {reason.rule.removeprefix('bed-')}.")


def _score(
    board: Board, bed: str, rank: int, wish: Wish, rules: Rules, room: Room, now: int
) -> tuple[int, tuple[str, ...]]:
    score, notes = FULL, []

    def less(points: int, why: str) -> None:
        nonlocal score
        score -= points
        notes.append(why)

    if rank:
        less(min(30, 10 * rank), "not the first ward that was asked for")
    if room.beds == 1 and not wish.needs.isolation:
        less(15, "a single room is not needed")
    if room.beds > 1 and not room.others:
        less(8, "the room is empty and could take patients of either gender")
    if rules.equipment - wish.needs.equipment:
        less(12, "its equipment is not needed")
    if wish.needs.specialty and rules.specialty is None:
        less(5, "the ward is of no specialty")
    if board.reserved(bed, now):
        less(5, "reserved for later")
    return max(score, 1), tuple(notes)


def best(found: Sequence[Candidate]) -> str | None:
    """The best bed that suits."""
    return next((c.bed for c in found if not c.reasons), None)


def why_none(found: Sequence[Candidate]) -> str:
    """How many beds are out of the question for which rule."""
    tally: dict[str, int] = {}
    for candidate in found:
        for rule in dict.fromkeys(v.rule for v in candidate.reasons):
            tally[rule] = tally.get(rule, 0) + 1
    told = ", ".join(f"{count} {rule}" for rule, count in sorted(tally.items(), key=lambda i: -i[1]))
    return f"No bed suits: of {len(found)} beds {told}." if found else "There are no beds."
