"""The starts that nobody has taken of the Schedules that were asked about before, kept for the next question.

Between two questions mostly one booking is made: all other Schedules are as they were. An invariant to keep: what is given is
what `untaken_runs` would give for the claims that were read for this very question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fhir_server.operations.scheduling.bookable import Bookable
from fhir_server.resources.scheduling.availability import Held, untaken_runs
from fhir_server.resources.scheduling.intervals import Interval

MOST_KEPT = 512

Claims = Sequence[Sequence[Held]]


@dataclass(frozen=True, slots=True)
class _Kept:
    bookable: Bookable
    claims: Claims
    runs: tuple[Sequence[int], ...]


class Untaken:
    """What was found last for a Schedule, a time and a length, with what it was found of."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str | None, Interval, int], _Kept] = {}

    def runs(
        self, bookable: Bookable, service: str | None, period: Interval, duration: int, claims: Claims
    ) -> tuple[Sequence[int], ...]:
        """`untaken_runs` for the Schedule, with its rules for a service."""
        key = bookable.reference, service, period, duration
        kept = self._kept.get(key)
        # lists of claims that are the same objects are compared without looking into them
        if kept is not None and kept.bookable is bookable and kept.claims == claims:
            return kept.runs
        runs = tuple(untaken_runs(bookable.rules, period, duration, claims))
        self._kept.pop(key, None)
        while len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(bookable, claims, runs)
        return runs
