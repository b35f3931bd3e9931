"""What a message tells of a resource, and the resource as it is afterwards.

HL7 v2.5.1 chapter 2.7.5: what is not told stays, `""` is taken away. An invariant to keep: resources that were read are not
changed; what follows is another dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fhir_r4.temporal import format_instant, parse_interval
from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.records import Context
from hl7_bridge.message import NULL, Segment, Value

OSLER = "https://osler.health/fhir/StructureDefinition/"
AS_OF = OSLER + "hl7-as-of"
RECEIVED = OSLER + "hl7-received"

# element -> its value, or None where it is taken away; what is not told has no key
Changes = dict[str, Any]
Reading = Callable[[Value, Context], Any]


def tell(
    changes: Changes, element: str, segment: Segment, field: int, read: Reading, context: Context
) -> None:
    """Add what a field without repetitions tells of an element."""
    value = segment.value(field)
    if value.raw == NULL:
        changes[element] = None
        return
    found = None if value.empty else read(value, context)
    if found is not None:
        changes[element] = found


def tell_all(
    changes: Changes, element: str, segment: Segment, field: int, read: Reading, context: Context
) -> None:
    """Add what the repetitions of a field tell of an element; several fields may tell of one."""
    if segment.raw(field) == NULL:
        changes.setdefault(element, None)
        return
    found = [made for made in (read(value, context) for value in segment.values(field)) if made is not None]
    if found:
        changes[element] = [*(changes.get(element) or []), *found]


def changed(resource: Resource, changes: Changes) -> Resource:
    """The resource with what is told of it."""
    kept = {name: value for name, value in resource.items() if name not in changes}
    return {**kept, **{name: value for name, value in changes.items() if value is not None}}


def sourced(resource: Resource, context: Context) -> Resource:
    """The resource with the connection that it comes by."""
    source = f"urn:osler:hl7:{quote(context.receipt.connection, safe='')}"
    return {**resource, "meta": {**resource.get("meta", {}), "source": source}}


def extension_of(resource: Resource, url: str) -> dict[str, Any] | None:
    return next((one for one in resource.get("extension", []) if one.get("url") == url), None)


def with_extensions(resource: Resource, extensions: dict[str, list[dict[str, Any]]]) -> Resource:
    """The resource with extensions in the place of those it has of these addresses."""
    if not extensions:
        return resource
    made: list[dict[str, Any]] = []
    placed: set[str] = set()
    for one in resource.get("extension", []):
        url = one.get("url", "")
        if url not in extensions:
            made.append(one)
        elif url not in placed:
            placed.add(url)
            made += extensions[url]
    made += [one for url, several in extensions.items() if url not in placed for one in several]
    rest = {name: value for name, value in resource.items() if name != "extension"}
    return {**rest, "extension": made} if made else rest


def is_late(resource: Resource, at: int, context: Context) -> bool:
    """Whether a newer event has told of this resource, or one of the same time whose message was received later.

    The second keeps a message that is mapped again from taking back what came after it.
    """
    return (_milliseconds(at), _milliseconds(context.receipt.received)) < _as_of(resource)


def with_as_of(resource: Resource, at: int, context: Context) -> Resource:
    """The resource with the time of the newest event that has told of it, and when the message of it was received."""
    return with_extensions(
        resource,
        {
            AS_OF: [{"url": AS_OF, "valueInstant": format_instant(at)}],
            RECEIVED: [{"url": RECEIVED, "valueInstant": format_instant(context.receipt.received)}],
        },
    )


def with_newer(resource: Resource, other: Resource, at: int, context: Context) -> Resource:
    """The resource as of an event by which the other became it, so that nothing told of either before is told again."""
    told = _milliseconds(context.receipt.received)
    known = _as_of(resource)
    newest = max(_milliseconds(at), known[0], _as_of(other)[0])
    return with_as_of(resource, newest * 1000, context) if (newest, told) > known else resource


def _as_of(resource: Resource) -> tuple[int, int]:
    found, came = extension_of(resource, AS_OF), extension_of(resource, RECEIVED)
    earliest = -(2**63)
    return earliest if found is None else _instant(found), 0 if came is None else _instant(came)


def _instant(extension: dict[str, Any]) -> int:
    return _milliseconds(parse_interval(extension["valueInstant"])[0])


def _milliseconds(microseconds: int) -> int:
    """An instant as an extension keeps it."""
    return microseconds // 1000


def filled(before: Resource, told: Resource, context: Context) -> Resource:
    """A resource with the elements, and the identifiers, that it did not have.

    A message that is mapped again has filled them already: what is missing now was taken away since.
    """
    if context.again:
        return before
    made = {**{name: value for name, value in told.items() if value is not None}, **before}
    if "identifier" in told:
        made["identifier"] = merged(told["identifier"], before.get("identifier", []))
    return made


def merged(had: list[dict[str, Any]], told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Identifiers that a resource had, with those that are told of it."""
    now = {(one.get("system"), one.get("value")): one for one in had}
    for one in told:
        before = now.get((one.get("system"), one.get("value")), {})
        now[one.get("system"), one.get("value")] = {**before, **one}
    return list(now.values())
