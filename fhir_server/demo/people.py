"""The 200 patients as persons: who they are and what they live with. Their records are made from this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from fhir_server.demo.names import pick_culture, pick_name
from fhir_server.demo.vocabulary import CHRONIC, Problem

PATIENTS = 200
# lowest age, highest age, out of a hundred
AGES = ((0, 15, 19), (16, 39, 20), (40, 64, 27), (65, 96, 34))


@dataclass(frozen=True, slots=True)
class Person:
    """`chronic` are long-lasting problems with the day they began; `height` in cm and `weight` in kg are of today."""

    number: int
    gender: str
    culture: str
    family: str
    given: tuple[str, ...]
    birth: date
    chronic: tuple[tuple[Problem, date], ...]
    height: int
    weight: int

    @property
    def id(self) -> str:
        return f"pat-{self.number:04d}"

    @property
    def name(self) -> str:
        return f"{' '.join(self.given)} {self.family}"

    def age(self, day: date) -> int:
        """Full years on `day`."""
        return day.year - self.birth.year - ((day.month, day.day) < (self.birth.month, self.birth.day))


def chance_of(seed: int, *about: object) -> Random:
    """A source of chance of its own for each purpose, so that a change of one part leaves the others as they are."""
    return Random(":".join(map(str, (seed, *about))))


def people(seed: int, anchor: date) -> Iterator[Person]:
    """Everybody, with the ages that they have on `anchor`."""
    for number in range(1, PATIENTS + 1):
        yield _person(chance_of(seed, "person", number), number, anchor)


def _person(chance: Random, number: int, anchor: date) -> Person:
    gender = chance.choices(("female", "male", "other", "unknown"), (100, 96, 2, 1))[0]
    culture = pick_culture(chance)
    family, given = pick_name(chance, culture, gender)
    low, high, _ = chance.choices(AGES, [share for _, _, share in AGES])[0]
    birth = anchor - timedelta(days=chance.randint(low * 365 + 40, high * 365 + 300))
    years = (anchor - birth).days // 365
    adult = years >= 16
    return Person(
        number=number,
        gender=gender,
        culture=culture,
        family=family,
        given=tuple(given),
        birth=birth,
        chronic=tuple(_chronic(chance, years, anchor)),
        height=chance.randint(154, 188) if adult else 68 + 6 * years + chance.randint(-3, 3),
        weight=chance.randint(50, 98) if adult else 8 + 3 * years + chance.randint(-1, 2),
    )


def _chronic(chance: Random, years: int, anchor: date) -> Iterator[tuple[Problem, date]]:
    fit = [p for p in CHRONIC if p.ages[0] < years <= p.ages[1]]
    wanted = chance.randint(0, 3 if years > 60 else 2 if years > 40 else 1)
    for problem in chance.sample(fit, min(wanted, len(fit))):
        had = min(12 * 365, (years - problem.ages[0]) * 365)
        yield problem, anchor - timedelta(days=chance.randint(min(400, had), had))
