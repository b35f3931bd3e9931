"""What a resource, in its present state, holds of something scarce (ARCHITECTURE.md, Claims).

Pure: a claim follows from the resource and the settings alone. The store replaces a resource's claims in the transaction
that writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_server.resources.search_parameter import parameter_claims
from fhir_server.settings import Settings
from fhir_server.store.records import Claim

# what is the matter when a key is taken; `{of}` is what the key is of
TAKEN: Mapping[str, str] = {
    "bed": "{of} is occupied",
    "bed-time": "{of} is taken for that time",
    "holds": "the user holds as many times as are allowed",
    "in-bed": "{of} lies in a bed already",
    "inpatient": "{of} is an inpatient already",
    "slot": "{of} is taken",
    "time": "{of} is taken at that time",
}


def told(key: str) -> str:
    """What is the matter when a key cannot be had, for people."""
    kind, _, of = key.partition(":")
    return TAKEN[kind].format(of=of) if kind in TAKEN else f"{key} is taken"


def claims_of(resource: Mapping[str, Any], settings: Settings) -> tuple[Claim, ...]:
    """All claims of `resource`."""
    if resource["resourceType"] == "SearchParameter":
        return parameter_claims(resource)
    if not settings.unique_identifiers:
        return ()
    return identifier_claims(resource, settings.unique_identifiers)


def identifier_claims(resource: Mapping[str, Any], systems: tuple[str, ...]) -> tuple[Claim, ...]:
    """A claim for each identifier of a system that is configured as unique; identifiers marked `old` claim nothing."""
    identifiers = resource.get("identifier", ())
    if isinstance(identifiers, dict):
        identifiers = (identifiers,)
    keys = {
        f"identifier:{resource['resourceType']}|{i['system']}|{i['value']}"
        for i in identifiers
        if i.get("system") in systems and "value" in i and i.get("use") != "old"
    }
    return tuple(Claim(key) for key in sorted(keys))
