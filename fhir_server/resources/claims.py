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
