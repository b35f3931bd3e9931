"""Carry out an operation that changes the hospital: plan, write in one commit, answer.

All such operations take `request-id` (the same request again gives the same answer, for a day), `dry-run` (what would be,
nothing written) and, on an instance, `If-Match`. An invariant to keep: what a plan has looked at still holds when it is
written, or the plan is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fhir_r4.errors import BusinessRule, Issue, PreconditionFailed
from fhir_r4.jsonio import decode_object, encode
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.answering import information, outcome, preference
from fhir_server.interactions.conditional import if_match
from fhir_server.interactions.governing import Plan as Looking
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.writing import commit, prepare
from fhir_server.operations.given import Given
from fhir_server.operations.seeing import require_seen
from fhir_server.resources.change import Known
from fhir_server.store.records import Method, Stored, WriteOp

REQUEST = "https://osler.health/fhir/CodeSystem/request"
EXTENSION = "https://osler.health/fhir/StructureDefinition/request-"
KEPT = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Write:
    """A resource as it is to be, with its id; `fresh` when the id was made for it."""

    resource: Resource
    method: Method = "PUT"
    fresh: bool = False


# looks at what it needs and gives what is to be written
Planner = Callable[[Known], Awaitable[Sequence[Write]]]
# makes the answer of the resources written, in the order of the plan
Answer = Callable[[Sequence[Resource]], Resource]


def sole(written: Sequence[Resource]) -> Resource:
    """The answer of an operation that gives the first resource it has written."""
    return written[0]


async def carry_out(
    call: OperationCall, services: Services, given: Given, planner: Planner, answer: Answer = sole
) -> FhirResponse:
    """Plan and write, again when others were faster.

    Raises NotFound for what the actor may not see, PreconditionFailed (412) for a stale If-Match, Conflict (409) for a claim that is taken, BusinessRule (422) for
    what a rule refuses, and when `request-id` was used for another request.
    """
    await require_seen(call, services, given)
    dry = given.one("dry-run") is True
    request_id = None if dry else given.one("request-id")
    digest = "" if request_id is None else _digest(call)

    async def attempt() -> FhirResponse:
        looking = Looking(services, ())
        record = None if request_id is None else await _record(looking, request_id)
        if record is not None:
            return await _again(call, services, record, digest, answer)
        await _require_version(call, looking)
        writes = await planner(looking)
        ops = [prepare(services, w.method, w.resource, w.resource["id"], fresh=w.fresh) for w in writes]
        if request_id is not None:
            ops.append(await _recording(services, looking, request_id, digest, writes))
        versions, warnings = await commit(
            services,
            ops,
            looking.preconditions,
            [w.resource for w in writes],
            actor=call.request.actor,
            seen=looking,
            rehearse=dry,
        )
        return _answered(call, versions[: len(writes)], answer, warnings)

    return await retrying(attempt)


def _digest(call: OperationCall) -> str:
    """What two requests have in common that are the same."""
    body = encode({**call.parameters, "parameter": call.parameters.get("parameter", [])})
    return hashlib.sha256("/".join(call.request.path).encode() + b"\0" + body).hexdigest()


def _answered(
    call: OperationCall, versions: Sequence[Stored], answer: Answer, warnings: Sequence[Issue] = ()
) -> FhirResponse:
    """What the versions are answered with; warnings are told in a Bundle, or as `Prefer` asks for, like those of a write."""
    resource = answer([decode_object(v.body) for v in versions])
    if warnings and resource["resourceType"] == "Bundle":
        told: Resource = {"resource": outcome(warnings)}
        if resource["type"] == "searchset":
            told["search"] = {"mode": "outcome"}
        resource = {**resource, "entry": [*resource.get("entry", ()), told]}
    first = versions[0] if versions else None
    if preference(call.request, "return") == "operationoutcome" and first is not None:
        done = [information(f"{v.type}/{v.id} is version {v.version}.") for v in versions]
        return FhirResponse(200, resource=outcome([*warnings, *done]), version=first.version or None)
    same = first is not None and (resource.get("resourceType"), resource.get("id")) == (first.type, first.id)
    return FhirResponse(200, resource=resource, version=first.version if same and first is not None else None)


async def _require_version(call: OperationCall, looking: Looking) -> None:
    expected = if_match(call.request)
    if expected is None or call.type is None or call.id is None:
        return
    found = await looking.version(call.type, call.id)
    if found != expected:
        raise PreconditionFailed(
            f"{call.type}/{call.id} was expected to be version {expected}; the current version is {found}."
        )


# Requests that were carried out


def _id(request_id: str) -> str:
    return "request-" + hashlib.sha256(request_id.encode()).hexdigest()[:48]


async def _record(looking: Looking, request_id: str) -> Resource | None:
    """What is kept of a request with this id, unless it is older than a day."""
    record = await looking.current("Basic", _id(request_id))
    if record is None or int(_extension(record, "until")) <= looking.now:
        return None
    return record


async def _recording(
    services: Services, looking: Looking, request_id: str, digest: str, writes: Sequence[Write]
) -> WriteOp:
    """The write that keeps which versions a request made."""
    made = []
    for write in writes:
        type, id = write.resource["resourceType"], write.resource["id"]
        version = 1 if write.fresh else 1 + await looking.last_version(type, id)
        made.append(f"{type}/{id}/_history/{version}")
    record = {
        "resourceType": "Basic",
        "id": _id(request_id),
        "extension": [
            {"url": EXTENSION + "digest", "valueString": digest},
            {"url": EXTENSION + "until", "valueString": str(looking.now + KEPT)},
            *({"url": EXTENSION + "made", "valueString": address} for address in made),
        ],
        "identifier": [{"system": REQUEST, "value": request_id}],
        "code": {"coding": [{"system": REQUEST, "code": "request"}]},
        "created": format_instant(looking.now)[:10],
    }
    return prepare(services, "PUT", record, record["id"])  # type: ignore[arg-type]


async def _again(
    call: OperationCall, services: Services, record: Resource, digest: str, answer: Answer
) -> FhirResponse:
    if _extension(record, "digest") != digest:
        raise BusinessRule(
            "This request-id was used for another request; a new request needs a new one.", "request-id"
        )
    versions = []
    for extension in record["extension"]:
        if extension["url"] == EXTENSION + "made":
            type, id, _, version = extension["valueString"].split("/")
            stored = await services.store.read_version(type, id, int(version))
            assert stored is not None
            versions.append(stored)
    return _answered(call, versions, answer)


def _extension(record: Resource, name: str) -> str:
    return str(next(e["valueString"] for e in record["extension"] if e["url"] == EXTENSION + name))
