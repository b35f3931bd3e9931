"""What was known of beds and stays at an instant, from the history of versions: the source of figures that do not change.

An invariant to keep: nothing that was written after the instant is looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from fhir_r4.jsonio import decode_object
from fhir_r4.references import local_id
from fhir_r4.temporal import OPEN_HIGH, OPEN_LOW
from fhir_server.context import Resource, Services
from fhir_server.operations.beds.census import Bed, Interval, Presence, Stay
from fhir_server.resources.beds.places import in_use, status_of
from fhir_server.resources.beds.stays import end_of, is_inpatient, start_of
from fhir_server.search.tree import DateIs, Not, Present, RefersTo, SearchQuery, all_of, any_of
from fhir_server.store.records import HistoryQuery, Stored

PAGE = 1000


async def versions_at(services: Services, type: str, span: Interval) -> AsyncIterator[Stored]:
    """The versions that were current at some moment of `span`, newest first; deletions too."""
    cursor = None
    while True:
        page = await services.store.history(HistoryQuery(type, at=span, count=PAGE, cursor=cursor))
        for stored in page.versions:
            yield stored
        cursor = page.next
        if cursor is None:
            return


async def stays_then(
    services: Services, beds: Collection[str], span: Interval, as_of: int, bases: Sequence[str]
) -> list[Stay]:
    """The stays in `beds` in `span` as they were known at `as_of`; from the index when that is now."""
    found = []
    if as_of >= services.clock():
        async for resource in _stays_now(services, beds, span):
            found.append(resource)
    else:
        async for stored in versions_at(services, "Encounter", (as_of, as_of + 1)):
            if not stored.deleted:
                found.append(decode_object(stored.body))
    stays = (stay_of(resource, frozenset(beds), as_of, bases) for resource in found)
    return [s for s in stays if s is not None and (s.presences or s.here)]


async def _stays_now(services: Services, beds: Collection[str], span: Interval) -> AsyncIterator[Resource]:
    in_span = all_of(
        [
            DateIs("date", "lt", span[1], span[1] + 1),
            DateIs("date", "gt", span[0] - 1, span[0]),
        ]
    )
    where = all_of(
        [
            any_of(RefersTo("location", "Location", bed) for bed in sorted(beds)),
            any_of([in_span, Not(Present("date"))]),
        ]
    )
    cursor = None
    while True:
        page = await services.store.search(SearchQuery(("Encounter",), where, count=PAGE, cursor=cursor))
        for stored in page.matches:
            yield decode_object(stored.body)
        cursor = page.next
        if cursor is None:
            return


def stay_of(resource: Resource, beds: frozenset[str], as_of: int, bases: Sequence[str] = ()) -> Stay | None:
    """The Encounter as a stay; None for one that never was in `beds`, or was a mistake."""
    if resource.get("status") in ("planned", "cancelled", "entered-in-error"):
        return None
    period = resource.get("period") or {}
    leave = _leave(resource)
    ended = end_of(period.get("end")) if resource.get("status") == "finished" else None
    places: list[tuple[str, Interval]] = []
    for entry in resource.get("location", ()):
        id = local_id(entry.get("location"), "Location", bases)
        if id is None or entry.get("status") in ("planned", "reserved"):
            continue
        own = entry.get("period") or {}
        low = start_of(own.get("start", period.get("start")))
        high = end_of(own.get("end", period.get("end")))
        if low is not None and low <= as_of:
            places.append((id, (low, OPEN_HIGH if high is None else high)))
    here = [(id, interval) for id, interval in places if id in beds]
    if not here:
        return None
    began = start_of(period.get("start"))
    places.sort(key=lambda place: place[1])
    return Stay(
        began=here[0][1][0] if began is None else began,
        ended=ended if is_inpatient(resource) else None,
        presences=tuple(Presence(id, interval, leave) for id, interval in here),
        leave=leave,
        here=places[-1][0] in beds,
        began_here=places[0][0] in beds,
        id=str(resource.get("id", "")),
    )


def _leave(resource: Resource) -> tuple[Interval, ...]:
    found: list[Interval] = []
    last = start_of((resource.get("period") or {}).get("start"))
    for entry in resource.get("statusHistory", ()):
        period = entry.get("period") or {}
        low, high = start_of(period.get("start")), end_of(period.get("end"))
        if entry.get("status") == "onleave" and low is not None and high is not None:
            found.append((low, high))
        last = last if high is None else high
    if resource.get("status") == "onleave" and last is not None:
        found.append((last, OPEN_HIGH))
    return tuple(found)


async def beds_then(services: Services, beds: Sequence[str], span: Interval, as_of: int) -> list[Bed]:
    """The beds that were known at `as_of`, with the times in which they were closed.

    What a bed was at its first version it was before.
    """
    wanted = set(beds)
    known: dict[str, list[tuple[int, bool]]] = {bed: [] for bed in beds}
    async for stored in versions_at(services, "Location", span):
        if stored.id in wanted and stored.updated <= as_of:
            known[stored.id].append((stored.updated, _closed(stored)))
    for bed in [bed for bed, states in known.items() if not states]:
        first = await services.store.read_version("Location", bed, 1)
        if first is None or first.updated > as_of:
            del known[bed]
        else:
            known[bed].append((first.updated, _closed(first)))
    return [Bed(bed, closed_times(sorted(states))) for bed, states in known.items()]


def _closed(stored: Stored) -> bool:
    if stored.deleted:
        return True
    location = decode_object(stored.body)
    return status_of(location) == "C" or not in_use(location)


def closed_times(states: Sequence[tuple[int, bool]]) -> tuple[Interval, ...]:
    """The intervals in which a bed was closed, of (since, closed) in the order of time."""
    found: list[Interval] = []
    for n, (since, closed) in enumerate(states):
        low = OPEN_LOW if n == 0 else since
        high = states[n + 1][0] if n + 1 < len(states) else OPEN_HIGH
        if closed:
            found.append((low, high))
    return tuple(found)
