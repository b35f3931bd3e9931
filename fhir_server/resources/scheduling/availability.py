"""When something can be booked: the open hours of a Schedule less what its actors' time is claimed for. Pure.

Everything is reckoned in starts: the instants at which a booking of a length could begin, as sorted intervals. What a
booking would claim is asked of `rules.time_claims`, the function by which bookings are judged. An invariant to keep: a
booking at a free start is not refused by the claims that were looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal

from fhir_server.resources.scheduling.grid import calendar, fitting_starts
from fhir_server.resources.scheduling.intervals import Interval, difference, intersection, union
from fhir_server.resources.scheduling.rules import WHOLE, ScheduleRules, offered_starts, time_claims

# what a live claim holds of a key, in [low, high)
Held = tuple[Decimal, int, int]


def free_starts(
    rules: ScheduleRules,
    period: Interval,
    duration: int,
    held: Sequence[Iterable[Held]],
    now: int,
    opened: Sequence[Interval] | None = None,
) -> list[Interval]:
    """The starts at which a booking of `duration` within `period` is open, offered, and free of what is held.

    `held` has the claims on the time of each actor; `opened` takes the place of the hours that the rules state.
    """
    if not rules.active:
        return []
    low, high = period
    if opened is None:
        opened = calendar(rules, low, high).open
    inside = [(start, end - duration + 1) for start, end in opened if end - start >= duration]
    offered = offered_starts(rules, low, high - duration + 1, now)
    latest = rules.horizon[1] - duration + 1
    free = intersection(inside, [(offered[0], min(offered[1], latest))])
    for claims in held:
        if free:
            free = difference(free, taken_starts(rules, duration, claims))
    return free


def taken_starts(rules: ScheduleRules, duration: int, held: Iterable[Held]) -> list[Interval]:
    """The starts at which a booking of `duration` does not fit beside what is held of one actor's time."""
    return union(_taken(rules, duration, held))


def _taken(rules: ScheduleRules, duration: int, held: Iterable[Held]) -> list[Interval]:
    """The same in any order, and with overlaps."""
    taken: list[Interval] = []
    held = tuple(held)
    for claim in time_claims(rules, "", (0, duration)):
        assert claim.interval is not None
        begins, ends = claim.interval
        room = WHOLE - claim.units
        if room <= 0:
            taken += [(low - ends + 1, high - begins) for _, low, high in held]
        else:
            taken += [(low - ends + 1, high - begins) for low, high in overfull(held, room)]
    return taken


def most_held(held: Iterable[Held], period: Interval) -> Decimal:
    """The most that is held at any instant of `period`."""
    low, high = period
    beside = [(units, a, b) for units, a, b in held if a < high and b > low]
    instants = [low, *(a for _, a, _ in beside if a > low)]
    return max(sum((u for u, a, b in beside if a <= i < b), Decimal(0)) for i in instants)


def overfull(held: Sequence[Held], room: Decimal) -> list[Interval]:
    """When more than `room` is held in sum; room is not less than nothing."""
    changes = sorted([(low, units) for units, low, _ in held] + [(high, -units) for units, _, high in held])
    found: list[Interval] = []
    total = Decimal(0)
    since = 0
    for instant, units in changes:
        if total > room:
            found.append((since, instant))
        total += units
        since = instant
    return union(found)


def free_on_grid(
    rules: ScheduleRules,
    period: Interval,
    duration: int,
    held: Sequence[Iterable[Held]],
    now: int,
    liked: Sequence[Interval] | None = None,
) -> list[Sequence[int]]:
    """The starts that a Schedule offers and `free_starts` allows, in runs, in order of time.

    `liked` narrows them further.
    """
    return offered_runs(rules, period, duration, untaken_runs(rules, period, duration, held, liked), now)


def offered_runs(
    rules: ScheduleRules, period: Interval, duration: int, runs: Sequence[Sequence[int]], now: int
) -> list[Sequence[int]]:
    """What of the runs of starts notice and horizon allow at `now`; nothing where the rules are not in force."""
    if not rules.active or not runs:
        return []
    first, after = offered_starts(rules, period[0], period[1] - duration + 1, now)
    after = min(after, rules.horizon[1] - duration + 1)
    if first <= runs[0][0] and runs[-1][-1] < after:
        return list(runs)
    cut = (run[bisect_left(run, first) : bisect_left(run, after)] for run in runs)
    return [run for run in cut if run]


def untaken_runs(
    rules: ScheduleRules,
    period: Interval,
    duration: int,
    held: Sequence[Iterable[Held]],
    liked: Sequence[Interval] | None = None,
) -> list[Sequence[int]]:
    """The starts within the hours of `period` that nothing that is held takes, in runs, whatever the time is now."""
    low, high = period
    grid = fitting_starts(rules, low, high, duration)
    taken = [gap for claims in held for gap in _taken(rules, duration, claims)]
    if liked is not None:
        taken += difference([(low, high)], liked)
    taken.sort()
    at, end = bisect_left(grid, low), bisect_left(grid, high - duration + 1)
    runs: list[Sequence[int]] = []
    for begins, ends in taken:
        if at >= end:
            break
        if grid[at] < begins:
            until = bisect_left(grid, begins, at, end)
            runs.append(grid[at:until])
            at = until
        # a booking mostly takes one start, which costs less to pass than to search for
        if at < end and grid[at] < ends:
            at += 1
            if at < end and grid[at] < ends:
                at = bisect_left(grid, ends, at, end)
    if at < end:
        runs.append(grid[at:end])
    return runs


def runs_within(runs: Sequence[Sequence[int]], intervals: Sequence[Interval]) -> list[Sequence[int]]:
    """What of the runs of starts lies in the intervals, in order of time."""
    cut = (run[bisect_left(run, low) : bisect_left(run, high)] for run in runs for low, high in intervals)
    return [run for run in cut if run]


def contains(intervals: Sequence[Interval], instant: int) -> bool:
    place = bisect_left(intervals, (instant + 1,)) - 1
    return place >= 0 and instant < intervals[place][1]
