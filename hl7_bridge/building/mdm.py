"""MDM^T02: documents with their content. HL7 v2.5.1 chapter 9. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.fields import code_of, cwe, ei, hd, told_identifiers, ts
from hl7_bridge.building.people import evn, pid, pv1
from hl7_bridge.mapping.tables.coding_systems import LOINC
from hl7_bridge.mapping.tables.documents import TYPES
from hl7_bridge.serializer import One, Segment

Resource = Mapping[str, Any]

STRUCTURE = "MDM_T02"
_KINDS = {code: kind for kind, (code, _) in reversed(TYPES.items())}
_COMPLETION = {"preliminary": "DO", "final": "AU", "amended": "AU"}


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """T02 when a document is finished, or comes in another state of finished."""

    def finished(document: Resource | None) -> bool:
        return (
            document is not None
            and document.get("status") == "current"
            and document.get("docStatus", "final") in ("final", "amended")
        )

    if not finished(now):
        return None
    return None if finished(was) and (was or {}).get("content") == now.get("content") else "T02"


def message(
    document: Resource, chart: Chart, recorded: str, contents: Sequence[tuple[str, str]]
) -> Sequence[Segment]:
    """The segments after the header; `contents` are (media type, Base64) of the attachments, in order."""
    texts = [_obx(n, document, *one) for n, one in enumerate(contents, 1)]
    return (
        evn(recorded),
        pid(chart.patient),
        pv1(chart),
        _txa(document, chart),
        *(texts or [_obx(1, document, "text/plain", "")]),
    )


def _txa(document: Resource, chart: Chart) -> Segment:
    numbers = [document["masterIdentifier"]] if "value" in document.get("masterIdentifier", {}) else []
    numbers += told_identifiers(document)
    number: One = ei(numbers[0]) if numbers else (str(document.get("id")), *hd(None))
    parents = [one["target"] for one in document.get("relatesTo", [])]
    parent = parents[0].get("identifier") if parents else None
    known = chart.at(parents[0]) if parents else None
    if known is not None:
        others = [known["masterIdentifier"]] if "value" in known.get("masterIdentifier", {}) else []
        parent = next(iter([*others, *told_identifiers(known)]), None)
    signer = [document["authenticator"]] if "authenticator" in document else []
    return Segment(
        "TXA",
        {
            1: "1",
            2: _KINDS.get(code_of(document.get("type"), LOINC) or "", "DS"),
            3: "TX" if _media(document).startswith("text/") else "AP",
            4: ts(document.get("context", {}).get("period", {}).get("start")),
            6: ts(document.get("date")),
            9: chart.people(document.get("author", [])),
            12: number,
            13: None if parent is None else ei(parent),
            16: document.get("description"),
            17: _COMPLETION.get(document.get("docStatus", "final"), "AU"),
            19: "AV",
            22: chart.people(signer)[:1],
        },
    )


def _media(document: Resource) -> str:
    contents = document.get("content", [])
    return str(contents[0]["attachment"].get("contentType", "text/plain")) if contents else "text/plain"


def _obx(number: int, document: Resource, media: str, data: str) -> Segment:
    kind, _, rest = media.partition(";")[0].partition("/")
    main = {"text": "TEXT", "image": "IM", "audio": "AU"}.get(kind, "AP")
    code = cwe(document.get("type")) or ("18842-5", "Document", "LN")
    value: One = (None, main, rest.upper() or "OCTET-STREAM", "Base64", data)
    return Segment("OBX", {1: str(number), 2: "ED", 3: code, 5: [value], 11: "F"})
