"""Referential integrity: do the references of a write point at something that is here?

A setting: `off` looks at nothing, `warn` tells, `enforce` refuses. Only local references (`Patient/1`) are looked at; what
the same transaction writes counts as here, and with `enforce` a deletion of what others refer to is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import BrokenReference, Conflict, Issue
from fhir_server.context import Resource, Services
from fhir_server.interactions.references import references
from fhir_server.search.tree import IdIs, Include, SearchQuery
from fhir_server.store.records import Precondition, VersionIs, WriteOp


def local_target(reference: str) -> tuple[str, str] | None:
    """(type, id) of a relative reference, or None for every other kind."""
    parts = reference.split("/")
    if len(parts) in (2, 4) and is_resource_type(parts[0]):
        return parts[0], parts[1]
    return None


async def integrity_problems(
    services: Services, ops: Sequence[WriteOp], resources: Sequence[Resource]
) -> tuple[list[Issue], list[Precondition]]:
    """What is broken, as warnings, and the preconditions that keep what was found true until the commit.

    Raises BrokenReference or Conflict under `enforce`.
    """
    written = {(op.type, op.id) for op in ops if op.body is not None}
    deleted = {(op.type, op.id) for op in ops if op.body is None}
    targets = {
        target: reference
        for resource in resources
        for reference in references(resource)
        if (target := local_target(reference)) is not None and target not in written
    }
    found = await services.store.read_many(targets.keys() - deleted)
    missing = [targets[t] for t in sorted(targets) if t not in found]
    enforce = services.settings.integrity == "enforce"
    issues = [
        Issue("warning", "not-found", f"The reference {reference} points at nothing on this server.")
        for reference in missing
    ]
    if enforce and issues:
        raise BrokenReference(
            issues[0].diagnostics, issues=[Issue("error", i.code, i.diagnostics) for i in issues]
        )
    kept: list[Precondition] = (
        [VersionIs(type, id, stored.version) for (type, id), stored in found.items()] if enforce else []
    )
    for type, id in sorted(deleted):
        await _refuse_orphans(services, type, id, written | deleted, enforce, issues)
    return issues, kept


async def _refuse_orphans(
    services: Services, type: str, id: str, own: set[tuple[str, str]], enforce: bool, issues: list[Issue]
) -> None:
    query = SearchQuery(
        (type,), IdIs((id,)), includes=(Include("*", None, type, reverse=True),), include_limit=50
    )
    page = await services.store.search(query)
    others = [f"{s.type}/{s.id}" for s in page.included if (s.type, s.id) not in own]
    if not others:
        return
    message = f"{type}/{id} is referred to by {', '.join(others[:10])}."
    if enforce:
        raise Conflict(message, type)
    issues.append(Issue("warning", "conflict", message))
