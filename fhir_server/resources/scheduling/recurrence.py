"""Days by a recurrence rule, and public holidays. https://www.rfc-editor.org/rfc/rfc5545#section-3.3.10

A rule gives days; the hours on them are wall times of the schedule's zone, so they stay the same over changes of the
clock. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

from dateutil.rrule import DAILY, rrule, rrulestr

_UNTIL = re.compile(r"(UNTIL=\d{8})T\d{6}Z?")
_TIMES = re.compile(r"\n|DTSTART|BYHOUR|BYMINUTE|BYSECOND")


@dataclass(frozen=True, slots=True)
class Recurrence:
    """On each day of an RRULE (`FREQ=WEEKLY;INTERVAL=2;BYDAY=MO`) from `first` on, but for `excepted`, from low to high.

    `low` and `high` are microseconds after midnight, `high` beyond 24 hours for a night.
    """

    rule: str
    first: date
    low: int
    high: int
    excepted: tuple[date, ...] = ()


def check_recurrence(recurrence: Recurrence) -> None:
    """Raise ValueError for a rule that gives no days."""
    if _rule(recurrence).__dict__["_freq"] > DAILY:
        raise ValueError("FREQ is YEARLY, MONTHLY, WEEKLY or DAILY")


def recurring_days(recurrence: Recurrence, low: date, high: date) -> list[date]:
    """The days from `low` to `high`, both included."""
    found = _rule(recurrence).between(_at_midnight(low), _at_midnight(high), inc=True)
    return [day for moment in found if (day := moment.date()) not in recurrence.excepted]


@lru_cache(256)
def _rule(recurrence: Recurrence) -> rrule:
    text = recurrence.rule.upper()
    if _TIMES.search(text):
        raise ValueError("a rule of days has no times")
    # RFC 5545 lets UNTIL be an instant; here a rule gives days, so its day counts
    made = rrulestr(_UNTIL.sub(r"\1", text), dtstart=_at_midnight(recurrence.first))
    assert isinstance(made, rrule)
    return made


def _at_midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


@lru_cache(128)
def public_holidays(code: str, year: int) -> frozenset[date]:
    """The public holidays of a country (`DE`) or a part of it (`DE-BE`). Raises ValueError for a code that is not known."""
    # two megabytes of tables, wanted only where a schedule observes holidays
    import holidays

    country, _, part = code.partition("-")
    try:
        return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))
    except (NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"{code[:20]!r} is no country or part of one whose public holidays are known"
        ) from error
