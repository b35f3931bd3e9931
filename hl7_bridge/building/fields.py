"""FHIR data types as fields of HL7 v2: the reverse of `hl7_bridge.mapping.datatypes`.

https://hl7.org/fhir/uv/v2mappings/. Pure. An invariant to keep: what has no place in a field is left out, never put elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from hl7_bridge.mapping.datatypes.codes import CODES, LOCAL, TABLES
from hl7_bridge.mapping.datatypes.identifiers import AUTHORITY, TYPES
from hl7_bridge.mapping.tables.coding_systems import CODING_SYSTEMS
from hl7_bridge.serializer import One

Resource = Mapping[str, Any]

# the first name of each system stands in table 0396 for it
_SYSTEM_NAMES: Mapping[str, str] = {
    address: name for name, address in reversed(CODING_SYSTEMS.items()) if name != "LOINC"
}
_NAME_USES = {
    "official": "L",
    "usual": "D",
    "maiden": "M",
    "nickname": "N",
    "anonymous": "S",
    "old": "B",
    "temp": "TEMP",
}
_ADDRESS_USES = {"home": "H", "work": "B", "temp": "C", "old": "BA", "billing": "BI"}
_TELECOM_USES = {"home": "PRN", "work": "WPN", "temp": "VHN"}
_DATE_TIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?)?)?"
)


def ts(text: str | None) -> str | None:
    """A date, dateTime or instant as TS, with its precision and offset."""
    found = None if text is None else _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    *digits, zone = found.groups()
    told = "".join(part for part in digits if part is not None)
    if zone is None:
        return told
    return told + ("+0000" if zone == "Z" else zone.replace(":", ""))


def date(text: str | None) -> str | None:
    """The day of a date or dateTime."""
    told = ts(text)
    return None if told is None else told[:8]


def hd(system: str | None) -> tuple[str | None, str | None, str | None]:
    """An identifier system as an authority: namespace, universal id, its type."""
    if not system:
        return (None, None, None)
    if system.startswith(AUTHORITY):
        return (unquote(system.removeprefix(AUTHORITY))[:20], None, None)
    for prefix, kind in (("urn:oid:", "ISO"), ("urn:uuid:", "UUID")):
        if system.startswith(prefix):
            return (None, system.removeprefix(prefix), kind)
    return (None, system, "URI")


def cx(identifier: Resource) -> One:
    """An Identifier as CX."""
    return (identifier["value"], None, None, hd(identifier.get("system")), _type(identifier))


def ei(identifier: Resource) -> tuple[str | None, ...]:
    """An Identifier as EI."""
    return (identifier["value"], *hd(identifier.get("system")))


def _type(identifier: Resource) -> str | None:
    codings = identifier.get("type", {}).get("coding", [])
    return next((one.get("code") for one in codings if one.get("system") == TYPES), None)


def told_identifiers(resource: Resource) -> list[Resource]:
    """The identifiers of a resource that can be told to others: those that hold and have a value."""
    found = resource.get("identifier", [])
    return [one for one in found if one.get("value") and one.get("use") not in ("old", "secondary")]


def xpn(name: Resource) -> One:
    """A HumanName as XPN."""
    given = name.get("given", [])
    family = name.get("family") or (name.get("text") if not given else None)
    return (
        family,
        given[0] if given else None,
        " ".join(given[1:]) or None,
        " ".join(name.get("suffix", [])) or None,
        " ".join(name.get("prefix", [])) or None,
        None,
        _NAME_USES.get(name.get("use", "official"), "L"),
    )


def xad(address: Resource) -> One:
    """An Address as XAD."""
    lines = address.get("line", [])
    return (
        lines[0] if lines else address.get("text"),
        " ".join(lines[1:]) or None,
        address.get("city"),
        address.get("state"),
        address.get("postalCode"),
        address.get("country"),
        _ADDRESS_USES.get(address.get("use", ""), "M" if address.get("type") == "postal" else None),
        None,
        address.get("district"),
    )


def xtn(telecom: Resource) -> One:
    """A ContactPoint as XTN; None for what is no number or mail address."""
    value, system = telecom.get("value"), telecom.get("system")
    if not value or system == "url":
        return None
    use = _TELECOM_USES.get(telecom.get("use", ""), "PRN")
    if system == "email":
        return (None, "NET", "Internet", value)
    kind = {"fax": "FX", "pager": "BP", "sms": "CP"}.get(
        str(system), "CP" if telecom.get("use") == "mobile" else "PH"
    )
    return (value, use, kind)


def cwe(concept: Resource | None) -> One:
    """A CodeableConcept as CE or CWE: two codings, and the words."""
    if not concept:
        return None
    parts: list[str | None] = []
    for one in [*concept.get("coding", []), {}, {}][:2]:
        code = one.get("code")
        name = system_name(one.get("system")) if code else None
        parts += [code, one.get("display") or (concept.get("text") if code and not parts else None), name]
    if not any(parts):
        return (None, concept.get("text"))
    return tuple(parts)


def system_name(system: str | None) -> str:
    """The name of a code system in table 0396; `L` for what has none."""
    if system is None:
        return "L"
    known = _SYSTEM_NAMES.get(system)
    if known is not None:
        return known
    if system.startswith(TABLES):
        return f"HL7{system.removeprefix(TABLES)}"
    if system.startswith(CODES):
        return unquote(system.removeprefix(CODES))
    if system.startswith(LOCAL):
        tail = system.removeprefix(LOCAL).partition("/")[2]
        return unquote(tail) or "L"
    return "L"


def code_of(concept: Resource | None, system: str | None = None) -> str | None:
    """The code of a concept, of a system when one is asked for; else its first code."""
    codings = [] if concept is None else concept.get("coding", [])
    found = [one.get("code") for one in codings if system is None or one.get("system") == system]
    return next((one for one in found if one), None)


def xcn(reference: Resource, practitioner: Resource | None = None) -> One:
    """A reference to a person, with the Practitioner that it leads to, as XCN; None when nothing is known."""
    identifiers = told_identifiers(practitioner or {})
    identifier = reference.get("identifier") or (identifiers[0] if identifiers else None)
    names = (practitioner or {}).get("name", [])
    if identifier is None and not names and not reference.get("display"):
        return None
    name: Resource = names[0] if names else {"text": reference.get("display")}
    given = name.get("given", [])
    system = hd(identifier.get("system")) if identifier else None
    return (
        identifier.get("value") if identifier else None,
        name.get("family") or name.get("text"),
        given[0] if given else None,
        " ".join(given[1:]) or None,
        " ".join(name.get("suffix", [])) or None,
        " ".join(name.get("prefix", [])) or None,
        None,
        None,
        system,
    )


def pl(chain: Sequence[Resource]) -> One:
    """A Location and what it is part of, the smallest first, as PL: by their physical types."""
    found: dict[int, str] = {}
    for location in chain:
        component = _PARTS.get(code_of(location.get("physicalType")) or "")
        name = location.get("name") or location.get("id")
        if component is not None and component not in found and name:
            found[component] = str(name)
    if not found and chain:
        found[1] = str(chain[0].get("name") or chain[0].get("id"))
    return tuple(found.get(n) for n in range(1, 10))


# physical types of Locations -> components of PL
_PARTS = {"bd": 3, "ro": 2, "wa": 1, "area": 1, "lvl": 8, "bu": 7, "si": 4}


def nm(number: Any) -> str | None:
    """A number as NM: its digits, without exponent."""
    return None if number is None else format(number, "f") if not isinstance(number, int) else str(number)
