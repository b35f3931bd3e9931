"""Claims that come and go in a Bundle, with the resources that they refer to, as the Prior Authorization Support guide has them.

https://hl7.org/fhir/us/davinci-pas/. The first entry is the Claim. What a payer has no record of is kept with the Claim; who the patient is and what
covers the costs must be known here. An invariant to keep: a Bundle changes no resource that is here already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.references import parse_reference
from fhir_server.context import Resource, Services
from fhir_server.interactions.references import references, rewrite_references
from fhir_server.operations.acting import Write
from fhir_server.resources.change import Known
from fhir_server.search.tree import TokenIs, any_of

MOST_ENTRIES = 200
# who and what a claim is about is never made by it
KNOWN_HERE = frozenset(
    {"Patient", "Coverage", "InsurancePlan", "Claim", "ClaimResponse", "Invoice", "Account"}
)
# what goes along with a claim to a payer, and what of those refers to more that does
ALONG = frozenset(
    [
        "Patient",
        "Coverage",
        "Organization",
        "Practitioner",
        "PractitionerRole",
        "RelatedPerson",
        "Location",
        "Encounter",
        "Condition",
        "Procedure",
        "ServiceRequest",
        "MedicationRequest",
        "DeviceRequest",
        "NutritionOrder",
        "VisionPrescription",
        "Observation",
        "DiagnosticReport",
        "DocumentReference",
        "QuestionnaireResponse",
        "Device",
        "Claim",
        "ClaimResponse",
        "Media",
    ]
)
FURTHER = frozenset({"PractitionerRole", "Coverage"})


@dataclass(frozen=True, slots=True)
class Sent:
    """A Claim as it came: `others` are (fullUrl, resource) that came with it; `bundled` whether it came in a Bundle."""

    claim: Resource
    others: tuple[tuple[str, Resource], ...] = ()
    bundled: bool = False


def opened(resource: Resource) -> Sent:
    """The Claim that was sent, alone or first in a Bundle. Raises InvalidRequest."""
    if resource.get("resourceType") != "Bundle":
        if resource.get("resourceType") != "Claim":
            raise InvalidRequest(
                "What is submitted is a Claim, or a Bundle whose first entry is one.", "resource"
            )
        return Sent(resource)
    entries = resource.get("entry", ())
    found = [e.get("resource", {}) for e in entries]
    if not found or found[0].get("resourceType") != "Claim":
        raise InvalidRequest("The first entry of a Bundle to submit is the Claim.", "resource")
    if len(found) > MOST_ENTRIES:
        raise InvalidRequest(f"A claim brings {MOST_ENTRIES} resources at the most.", "resource")
    if any("resourceType" not in r for r in found):
        raise InvalidRequest("Each entry of the Bundle has a resource.", "resource")
    others = tuple((str(e.get("fullUrl", "")), e["resource"]) for e in entries[1:])
    return Sent(found[0], others, bundled=True)


async def taken_along(sent: Sent, known: Known, services: Services) -> tuple[Resource, tuple[Write, ...]]:
    """The Claim with its references to what is here, and the writes of what came with it and was not here. Raises BusinessRule."""
    addresses: dict[str, str] = {}
    fresh: list[tuple[str, Resource]] = []
    for full, resource in sent.others:
        found = await _here(full, resource, known, services)
        if found is None:
            if resource["resourceType"] in KNOWN_HERE:
                name = resource.get("id") or full
                raise BusinessRule(
                    f"{resource['resourceType']} {name} is not known here, by its id or an identifier.",
                    "Bundle.entry",
                )
            found = services.new_id()
            fresh.append((found, resource))
        own = f"{resource['resourceType']}/{found}"
        addresses |= {full: own} if full else {}
        if "id" in resource:
            addresses[f"{resource['resourceType']}/{resource['id']}"] = own
    claim = rewrite_references(sent.claim, addresses.get)
    writes = [
        Write(rewrite_references({**resource, "id": id}, addresses.get), "POST", True)
        for id, resource in fresh
    ]
    return claim, tuple(writes)


async def _here(full: str, resource: Resource, known: Known, services: Services) -> str | None:
    """The id here of a resource that came along: that of its address on this server, or one with an identifier of it."""
    type = resource["resourceType"]
    named = parse_reference(full, services.settings.local_bases)
    id = named.id if named.local and named.type == type else resource.get("id")
    if id is not None and not full.startswith("urn:") and await known.current(type, id) is not None:
        return str(id)
    identifiers = resource.get("identifier", ())
    names = [
        TokenIs("identifier", i.get("system"), i["value"])
        for i in (identifiers if isinstance(identifiers, list) else [identifiers])
        if "value" in i and "system" in i
    ]
    found = await known.find(type, any_of(names)) if names else []
    if len(found) > 1:
        raise BusinessRule(f"{len(found)} resources {type} have this identifier.", "Bundle.entry")
    return str(found[0]["id"]) if found else None


def bundle_of(resources: Sequence[Resource], base: str, at: str, id: str) -> Resource:
    """A collection; the first resource is what it is about."""
    return {
        "resourceType": "Bundle",
        "id": id,
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{id}"},
        "type": "collection",
        "timestamp": at,
        "entry": [{"fullUrl": f"{base}/{r['resourceType']}/{r['id']}", "resource": r} for r in resources],
    }


async def referred_to(resource: Resource, known: Known, services: Services) -> list[Resource]:
    """What a Claim or ClaimResponse refers to and a reader of it needs, each once, in the order of mention."""
    bases = services.settings.local_bases
    found: dict[str, Resource] = {}
    waiting = [*references(resource)]
    while waiting and len(found) < MOST_ENTRIES:
        named = parse_reference(waiting.pop(0), bases)
        name = f"{named.type}/{named.id}"
        if not named.local or named.type not in ALONG or name in found:
            continue
        other = await known.current(named.type, named.id)
        if other is not None and (other["resourceType"], other["id"]) != (
            resource["resourceType"],
            resource.get("id"),
        ):
            found[name] = other
            if named.type in FURTHER:
                waiting += references(other)
    return list(found.values())
