"""What is free is exactly what the claims of a booking would fit into."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.temporal import MINUTE
from fhir_server.resources.scheduling.availability import (
    Held,
    contains,
    free_on_grid,
    free_starts,
    overfull,
    taken_starts,
)
from fhir_server.resources.scheduling.hours import Hours, Opening
from fhir_server.resources.scheduling.intervals import difference, intersection, shifted, union
from fhir_server.resources.scheduling.rules import BLOCKED, WHOLE, ScheduleRules, block_claims, time_claims

intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)
FUTURE = 10**15


def instants(found) -> set[int]:
    return {i for low, high in found for i in range(low, high)}


@given(intervals, intervals, st.integers(-5, 5))
@settings(max_examples=200)
def test_sets_of_instants_behave_like_sets(one, other, by):
    a, b = union(one), union(other)
    assert instants(a) == {i for low, high in one for i in range(low, high)}
    assert instants(intersection(a, b)) == instants(a) & instants(b)
    assert instants(difference(a, b)) == instants(a) - instants(b)
    assert instants(shifted(a, by)) == {i + by for i in instants(a)}
    for found in (a, intersection(a, b), difference(a, b)):
        assert all(low < high for low, high in found)
        assert all(x[1] <= y[0] for x, y in itertools.pairwise(found))
    assert all(contains(a, i) == (i in instants(a)) for i in range(-1, 62))


def fits(claims, held: list[Held]) -> bool:
    """Whether the claims are within their capacity at every instant, reckoned instant by instant."""
    for claim in claims:
        low, high = claim.interval
        for instant in range(low, high):
            there = sum((u for u, a, b in held if a <= instant < b), Decimal(0))
            there += sum((c.units for c in claims if c.interval[0] <= instant < c.interval[1]), Decimal(0))
            if there > claim.capacity:
                return False
    return True


rules_of_any_kind = st.builds(
    ScheduleRules,
    id=st.just("1"),
    actors=st.just(("Practitioner/1",)),
    buffer_before=st.integers(0, 3),
    buffer_after=st.integers(0, 3),
    shared_buffers=st.booleans(),
    capacity=st.integers(1, 3),
)


@st.composite
def claimed(draw) -> list[Held]:
    held: list[Held] = []
    for rules in draw(st.lists(rules_of_any_kind, max_size=5)):
        start = draw(st.integers(5, 30))
        claims = time_claims(rules, "Practitioner/1", (start, start + draw(st.integers(1, 6))))
        if fits(claims, held):
            held += [(c.units, *c.interval) for c in claims if c.interval is not None]
    return held


@given(rules_of_any_kind, claimed(), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_a_start_is_free_exactly_where_the_claims_of_the_booking_fit(rules, held, duration):
    taken = taken_starts(rules, duration, held)
    for start in range(-5, 45):
        claims = time_claims(rules, "Practitioner/1", (start, start + duration))
        assert contains(taken, start) != fits(claims, held), start


@given(rules_of_any_kind, claimed(), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_free_time_never_overlaps_a_block(rules, held, duration):
    (block,) = block_claims("Practitioner/1", (10, 20), over_bookings=True)
    free = free_starts(rules, (0, 40), duration, [[*held, (block.units, 10, 20)]], now=-1, opened=[(0, 40)])
    for start in instants(free):
        assert start + duration <= 10 or start >= 20
        assert start >= 0
        assert start + duration <= 40


def test_intervals_are_half_open():
    rules = ScheduleRules("1", ("Practitioner/1",))
    held = [(WHOLE, 10, 20)]
    free = free_starts(rules, (0, 40), 5, [held], now=-1, opened=[(0, 40)])
    assert free == [(0, 6), (20, 36)]


def test_a_group_takes_as_many_as_its_capacity_and_keeps_others_out():
    group = ScheduleRules("1", ("Practitioner/1",), capacity=3)
    single = ScheduleRules("2", ("Practitioner/1",))
    one = [(c.units, 10, 20) for c in time_claims(group, "Practitioner/1", (10, 20))]
    assert taken_starts(group, 5, one * 2) == []
    assert taken_starts(group, 5, one * 3) == [(6, 20)]
    assert taken_starts(single, 5, one) == [(6, 20)]


def test_buffers_are_kept_free_and_shared_only_where_the_rules_say_so():
    apart = ScheduleRules("1", ("Practitioner/1",), buffer_before=2, buffer_after=2)
    shared = ScheduleRules("1", ("Practitioner/1",), buffer_before=2, buffer_after=2, shared_buffers=True)
    for rules, first_after in ((apart, 24), (shared, 22)):
        held = [(c.units, *c.interval) for c in time_claims(rules, "Practitioner/1", (10, 20))]
        free = free_starts(rules, (0, 60), 5, [held], now=-1, opened=[(0, 60)])
        assert min(s for s in instants(free) if s >= 10) == first_after


def test_overbooking_lets_in_as_many_more_as_the_schedule_allows():
    rules = ScheduleRules("1", ("Practitioner/1",), capacity=2, overbooking=1)
    held = [(c.units, 10, 20) for c in time_claims(rules, "Practitioner/1", (10, 20))] * 2
    assert not fits(time_claims(rules, "Practitioner/1", (10, 20)), held)
    assert fits(time_claims(rules, "Practitioner/1", (10, 20), overbooked=True), held)
    assert not fits(time_claims(rules, "Practitioner/1", (10, 20), overbooked=True), held + held[:1])


def test_a_block_lets_nothing_in_and_lies_over_bookings_only_when_it_says_so():
    rules = ScheduleRules("1", ("Practitioner/1",), overbooking=1000)
    booking = [(WHOLE, 12, 14)]
    assert not fits(block_claims("Practitioner/1", (10, 20), over_bookings=False), booking)
    assert fits(block_claims("Practitioner/1", (10, 20), over_bookings=True), booking)
    block = [(BLOCKED, 10, 20)]
    assert not fits(time_claims(rules, "Practitioner/1", (12, 14), overbooked=True), block)


def test_notice_and_horizon_bound_the_starts():
    rules = ScheduleRules(
        "1",
        ("Practitioner/1",),
        horizon=(0, 1000 * MINUTE),
        notice=60 * MINUTE,
        ahead=500 * MINUTE,
    )
    now = 100 * MINUTE
    free = free_starts(rules, (0, FUTURE), 30 * MINUTE, [], now=now, opened=[(0, FUTURE)])
    assert free == [(160 * MINUTE, 600 * MINUTE + 1)]
    free = free_starts(rules, (0, FUTURE), 450 * MINUTE, [], now=now, opened=[(0, FUTURE)])
    assert free == [(160 * MINUTE, 550 * MINUTE + 1)]


def test_a_schedule_that_is_not_active_offers_nothing():
    rules = ScheduleRules("1", ("Practitioner/1",), active=False)
    assert free_starts(rules, (0, 100), 5, [], now=-1, opened=[(0, 100)]) == []


opening = Opening(tuple((day, 0, 40) for day in range(7)))


@given(
    rules_of_any_kind,
    claimed(),
    claimed(),
    st.integers(1, 5),
    st.integers(1, 7),
    st.tuples(st.integers(0, 20), st.integers(1, 40)),
    st.none() | intervals.map(union),
)
@settings(max_examples=200, deadline=None)
def test_the_starts_of_the_grid_that_are_free_are_those_that_are_offered(
    rules, held, other, duration, step, period, liked
):
    rules = replace(rules, hours=Hours((opening,)), step=step)
    low, high = period[0], period[0] + period[1]
    runs = free_on_grid(rules, (low, high), duration, [held, other], -1, liked)
    allowed = instants(free_starts(rules, (low, high), duration, [held, other], -1))
    if liked is not None:
        allowed &= instants(liked)
    assert [start for run in runs for start in run] == sorted(allowed & set(range(0, 40, step)))


@given(claimed(), st.integers(0, 4))
def test_overfull_is_where_more_is_held_than_there_is_room(held, thirds):
    room = Decimal(thirds) / 3
    full = instants(overfull(held, room))
    for instant in range(50):
        there = sum((u for u, a, b in held if a <= instant < b), Decimal(0))
        assert (instant in full) == (there > max(room, Decimal(0)))
