"""What `Appointment/$find` is asked: its parameters, with references resolved and codes taken apart.

Source: IHE ITI Scheduling 1.0.0, transaction ITI-115 (https://profiles.ihe.net/ITI/Scheduling/ITI-115.html). Several values
of a parameter mean any of them, in order of preference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_r4.errors import InvalidRequest, NotFound
from fhir_r4.references import parse_reference
from fhir_r4.temporal import DAY, MINUTE, parse_interval
from fhir_server.context import Resource, Services
from fhir_server.operations.given import Given
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.search.rewrite import Policy, limited
from fhir_server.search.tree import TokenIs

# (system, code); system None: any
Code = tuple[str | None, str]

LONGEST = 400 * DAY
DEFAULT_COUNT = 50


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which Schedules are meant: one of each list that is not empty. References are local (`Practitioner/1`)."""

    schedules: tuple[str, ...] = ()
    practitioners: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    specialties: tuple[Code, ...] = ()
    visit_types: tuple[Code, ...] = ()
    actor_type: str | None = None


@dataclass(frozen=True, slots=True)
class Requirement:
    """Who else is needed: `count` of the Schedules that are meant, from `offset` after the start for `duration`.

    Lengths are microseconds; duration None: as long as the Appointment.
    """

    criteria: Criteria
    count: int = 1
    offset: int = 0
    duration: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question to `$find`. Instants and lengths are microseconds; `period` is [start, end).

    `service_sequence` is that of the version of the one service that is asked for, `policy` what who asks may see.
    """

    period: Interval
    criteria: Criteria
    joint: bool
    duration: int | None
    needs: tuple[Requirement, ...]
    patients: tuple[str, ...]
    new_patients: tuple[Resource, ...]
    reasons: tuple[Code, ...]
    referral: Mapping[str, Any] | None
    timing: Mapping[str, Any] | None
    insured: bool
    without: str | None
    count: int
    offset: int
    service_sequence: int = 0
    policy: Policy | None = None

    @property
    def service(self) -> str | None:
        """The one service that is asked for."""
        return self.criteria.services[0] if len(self.criteria.services) == 1 else None


async def read_question(
    given: Given, services: Services, base: str, policy: Policy | None = None
) -> Question:
    """The question that the parameters ask.

    Raises InvalidRequest for values that make no sense, NotFound for a resource that is named by an identifier which
    nobody has.
    """
    resolver = _Resolver(services, base, policy)
    duration = given.one("duration")
    without = given.one("ignore-appointment")
    return Question(
        period=_period(given.one("start"), given.one("end"), services.settings.default_timezone),
        criteria=Criteria(
            schedules=await resolver.all(given.all("schedule"), "Schedule"),
            practitioners=await resolver.all(given.all("practitioner"), "Practitioner", "PractitionerRole"),
            organizations=await resolver.all(given.all("organization"), "Organization"),
            locations=await resolver.all(given.all("location-reference"), "Location"),
            places=tuple(str(text) for text in given.all("location-string")),
            services=await resolver.all(given.all("service"), "HealthcareService"),
            specialties=codes(given.all("specialty")),
            visit_types=codes(given.all("visit-type")),
        ),
        joint=given.one("joint") is True,
        duration=None if duration is None else int(duration) * MINUTE,
        needs=tuple([await _requirement(one, resolver) for one in given.all("required-resource")]),
        patients=await resolver.all(given.all("patient-reference"), "Patient"),
        new_patients=given.all("patient-resource"),
        reasons=codes(given.all("reason")),
        referral=given.one("referral-identifier"),
        timing=given.one("timing"),
        insured="insurance-reference" in given,
        without=None if without is None else await resolver.one(without, ("Appointment",)),
        count=_count(given.one("_count"), services.settings.max_page),
        offset=given.one("_offset") or 0,
        policy=policy,
    )


async def _requirement(given: Given, resolver: _Resolver) -> Requirement:
    duration = given.one("duration")
    return Requirement(
        Criteria(
            schedules=await resolver.all(given.all("schedule"), "Schedule"),
            specialties=codes(given.all("specialty")),
            visit_types=codes(given.all("characteristic")),
            actor_type=given.one("type"),
        ),
        count=given.one("count") or 1,
        offset=(given.one("offset") or 0) * MINUTE,
        duration=None if duration is None else duration * MINUTE,
    )


def codes(texts: Iterable[Any]) -> tuple[Code, ...]:
    """Tokens as searches write them: `system|code`, `|code` or `code`."""
    found: list[Code] = []
    for text in texts:
        system, bar, code = str(text).rpartition("|")
        found.append((system if bar else None, code))
    return tuple(found)


def _period(start: str, end: str, zone: str) -> Interval:
    try:
        low = parse_interval(start, zone)[0]
        begins, after = parse_interval(end, zone)
    except ValueError as error:
        raise InvalidRequest(f"start and end are dates or times: {error}.", "start") from error
    # a day is meant as a whole, an instant as the moment that it names
    high = after if "T" not in end else begins
    if low >= high:
        raise InvalidRequest("end is after start.", "end")
    if high - low > LONGEST:
        raise InvalidRequest(f"start and end are {LONGEST // DAY} days apart at the most.", "end")
    return low, high


def _count(asked: int | None, most: int) -> int:
    return DEFAULT_COUNT if asked is None else min(asked, most)


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Finds the resource of this server that a Reference means, by address or by identifier."""

    services: Services
    base: str
    policy: Policy | None = None

    async def all(self, references: Sequence[Mapping[str, Any]], *types: str) -> tuple[str, ...]:
        return tuple([await self.one(reference, types) for reference in references])

    async def one(self, reference: Mapping[str, Any], types: Sequence[str]) -> str:
        text = reference.get("reference")
        if text is None:
            return await self._by_identifier(reference.get("identifier", {}), types)
        parsed = parse_reference(str(text), (self.base,))
        if not parsed.local or parsed.type not in types:
            raise InvalidRequest(
                f"{str(text)[:80]!r} is no reference to a {' or '.join(types)} of this server.", types[0]
            )
        return f"{parsed.type}/{parsed.id}"

    async def _by_identifier(self, identifier: Mapping[str, Any], types: Sequence[str]) -> str:
        if "value" not in identifier:
            raise InvalidRequest(f"A {types[0]} is named by reference or identifier.", types[0])
        where = TokenIs("identifier", identifier.get("system"), identifier["value"])
        for type in types:
            seen = limited(where, (type,), self.policy)
            ids = await self.services.store.matching_ids(type, seen, 2)
            if len(ids) == 1:
                return f"{type}/{ids[0]}"
            if ids:
                raise InvalidRequest(f"More than one {type} has this identifier.", types[0])
        raise NotFound(f"No {' or '.join(types)} of this server has this identifier.", types[0])
