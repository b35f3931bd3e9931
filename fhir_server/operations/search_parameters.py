"""SearchParameter/$status: what is true of each search parameter just now. docs/operations.md

- `indexed`: every resource can be found by it;
- `indexing`: a job is at it, `done` of `total` resources;
- `supported`: searches take it, but resources written before it came may not be indexed, and no job is at it;
- `unsupported`: searches refuse it; `reason` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fhir_r4.definitions import SearchParameter, is_resource_type, resource_types
from fhir_r4.errors import InvalidParameter
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.indexing import REINDEX, find_jobs, follow, progress_of, refresh_pending
from fhir_server.interactions.visibility import require_current
from fhir_server.operations.parameters import refuse_unknown, values
from fhir_server.resources.job import Job
from fhir_server.search.custom import InForce, definition_of, is_active, says_what_is_known
from fhir_server.store.records import Stored

FILTERS = ("url", "code", "resource", "status")

Jobs = list[tuple[Job, Stored]]


@dataclass(frozen=True, slots=True)
class State:
    """The state of a parameter for some types; `job` is the one that indexes it."""

    status: str
    reason: str = ""
    job: Job | None = None


async def status(call: OperationCall, services: Services) -> FhirResponse:
    """A Parameters resource with a `parameter` for each definition and state."""
    await follow(services)
    in_force = await refresh_pending(services)
    jobs = await find_jobs(services, REINDEX)
    if call.id is not None:
        refuse_unknown(call.parameters, ())
        current = await require_current(call.request, services, "SearchParameter", call.id)
        rows = list(_of_resource(decode_object(current.body), call.id, in_force, services, jobs))
    else:
        refuse_unknown(call.parameters, FILTERS)
        rows = list(_all(in_force, jobs, _filters(call)))
    return FhirResponse(200, resource={"resourceType": "Parameters", "parameter": rows})


def _filters(call: OperationCall) -> dict[str, set[str]]:
    filters = {name: {str(v) for v in values(call.parameters, name)} for name in FILTERS}
    for type in filters["resource"]:
        if not is_resource_type(type):
            raise InvalidParameter(f"{type[:64]!r} is no resource type of FHIR R4.", "resource")
    return filters


def _all(in_force: InForce, jobs: Jobs, filters: dict[str, set[str]]) -> Iterator[Resource]:
    """Each definition once for each state that it has, with the types for which it has it."""
    found: dict[tuple[str, str], dict[State, list[str]]] = {}
    for type in sorted(filters["resource"]) or resource_types():
        for code, definition in in_force.parameters.of(type).items():
            if filters["url"] and definition.url not in filters["url"]:
                continue
            if filters["code"] and code not in filters["code"]:
                continue
            states = found.setdefault((definition.url, code), {})
            states.setdefault(_state(in_force, type, code, jobs), []).append(type)
    for (url, code), states in found.items():
        for state, types in states.items():
            if not filters["status"] or state.status in filters["status"]:
                yield _row(url, code, state, types)


def _of_resource(
    resource: Resource, id: str, in_force: InForce, services: Services, jobs: Jobs
) -> Iterator[Resource]:
    definition = definition_of(resource)
    if not is_active(resource):
        reason = f"its status is {resource['status']}"
        yield _row(definition.url, definition.code, State("unsupported", reason), definition.base)
        return
    standard = says_what_is_known(definition, services.registry.standard)
    states: dict[State, list[str]] = {}
    for type in resource_types():
        effective = in_force.parameters.find(type, definition.code)
        if effective is not None and _is(effective, definition, id, in_force, standard=standard):
            states.setdefault(_state(in_force, type, definition.code, jobs), []).append(type)
    for state, types in states.items():
        yield _row(definition.url, definition.code, state, types)


def _is(
    effective: SearchParameter, definition: SearchParameter, id: str, in_force: InForce, *, standard: bool
) -> bool:
    if standard:
        return effective.url == definition.url
    return effective is in_force.custom.active.get(id)


def _state(in_force: InForce, type: str, code: str, jobs: Jobs) -> State:
    reason = in_force.parameters.reason(type, code)
    if reason:
        return State("unsupported", reason)
    if (type, code) not in in_force.pending:
        return State("indexed")
    job = progress_of(type, jobs).job
    if job is None:
        return State("supported", f"not fully indexed; POST ${REINDEX} does it")
    return State("indexing", "" if job.status == "in-progress" else "the job waits", job)


def _row(url: str, code: str, state: State, types: Iterable[str]) -> Resource:
    part: list[dict[str, Any]] = [
        {"name": "url", "valueUri": url},
        {"name": "code", "valueCode": code},
        {"name": "status", "valueCode": state.status},
    ]
    if state.reason:
        part.append({"name": "reason", "valueString": state.reason})
    if state.job is not None:
        part += [
            {"name": "done", "valueUnsignedInt": state.job.done},
            {"name": "total", "valueUnsignedInt": state.job.total},
            {"name": "task", "valueReference": {"reference": f"Task/{state.job.id}"}},
        ]
    part += [{"name": "resource", "valueCode": type} for type in types]
    return {"name": "parameter", "part": part}
