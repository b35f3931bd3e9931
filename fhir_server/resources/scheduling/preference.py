"""The times that somebody likes, as a Timing says them. https://hl7.org/fhir/R4/datatypes.html#Timing. Pure.

Understood are days of the week, times of day, the events MORN, AFT, EVE and NIGHT with their kin, and bounds as a Period.
What else a Timing can say is refused, because an answer that passed over it would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fhir_r4.errors import NotSupported
from fhir_r4.temporal import DAY, HOUR, MINUTE, parse_time, period_interval
from fhir_server.resources.scheduling.grid import calendar
from fhir_server.resources.scheduling.hours import DAYS, Hours, Opening, Weekly
from fhir_server.resources.scheduling.intervals import Interval, intersection
from fhir_server.resources.scheduling.rules import ScheduleRules

_KNOWN = frozenset({"boundsPeriod", "dayOfWeek", "timeOfDay", "when"})
# from when to when, in hours
_EVENTS: Mapping[str, Interval] = {
    "MORN": (6, 12),
    "MORN.early": (6, 9),
    "MORN.late": (9, 12),
    "NOON": (12, 13),
    "AFT": (12, 18),
    "AFT.early": (12, 15),
    "AFT.late": (15, 18),
    "EVE": (18, 22),
    "EVE.early": (18, 20),
    "EVE.late": (20, 22),
    "NIGHT": (22, 30),
}


def preferred_starts(timing: Mapping[str, Any], rules: ScheduleRules, period: Interval) -> list[Interval]:
    """The starts within `period` that a Timing likes, in the zone of the rules. Raises NotSupported."""
    if "event" in timing or not timing.get("repeat"):
        raise NotSupported("timing is taken with repeat: dayOfWeek, timeOfDay, when, boundsPeriod.", "timing")
    repeat = timing["repeat"]
    other = sorted(set(repeat) - _KNOWN)
    if other:
        raise NotSupported(
            f"timing.repeat.{other[0]} is not taken; {', '.join(sorted(_KNOWN))} are.", "timing"
        )
    bounds = repeat.get("boundsPeriod", {})
    liked = [period_interval(bounds.get("start"), bounds.get("end"), rules.zone)]
    opening = Opening(tuple(_weekly(repeat)))
    hours = calendar(replace(rules, hours=Hours((opening,))), *period).open
    return intersection(hours, liked)


def _weekly(repeat: Mapping[str, Any]) -> Iterator[Weekly]:
    spans = [*(_moment(text) for text in repeat.get("timeOfDay", ())), *map(_event, repeat.get("when", ()))]
    for day in repeat.get("dayOfWeek") or DAYS:
        if day not in DAYS:
            raise NotSupported(f"{str(day)[:20]!r} is none of {', '.join(DAYS)}.", "timing")
        for low, high in spans or [(0, DAY)]:
            yield DAYS.index(day), low, high


def _moment(text: Any) -> Interval:
    try:
        low = parse_time(str(text))[0]
    except ValueError as error:
        raise NotSupported(f"{error}.", "timing") from error
    return low, low + MINUTE


def _event(code: Any) -> Interval:
    if code not in _EVENTS:
        raise NotSupported(f"{str(code)[:20]!r} is none of {', '.join(_EVENTS)}.", "timing")
    low, high = _EVENTS[code]
    return low * HOUR, high * HOUR
