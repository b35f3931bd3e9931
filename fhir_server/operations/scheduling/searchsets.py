"""Answers as searchset Bundles, the form of IHE ITI-115 to ITI-117.

https://profiles.ihe.net/ITI/Scheduling/. A request that was lost to another is told inside of the Bundle too: an
OperationOutcome entry that is fatal, `not-found`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fhir_r4.errors import Conflict
from fhir_server.context import FhirResponse, OperationCall, Resource


def searchset(call: OperationCall, found: Sequence[Resource], beside: Sequence[Resource] = ()) -> Resource:
    """A Bundle of the resources found, and of others beside them (mode `outcome` or `include`)."""
    base = call.request.base
    entries = [
        {"fullUrl": f"{base}/{r['resourceType']}/{r['id']}", "resource": r, "search": {"mode": "match"}}
        for r in found
    ]
    for resource in beside:
        if resource["resourceType"] == "OperationOutcome":
            entries.append({"resource": resource, "search": {"mode": "outcome"}})
        else:
            address = f"{base}/{resource['resourceType']}/{resource['id']}"
            entries.append({"fullUrl": address, "resource": resource, "search": {"mode": "include"}})
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    return {**bundle, "entry": entries} if entries else bundle


async def or_lost(call: OperationCall, attempt: Callable[[], Awaitable[FhirResponse]]) -> FhirResponse:
    """What `attempt` answers; a Conflict becomes a 409 with a Bundle that says so."""
    try:
        return await attempt()
    except Conflict as conflict:
        outcome = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "fatal", "code": "not-found", "diagnostics": str(conflict)}],
        }
        return FhirResponse(409, resource=searchset(call, (), [outcome]), headers=conflict.headers)
