"""HealthcareService/$queue, $next-patient and $waiting-times. docs/scheduling.md

An invariant to keep: two who call the next patient at once get two patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_r4.errors import NotFound
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import MINUTE, SECOND, format_instant, period_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.interactions.visibility import visible_ids
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import given
from fhir_server.operations.scheduling.searchsets import searchset
from fhir_server.operations.seeing import require_seen, seen
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.queueing import WAITING, begun_visit, in_order, is_wait, waiting_time
from fhir_server.resources.scheduling.response import SCHEDULING
from fhir_server.resources.scheduling.rules import local_reference
from fhir_server.search.rewrite import limited
from fhir_server.search.tree import RefersTo, TokenIs, all_of, any_of

DEFINITIONS = "https://osler.health/fhir/OperationDefinition/HealthcareService-"
MOST_WAITING = 1000
MOST_VISITS = 20_000


async def queue(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset of the Tasks of those who wait, the next one first, with their Encounters."""
    await require_seen(call, services, given(call, DEFINITIONS + "queue"))
    known = Plan(services, ())
    await _require_service(call, known)
    tasks = await _waiting(call, known, services)
    visits = [v for task in tasks if (v := await _visit(task, known)) is not None]
    return FhirResponse(200, resource=searchset(call, tasks, await seen(call, services, "Encounter", visits)))


async def next_patient(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset with the Task of who is next, now in progress, and with the Encounter, which begins.

    Raises NotFound when nobody waits.
    """
    taken = given(call, DEFINITIONS + "next-patient")

    async def planner(known: Known) -> Sequence[Write]:
        await _require_service(call, known)
        tasks = await _waiting(call, known, services)
        if not tasks:
            raise NotFound("Nobody waits.", "HealthcareService")
        called = {**tasks[0], "status": "in-progress", "lastModified": format_instant(known.now)}
        performer = taken.one("performer")
        if performer is not None:
            called["requester"] = performer
        visit = await _visit(tasks[0], known)
        return [Write(called), *([] if visit is None else [Write(begun_visit(visit, known.now))])]

    def answer(written: Sequence[Resource]) -> Resource:
        return searchset(call, written[:1], written[1:])

    return await carry_out(call, services, taken, planner, answer)


async def _require_service(call: OperationCall, known: Known) -> None:
    assert call.id is not None
    if await known.current("HealthcareService", call.id) is None:
        raise NotFound(f"There is no HealthcareService/{call.id}.", "HealthcareService")


async def _waiting(call: OperationCall, known: Known, services: Services) -> list[Resource]:
    """Those who wait, as far as the actor may know of them."""
    where = all_of(
        [
            RefersTo("owner", "HealthcareService", call.id),
            TokenIs("code", SCHEDULING, "queue"),
            TokenIs("status", None, WAITING),
        ]
    )
    waits = [t for t in await known.find("Task", where, MOST_WAITING) if is_wait(t)]
    return in_order(await seen(call, services, "Task", waits))


async def _visit(task: Resource, known: Known) -> Resource | None:
    reference = local_reference(task.get("encounter", {}))
    return None if reference is None else await known.current("Encounter", reference.partition("/")[2])


async def waiting_times(call: OperationCall, services: Services) -> FhirResponse:
    """A MeasureReport: how many waited for the service, the median and the 90th percentile in minutes."""
    taken = given(call, DEFINITIONS + "waiting-times")
    await require_seen(call, services, taken)
    await _require_service(call, Plan(services, ()))
    period = taken.one("period") or {}
    low, high = period_interval(period.get("start"), period.get("end"), services.settings.default_timezone)
    where = all_of(
        [
            RefersTo("owner", "HealthcareService", call.id),
            TokenIs("code", SCHEDULING, "queue"),
            any_of(TokenIs("status", None, s) for s in ("in-progress", "completed")),
        ]
    )
    actor = call.request.actor
    ids = await services.store.matching_ids("Task", limited(where, ("Task",), actor.policy), MOST_VISITS)
    tasks = await services.store.read_many([("Task", id) for id in ids])
    addresses = [local_reference(decode_object(t.body).get("encounter", {})) for t in tasks.values()]
    visits = [a.partition("/")[2] for a in addresses if a is not None]
    keys = [("Encounter", id) for id in sorted(await visible_ids(actor, services, "Encounter", visits))]
    times = []
    for stored in (await services.store.read_many(keys)).values():
        encounter = decode_object(stored.body)
        waited = waiting_time(encounter)
        start, _ = period_interval(encounter.get("period", {}).get("start"), None)
        if waited is not None and low <= start < high:
            times.append(waited)
    return FhirResponse(200, resource=_report(call, period, sorted(times), services.clock()))


def percentile(times: Sequence[int], part: float) -> int:
    """The smallest of the sorted times that at least this part of them does not exceed."""
    rank = max(1, -(-int(part * 1000) * len(times) // 1000))
    return times[rank - 1]


def _report(call: OperationCall, period: Resource, times: Sequence[int], now: int) -> Resource:
    def group(code: str, value: float, unit: str) -> dict[str, Any]:
        quantity = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
        return {"code": {"coding": [{"system": SCHEDULING, "code": code}]}, "measureScore": quantity}

    groups = [group("waited", len(times), "1")]
    if times:
        groups += [
            group("waiting-median", round(percentile(times, 0.5) / MINUTE, 1), "min"),
            group("waiting-p90", round(percentile(times, 0.9) / MINUTE, 1), "min"),
        ]
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "summary",
        "measure": "https://osler.health/fhir/Measure/waiting-time",
        "date": format_instant(now // SECOND * SECOND),
        "evaluatedResource": [{"reference": f"HealthcareService/{call.id}"}],
        "period": period or {"end": format_instant(now)},
        "group": groups,
    }
