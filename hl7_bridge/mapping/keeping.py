"""Resources that a message tells of and that have no number of their own: found again by a key, and written when they change.

An invariant to keep: the same message told twice leaves the same resources, in the same versions.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from urllib.parse import quote

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import changed, filled, is_late, merged, sourced, with_as_of
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.draft import Draft, identified
from hl7_bridge.mapping.records import Context
from hl7_bridge.message import Value

LONGEST = 200
KEYS = "https://osler.health/fhir/hl7v2/key/"


def key(context: Context, kind: str, *parts: str) -> dict[str, Any]:
    """An identifier made of what tells this resource from others of the sender: `kind` is a segment (NK1)."""
    said = "|".join(" ".join(part.casefold().split()) for part in parts)
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]}#{sha256(said.encode()).hexdigest()}"
    return {
        "use": "secondary",
        "system": f"{KEYS}{quote(context.receipt.connection, safe='')}/{kind}",
        "value": said,
    }


async def keep(resource: Resource, draft: Draft, context: Context, at: int, late: bool = False) -> str:
    """Write the resource, found again by the first of its identifiers, as of an event at `at`; the reference to it.

    `late` says that a newer event has told of the patient. That it told the same of this resource would not be seen
    in it, since nothing is written that is the same.
    Elements that are None are taken away; those that are not there stay as they were. What a newer event has told stays.
    """
    known = resource["identifier"][0]
    existing = await draft.one(resource["resourceType"], known["system"], known["value"])
    if existing is None:
        made = {name: value for name, value in resource.items() if value is not None}
        return draft.create(
            sourced(with_as_of(made, at, context), context), identified(known["system"], known["value"])
        )
    if late or is_late(existing, at, context):
        return write(existing, filled(existing, resource, context), draft, context)
    told = {name: value for name, value in resource.items() if name != "resourceType"}
    told["identifier"] = merged(existing.get("identifier", []), resource["identifier"])
    told_now = changed(existing, told)
    # what is told again without a change is not written again
    now = existing if told_now == existing else with_as_of(told_now, at, context)
    return write(existing, now, draft, context)


def write(before: Resource, after: Resource, draft: Draft, context: Context) -> str:
    """Write a resource that was read, if it is another now; the reference to it."""
    if {**after, "meta": None} == {**before, "meta": None}:
        return f"{before['resourceType']}/{before['id']}"
    return draft.update(sourced(after, context))


def code_of(value: Value, context: Context, table: str = "") -> str:
    """A code with its system, or the words, as a part of a key."""
    found = concept(value, context, table) or {}
    for one in found.get("coding", []):
        return f"{one['system']}#{one['code']}"
    return str(found.get("text", ""))
