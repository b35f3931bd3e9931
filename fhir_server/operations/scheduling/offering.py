"""What can be offered: the times at which the Schedules that a question means are free, alone or together.

Reads only, and one state of the claims: holds that have not expired count, those that have do not. An invariant to keep:
nothing is offered that the claims which were looked at, or the rules of who may be booked, would refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain, islice
from typing import Any

from fhir_server.context import Services
from fhir_server.operations.scheduling.bookable import Bookable, longest_reach
from fhir_server.operations.scheduling.matching import Ranked, matching
from fhir_server.operations.scheduling.published import Published, published
from fhir_server.operations.scheduling.question import Question, Requirement
from fhir_server.operations.scheduling.suited import ALWAYS, Suited, suited
from fhir_server.operations.scheduling.untaken import Untaken
from fhir_server.resources.scheduling.availability import (
    Held,
    contains,
    free_on_grid,
    free_starts,
    offered_runs,
    runs_within,
    taken_starts,
)
from fhir_server.resources.scheduling.intervals import Interval, difference, intersection, union
from fhir_server.resources.scheduling.preference import preferred_starts
from fhir_server.resources.scheduling.rules import offered_starts, time_key


@dataclass(frozen=True, slots=True)
class Part:
    """What one Schedule gives to an offer: from `offset` after the start, for `duration` (microseconds)."""

    bookable: Bookable
    offset: int
    duration: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A time that can be had; `slot` is the published Slot that it is, if it is one."""

    start: int
    duration: int
    parts: tuple[Part, ...]
    slot: Published | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """How many there are, and those that were asked for: the earliest first, then by preference.

    `reasons` say why there are none at all.
    """

    total: int
    offers: tuple[Offer, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """The times of one Schedule: runs of starts, in order of time, or published Slots."""

    ranked: Ranked
    duration: int
    runs: tuple[Sequence[int], ...] = ()
    slots: tuple[Published, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.runs)) + len(self.slots)

    def offers(self, number: int) -> Iterator[tuple[tuple[Any, ...], Offer]]:
        """With what they are ordered by."""
        bookable, rank = self.ranked
        whole = (Part(bookable, 0, self.duration),)
        for start in chain.from_iterable(self.runs):
            yield (start, rank, number), Offer(start, self.duration, whole)
        for slot in self.slots:
            length = slot.length if self.duration == 0 else self.duration
            yield (slot.low, rank, number), Offer(slot.low, length, (Part(bookable, 0, length),), slot)


async def offers(services: Services, question: Question) -> Offers:
    """What a question can be offered."""
    service, policy = question.service, question.policy
    ranked = await matching(services, question.criteria, service, policy)
    beside = [(need, await matching(services, need.criteria, service, policy)) for need in question.needs]
    meant = [*ranked, *(r for _, found in beside for r in found)]
    market = await _look(services, question, meant)
    sources = [market.source(one, alone=not beside) for one in ranked]
    found = _joint(sources, beside, market, question) if beside else _cut(sources, question)
    return found if found.total else replace(found, reasons=_why_none(ranked, beside, market, sources))


def _why_none(
    ranked: Sequence[Ranked],
    beside: Sequence[tuple[Requirement, Sequence[Ranked]]],
    market: _Market,
    sources: Sequence[_Source],
) -> tuple[str, ...]:
    """Why there is nothing to offer, as far as that is known without looking any further."""
    if not ranked:
        return ("No Schedule that is active meets the criteria.",)
    lacking = [n for n, (need, found) in enumerate(beside, 1) if len(found) < need.count]
    if lacking:
        return tuple(f"Too few Schedules that are active meet requirement {n}." for n in lacking)
    refusals = dict.fromkeys(market.suited.reasons)
    for bookable, _ in ranked if not beside else ():
        refusal = market.suited.refusal((bookable,), market.question.service)
        if refusal is not None:
            refusals[f"{bookable.reference}: {refusal}"] = None
    if refusals:
        return tuple(refusals)
    if any(sources):
        return (
            "Not all who are needed are free at once, or for these patients, at any time that was asked for.",
        )
    return ("All time that was asked for is closed, taken, too near or too far ahead.",)


def _cut(sources: Sequence[_Source], question: Question) -> Offers:
    total = sum(map(len, sources))
    ordered = merge(*(source.offers(n) for n, source in enumerate(sources)), key=lambda one: one[0])
    wanted = islice(ordered, question.offset, question.offset + question.count)
    return Offers(total, tuple(offer for _, offer in wanted))


def _joint(
    sources: Sequence[_Source],
    beside: Sequence[tuple[Requirement, Sequence[Ranked]]],
    market: _Market,
    question: Question,
) -> Offers:
    """Those of the offers at which everybody else who is needed is free too, with who that would be."""
    ordered = merge(*(source.offers(n) for n, source in enumerate(sources)), key=lambda one: one[0])
    free: dict[tuple[str, int], list[Interval]] = {}
    found: list[Offer] = []
    for _, offer in ordered:
        parts = list(offer.parts)
        for need, ranked in beside:
            duration = offer.duration if need.duration is None else need.duration
            chosen = 0
            for bookable, _ in sorted(ranked, key=lambda r: r[1]):
                if chosen == need.count:
                    break
                key = bookable.reference, duration
                if key not in free:
                    free[key] = market.free(bookable, duration)
                taken = any(part.bookable.reference == bookable.reference for part in parts)
                if not contains(market.suited.allowed(bookable), offer.start):
                    continue
                if not taken and contains(free[key], offer.start + need.offset):
                    parts.append(Part(bookable, need.offset, duration))
                    chosen += 1
            if chosen < need.count:
                break
        else:
            together = [part.bookable for part in parts]
            if market.suited.refusal(together, question.service) is None:
                found.append(replace(offer, parts=tuple(parts)))
    return Offers(len(found), tuple(found[question.offset : question.offset + question.count]))


@dataclass(frozen=True, slots=True)
class _Market:
    """What is known of the time that a question is about: claims by key, and published Slots by Schedule."""

    question: Question
    now: int
    held: Mapping[str, Sequence[Held]]
    slots: Mapping[str, Sequence[Published]]
    untaken: Untaken
    suited: Suited

    def source(self, ranked: Ranked, *, alone: bool) -> _Source:
        bookable = ranked[0]
        allowed = self.suited.allowed(bookable)
        if alone and self.suited.refusal((bookable,), self.question.service) is not None:
            allowed = ()
        if bookable.rules.hours is None or not bookable.rules.hours.openings:
            slots = (slot for slot in self._free_slots(bookable) if contains(allowed, slot.low))
            return _Source(ranked, self.question.duration or 0, slots=tuple(slots))
        duration = self.question.duration or bookable.rules.duration
        period = self.question.period
        rules, timing, claims = bookable.rules, self.question.timing, self._claims(bookable)
        if timing is None:
            untaken = self.untaken.runs(bookable, self.question.service, period, duration, claims)
            runs = offered_runs(rules, period, duration, untaken, self.now)
        else:
            liked = preferred_starts(timing, rules, period)
            runs = free_on_grid(rules, period, duration, claims, self.now, liked)
        if allowed is not ALWAYS:
            runs = runs_within(runs, allowed)
        return _Source(ranked, duration, tuple(runs))

    def free(self, bookable: Bookable, duration: int) -> list[Interval]:
        """The starts of a booking beside others: any within the hours, any at all where nothing states hours."""
        low, high = self.question.period
        period = low, high + max((n.offset for n in self.question.needs), default=0) + duration
        hours = bookable.rules.hours
        opened: list[Interval] | None = None
        if hours is None or not hours.openings:
            slots = self.slots.get(bookable.reference, ())
            opened = union((s.low, s.high) for s in slots) if slots else [period]
        return free_starts(bookable.rules, period, duration, self._claims(bookable), self.now, opened)

    def _claims(self, bookable: Bookable) -> list[Sequence[Held]]:
        people = [*bookable.people, *self.question.patients]
        return [self.held[key] for key in map(time_key, people) if self.held.get(key)]

    def _liked(self, bookable: Bookable, free: list[Interval]) -> list[Interval]:
        if self.question.timing is None:
            return free
        return intersection(
            free, preferred_starts(self.question.timing, bookable.rules, self.question.period)
        )

    def _free_slots(self, bookable: Bookable) -> Iterator[Published]:
        """The Slots of the Schedule that are free: those that the claims on them and on its actors leave room in."""
        low, high = self.question.period
        asked = self.question.duration
        free: dict[int, list[Interval]] = {}
        for slot in sorted(self.slots.get(bookable.reference, ()), key=lambda s: s.low):
            duration = asked or slot.length
            if slot.length < duration:
                continue
            if duration not in free:
                whole = [offered_starts(bookable.rules, low, high - duration + 1, self.now)]
                for claims in self._claims(bookable):
                    whole = difference(whole, taken_starts(bookable.rules, duration, claims))
                free[duration] = self._liked(bookable, whole)
            held = sum(units for units, _, _ in self.held.get(slot.key, ()))
            if held + bookable.rules.share <= 1 and contains(free[duration], slot.low):
                yield slot


async def _look(services: Services, question: Question, ranked: Iterable[Ranked]) -> _Market:
    bookables = {bookable.reference: bookable for bookable, _ in ranked}
    low, high = question.period
    reach = longest_reach(bookables.values())
    reach += max((n.offset + (n.duration or 0) for n in question.needs), default=0) + (question.duration or 0)
    bare = [b for b in bookables.values() if b.rules.hours is None or not b.rules.hours.openings]
    ids = [b.schedule["id"] for b in bare]
    slots = await published(services, ids, (low, high), question.policy) if bare else {}
    people = {p for b in bookables.values() for p in b.people} | set(question.patients)
    keys = [*map(time_key, sorted(people)), *(s.key for found in slots.values() for s in found)]
    without = [] if question.without is None else [_key(question.without)]
    held = await services.store.claims(keys, (low - reach, high + reach), without)
    who = await suited(services, question, bookables.values())
    return _Market(question, services.clock(), held, slots, services.views.of(Untaken), who)


def _key(reference: str) -> tuple[str, str]:
    type, _, id = reference.partition("/")
    return type, id
