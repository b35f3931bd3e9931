"""The door to every write: a resource becomes a `WriteOp` here and nowhere else.

REST, bundles, operations, imports and the HL7 v2 bridge all call `prepare` and then `commit`, so every rule, claim and
index entry holds for everyone. Source: https://hl7.org/fhir/R4/http.html#create, https://hl7.org/fhir/R4/resource.html#meta
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fhir_r4.errors import Conflict, InvalidResource, Issue
from fhir_r4.jsonio import encode
from fhir_server.context import Actor, Resource, Services
from fhir_server.interactions.governing import Plan, govern, governed, resource_of
from fhir_server.interactions.indexing import SEARCH_PARAMETER, follow, newest
from fhir_server.interactions.integrity import integrity_problems
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.visibility import visible_ids
from fhir_server.resources.claims import claims_of, told
from fhir_server.resources.rules import check_rules
from fhir_server.search.custom import InForce
from fhir_server.search.entries import Entries
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Body, Method, Precondition, Stored, WriteOp

SERVER_META = frozenset({"versionId", "lastUpdated"})
NO_ENTRIES = Entries()


def prepare(
    services: Services,
    method: Method,
    resource: Resource,
    id: str,
    *,
    validated: bool = False,
    fresh: bool = False,
) -> WriteOp:
    """The write of `resource` under `id`.

    `validated` says that its structure was checked already (bundles), `fresh` that the id was made for it just now.

    Raises InvalidResource with every structural problem, or BusinessRule.
    """
    if not validated:
        problems = services.validator.check(resource)
        if problems:
            raise InvalidResource(problems[0].diagnostics, issues=problems)
    if resource.get("id") != id:
        resource = {**resource, "id": id}
    check_rules(resource, services)
    in_force = services.registry.current
    return WriteOp(
        method=method,
        type=resource["resourceType"],
        id=id,
        body=body_of(resource),
        entries=in_force.extractor.extract(resource),
        claims=claims_of(resource, services.settings),
        fresh=fresh,
        parameters=in_force.sequence,
    )


def deletion(type: str, id: str) -> WriteOp:
    """The write that deletes a resource."""
    return WriteOp("DELETE", type, id, None, NO_ENTRIES)


def body_of(resource: Resource) -> Body:
    """Cut the JSON text of `resource` where versionId and lastUpdated go; the order of all other members is kept."""
    rest = dict(resource)
    type, id, sent = rest.pop("resourceType"), rest.pop("id"), rest.pop("meta", None)
    before = b'{"resourceType":"%b","id":%b,"meta":{' % (type.encode(), encode(id))
    after = b"}," + encode(rest)[1:] if rest else b"}}"
    if sent:
        meta = encode({name: value for name, value in sent.items() if name not in SERVER_META})
        if len(meta) > 2:
            after = b"," + meta[1:-1] + after
    return Body(before, after)


async def commit(
    services: Services,
    ops: Sequence[WriteOp],
    preconditions: Sequence[Precondition] = (),
    resources: Sequence[Resource] = (),
    *,
    actor: Actor | None = None,
    seen: Plan | None = None,
    rehearse: bool = False,
) -> tuple[tuple[Stored, ...], list[Issue]]:
    """Write `ops` in one store transaction; also what referential integrity and the manners have to say as warnings.

    `actor` is who asks for it, None for the server itself: manners ask what the actor may do, and a refusal names no holder
    that the actor may not see. `seen` has read what the ops follow from; `preconditions` has all of its own.
    `resources` are the JSON forms behind the ops, looked at when referential integrity is on. Raises Conflict when a
    claim is taken, BrokenReference when integrity is enforced, and lets `Stale` of the store pass to the caller, who
    knows whether to try again or to answer 412. With `rehearse` nothing is written: the versions are what would be.
    """
    warnings: list[Issue] = []
    if services.settings.integrity != "off":
        warnings, more = await integrity_problems(services, ops, resources)
        preconditions = (*preconditions, *more)
    if governed(ops):
        versions, told = await _judge_and_write(services, ops, preconditions, actor, seen, rehearse)
        versions = versions[: len(ops)]
        warnings += told
    else:
        versions = await _write(services, ops, preconditions, actor, rehearse)
    if any(op.type == SEARCH_PARAMETER for op in ops):
        await follow(services)
    return versions, warnings


async def _judge_and_write(
    services: Services,
    ops: Sequence[WriteOp],
    preconditions: Sequence[Precondition],
    actor: Actor | None,
    seen: Plan | None,
    rehearse: bool,
) -> tuple[tuple[Stored, ...], tuple[Issue, ...]]:
    """Write what the manners of the types make of the writes, with their warnings; judged anew when others overtake it.

    Raises Stale when one of the `preconditions` does not hold, Conflict when it is overtaken time and again.
    """

    async def attempt() -> tuple[tuple[Stored, ...], tuple[Issue, ...]] | Stale:
        judged, found, warnings = await govern(services, ops, prepare, actor, seen)
        try:
            return await _write(services, judged, (*preconditions, *found), actor, rehearse), warnings
        except Stale as stale:
            if stale.precondition in preconditions:
                return stale
            raise

    written = await retrying(attempt)
    if isinstance(written, Stale):
        raise written
    return written


async def _write(
    services: Services,
    ops: Sequence[WriteOp],
    preconditions: Sequence[Precondition],
    actor: Actor | None,
    rehearse: bool,
) -> tuple[Stored, ...]:
    try:
        return await _transact(services, ops, preconditions, rehearse)
    except ClaimRefused as refused:
        raise _conflict(refused, ops[refused.op], await _named(services, refused, actor)) from refused


async def _transact(
    services: Services, ops: Sequence[WriteOp], preconditions: Sequence[Precondition], rehearse: bool
) -> tuple[Stored, ...]:
    """Write with the entries of the search parameters that are in force when it is committed."""
    if all(op.body is None for op in ops):
        return await services.store.transact(ops, preconditions, rehearse)
    in_force = services.registry.current
    while True:
        ops = [_indexed_by(in_force, op) for op in ops]
        condition = newest(in_force)
        try:
            return await services.store.transact(ops, (condition, *preconditions), rehearse)
        except Stale as stale:
            if stale.precondition != condition:
                raise
            in_force = await follow(services)


def _indexed_by(in_force: InForce, op: WriteOp) -> WriteOp:
    resource = None if op.parameters == in_force.sequence else resource_of(op)
    if resource is None:
        return op
    return replace(op, entries=in_force.extractor.extract(resource), parameters=in_force.sequence)


async def _named(services: Services, refused: ClaimRefused, actor: Actor | None) -> list[str]:
    """The addresses of the holders that the actor may see."""
    named = []
    for type, id in refused.holders:
        if actor is None or await visible_ids(actor, services, type, (id,)):
            named.append(f"{type}/{id}")
    return named


def _conflict(refused: ClaimRefused, op: WriteOp, named: Sequence[str]) -> Conflict:
    holders = ", ".join(named)
    return Conflict(
        f"{op.type}/{op.id} is refused: {told(refused.key)} (by {holders or 'another'}).",
        op.type,
    )
