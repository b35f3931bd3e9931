"""The rules by which the time of a Schedule is given away, and what of its actors' time a booking takes. Pure.

Each rule is read from the extension `scheduling-rules` of the Schedule, else of its services, roles, places and
organisations, in that order. A booking holds `time:<actor>` in parts of the whole: an actor whose Schedule has capacity 3
gives a third of itself to each booking. An invariant to keep: what `$find` calls free is what these claims leave free.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.references import parse_reference
from fhir_r4.temporal import DAY, HOUR, MINUTE, OPEN_HIGH, OPEN_LOW, SECOND, period_interval
from fhir_server.context import Resource
from fhir_server.resources.scheduling.hours import Hours, hours_of
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.resources.scheduling.zones import zone_of_name
from fhir_server.store.records import Claim

RULES = "https://osler.health/fhir/StructureDefinition/scheduling-rules"
BLOCK = "https://osler.health/fhir/StructureDefinition/schedule-block"
TIMEZONE = "http://hl7.org/fhir/StructureDefinition/timezone"

DEFAULT_DURATION = 30 * MINUTE
WHOLE = Decimal(1)
# more than any overbooking lets in
BLOCKED = Decimal(10**6)
UNLIMITED = Decimal(10**12)
_UNITS: Mapping[str, int] = {
    "s": SECOND,
    "min": MINUTE,
    "h": HOUR,
    "d": DAY,
    "wk": 7 * DAY,
}
# years, months, weeks or days: the number as text, and the UCUM code
Age = tuple[str, str]
# with the days that one of them has at the most
_AGES: Mapping[str, int] = {"a": 366, "mo": 31, "wk": 7, "d": 1}
OLDEST = 200 * 366
_DOWN = decimal.Context(prec=18, rounding=decimal.ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many of something one patient may have of what stands on `source`, the reference of the resource that says so."""

    source: str
    most: int

    def __iter__(self) -> Iterator[Any]:
        return iter((self.source, self.most))


@dataclass(frozen=True, slots=True)
class ScheduleRules:
    """How the time of a Schedule is given away. Lengths and instants are microseconds.

    `actors` are local references (`Practitioner/1`) whose time is taken together; `hours` None says that nothing states
    hours; `horizon` is when bookings may lie, `ahead` how far from now they may; `step` is the distance of the starts that
    are offered, in wall time; `both_folds` says that an hour that the clocks show twice is offered twice, `published` that
    everybody may know what is free. `cancel_before` is how long before its start a booking is given up at the latest,
    `open_bookings` and `open_holds` how many of them one patient may have. From `minimum_age` and below `maximum_age`, `patients`
    who are `new` or `existing`, and with one of the codes of `qualification` in who sees them: such are booked.
    """

    id: str
    actors: tuple[str, ...]
    active: bool = True
    zone: str = "UTC"
    hours: Hours | None = None
    horizon: Interval = (OPEN_LOW, OPEN_HIGH)
    duration: int = DEFAULT_DURATION
    step: int = DEFAULT_DURATION
    buffer_before: int = 0
    buffer_after: int = 0
    shared_buffers: bool = False
    capacity: int = 1
    overbooking: int = 0
    notice: int = 0
    ahead: int | None = None
    both_folds: bool = False
    published: bool = False
    cancel_before: int | None = None
    open_bookings: Limit | None = None
    open_holds: Limit | None = None
    minimum_age: Age | None = None
    maximum_age: Age | None = None
    patients: str | None = None
    qualification: frozenset[tuple[str, str]] = frozenset()

    @property
    def who(self) -> bool:
        """Whether not everybody may be booked, or book."""
        ages = self.minimum_age is not None or self.maximum_age is not None
        return ages or self.patients is not None or bool(self.qualification)

    @property
    def share(self) -> Decimal:
        """The part of an actor that one booking takes: never more than the capacity allows in sum."""
        return WHOLE if self.capacity == 1 else _DOWN.divide(WHOLE, Decimal(self.capacity))


def time_key(actor: str) -> str:
    """The key of the claims on the time of an actor, given as a local reference."""
    return f"time:{actor}"


def time_claims(
    rules: ScheduleRules,
    actor: str,
    period: Interval,
    *,
    expires: int | None = None,
    overbooked: bool = False,
) -> tuple[Claim, ...]:
    """What a booking of [start, end) takes of the actor's time, with the buffers of the Schedule.

    `expires` is the end of a hold; `overbooked` lets in as many more as the Schedule allows. Buffers that may overlap each
    other are claimed by halves: two fit beside each other, but none beside a booking that takes the whole.
    """
    start, end = period
    before, after = start - rules.buffer_before, end + rules.buffer_after
    room = WHOLE + rules.share * rules.overbooking if overbooked else WHOLE
    key, share = time_key(actor), rules.share
    if not rules.shared_buffers:
        return (Claim(key, share, room, (before, after), expires),)
    half = share / 2
    parts = (((before, start), half), ((start, end), share), ((end, after), half))
    return tuple(
        Claim(key, units, room, interval, expires) for interval, units in parts if interval[0] < interval[1]
    )


def block_claims(actor: str, period: Interval, *, over_bookings: bool) -> tuple[Claim, ...]:
    """What a Slot `busy-unavailable` takes: all of the actor, so that nothing more fits, not even overbooked.

    Without `over_bookings` it is refused while there are bookings or other blocks.
    """
    return (Claim(time_key(actor), BLOCKED, UNLIMITED if over_bookings else BLOCKED, period),)


def is_over_bookings(slot: Mapping[str, Any]) -> bool:
    """Whether a Slot `busy-unavailable` says that it may lie over bookings: what `$block` writes."""
    return any(e.get("url") == BLOCK and e.get("valueBoolean") is True for e in slot.get("extension", ()))


# Reading the rules


def related_references(resource: Mapping[str, Any]) -> list[str]:
    """The resources from which the rules of a Schedule may come, nearest first, as references of `resource` to them."""
    type = resource["resourceType"]
    named: list[Any] = []
    if type == "Schedule":
        named = [*resource.get("actor", ()), *_services(resource)]
    elif type == "PractitionerRole":
        named = [
            *resource.get("healthcareService", ()),
            *resource.get("location", ()),
            resource.get("organization"),
        ]
    elif type == "HealthcareService":
        named = [*resource.get("location", ()), resource.get("providedBy")]
    elif type == "Location":
        named = [resource.get("partOf"), resource.get("managingOrganization")]
    elif type == "Device":
        named = [resource.get("location"), resource.get("owner")]
    elif type == "Organization":
        named = [resource.get("partOf")]
    return [local for one in named if one is not None and (local := local_reference(one)) is not None]


def local_reference(reference: Mapping[str, Any]) -> str | None:
    """`Type/id` of a reference to a resource of this server, else None."""
    text = reference.get("reference")
    if not isinstance(text, str):
        return None
    parsed = parse_reference(text)
    return f"{parsed.type}/{parsed.id}" if parsed.local else None


def applicable(
    schedule: Mapping[str, Any], related: Mapping[str, Resource], service: str | None = None
) -> dict[str, Resource]:
    """Those of `related` whose rules bind the Schedule, nearest first.

    Who works for several services, or at several places, is bound by the one that is asked for, and by none when none is.
    """
    found: dict[str, Resource] = {}
    waiting = [related_references(schedule)]
    while waiting:
        for reference in waiting.pop(0):
            if reference in related and reference not in found:
                resource = related[reference]
                found[reference] = resource
                waiting.append(_binding(resource, service))
    return found


def _binding(resource: Mapping[str, Any], service: str | None) -> list[str]:
    named = related_references(resource)
    if resource["resourceType"] not in ("PractitionerRole", "HealthcareService"):
        return named
    kept: list[str] = []
    for type in ("HealthcareService", "Location"):
        ones = [reference for reference in named if reference.startswith(f"{type}/")]
        if service in ones:
            ones = [reference for reference in ones if reference == service]
        kept += ones if len(ones) == 1 else []
    return kept + [reference for reference in named if reference.startswith("Organization/")]


def schedule_rules(
    schedule: Mapping[str, Any],
    related: Mapping[str, Resource],
    default_zone: str = "UTC",
    service: str | None = None,
) -> ScheduleRules:
    """The rules of a Schedule; `related` are the resources that `related.read_related` has found, by reference.

    `service` is the reference of the HealthcareService that is asked for. Raises BusinessRule, with the member that is at
    fault, for rules that make no sense.
    """
    zone = _zone([schedule, *related.values()], default_zone)
    related = applicable(schedule, related, service)
    sources = [dict(schedule), *_by_precedence(related)]
    stated = _Stated(
        [(s, part) for s in sources for part in (_rules_of(s),) if part is not None],
    )
    own = [schedule, *(related[a] for a in _actors(schedule) if a in related)]
    period = schedule.get("planningHorizon", {})
    duration = stated.length("duration", DEFAULT_DURATION)
    rules = ScheduleRules(
        id=str(schedule.get("id", "")),
        actors=_actors(schedule),
        active=all(_is_active(r) for r in own),
        zone=zone,
        hours=hours_of(schedule, related, stated.first("holidays"), zone, RULES),
        horizon=period_interval(period.get("start"), period.get("end"), zone),
        duration=duration,
        step=stated.length("step", duration),
        buffer_before=stated.length("buffer-before", 0),
        buffer_after=stated.length("buffer-after", 0),
        shared_buffers=stated.first("shared-buffers") is True,
        capacity=stated.count("capacity", 1, least=1),
        overbooking=stated.count("overbooking", 0),
        notice=stated.length("minimum-notice", 0),
        ahead=stated.length("furthest-ahead", -1, none=True),
        both_folds=stated.first("fold") == "both",
        published=stated.first("published") is True,
        cancel_before=stated.length("cancellation-deadline", -1, none=True),
        open_bookings=stated.limit("open-bookings"),
        open_holds=stated.limit("open-holds"),
        minimum_age=stated.age("minimum-age"),
        maximum_age=stated.age("maximum-age"),
        patients=stated.choice("patients", ("new", "existing")),
        qualification=stated.codes("qualification"),
    )
    if rules.duration <= 0 or rules.step <= 0:
        raise BusinessRule("The duration and the step of a Schedule are longer than nothing.", RULES)
    return rules


def refusal_of(rules: ScheduleRules, period: Interval, now: int) -> str | None:
    """Why [start, end) may not be booked at `now` by the notice and the horizon of the rules; None when it may."""
    start, end = period
    if not rules.active:
        return "The schedule is not active."
    if start < now + rules.notice:
        return "The time is too near: the schedule asks for notice." if start >= now else "The time is past."
    if rules.ahead is not None and start > now + rules.ahead:
        return "The time is further ahead than the schedule allows."
    if start < rules.horizon[0] or end > rules.horizon[1]:
        return "The time is outside of the planning horizon of the schedule."
    return None


def offered_starts(rules: ScheduleRules, low: int, high: int, now: int) -> Interval:
    """The starts within [low, high) that notice and horizon allow, as an interval."""
    first = max(low, now + rules.notice, rules.horizon[0])
    after = min(high, rules.horizon[1])
    if rules.ahead is not None:
        after = min(after, now + rules.ahead + 1)
    return first, max(first, after)


@dataclass(frozen=True, slots=True)
class _Stated:
    """The parts of rules extensions with the resources that state them, nearest first."""

    parts: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]

    def first(self, name: str) -> Any:
        return next((part[name] for _, part in self.parts if name in part), None)

    def limit(self, name: str) -> Limit | None:
        source = next((source for source, part in self.parts if name in part), None)
        if source is None:
            return None
        return Limit(f"{source['resourceType']}/{source.get('id', '')}", self.count(name, 1, least=1))

    def count(self, name: str, default: int, least: int = 0) -> int:
        value = self.first(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1000:
            raise BusinessRule(f"{name} is a number from {least} to 1000.", name)
        return value

    def age(self, name: str) -> Age | None:
        value = self.first(name)
        if value is None:
            return None
        amount, unit = (value.get(m) if isinstance(value, Mapping) else None for m in ("value", "code"))
        if amount is None or unit not in _AGES or not 0 <= amount * _AGES[str(unit)] <= OLDEST:
            raise BusinessRule(f"{name} is an Age in one of {', '.join(_AGES)} (UCUM).", name)
        return str(amount), str(unit)

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        value = self.first(name)
        if value is not None and value not in choices:
            raise BusinessRule(f"{name} is one of {', '.join(choices)}.", name)
        return None if value is None else str(value)

    def codes(self, name: str) -> frozenset[tuple[str, str]]:
        value = self.first(name)
        codings = value.get("coding", ()) if isinstance(value, Mapping) else ()
        return frozenset((c.get("system", ""), c.get("code", "")) for c in codings)

    def length(self, name: str, default: int, none: bool = False) -> Any:
        value = self.first(name)
        if value is None:
            return None if none else default
        return duration_of(value, name)


def duration_of(value: Any, name: str = "duration") -> int:
    """The microseconds of a Duration in s, min, h, d or wk. Raises BusinessRule for another."""
    amount = value.get("value") if isinstance(value, Mapping) else None
    unit = None if amount is None else _UNITS.get(str(value.get("code", value.get("unit"))))
    if unit is None:
        raise BusinessRule(f"{name} is a Duration in one of {', '.join(_UNITS)} (UCUM).", name)
    length = int(Decimal(str(amount)) * unit)
    if not 0 <= length <= 3660 * DAY:
        raise BusinessRule(f"{name} is from nothing to ten years.", name)
    return length


def _rules_of(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    found = [e for e in resource.get("extension", ()) if e.get("url") == RULES]
    if not found:
        return None
    parts: dict[str, Any] = {}
    for extension in found:
        for part in extension.get("extension", ()):
            value = next((v for k, v in part.items() if k.startswith("value")), None)
            if value is not None:
                parts.setdefault(str(part.get("url")), value)
    return parts


_PRECEDENCE = ("HealthcareService", "PractitionerRole", "Device", "Location", "Organization")


def _by_precedence(related: Mapping[str, Resource]) -> Iterator[Resource]:
    for type in _PRECEDENCE:
        yield from (r for reference, r in related.items() if reference.startswith(f"{type}/"))


def _zone(sources: Sequence[Mapping[str, Any]], default: str) -> str:
    order = ("Schedule", "PractitionerRole", "HealthcareService", "Device", "Location", "Organization")
    stating = [source for source in sources if source["resourceType"] in order]
    for source in sorted(stating, key=lambda s: order.index(s["resourceType"])):
        for extension in source.get("extension", ()):
            if extension.get("url") == TIMEZONE and extension.get("valueCode"):
                zone = str(extension["valueCode"])
                try:
                    zone_of_name(zone)
                except ValueError as error:
                    raise BusinessRule(f"{error}.", TIMEZONE) from error
                return zone
    return default


def _actors(schedule: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(a for r in schedule.get("actor", ()) if (a := local_reference(r)) is not None))


def _services(schedule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The services of a Schedule: extension parts `service`, because R4 gives Schedule no element for them."""
    return [
        part["valueReference"]
        for extension in schedule.get("extension", ())
        if extension.get("url") == RULES
        for part in extension.get("extension", ())
        if part.get("url") == "service" and "valueReference" in part
    ]


def _is_active(resource: Mapping[str, Any]) -> bool:
    if resource.get("active") is False:
        return False
    return resource["resourceType"] != "Location" or resource.get("status") in (None, "active")
