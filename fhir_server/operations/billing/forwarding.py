"""The door to payers that have a FHIR server of their own: a claim or a question is sent there and the answer taken in.

An insurer's Organization names an Endpoint (hl7-fhir-rest) whose address lies under one of the setting `payer_addresses`; no
other address is ever called. A payer that does not answer is a fault of a dependency: 503, nothing written.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from fhir_r4.errors import BusinessRule, InvalidResource, MalformedJson, Unavailable
from fhir_r4.jsonio import decode_object, encode
from fhir_r4.references import local_id
from fhir_server.context import Resource, Services
from fhir_server.resources.change import Known

JSON = "application/fhir+json"
SECONDS = 30.0
MOST_BYTES = 5_000_000


async def payer_address(known: Known, insurer: Resource | None, services: Services) -> str | None:
    """The FHIR base of an insurer; None when claims to it are judged here. Raises BusinessRule for one that is not allowed."""
    bases = services.settings.local_bases
    id = local_id(insurer, "Organization", bases)
    organization = None if id is None else await known.current("Organization", id)
    for reference in () if organization is None else organization.get("endpoint", ()):
        endpoint_id = local_id(reference, "Endpoint", bases)
        endpoint = None if endpoint_id is None else await known.current("Endpoint", endpoint_id)
        if endpoint is None or endpoint.get("status") != "active":
            continue
        if endpoint.get("connectionType", {}).get("code") == "hl7-fhir-rest":
            address = str(endpoint["address"]).rstrip("/")
            if not is_allowed(address, services.settings.payer_addresses):
                raise BusinessRule(
                    f"Endpoint/{endpoint_id} is at {address}, which the setting payer_addresses does not have.",
                    "Claim.insurer",
                )
            return address
    return None


def is_allowed(address: str, allowed: Sequence[str]) -> bool:
    """Whether an address lies under one of those that may be called."""
    asked = urlsplit(address)
    for one in allowed:
        known = urlsplit(one.rstrip("/"))
        if (asked.scheme, asked.netloc) != (known.scheme, known.netloc) or ".." in asked.path:
            continue
        if asked.path == known.path or asked.path.startswith(known.path + "/"):
            return True
    return False


async def forward(address: str, operation: str, resource: Resource, wanted: str) -> Resource:
    """What the payer answers to an operation: a resource of type `wanted`. Raises Unavailable."""
    # heavy, and most servers forward nothing
    import httpx

    try:
        async with (
            httpx.AsyncClient(timeout=SECONDS, follow_redirects=False) as client,
            client.stream(
                "POST",
                f"{address}/{operation}",
                content=encode(resource),
                headers={"content-type": JSON, "accept": JSON},
            ) as answer,
        ):
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise Unavailable("The payer's answer is too large.")
    except httpx.HTTPError as error:
        raise Unavailable(f"The payer at {address} does not answer ({type(error).__name__}).") from error
    if answer.status_code >= 500:
        raise Unavailable(f"The payer at {address} answers {answer.status_code}.")
    try:
        found = decode_object(body)
    except MalformedJson as error:
        raise Unavailable(f"The payer at {address} does not answer in FHIR JSON.") from error
    if answer.status_code >= 400:
        told = "; ".join(str(i.get("diagnostics", i.get("code"))) for i in found.get("issue", ()))
        raise BusinessRule(f"The payer refuses: {told or answer.status_code}.", "Claim")
    return _sole(found, wanted, address)


def _sole(found: Resource, wanted: str, address: str) -> Resource:
    """The resource of the type, alone or in a Bundle."""
    entries = (
        [e.get("resource", {}) for e in found.get("entry", ())]
        if found.get("resourceType") == "Bundle"
        else [found]
    )
    for resource in entries:
        if resource.get("resourceType") == wanted:
            made: Resource = resource
            return made
    raise Unavailable(f"The payer at {address} answers without a {wanted}.")


def taken_in(services: Services, answer: Resource, **own: object) -> Resource:
    """A payer's answer as this server keeps it: references that mean nothing here are replaced by `own` members.

    Raises Unavailable for an answer that is no valid resource.
    """
    kept = {k: v for k, v in answer.items() if k not in ("meta", "text", "contained", "id")}
    made: Resource = {
        "resourceType": kept.pop("resourceType"),
        **own,
        **{k: v for k, v in kept.items() if k not in own},
    }
    problems = services.validator.check(made)
    if problems:
        raise Unavailable(
            f"The payer's answer is no valid {made['resourceType']}: {InvalidResource(problems[0].diagnostics)}"
        )
    return made
