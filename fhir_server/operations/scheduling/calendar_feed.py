"""$calendar: an Appointment as an iCalendar file, and the bookings and blocks of somebody as a feed. RFC 5545

https://www.rfc-editor.org/rfc/rfc5545. Times are instants in UTC, so every calendar shows them right. An invariant to
keep: the UID of an event is that of its resource, and its SEQUENCE grows with the versions, so a later file replaces what
an earlier one said.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import DAY, parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.interactions.visibility import require_current
from fhir_server.operations.given import Given, given
from fhir_server.operations.scheduling.hit import people_of
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.resources.scheduling.lifecycle import LIVE, is_live, period_of
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.search.rewrite import limited
from fhir_server.search.tree import DateIs, Expression, RefersTo, TokenIs, all_of, any_of
from fhir_server.store.records import Stored

if TYPE_CHECKING:
    from icalendar import Event

DEFINITION = "https://osler.health/fhir/OperationDefinition/calendar"
DETAILS = ("busy", "full")
BEFORE, AHEAD = 28 * DAY, 180 * DAY
MOST = 10_000
STATUS = {"booked": "CONFIRMED", "arrived": "CONFIRMED", "checked-in": "CONFIRMED", "fulfilled": "CONFIRMED"}
GONE = ("cancelled", "noshow", "entered-in-error")


async def calendar(call: OperationCall, services: Services) -> FhirResponse:
    """text/calendar: of an Appointment one event, else those of `start` to `end`.

    `detail` is `busy` (the default of a feed: when, not who or what) or `full`.
    """
    assert call.type is not None
    assert call.id is not None
    taken = given(call, DEFINITION)
    current = await require_current(call.request, services, call.type, call.id)
    resource = decode_object(current.body)
    host = call.request.base.split("://")[-1].split("/")[0]
    if call.type == "Appointment":
        event = _appointment(resource, current, host, full=_detail(taken, "full") == "full")
        if event is None:
            raise BusinessRule("An Appointment without times is in no calendar.", "Appointment.start")
        return _answer([event], _title(resource), f"appointment-{call.id}")
    full = _detail(taken, "busy") == "full"
    events = await _events(call, services, resource, _period(taken, services), host, full)
    return _answer(events, _title(resource), f"{call.type.lower()}-{call.id}")


def _detail(taken: Given, default: str) -> str:
    detail = taken.one("detail") or default
    if detail not in DETAILS:
        raise InvalidRequest(f"detail is one of {', '.join(DETAILS)}.", "detail")
    return str(detail)


def _period(taken: Given, services: Services) -> Interval:
    zone, now = services.settings.default_timezone, services.clock()
    start, end = taken.one("start"), taken.one("end")
    low = now - BEFORE if start is None else parse_interval(start, zone)[0]
    high = now + AHEAD if end is None else parse_interval(end, zone)[1]
    if low >= high:
        raise InvalidRequest("end is after start.", "end")
    return low, high


async def _events(
    call: OperationCall, services: Services, resource: Resource, period: Interval, host: str, full: bool
) -> list[Event]:
    people, schedules = await _whose(call, services, resource)
    low, high = period
    times: list[Expression] = [DateIs("date", "ge", low, low + 1), DateIs("date", "lt", high, high + 1)]
    live = any_of(TokenIs("status", None, status) for status in (*LIVE, "fulfilled"))
    policy = call.request.actor.policy
    theirs = all_of([any_of(_refers("actor", p) for p in people), live, *times])
    appointments = await _all(services, "Appointment", limited(theirs, ("Appointment",), policy))
    begin: list[Expression] = [DateIs("start", "ge", low, low + 1), DateIs("start", "lt", high, high + 1)]
    blocked = TokenIs("status", None, "busy-unavailable")
    closed = all_of([any_of(_refers("schedule", s) for s in schedules), blocked, *begin])
    blocks = await _all(services, "Slot", limited(closed, ("Slot",), policy))
    now = services.clock()
    found: list[Event | None] = [
        _appointment(appointment, stored, host, full)
        for stored in appointments
        if is_live(appointment := decode_object(stored.body), now) or appointment["status"] == "fulfilled"
    ]
    found += [_block(decode_object(stored.body), stored, host, full) for stored in blocks]
    return [event for event in found if event is not None]


async def _whose(call: OperationCall, services: Services, resource: Resource) -> tuple[list[str], list[str]]:
    """Whose bookings are told, and the Schedules whose blocks are."""
    if call.type == "Schedule":
        actors = [a for r in resource["actor"] if (a := local_reference(r)) is not None]
        return await people_of(actors, Plan(services, ())), [f"Schedule/{call.id}"]
    people = await people_of([f"{call.type}/{call.id}"], Plan(services, ()))
    where = any_of(_refers("actor", person) for person in people)
    ids = await services.store.matching_ids("Schedule", where, MOST)
    return people, [f"Schedule/{id}" for id in ids]


async def _all(services: Services, type: str, where: Expression) -> list[Stored]:
    ids = await services.store.matching_ids(type, where, MOST + 1)
    if len(ids) > MOST:
        raise BusinessRule(f"More than {MOST} {type} would have to be told; ask for a shorter time.")
    found = await services.store.read_many([(type, id) for id in ids])
    return [found[type, id] for id in ids if (type, id) in found]


def _refers(param: str, reference: str) -> Expression:
    type, _, id = reference.partition("/")
    return RefersTo(param, type, id)


def _answer(events: Iterable[Event], title: str, name: str) -> FhirResponse:
    # nine megabytes, wanted only when somebody asks for a calendar
    from icalendar import Calendar

    made = Calendar()
    made.add("prodid", "-//Osler//FHIR server//EN")
    made.add("version", "2.0")
    made.add("method", "PUBLISH")
    made.add("x-wr-calname", title)
    for event in events:
        made.add_component(event)
    return FhirResponse(
        200,
        body=made.to_ical(),
        media_type="text/calendar; charset=utf-8",
        headers={"content-disposition": f'inline; filename="{name}.ics"'},
    )


def _event(resource: Resource, stored: Stored, host: str) -> Event | None:
    period = period_of(resource)
    if period is None:
        return None
    from icalendar import Event

    event = Event()
    event.add("uid", f"{resource['resourceType']}-{resource['id']}@{host}")
    event.add("dtstamp", _moment(stored.updated))
    event.add("last-modified", _moment(stored.updated))
    event.add("sequence", stored.version - 1)
    event.add("dtstart", _moment(period[0]))
    event.add("dtend", _moment(period[1]))
    return event


def _appointment(appointment: Resource, stored: Stored, host: str, full: bool) -> Event | None:
    event = _event(appointment, stored, host)
    if event is None:
        return None
    status = appointment["status"]
    event.add("status", "CANCELLED" if status in GONE else STATUS.get(status, "TENTATIVE"))
    event.add("summary", _summary(appointment) if full else "Busy")
    if not full:
        return event
    named = [(local_reference(p.get("actor", {})) or "", p) for p in appointment.get("participant", ())]
    place = next((p["actor"].get("display") for a, p in named if a.startswith("Location/")), None)
    if place is not None:
        event.add("location", place)
    with_ = [p["actor"]["display"] for a, p in named if "display" in p.get("actor", {})]
    lines = [appointment.get("patientInstruction"), f"With: {', '.join(with_)}" if with_ else None]
    if any(lines):
        event.add("description", "\n".join(line for line in lines if line))
    return event


def _summary(appointment: Resource) -> str:
    if appointment.get("description"):
        return str(appointment["description"])
    for member in ("serviceType", "appointmentType", "specialty"):
        concepts = appointment.get(member, ())
        for concept in [concepts] if isinstance(concepts, dict) else concepts:
            text = concept.get("text") or next(
                (c["display"] for c in concept.get("coding", ()) if "display" in c), None
            )
            if text:
                return str(text)
    return "Appointment"


def _block(slot: Resource, stored: Stored, host: str, full: bool) -> Event | None:
    event = _event(slot, stored, host)
    if event is not None:
        event.add("summary", str(slot.get("comment", "Unavailable")) if full else "Unavailable")
        event.add("transp", "OPAQUE")
    return event


def _title(resource: Resource) -> str:
    name: Any = resource.get("name")
    if isinstance(name, str):
        return name
    if isinstance(name, list) and name:
        parts = [*name[0].get("given", ()), name[0].get("family", "")]
        return str(name[0].get("text") or " ".join(part for part in parts if part))
    return f"{resource['resourceType']}/{resource['id']}"


def _moment(instant: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant // 1_000_000 * 1_000_000)
