"""Documents and pictures among results: they belong to the report, small ones within it, large ones as a Binary.

https://hl7.org/fhir/R4/datatypes.html#Attachment. An invariant to keep: a Binary's id is made of its content, so the same picture twice is one.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hl7_bridge.mapping.draft import Draft, identified
from hl7_bridge.mapping.results.observations import SOURCE, Made
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.mapping.values import Attached

_PICTURES = ("image/", "video/", "audio/")


async def attach(
    made: Made, key: dict[str, Any], around: Surroundings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The presented forms and the media of a report that a result's documents and pictures become."""
    forms, media = [], []
    for n, file in enumerate(made.reading.attached):
        attachment = await attachment_of(file, around.profile.results.values.largest, around.draft)
        title = file.title or made.resource["code"].get("text", "")
        if title:
            attachment["title"] = title
        if file.content_type.startswith(_PICTURES):
            media.append({"link": {"reference": await _picture(made, key, n, attachment, around)}})
        else:
            forms.append(attachment)
    return forms, media


async def attachment_of(file: Attached, largest: int, draft: Draft) -> dict[str, Any]:
    """An Attachment that holds the data, or leads to them."""
    made: dict[str, Any] = {"contentType": file.content_type} if file.content_type else {}
    if file.url:
        made["url"] = file.url
    elif len(file.data) <= largest:
        made["data"] = file.data
    else:
        id = hashlib.sha256(f"{file.content_type}\0{file.data}".encode()).hexdigest()[:40]
        if not await draft.find("Binary", [("_id", id)], 1):
            content_type = file.content_type or "application/octet-stream"
            draft.put({"resourceType": "Binary", "id": id, "contentType": content_type, "data": file.data})
        made["url"] = f"Binary/{id}"
    return made


async def _picture(
    made: Made, key: dict[str, Any], n: int, attachment: dict[str, Any], around: Surroundings
) -> str:
    """The reference to the Media of a picture, which is made once."""
    number = {"system": key["system"], "value": f"{key['value']}/media-{n + 1}"}
    known = await around.draft.any_of("Media", [(number["system"], number["value"])])
    media = {
        "resourceType": "Media",
        "meta": {"source": SOURCE + around.context.receipt.connection},
        "identifier": [number],
        "status": "completed",
        "type": made.resource["code"],
        "subject": made.resource["subject"],
        "issued": made.resource["issued"],
        "content": attachment,
    }
    if not known:
        return around.draft.create(media, identified(number["system"], number["value"]))
    if known[0].get("content") == attachment:
        return f"Media/{known[0]['id']}"
    return around.draft.update({**known[0], **media, "id": known[0]["id"], "meta": known[0].get("meta", {})})
