"""MDM: documents come, change state, are added to, edited, replaced and withdrawn.

HL7 v2.5.1 chapter 9; https://hl7.org/fhir/uv/v2mappings/ (MDM messages). An invariant to keep: what was signed does not become a draft
again, and what replaces a document supersedes it in the same transaction.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import changed, filled, is_late, merged, sourced, with_as_of
from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft, Held, Problem, identified
from hl7_bridge.mapping.keeping import write
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.segments.evn import event
from hl7_bridge.mapping.segments.pv1 import RECEIPTS
from hl7_bridge.mapping.segments.txa import Content, contents, description, number, parent, states
from hl7_bridge.mapping.subjects import known_patient
from hl7_bridge.mapping.visits import known_visit
from hl7_bridge.message import Message, Segment

RANK = {"preliminary": 0, "final": 1, "amended": 2, "entered-in-error": 3}
# trigger -> how the document relates to that of TXA-13
RELATES = {"T05": "appends", "T06": "appends", "T09": "replaces", "T10": "replaces"}


async def document(message: Message, draft: Draft, context: Context) -> None:
    """T01 to T11: a DocumentReference, with its content where that is told."""
    context = told_in_zone(message, context)
    happened = event(message, context)
    txa = message.first("TXA")
    known = None if txa is None else number(txa, context)
    if txa is not None and known is None and message.trigger in ("T01", "T02"):
        known = {"system": RECEIPTS, "value": context.receipt.id}
    if txa is None or known is None:
        raise Held(
            Problem("dead-letter", "The message has no TXA with a document number.", "TXA-12", "", True)
        )
    existing = await draft.one("DocumentReference", known["system"], known["value"])
    if message.trigger == "T11" and existing is None:
        raise Held(
            Problem(
                "dead-letter", "There is no such document to be withdrawn.", "TXA-12", known["value"], True
            )
        )
    before = existing or {"resourceType": "DocumentReference"}
    changes = await _told(message, txa, known, before, draft, context)
    if existing is not None and is_late(existing, happened.at, context):
        told = filled(existing, {"resourceType": "DocumentReference", **changes}, context)
        write(existing, told, draft, context)
        return
    made = with_as_of(changed(before, changes), happened.at, context)
    if existing is None:
        draft.create(sourced(made, context), identified(known["system"], known["value"]))
    else:
        write(existing, made, draft, context)


async def _told(
    message: Message, txa: Segment, known: dict[str, Any], before: Resource, draft: Draft, context: Context
) -> Resource:
    happened = event(message, context)
    subject = await known_patient(message.first("PID"), happened, message, draft, context)
    visit = await known_visit(message, subject, happened, draft, context)
    changes = description(txa, context)
    changes["masterIdentifier"] = known
    changes["identifier"] = merged(before.get("identifier", []), [known])
    changes["subject"] = {"reference": subject.reference}
    if visit:
        changes["context"] = {**changes.get("context", {}), "encounter": [{"reference": visit}]}
    status, doc_status = states(txa)
    had = before.get("docStatus", "preliminary")
    if RANK[doc_status] < RANK[had]:
        doc_status = had
    elif message.trigger in ("T07", "T08") and had in ("final", "amended") and not context.again:
        doc_status = "amended"
    if status == "current" and before.get("status") == "superseded":
        # another document has taken its place
        status = "superseded"
    if message.trigger == "T11":
        status, doc_status = "entered-in-error", "entered-in-error"
    changes |= {"status": status, "docStatus": doc_status}
    scope = f"{context.receipt.connection}\0{known['system']}\0{known['value']}"
    parts = [await _attached(one, scope, draft, context) for one in contents(message, draft)]
    if parts:
        changes["content"] = [{"attachment": one} for one in parts]
    elif "content" not in before:
        changes["content"] = [{"attachment": {"title": known["value"]}}]
    if message.trigger in RELATES:
        changes["relatesTo"] = [await _related(message, txa, happened.at, draft, context)]
    return changes


async def _related(message: Message, txa: Segment, at: int, draft: Draft, context: Context) -> dict[str, Any]:
    """The relation to the parent document, which is superseded when it is replaced."""
    above = parent(txa, context)
    if above is None:
        raise Held(Problem("dead-letter", "The document that is meant has no number.", "TXA-13", "", True))
    found = await draft.one("DocumentReference", above["system"], above["value"])
    if found is None:
        draft.problem("unmatched-document", "No document has this number.", "TXA-13", above["value"])
        return {
            "code": RELATES[message.trigger],
            "target": {"type": "DocumentReference", "identifier": above},
        }
    if message.trigger in ("T09", "T10") and found["status"] != "entered-in-error":
        replaced = {**found, "status": "superseded"}
        late = is_late(found, at, context)
        write(found, replaced if late else with_as_of(replaced, at, context), draft, context)
    target = {"reference": f"DocumentReference/{found['id']}"}
    return {"code": RELATES[message.trigger], "target": target}


async def _attached(content: Content, scope: str, draft: Draft, context: Context) -> dict[str, Any]:
    """The Attachment; its Binary is found again by the document and what it holds, so it is made once."""
    made: dict[str, Any] = {"contentType": content.media} if content.media else {}
    if content.title:
        made["title"] = content.title
    if content.url:
        return {**made, "url": content.url}
    said = f"{scope}\0{content.media}\0".encode("utf-8", "surrogatepass")
    id = hashlib.sha256(said + content.data).hexdigest()[:40]
    if not await draft.find("Binary", [("_id", id)], 1):
        data = base64.b64encode(content.data).decode()
        binary = {"resourceType": "Binary", "id": id, "contentType": content.media, "data": data}
        draft.put(sourced(binary, context))
    return {**made, "url": f"Binary/{id}", "size": len(content.data)}


MAPPINGS: dict[tuple[str, str], Map] = {("MDM", f"T{n:02}"): document for n in range(1, 12)}
