"""Schedule/[id]/$block and $unblock: close a Schedule for a time, and open it again.

A block is a Slot `busy-unavailable`: it claims all the time of the actors of the Schedule. It may lie over bookings when
the call says so; which ones it lies over stands in the Slot. An invariant to keep: whatever way it was refused or carried
out, no booking is changed by a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fhir_r4.errors import Conflict, InvalidRequest, NotFound
from fhir_r4.temporal import DAY, format_instant, parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import Given, given
from fhir_server.operations.scheduling.hit import appointments_hit
from fhir_server.operations.scheduling.spans import spans_of
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.intervals import Interval, difference, intersection, union
from fhir_server.resources.scheduling.lifecycle import period_of
from fhir_server.resources.scheduling.related import rules_of
from fhir_server.resources.scheduling.rules import BLOCK, local_reference
from fhir_server.search.tree import DateIs, RefersTo, TokenIs, all_of

BLOCK_DEFINITION = "https://osler.health/fhir/OperationDefinition/Schedule-block"
UNBLOCK_DEFINITION = "https://osler.health/fhir/OperationDefinition/Schedule-unblock"
LIES_OVER = "https://osler.health/fhir/StructureDefinition/schedule-block-over"
TASK = "https://osler.health/fhir/CodeSystem/scheduling-task"
ON_CONFLICT = ("reject", "report", "reschedule")
# blocks that an interval may cut, and how long one may last
MOST_BLOCKS = 1000
LONGEST = 400 * DAY


async def block(call: OperationCall, services: Services) -> FhirResponse:
    """Parameters with the Slots of the block, the Appointments that it lies over, and the Tasks to move them.

    Raises Conflict when there are bookings and `on-conflict` is `reject`.
    """
    taken = given(call, BLOCK_DEFINITION)
    manner = taken.one("on-conflict") or "reject"
    if manner not in ON_CONFLICT:
        raise InvalidRequest(f"on-conflict is one of {', '.join(ON_CONFLICT)}.", "on-conflict")

    async def planner(known: Known) -> Sequence[Write]:
        schedule = await _schedule(call, known)
        rules = await rules_of(schedule, known.current, services.settings.default_timezone)
        writes: list[Write] = []
        hit: dict[str, Resource] = {}
        for span in _spans(taken, rules.zone):
            found = await appointments_hit(schedule, rules.actors, span, known)
            hit.update(found)
            slot = _slot(services.new_id(), schedule, span, str(taken.one("reason")), list(found))
            writes.append(Write(slot, "POST", fresh=True))
        if hit and manner == "reject":
            named = ", ".join(list(hit)[:5])
            raise Conflict(f"Schedule/{schedule['id']} has bookings at that time: {named}.", "period")
        if manner == "reschedule":
            writes += [Write(_task(services.new_id(), r, known.now), "POST", fresh=True) for r in hit]
        return writes

    return await carry_out(call, services, taken, planner, _answer)


async def unblock(call: OperationCall, services: Services) -> FhirResponse:
    """Parameters with the Slots as they are now: what is left of a block, or `entered-in-error` when nothing is.

    Raises NotFound when nothing is blocked there.
    """
    taken = given(call, UNBLOCK_DEFINITION)
    if ("slot" in taken) == ("period" in taken):
        raise InvalidRequest("Either slot or period says what is opened.", "slot")

    async def planner(known: Known) -> Sequence[Write]:
        schedule = await _schedule(call, known)
        rules = await rules_of(schedule, known.current, services.settings.default_timezone)
        if "slot" in taken:
            blocks = [await _named_block(reference, schedule, known) for reference in taken.all("slot")]
            opened: list[Interval] = [span for b in blocks if (span := period_of(b)) is not None]
        else:
            opened = list(_spans(taken, rules.zone))
            blocks = await _blocks(schedule, opened[0], known)
        writes = [w for b in blocks for w in _opened(b, opened, services)]
        if not writes:
            raise NotFound(f"Schedule/{schedule['id']} is not blocked at that time.", "period")
        return writes

    return await carry_out(call, services, taken, planner, _answer)


def _answer(written: Sequence[Resource]) -> Resource:
    slots = [r for r in written if r["resourceType"] == "Slot"]
    over = {
        e["valueReference"]["reference"]: e["valueReference"]
        for slot in slots
        for e in slot.get("extension", ())
        if e["url"] == LIES_OVER
    }
    parameters: list[dict[str, Any]] = [{"name": "slot", "resource": slot} for slot in slots]
    parameters += [{"name": "appointment", "valueReference": reference} for reference in over.values()]
    parameters += [{"name": "task", "resource": r} for r in written if r["resourceType"] == "Task"]
    return {"resourceType": "Parameters", "parameter": parameters}


async def _schedule(call: OperationCall, known: Known) -> Resource:
    assert call.id is not None
    schedule = await known.current("Schedule", call.id)
    if schedule is None:
        raise NotFound(f"There is no Schedule/{call.id}.")
    return schedule


def _spans(taken: Given, zone: str) -> Iterator[Interval]:
    """The times that a call is about, in order. Raises InvalidRequest for none, and for ones without end."""
    period, timing = taken.one("period"), taken.one("timing")
    if (period is None) == (timing is None):
        raise InvalidRequest("Either period or timing says when.", "period")
    if timing is not None:
        yield from spans_of(timing, zone)
        return
    if "start" not in period or "end" not in period:
        raise InvalidRequest("The period has a start and an end.", "period")
    low = parse_interval(period["start"], zone)[0]
    begins, after = parse_interval(period["end"], zone)
    # a day is meant as a whole, an instant as the moment that it names
    high = after if "T" not in period["end"] else begins
    if not low < high <= low + LONGEST:
        raise InvalidRequest(
            f"The period ends after its start and lasts {LONGEST // DAY} days at the most.", "period"
        )
    yield low, high


def _slot(id: str, schedule: Resource, span: Interval, reason: str, over: Sequence[str]) -> Resource:
    return {
        "resourceType": "Slot",
        "id": id,
        "extension": [
            {"url": BLOCK, "valueBoolean": True},
            *({"url": LIES_OVER, "valueReference": {"reference": reference}} for reference in over),
        ],
        "schedule": {"reference": f"Schedule/{schedule['id']}"},
        "status": "busy-unavailable",
        "start": format_instant(span[0]),
        "end": format_instant(span[1]),
        "comment": reason,
    }


def _task(id: str, reference: str, now: int) -> Resource:
    return {
        "resourceType": "Task",
        "id": id,
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": TASK, "code": "reschedule"}]},
        "focus": {"reference": reference},
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
    }


async def _named_block(reference: Mapping[str, Any], schedule: Resource, known: Known) -> Resource:
    local = local_reference(reference) or ""
    slot = await known.current("Slot", local.removeprefix("Slot/")) if local.startswith("Slot/") else None
    of = None if slot is None else local_reference(slot["schedule"])
    if slot is None or of != f"Schedule/{schedule['id']}" or slot["status"] != "busy-unavailable":
        raise NotFound(f"{reference.get('reference', 'slot')!s:.80} is no block of this Schedule.", "slot")
    return slot


async def _blocks(schedule: Resource, span: Interval, known: Known) -> list[Resource]:
    low, high = span
    where = all_of(
        [
            RefersTo("schedule", "Schedule", schedule["id"]),
            TokenIs("status", None, "busy-unavailable"),
            DateIs("start", "ge", low - LONGEST, low - LONGEST + 1),
            DateIs("start", "lt", high, high + 1),
        ]
    )
    return await known.find("Slot", where, MOST_BLOCKS)


def _opened(slot: Resource, opened: Sequence[Interval], services: Services) -> Iterator[Write]:
    """The writes that are left of a block when some time of it is opened."""
    span = period_of(slot)
    opened = union(opened)
    if span is None or not intersection([span], opened):
        return
    left = difference([span], opened)
    if not left:
        yield Write({**slot, "status": "entered-in-error"})
        return
    for number, (low, high) in enumerate(left):
        part = {**slot, "start": format_instant(low), "end": format_instant(high)}
        if number == 0:
            yield Write(part)
        else:
            yield Write({**part, "id": services.new_id()}, "POST", fresh=True)
