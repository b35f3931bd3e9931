"""The trace of an operation of money: a Provenance of who has done what, when and why, in the same commit.

https://hl7.org/fhir/R4/provenance.html. An invariant to keep: what is written has its trace, and what is refused or only rehearsed has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations import acting
from fhir_server.operations.acting import Answer, Planner, Write, sole
from fhir_server.operations.given import Given
from fhir_server.resources.change import Known

ACTIVITY = "https://osler.health/fhir/CodeSystem/billing-activity"
USERS = "https://osler.health/fhir/CodeSystem/user"
PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
PROVENANCE = "Provenance"


async def carry_out(
    call: OperationCall, services: Services, given: Given, planner: Planner, answer: Answer = sole
) -> FhirResponse:
    """Plan, write with the trace, answer with the rest: as `acting.carry_out`, which says what it raises."""

    async def plan(known: Known) -> Sequence[Write]:
        writes = await planner(known)
        if not writes:
            return writes
        targets = [w.resource for w in writes]
        return [*writes, Write(await _trace(call, services, given, targets, known), "POST", True)]

    def without_trace(written: Sequence[Resource]) -> Resource:
        return answer([r for r in written if r["resourceType"] != PROVENANCE])

    return await acting.carry_out(call, services, given, plan, without_trace)


async def _trace(
    call: OperationCall, services: Services, given: Given, targets: Sequence[Resource], known: Known
) -> Resource:
    agents = [{"type": _role("enterer"), "who": _caller(call)}]
    requester = given.one("requester")
    if requester is not None:
        agents.append({"type": _role("author"), "who": requester})
    task = await _approval(given, known, services)
    if task is not None and "owner" in task:
        agents.append({"type": _role("verifier"), "who": task["owner"]})
    named = [f"{r['resourceType']}/{r['id']}" for r in targets]
    own = f"{call.type}/{call.id}"
    sources = [own] if call.id is not None and own not in named else []
    sources += [] if task is None else [f"Task/{task['id']}"]
    made: Resource = {
        "resourceType": PROVENANCE,
        "id": services.new_id(),
        "target": [{"reference": reference} for reference in named],
        "recorded": format_instant(known.now),
    }
    reason = given.one("reason")
    if reason is not None:
        made["reason"] = [{"text": reason} if isinstance(reason, str) else reason]
    made["activity"] = {"coding": [{"system": ACTIVITY, "code": call.request.path[-1].lstrip("$")}]}
    made["agent"] = agents
    if sources:
        made["entity"] = [{"role": "source", "what": {"reference": reference}} for reference in sources]
    return made


def told_by(provider: str, payment: str, activity: str, id: str, now: int) -> Resource:
    """The trace of what a provider of online payments has told of a payment."""
    return {
        "resourceType": PROVENANCE,
        "id": id,
        "target": [{"reference": f"PaymentReconciliation/{payment}"}],
        "recorded": format_instant(now),
        "activity": {"coding": [{"system": ACTIVITY, "code": activity}]},
        "agent": [{"type": _role("informant"), "who": {"display": provider}}],
    }


def _caller(call: OperationCall) -> Resource:
    """Who calls: the user; a name for the one who may be anybody."""
    actor = call.request.actor
    if actor.is_known:
        return {"identifier": {"system": USERS, "value": actor.id}}
    return {"display": actor.id}


def _role(code: str) -> Resource:
    return {"coding": [{"system": PARTICIPANT, "code": code}]}


async def _approval(given: Given, known: Known, services: Services) -> Resource | None:
    """The Task that the parameter `approval` names."""
    id = local_id(given.one("approval"), "Task", services.settings.local_bases)
    return None if id is None else await known.current("Task", id)
