"""CX, EI and HD as FHIR Identifier.

https://hl7.org/fhir/uv/v2mappings/ (CX, EI, HD). An invariant to keep: an identifier always has a system, so two senders' numbers
never meet.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from hl7_bridge.mapping.datatypes.times import between
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import NULL, Value

AUTHORITY = "https://osler.health/fhir/hl7v2/authority/"
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
# of a consignment, not of what is in it
SHIPMENT = "SHIP"
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)


@maps("HD.1", "HD.2", "HD.3")
def authority(namespace: str, universal: str, kind: str, context: Context) -> str:
    """The identifier system of an assigning authority; that of the connection when none is told."""
    systems = context.profile.systems
    if systems:
        for key in (f"{namespace}&{universal}&{kind}", namespace, universal):
            if key in systems:
                return systems[key]
    return (
        universal_system(universal, kind)
        or f"{AUTHORITY}{_name(namespace or universal or own_name(context))}"
    )


def universal_system(universal: str, kind: str) -> str | None:
    """The address of a universal id; None when it is not universal."""
    if not universal:
        return None
    kind = kind.upper()
    if kind in ("ISO", "") and _OID.fullmatch(universal) and universal.count(".") > 2:
        return f"urn:oid:{universal}"
    if kind in ("UUID", "GUID", "") and _UUID.fullmatch(universal):
        return f"urn:uuid:{universal.lower()}"
    if kind in ("URI", "") and re.match(r"(https?://|urn:)\S+$", universal):
        return universal
    return None


def own_name(context: Context) -> str:
    """What an authority is called that the sender did not name."""
    return context.receipt.connection


@maps("CX.1", "CX.4", "CX.5", "CX.6", "CX.7", "CX.8", "CX.9", "CX.10")
def identifier(value: Value, context: Context) -> dict[str, Any] | None:
    """A CX; None when it has no value."""
    number, _, _, namespace, kind, facility, start, end, jurisdiction, department = value.texts(10)
    number = number.strip()
    if number in ("", NULL):
        return None
    found: dict[str, Any] = {}
    if kind.strip():
        found["type"] = {"coding": [{"system": TYPES, "code": kind.strip()}]}
    elsewhere = jurisdiction if jurisdiction.strip() else department
    if not namespace.strip() and elsewhere.strip() and not value.raw_component(4).strip("&"):
        # the jurisdiction or the department that assigned it, as CWE
        found["system"] = authority(elsewhere, "", "", context)
    else:
        found["system"] = authority(namespace, value.text(4, 2), value.text(4, 3), context)
    found["value"] = number
    told = between(start, end, context)
    if told is not None:
        found["period"] = told
    assigner = facility.strip() or namespace.strip()
    if assigner:
        found["assigner"] = {"display": assigner}
    return found


@maps("EI.1", "EI.2", "EI.3", "EI.4")
def entity(value: Value, context: Context) -> dict[str, Any] | None:
    """An EI; None when it has no value."""
    if not value.raw:
        return None
    number, namespace, universal, kind = value.texts(4)
    number = number.strip()
    if number in ("", NULL):
        return None
    return {"system": authority(namespace, universal, kind, context), "value": number}


def typed(found: dict[str, Any], kind: str) -> dict[str, Any]:
    """The identifier with a type of table 0203."""
    return {"type": {"coding": [{"system": TYPES, "code": kind}]}, **found}


def type_of(found: dict[str, Any]) -> str:
    """The type of table 0203, '' without one."""
    codings = found.get("type", {}).get("coding", [])
    return next((coding["code"] for coding in codings if coding.get("system") == TYPES), "")


@lru_cache(4096)
def _name(text: str) -> str:
    return quote(text.strip(), safe="")
