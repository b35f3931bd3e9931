"""TXA, and the OBX that hold a document: DocumentReference and its Binary.

https://hl7.org/fhir/uv/v2mappings/ (TXA to DocumentReference).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from hl7_bridge.escapes import unescape
from hl7_bridge.mapping.changes import Changes
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import entity
from hl7_bridge.mapping.datatypes.people import person, told
from hl7_bridge.mapping.datatypes.texts import text
from hl7_bridge.mapping.datatypes.times import date_time, instant
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.coding_systems import LOINC
from hl7_bridge.mapping.tables.documents import AVAILABILITY, COMPLETION, MEDIA, TYPES
from hl7_bridge.message import Message, Segment, Value

SKIPS = {
    "TXA-1": "The number of the segment says nothing of the document.",
    "TXA-3": "How it is presented follows from its content.",
    "TXA-7, TXA-8": "When it was typed and edited stands in the versions of the document.",
    "TXA-11": "Who typed it is kept in the raw message.",
    "TXA-20": "How it is stored is the matter of the server.",
    "TXA-21": "Why it was changed is kept in the raw message.",
    "TXA-23": "Who was sent copies is kept in the raw message.",
    "TXA-24..28": "Folders, and fields of later versions, are kept in the raw message.",
}


@dataclass(frozen=True, slots=True)
class Content:
    """A part of a document: its bytes, or where they are."""

    media: str
    data: bytes = b""
    url: str = ""
    title: str = ""


@maps("TXA-12")
def number(txa: Segment, context: Context) -> dict[str, Any] | None:
    """The unique number of the document."""
    return entity(txa.value(12), context)


@maps("TXA-13")
def parent(txa: Segment, context: Context) -> dict[str, Any] | None:
    """The number of the document that this one adds to or replaces."""
    return entity(txa.value(13), context)


@maps("TXA-17", "TXA-19")
def states(txa: Segment) -> tuple[str, str]:
    """DocumentReference.status and docStatus."""
    status = AVAILABILITY.get(told(txa.value(19), 1).upper(), "current")
    return status, COMPLETION.get(told(txa.value(17), 1).upper(), "preliminary")


@maps(
    "TXA-2",
    "TXA-4",
    "TXA-5",
    "TXA-6",
    "TXA-9",
    "TXA-10",
    "TXA-14",
    "TXA-15",
    "TXA-16",
    "TXA-18",
    "TXA-22",
    "TXA-25",
)
def description(txa: Segment, context: Context) -> Changes:
    """What is told of the document but for its numbers, states and content."""
    found: Changes = {}
    kind = concept(txa.value(2), context, "0270")
    if kind is not None:
        known = TYPES.get(told(txa.value(2), 1).upper())
        if known is not None:
            first = {"system": LOINC, "code": known[0], "display": known[1]}
            kind = {**kind, "coding": [first, *kind.get("coding", [])]}
        found["type"] = kind
    authors = [
        who for field in (9, 5) for value in txa.values(field) if (who := person(value, context)) is not None
    ]
    unique = {str(one.get("identifier") or one.get("display")): one for one in authors}
    if unique:
        found["author"] = list(unique.values())
    signer = person(txa.value(22), context) or person(txa.value(10), context)
    if signer is not None:
        found["authenticator"] = signer
    when = instant(txa.value(6), context) or instant(txa.value(4), context)
    if when is not None:
        found["date"] = when
    secret = concept(txa.value(18), context, "0272")
    if secret is not None:
        found["securityLabel"] = [secret]
    title = told(txa.value(25), 1) or told(txa.value(16), 1)
    if title:
        found["description"] = title
    acted = date_time(txa.value(4), context)
    about: dict[str, Any] = {} if acted is None else {"period": {"start": acted}}
    orders = [entity(value, context) for field in (14, 15) for value in txa.values(field)]
    related = [{"type": "ServiceRequest", "identifier": one} for one in orders if one is not None]
    if related:
        about["related"] = related
    if about:
        found["context"] = about
    return found


@maps("OBX-5")
def contents(message: Message, draft: Draft) -> list[Content]:
    """The content of the OBX: texts one after another, and what is attached."""
    lines: list[str] = []
    attached: list[Content] = []
    for obx in message.all("OBX"):
        kind = obx.text(2).upper()
        title = told(obx.value(3), 2) or told(obx.value(3), 1)
        if not obx.raw(5) and kind in ("TX", "FT", "ST"):
            # a line with nothing on it parts what is before and after it
            lines.append("")
        for value in obx.values(5):
            if kind == "ED":
                made = _encapsulated(obx, title, draft)
                if made is not None:
                    attached.append(made)
                break
            if kind == "RP":
                media = MEDIA.get(value.text(4).upper(), MEDIA.get(value.text(3).upper(), ""))
                attached.append(Content(media, url=pointer(value), title=title))
            else:
                lines.append(text(value) or "")
    if any(lines):
        attached.insert(0, Content("text/plain; charset=utf-8", "\n".join(lines).encode()))
    return attached


def pointer(value: Value) -> str:
    """RP.1, an address, in which `&` parts no subcomponents."""
    return unescape(value.raw_component(1), value.delimiters).strip()


def _encapsulated(obx: Segment, title: str, draft: Draft) -> Content | None:
    value = obx.value(5)
    words = (value.text(3).upper(), value.text(2).upper())
    media = next((MEDIA[word] for word in words if word in MEDIA), "application/octet-stream")
    data, encoding = value.text(5), value.text(4).upper()
    if not data.strip():
        draft.problem("unreadable-value", "What is attached is empty.", "OBX-5", value.raw[:80])
        return None
    if encoding == "BASE64":
        try:
            return Content(media, base64.b64decode("".join(data.split()), validate=True), title=title)
        except (binascii.Error, ValueError):
            draft.problem("unreadable-value", "What is attached is no Base64.", "OBX-5", data[:80])
            return None
    if encoding == "HEX":
        try:
            return Content(media, bytes.fromhex(data), title=title)
        except ValueError:
            draft.problem("unreadable-value", "What is attached is not hexadecimal.", "OBX-5", data[:80])
            return None
    return Content(media, data.encode(), title=title)
