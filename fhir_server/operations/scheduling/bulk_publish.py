"""$bulk-publish: the free times of the Schedules that everybody may know, as SMART Scheduling Links has it.

https://github.com/smart-on-fhir/smart-scheduling-links/blob/master/specification.md. The manifest names files of NDJSON, which are
made when they are asked for. A Schedule is published by `published` in its rules. An invariant to keep: nothing is told of
a booking but that its time is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import encode
from fhir_r4.temporal import DAY, format_instant, parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.given import given
from fhir_server.operations.scheduling.bookable import Bookable
from fhir_server.operations.scheduling.matching import matching
from fhir_server.operations.scheduling.offering import Offer, Part, offers
from fhir_server.operations.scheduling.proposed import signed
from fhir_server.operations.scheduling.question import Criteria, Question
from fhir_server.resources.scheduling.availability import Held, most_held
from fhir_server.resources.scheduling.grid import fitting_starts
from fhir_server.resources.scheduling.intervals import Interval
from fhir_server.resources.scheduling.rules import local_reference, offered_starts, time_key
from fhir_server.resources.scheduling.zones import format_local

DEFINITION = "https://osler.health/fhir/OperationDefinition/bulk-publish"
LINK = "http://fhir-registry.smarthealthit.org/StructureDefinition/booking-deep-link"
CAPACITY = "http://fhir-registry.smarthealthit.org/StructureDefinition/slot-capacity"
OUTPUTS = ("Location", "Schedule", "Slot")
WEEKS = 5
MOST = 10**6


async def bulk_publish(call: OperationCall, services: Services) -> FhirResponse:
    """The manifest; with `output`, the file of that type, Slots of one `week`."""
    taken = given(call, DEFINITION)
    output, week = taken.one("output"), taken.one("week")
    if output is None:
        return _manifest(call, services)
    if output not in OUTPUTS:
        raise InvalidRequest(f"output is one of {', '.join(OUTPUTS)}.", "output")
    bookables = [b for b, _ in await matching(services, Criteria()) if b.rules.published]
    if output == "Location":
        return _lines(_locations(bookables))
    if output == "Schedule":
        return _lines(_schedule(b) for b in bookables)
    if week is None:
        raise InvalidRequest("Slots are told by week: the day it begins with is needed.", "week")
    low = parse_interval(week)[0]
    return _lines(await _slots(services, bookables, (low, low + 7 * DAY)))


def _manifest(call: OperationCall, services: Services) -> FhirResponse:
    now = services.clock()
    address = f"{call.request.base}/$bulk-publish"
    today = date.fromisoformat(format_instant(now)[:10])
    monday = today - timedelta(days=today.weekday())
    weeks = [monday + n * timedelta(days=7) for n in range(WEEKS)]
    files = [("Location", "output=Location"), ("Schedule", "output=Schedule")]
    files += [("Slot", f"output=Slot&week={week.isoformat()}") for week in weeks]
    manifest = {
        "transactionTime": format_instant(now),
        "request": address,
        "output": [{"type": type, "url": f"{address}?{query}"} for type, query in files],
        "error": [],
    }
    return FhirResponse(200, body=encode(manifest), media_type="application/json")


def _lines(resources: Iterable[Mapping[str, Any]]) -> FhirResponse:
    body = b"".join(encode(resource) + b"\n" for resource in resources)
    return FhirResponse(200, body=body, media_type="application/fhir+ndjson")


def _place(bookable: Bookable) -> Resource | None:
    """Where it is: the place among its actors, or the one place of the role."""
    for actor in bookable.rules.actors:
        resource = bookable.related.get(actor, {})
        if actor.startswith("Location/"):
            return resource or None
        places = list(resource.get("location", ())) if actor.startswith("PractitionerRole/") else []
        if len(places) == 1:
            return bookable.related.get(local_reference(places[0]) or "")
    return None


def _locations(bookables: Iterable[Bookable]) -> Iterator[Resource]:
    told: set[str] = set()
    for bookable in bookables:
        place = _place(bookable)
        if place is None or place["id"] in told:
            continue
        told.add(place["id"])
        kept = ("resourceType", "id", "name", "description", "telecom", "address", "position")
        location = {name: place[name] for name in kept if name in place}
        above: Resource | None = place
        while above is not None and "address" not in location:
            above = bookable.related.get(local_reference(above.get("partOf", {})) or "")
            location.update({"address": above["address"]} if above and "address" in above else {})
        yield location


def _schedule(bookable: Bookable) -> Resource:
    place = _place(bookable)
    kept = ("resourceType", "id", "serviceCategory", "serviceType", "specialty")
    schedule = {name: bookable.schedule[name] for name in kept if name in bookable.schedule}
    actors = bookable.schedule["actor"] if place is None else [{"reference": f"Location/{place['id']}"}]
    return {**schedule, "actor": actors}


async def _slots(services: Services, bookables: Iterable[Bookable], week: Interval) -> list[Resource]:
    """The Slots of a week that can be booked from now on, free ones and taken ones, in order of time."""
    by_reference = {b.reference: b for b in bookables}
    if not by_reference:
        return []
    found = await offers(services, _question(tuple(by_reference), week))
    people = sorted({person for b in by_reference.values() for person in b.people})
    held = await services.store.claims([time_key(p) for p in people], (week[0] - DAY, week[1] + DAY))
    told: dict[tuple[str, int], Resource] = {}
    for offer in found.offers:
        key = offer.parts[0].bookable.reference, offer.start
        told[key] = _slot(offer, "free", held, services)
    now = services.clock()
    for bookable in by_reference.values():
        duration = bookable.rules.duration
        first, after = offered_starts(bookable.rules, week[0], week[1] - duration + 1, now)
        for start in fitting_starts(bookable.rules, *week, duration):
            if first <= start < after and (bookable.reference, start) not in told:
                offer = Offer(start, duration, (Part(bookable, 0, duration),))
                told[bookable.reference, start] = _slot(offer, "busy", held, services)
    return [slot for _, slot in sorted(told.items(), key=lambda item: (item[0][1], item[0][0]))]


def _question(schedules: tuple[str, ...], week: Interval) -> Question:
    return Question(
        period=week,
        criteria=Criteria(schedules=schedules),
        joint=False,
        duration=None,
        needs=(),
        patients=(),
        new_patients=(),
        reasons=(),
        referral=None,
        timing=None,
        insured=False,
        without=None,
        count=MOST,
        offset=0,
    )


def _slot(offer: Offer, status: str, held: Mapping[str, list[Held]], services: Services) -> Resource:
    bookable = offer.parts[0].bookable
    id = offer.slot.slot["id"] if offer.slot is not None else signed(offer, services.settings)
    extension: list[dict[str, Any]] = []
    link = services.settings.booking_link
    if link and status == "free":
        extension.append({"url": LINK, "valueUrl": link.replace("{slot}", id or "")})
    end = offer.start + offer.duration
    if bookable.rules.capacity > 1:
        places = min(
            _places(bookable, held.get(time_key(p), ()), (offer.start, end)) for p in bookable.people
        )
        extension.append({"url": CAPACITY, "valueInteger": places})
    slot: Resource = {"resourceType": "Slot", "id": id}
    if extension:
        slot["extension"] = extension
    zone = bookable.rules.zone
    slot["schedule"] = {"reference": bookable.reference}
    slot["status"] = status
    return {**slot, "start": format_local(offer.start, zone), "end": format_local(end, zone)}


def _places(bookable: Bookable, held: Iterable[Held], period: Interval) -> int:
    left = 1 - most_held(held, period)
    return max(0, int(left / bookable.rules.share))
