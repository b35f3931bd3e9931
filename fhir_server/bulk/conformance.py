"""Keep the conformance resources of this server in its store, so that they are read and searched like any other.

Written at start when they are not there or have changed, through the one door of writes.
"""

from __future__ import annotations

from fhir_r4.errors import Unavailable
from fhir_server.bulk.files import Item
from fhir_server.bulk.imports import Loader
from fhir_server.context import Resource, Services
from profiles.ig import conformance_resources

SOURCE = "profiles/ig"


async def publish_conformance(services: Services) -> int:
    """Write what is new or changed; returns how many resources that were. Raises Unavailable when one is refused."""
    addresses = [o.definition for operations in services.operations.values() for o in operations]
    items = [Item(SOURCE, f"{r['resourceType']}/{r['id']}", r) for r in conformance_resources(addresses)]
    tally = await Loader(services, _no_bundles).load(items)
    if tally.refused:
        first = tally.refusals[0]
        raise Unavailable(f"{first.place} of this server could not be stored: {first.issues[0].diagnostics}")
    return tally.created + tally.updated


async def _no_bundles(bundle: Resource) -> Resource:
    raise AssertionError("conformance resources are no Bundles")
