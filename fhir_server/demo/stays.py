"""Who lay, or lies, in which bed and when.

Invariants to keep: a bed has one patient at a time and a patient one bed; a room has people of one gender at a time; the
dead have no later stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random

from fhir_server.demo.elements import later, local
from fhir_server.demo.house import WARDS, Ward
from fhir_server.demo.people import Person, chance_of
from fhir_server.demo.vocabulary import ADMISSIONS, Problem

LIVE = {1: 11, 2: 9, 3: 8, 4: 6, 5: 6}
PAST = 70
DEATHS = 5


@dataclass(frozen=True, slots=True)
class Move:
    """A time in one bed; `end` is None while the patient is in it."""

    bed: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Stay:
    person: Person
    ward: Ward
    problem: Problem
    moves: tuple[Move, ...]
    died: bool = False

    @property
    def start(self) -> datetime:
        return self.moves[0].start

    @property
    def end(self) -> datetime | None:
        return self.moves[-1].end


class _Beds:
    """The calendar of all beds."""

    def __init__(self) -> None:
        self.rooms = {bed: room for ward in WARDS for room, bed in ward.beds()}
        self.taken: list[tuple[str, str, datetime, datetime]] = []

    def take(self, chance: Random, ward: Ward, gender: str, start: datetime, end: datetime) -> str | None:
        """A bed of `ward` that is free all the time, in a room that suits; None when there is none."""
        at_once = [t for t in self.taken if t[2] < end and start < t[3]]
        full = {bed for bed, _, _, _ in at_once}
        unfit = {self.rooms[bed] for bed, other, _, _ in at_once if other != gender}
        fit = [bed for room, bed in ward.beds() if bed not in full and room not in unfit]
        if not fit:
            return None
        bed = chance.choice(fit)
        self.taken.append((bed, gender, start, end))
        return bed


def plan_stays(seed: int, people: Sequence[Person], anchor: date) -> tuple[Stay, ...]:
    """All stays, those of today first. A stay that goes on is in its bed at noon of `anchor`."""
    chance = chance_of(seed, "stays")
    order = list(people)
    chance.shuffle(order)
    beds = _Beds()
    live = list(_live(chance, order, anchor, beds))
    past = list(_past(chance, order, anchor, beds, {s.person.id: s.start for s in live}))
    return (*live, *past)


def _problem(chance: Random, ward: Ward, years: int) -> Problem | None:
    fit = [p for p in ADMISSIONS[ward.department] if p.ages[0] <= years <= p.ages[1]]
    return chance.choice(fit) if fit else None


def _live(chance: Random, order: Sequence[Person], anchor: date, beds: _Beds) -> Iterator[Stay]:
    forever = local(anchor + timedelta(days=365), 0)
    admitted: set[str] = set()
    for ward in WARDS:
        count = 0
        for person in order:
            if count == LIVE[ward.number]:
                break
            problem = _problem(chance, ward, person.age(anchor))
            if problem is None or person.id in admitted:
                continue
            days = min(chance.randint(1, 9), (anchor - person.birth).days - 10)
            start = local(
                anchor - timedelta(days=days), chance.randint(7, 20), chance.choice((0, 15, 30, 45))
            )
            bed = beds.take(chance, ward, person.gender, start, forever)
            if bed is None:
                continue
            admitted.add(person.id)
            count += 1
            moves = _moves(chance, beds, person, ward, Move(bed, start, None), local(anchor, 10))
            yield Stay(person, ward, problem, moves)


def _moves(
    chance: Random, beds: _Beds, person: Person, ward: Ward, move: Move, limit: datetime
) -> tuple[Move, ...]:
    """One bed for all the time or, for some, intensive care first; they come to the ward before `limit`."""
    changed = later(move.start, hours=chance.randint(20, 44))
    if ward.number > 3 or chance.random() > 0.2 or changed >= limit:
        return (move,)
    first = beds.take(chance, WARDS[-1], person.gender, move.start, changed)
    if first is None:
        return (move,)
    return Move(first, move.start, changed), Move(move.bed, changed, move.end)


def _past(
    chance: Random, order: Sequence[Person], anchor: date, beds: _Beds, live: dict[str, datetime]
) -> Iterator[Stay]:
    deaths = 0
    for person in order[-PAST:]:
        last = live.get(person.id, local(anchor, 0))
        day = last.date() - timedelta(days=chance.randint(20, 540))
        ward = WARDS[3] if person.age(day) < 16 else chance.choice((*WARDS[:3], WARDS[0], WARDS[1]))
        problem = _problem(chance, ward, person.age(day))
        if problem is None or (day - person.birth).days < 30:
            continue
        start = local(day, chance.randint(7, 20), chance.choice((0, 20, 40)))
        end = local(day + timedelta(days=chance.randint(2, 9)), chance.randint(9, 15), chance.choice((0, 30)))
        bed = beds.take(chance, ward, person.gender, start, end)
        if bed is None:
            continue
        died = deaths < DEATHS and person.id not in live and person.age(day) > 66
        deaths += died
        moves = _moves(chance, beds, person, ward, Move(bed, start, end), end)
        yield Stay(person, ward, problem, moves, died)


def bed_status(seed: int, stays: Sequence[Stay]) -> dict[str, str]:
    """The operational status of today of every bed that is not simply unoccupied."""
    occupied = {s.moves[-1].bed for s in stays if s.end is None}
    free = [bed for ward in WARDS for _, bed in ward.beds() if bed not in occupied]
    others = chance_of(seed, "beds").sample(free, 8)
    return dict.fromkeys(occupied, "O") | dict(zip(others, "CCHHHKII", strict=True))
