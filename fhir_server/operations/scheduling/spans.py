"""The times that a Timing means when something is to be closed. https://hl7.org/fhir/R4/datatypes.html#Timing. Pure.

Understood is `repeat` with boundsPeriod, dayOfWeek, timeOfDay, duration with durationUnit (min, h, d), in wall time of a
zone. What else a Timing can say is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.errors import BusinessRule, InvalidRequest, NotSupported
from fhir_r4.temporal import DAY, parse_time, period_interval
from fhir_server.resources.scheduling.grid import calendar
from fhir_server.resources.scheduling.hours import DAYS, Hours, Opening
from fhir_server.resources.scheduling.intervals import Interval, intersection
from fhir_server.resources.scheduling.rules import ScheduleRules, duration_of

_KNOWN = frozenset({"boundsPeriod", "dayOfWeek", "timeOfDay", "duration", "durationUnit"})
MOST_SPANS = 400


def spans_of(timing: Mapping[str, Any], zone: str) -> list[Interval]:
    """The times [low, high) that a Timing means, in order.

    Raises NotSupported for what is not understood, InvalidRequest for bounds that are open and for too many times.
    """
    repeat = timing.get("repeat", {})
    other = sorted({*repeat} - _KNOWN) or sorted({*timing} - {"repeat"})
    if other:
        raise NotSupported(f"timing: {other[0]} is not taken; {', '.join(sorted(_KNOWN))} are.", "timing")
    bounds = repeat.get("boundsPeriod", {})
    if "start" not in bounds or "end" not in bounds:
        raise InvalidRequest("timing.repeat.boundsPeriod has a start and an end.", "timing")
    period = period_interval(bounds["start"], bounds["end"], zone)
    if not period[0] < period[1] <= period[0] + 10 * 366 * DAY:
        raise InvalidRequest("timing.repeat.boundsPeriod ends after it starts.", "timing")
    rules = ScheduleRules("", (), zone=zone, hours=Hours((_opening(repeat),)))
    found = intersection(calendar(rules, *period).open, [period])
    if not 0 < len(found) <= MOST_SPANS:
        raise InvalidRequest(f"timing means 1 to {MOST_SPANS} times; it means {len(found)}.", "timing")
    return found


def _opening(repeat: Mapping[str, Any]) -> Opening:
    days = repeat.get("dayOfWeek") or DAYS
    times = repeat.get("timeOfDay")
    if "duration" in repeat:
        try:
            length = duration_of({"value": repeat["duration"], "code": repeat.get("durationUnit")})
        except BusinessRule as error:
            raise InvalidRequest(str(error), "timing") from error
    elif times:
        raise InvalidRequest("timing.repeat.timeOfDay needs a duration.", "timing")
    else:
        length = DAY
    try:
        begins = [parse_time(text)[0] for text in times] if times else [0]
        return Opening(tuple((DAYS.index(day), low, low + length) for day in days for low in begins))
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"timing: {error}.", "timing") from error
