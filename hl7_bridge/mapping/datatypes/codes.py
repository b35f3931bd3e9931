"""CE, CWE, CNE, IS and ID as FHIR CodeableConcept and Coding. What was sent is kept, whatever else is known of it.

https://hl7.org/fhir/uv/v2mappings/ (CWE, CNE, IS, ID).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from hl7_bridge.mapping.datatypes.identifiers import own_name, universal_system
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.coding_systems import CODING_SYSTEMS
from hl7_bridge.message import NULL, Value

TABLES = "http://terminology.hl7.org/CodeSystem/v2-"
CODES = "https://osler.health/fhir/hl7v2/coding-system/"
LOCAL = "https://osler.health/fhir/hl7v2/code/"
_TABLE = re.compile(r"(?:HL7|V2-)?(\d{4})")


def coding_system(name: str, context: Context) -> str:
    """The address of a code system that is named as in table 0396.

    Names that are the sender's own (`L`, `99ROC`, none) lead to addresses of its own.
    """
    name = name.strip()
    if name in context.profile.systems:
        return context.profile.systems[name]
    known = CODING_SYSTEMS.get(name.upper())
    if known is not None:
        return known
    table = _TABLE.fullmatch(name.upper())
    if table is not None:
        return TABLES + table[1]
    universal = universal_system(name, "")
    if universal is not None:
        return universal
    if name.upper() in ("", "L", "LB", "LOCAL"):
        return LOCAL + quote(own_name(context), safe="")
    if name.startswith("99"):
        return f"{LOCAL}{quote(own_name(context), safe='')}/{quote(name, safe='')}"
    return CODES + quote(name, safe="")


@maps(
    "CWE.1",
    "CWE.2",
    "CWE.3",
    "CWE.4",
    "CWE.5",
    "CWE.6",
    "CWE.7",
    "CWE.8",
    "CWE.9",
    "CWE.10",
    "CWE.11",
    "CWE.12",
)
def concept(value: Value, context: Context, table: str = "") -> dict[str, Any] | None:
    """A CodeableConcept; None when nothing is told. `table` (0078) is where a code without a system is from."""
    codings = []
    for code, system, version in ((1, 3, 7), (4, 6, 8), (10, 12, 13)):
        found = _coding(
            value.text(code), value.text(code + 1), value.text(system), value.text(version), table, context
        )
        if found is not None:
            codings.append(found)
    text = value.text(9) or (value.text(2) if not codings or not value.text(1) else "")
    if codings and not text:
        text = next((coding["display"] for coding in codings if "display" in coding), "")
    made: dict[str, Any] = {}
    if codings:
        made["coding"] = codings
    if text and text != NULL:
        made["text"] = text
    return made or None


def coding(value: Value, context: Context, table: str = "") -> dict[str, Any] | None:
    """The first Coding; None when there is no code."""
    return _coding(value.text(1), value.text(2), value.text(3), value.text(7), table, context)


def coded(code: str, table: str) -> dict[str, Any]:
    """A CodeableConcept of a code of an HL7 table (0078)."""
    return {"coding": [{"system": TABLES + table, "code": code}]}


def _coding(
    code: str, display: str, name: str, version: str, table: str, context: Context
) -> dict[str, Any] | None:
    code = " ".join(code.split())
    if code in ("", NULL):
        return None
    found: dict[str, Any] = {
        "system": TABLES + table if table and not name.strip() else coding_system(name, context)
    }
    if version not in ("", NULL):
        found["version"] = version
    found["code"] = code
    if display.strip() not in ("", NULL):
        found["display"] = display.strip()
    return found
