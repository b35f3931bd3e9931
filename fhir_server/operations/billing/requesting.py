"""What the operations of money have in common in their parameters: instances, references, moments, Bundles of answers."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest, NotFound
from fhir_r4.references import local_id
from fhir_r4.temporal import parse_interval
from fhir_server.context import OperationCall, Resource, Services
from fhir_server.operations.given import Given
from fhir_server.resources.billing.settings import SETTINGS_ID, BillingSettings, settings_now
from fhir_server.resources.change import Known

# what one account may have open at a time
MOST_CHARGES = 20_000


async def require(known: Known, type: str, id: str | None) -> Resource:
    """The resource. Raises NotFound."""
    found = None if id is None else await known.current(type, id)
    if found is None:
        raise NotFound(f"There is no {type}/{id}.")
    return found


def require_status(resource: Resource, *wanted: str) -> None:
    """Raise BusinessRule when the resource is in none of the states."""
    if resource.get("status") not in wanted:
        type = resource["resourceType"]
        raise BusinessRule(
            f"{type}/{resource['id']} is {resource.get('status')}; this needs {' or '.join(wanted)}.",
            f"{type}.status",
        )


def named(given: Given, name: str, type: str, services: Services) -> str | None:
    """The id that a Reference parameter names. Raises InvalidRequest for anything but a resource of `type` here."""
    found = all_named(given, name, type, services)
    return found[0] if found else None


def all_named(given: Given, name: str, type: str, services: Services) -> tuple[str, ...]:
    """The ids that the values of a Reference parameter name, each once."""
    return tuple(dict.fromkeys(reference_ids(given, name, type, services)))


def reference_ids(given: Given, name: str, type: str, services: Services) -> tuple[str, ...]:
    """The ids that References name, as often as they do. Raises InvalidRequest for anything but resources of `type` here."""
    found = []
    for reference in given.all(name):
        id = local_id(reference, type, services.settings.local_bases)
        if id is None:
            raise InvalidRequest(f"The parameter {name} refers to a {type} of this server.", name)
        found.append(id)
    return tuple(found)


def until(given: Given, known: Known, services: Services, name: str = "until") -> int:
    """The instant before which things are looked at: the end of what the parameter writes, or now."""
    text = given.one(name)
    if text is None:
        return known.now + 1
    low, high = parse_interval(text, services.settings.default_timezone)
    return min(low + 1 if "T" in text else high, known.now + 1)


async def settings_today(known: Known, services: Services) -> BillingSettings:
    return settings_now(
        await known.current("Basic", SETTINGS_ID), known.now, services.settings.default_timezone
    )


def bundle(call: OperationCall, found: Sequence[Resource], beside: Sequence[Resource] = ()) -> Resource:
    """A searchset of the resources found, and of an OperationOutcome beside them."""
    base = call.request.base
    entries: list[Resource] = [
        {"fullUrl": f"{base}/{r['resourceType']}/{r['id']}", "resource": r, "search": {"mode": "match"}}
        for r in found
    ]
    entries += [{"resource": r, "search": {"mode": "outcome"}} for r in beside]
    made: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    return {**made, "entry": entries} if entries else made
