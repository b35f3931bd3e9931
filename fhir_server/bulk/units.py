"""What is written together: an item of a file becomes units, each a resource or a whole transaction.

Pure. An invariant to keep: the same content gives the same ids, so that loading it twice changes nothing. A resource
without an id gets the uuid of its Bundle.entry.fullUrl, else one made of its content.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import FhirError, Issue
from fhir_r4.jsonio import encode
from fhir_server.bulk.files import Item
from fhir_server.interactions.references import rewrite_references

Resource = dict[str, Any]

CONTENT_IDS = uuid.UUID("6f4e22b5-5a02-5d4c-9d2c-0f64b1a2d3c7")
CONDITIONAL_REFERENCE = re.compile(rb'"reference":"[^"]*\?')
CONDITIONAL = ("ifNoneExist", "ifMatch", "ifNoneMatch", "ifModifiedSince")


@dataclass(frozen=True, slots=True)
class Unit:
    """Resources that are written in one transaction or not at all, with the places that they came from.

    `bundle` is set, and `resources` empty, for a Bundle that only the bundle interaction can do: one with conditional
    writes or references, patches or deletions.
    """

    source: str
    places: tuple[str, ...]
    resources: tuple[Resource, ...]
    bundle: Resource | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not written, and every reason; `resource` is `Patient/1`, a type, or '' when it could not be read."""

    source: str
    place: str
    resource: str
    issues: tuple[Issue, ...]


def units_of(item: Item) -> Iterator[Unit | Refusal]:
    """The units of an item. Every Bundle is a source of resources; transactions stay whole, all others fall apart."""
    content = item.content
    if isinstance(content, FhirError):
        yield Refusal(item.source, item.place, "", content.issues)
    elif (fault := _fault(content)) is not None:
        yield Refusal(item.source, item.place, "", (fault,))
    elif content["resourceType"] == "Bundle":
        yield from _bundle_units(item, content)
    else:
        yield Unit(item.source, (item.place,), (with_id(content),))


def name_of(resource: Resource) -> str:
    """`Patient/1`, or the type alone."""
    type_name = str(resource.get("resourceType", ""))
    return f"{type_name}/{resource['id']}" if "id" in resource else type_name


def with_id(resource: Resource, full_url: str | None = None) -> Resource:
    """`resource` itself when it has an id, else a copy with the id that follows from its address or content."""
    if "id" in resource:
        return resource
    if full_url is not None and full_url.startswith("urn:uuid:"):
        return {**resource, "id": full_url.removeprefix("urn:uuid:")}
    return {**resource, "id": str(uuid.uuid5(CONTENT_IDS, encode(resource).decode()))}


def _fault(resource: Resource) -> Issue | None:
    """Why this cannot even be named; everything else is left to the write."""
    type_name = resource.get("resourceType")
    if type(type_name) is not str or not is_resource_type(type_name):
        return Issue("error", "structure", f"{type_name!r} is no R4 resource type.", ("resourceType",))
    if type(resource.get("id", "")) is not str:
        return Issue("error", "structure", "An id has to be a string.", (f"{type_name}.id",))
    return None


def _bundle_units(item: Item, bundle: Resource) -> Iterator[Unit | Refusal]:
    entries = bundle.get("entry", [])
    faults = _entry_faults(entries)
    if faults:
        yield Refusal(item.source, item.place, "Bundle", faults)
        return
    kind = bundle.get("type")
    if kind in ("transaction", "batch") and (
        any(_is_conditional(e) for e in entries) or CONDITIONAL_REFERENCE.search(encode(entries))
    ):
        repeatable = {**bundle, "entry": [_repeatable(e) for e in entries]}
        yield Unit(item.source, (item.place,), (), repeatable)
        return
    places, resources = _resolved(item, _newest(entries) if kind == "history" else entries)
    if kind == "transaction":
        yield Unit(item.source, places, resources)
        return
    for place, resource in zip(places, resources, strict=True):
        yield Unit(item.source, (place,), (resource,))


def _entry_faults(entries: Any) -> tuple[Issue, ...]:
    if type(entries) is not list:
        return (Issue("error", "structure", "Bundle.entry has to be an array.", ("Bundle.entry",)),)
    faults: list[Issue] = []
    for number, entry in enumerate(entries):
        where = f"Bundle.entry[{number}]"
        if not _is_entry(entry):
            faults.append(Issue("error", "structure", "This is no Bundle entry.", (where,)))
        elif "resource" in entry and (fault := _fault(entry["resource"])) is not None:
            faults.append(Issue(fault.severity, fault.code, fault.diagnostics, (f"{where}.resource",)))
    return tuple(faults)


def _is_entry(entry: Any) -> bool:
    return (
        type(entry) is dict
        and type(entry.get("resource", {})) is dict
        and type(entry.get("request", {})) is dict
        and type(entry.get("fullUrl", "")) is str
    )


def _is_conditional(entry: Resource) -> bool:
    request = entry.get("request", {})
    return (
        request.get("method") not in ("PUT", "POST")
        or any(name in request for name in CONDITIONAL)
        or "?" in str(request.get("url", ""))
    )


def _repeatable(entry: Resource) -> Resource:
    """A plain create becomes an update under an id that follows from the content; all else stays."""
    request = entry.get("request", {})
    if request.get("method") != "POST" or "resource" not in entry or any(n in request for n in CONDITIONAL):
        return entry
    resource = with_id(entry["resource"], entry.get("fullUrl"))
    return {**entry, "resource": resource, "request": {"method": "PUT", "url": name_of(resource)}}


def _newest(entries: list[Resource]) -> list[Resource]:
    """A history's newest version of each resource, but not of deleted ones; oldest first, as they were written."""
    seen: set[str] = set()
    newest: list[Resource] = []
    for entry in entries:
        resource = entry.get("resource")
        key = name_of(resource) if resource is not None else str(entry.get("request", {}).get("url", ""))
        if key not in seen:
            seen.add(key)
            newest.append(entry)
    return newest[::-1]


def _resolved(item: Item, entries: list[Resource]) -> tuple[tuple[str, ...], tuple[Resource, ...]]:
    """The resources of `entries` with ids, their references by fullUrl turned into references by id."""
    prefix = f"{item.place}, " if item.place else ""
    places: list[str] = []
    resources: list[Resource] = []
    addresses: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        if "resource" not in entry:
            continue
        full_url = entry.get("fullUrl")
        resource = with_id(entry["resource"], full_url)
        if full_url is not None:
            addresses[full_url] = name_of(resource)
        places.append(f"{prefix}entry {number}")
        resources.append(resource)
    if addresses:
        resources = [rewrite_references(r, addresses.get) for r in resources]
    return tuple(places), tuple(resources)
