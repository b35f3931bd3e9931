"""XPN, XAD, XTN, XCN and XON as FHIR HumanName, Address, ContactPoint and references by identifier.

https://hl7.org/fhir/uv/v2mappings/ (XPN, XAD, XTN, XCN, XON).
"""

from __future__ import annotations

from typing import Any

from hl7_bridge.mapping.datatypes.identifiers import authority, typed
from hl7_bridge.mapping.datatypes.times import between, period
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.people import ADDRESS_USES, NAME_USES, TELECOM_SYSTEMS, TELECOM_USES
from hl7_bridge.message import NULL, Value


def told(value: Value, component: int, subcomponent: int = 1) -> str:
    """A component that says something; '' for NULL too."""
    found = value.text(component, subcomponent).strip()
    return "" if found == NULL else found


@maps("XPN.1", "XPN.2", "XPN.3", "XPN.4", "XPN.5", "XPN.6", "XPN.7", "XPN.10", "XPN.12", "XPN.13", "XPN.14")
def human_name(value: Value, context: Context, offset: int = 0, use: int = 7) -> dict[str, Any] | None:
    """A name; None when there is none. In an XCN the parts stand `offset` further on and its use at `use`."""
    found: dict[str, Any] = {}
    meaning = NAME_USES.get(told(value, use).upper())
    if meaning is not None:
        found["use"] = meaning
    if told(value, 1 + offset):
        found["family"] = told(value, 1 + offset)
    given = [told(value, 2 + offset), *told(value, 3 + offset).split()]
    _some(found, "given", given)
    _some(found, "prefix", [told(value, 5 + offset)])
    _some(found, "suffix", [told(value, 4 + offset), told(value, 6 + offset)])
    if not found.keys() - {"use"}:
        return None
    if offset == 0:
        valid = between(told(value, 12), told(value, 13), context) or period(_part(value, 10), context)
        if valid is not None:
            found["period"] = valid
        _some(found, "suffix", [*found.get("suffix", []), told(value, 14)])
    return found


@maps("XPN.15")
def called_by(value: Value) -> dict[str, Any] | None:
    """The name that somebody is called by, as a name of its own; None when none is told."""
    found = told(value, 15)
    return {"use": "nickname", "given": [found]} if found else None


@maps(
    "XAD.1",
    "XAD.2",
    "XAD.3",
    "XAD.4",
    "XAD.5",
    "XAD.6",
    "XAD.7",
    "XAD.8",
    "XAD.9",
    "XAD.12",
    "XAD.13",
    "XAD.14",
    "XAD.19",
)
def address(value: Value, context: Context) -> dict[str, Any] | None:
    """An address; None when there is none."""
    found: dict[str, Any] = {}
    use, kind = ADDRESS_USES.get(told(value, 7).upper(), (None, None))
    if use is not None:
        found["use"] = use
    if kind is not None:
        found["type"] = kind
    _some(found, "line", [*_streets(value), told(value, 2), told(value, 8), told(value, 19)])
    for name, component in (("city", 3), ("district", 9), ("state", 4), ("postalCode", 5), ("country", 6)):
        if told(value, component):
            found[name] = told(value, component)
    valid = between(told(value, 13), told(value, 14), context) or period(_part(value, 12), context)
    if not found.keys() - {"use", "type"}:
        return None
    if valid is not None:
        found["period"] = valid
    return found


@maps(
    "XTN.1",
    "XTN.2",
    "XTN.3",
    "XTN.4",
    "XTN.5",
    "XTN.6",
    "XTN.7",
    "XTN.8",
    "XTN.12",
    "XTN.13",
    "XTN.14",
    "XTN.18",
)
def contact_point(value: Value, context: Context, use: str = "") -> dict[str, Any] | None:
    """A number or an address of telecommunication; None when there is none. `use` is meant when none is told."""
    kind = told(value, 3).upper()
    purpose = told(value, 2).upper()
    mail = told(value, 4)
    written = told(value, 12) or _parts(value) or told(value, 1)
    system = TELECOM_SYSTEMS.get(kind, "phone")
    if (kind in ("INTERNET", "X.400") or purpose == "NET" or not written) and (mail or "@" in written):
        system, written = "email", mail or written
    elif kind in ("INTERNET", "X.400"):
        system = "url" if "://" in written else "other" if written else "email"
    if not written:
        return None
    found: dict[str, Any] = {"system": system, "value": written}
    meant = "mobile" if kind == "CP" else TELECOM_USES.get(purpose) or use
    if meant:
        found["use"] = meant
    order = told(value, 18)
    if order.isascii() and order.isdigit() and int(order) > 0:
        found["rank"] = int(order)
    valid = between(told(value, 13), told(value, 14), context)
    if valid is not None:
        found["period"] = valid
    return found


@maps("XCN.1", "XCN.2", "XCN.3", "XCN.4", "XCN.5", "XCN.6", "XCN.7", "XCN.9", "XCN.10", "XCN.13")
def person(value: Value, context: Context) -> dict[str, Any] | None:
    """A reference to a Practitioner by identifier and name; None when there is none."""
    found: dict[str, Any] = {"type": "Practitioner"}
    number = told(value, 1)
    if number:
        system = authority(told(value, 9), told(value, 9, 2), told(value, 9, 3), context)
        kind = told(value, 13)
        made = {"system": system, "value": number}
        found["identifier"] = typed(made, kind) if kind else made
    name = human_name(value, context, offset=1, use=10)
    if name is not None:
        found["display"] = written_name(name)
    return found if len(found) > 1 else None


def practitioner(value: Value, context: Context) -> dict[str, Any] | None:
    """A Practitioner of an XCN; None when there is none."""
    reference = person(value, context)
    if reference is None:
        return None
    made: dict[str, Any] = {"resourceType": "Practitioner"}
    if "identifier" in reference:
        made["identifier"] = [reference["identifier"]]
    name = human_name(value, context, offset=1, use=10)
    if name is not None:
        made["name"] = [name]
    return made


@maps("XON.1", "XON.3", "XON.6", "XON.7", "XON.10")
def organization(value: Value, context: Context) -> dict[str, Any] | None:
    """A reference to an Organization by identifier and name; None when there is none."""
    found: dict[str, Any] = {"type": "Organization"}
    number = told(value, 10) or told(value, 3)
    if number:
        system = authority(told(value, 6), told(value, 6, 2), told(value, 6, 3), context)
        kind = told(value, 7)
        made = {"system": system, "value": number}
        found["identifier"] = typed(made, kind) if kind else made
    if told(value, 1):
        found["display"] = told(value, 1)
    return found if len(found) > 1 else None


def written_name(name: dict[str, Any]) -> str:
    """A name as it is shown."""
    parts = [*name.get("prefix", []), *name.get("given", []), name.get("family", ""), *name.get("suffix", [])]
    return " ".join(part for part in parts if part)


def _streets(value: Value) -> list[str]:
    """The first line, and the street and number of it where these tell more."""
    line, street, number = (told(value, 1, part) for part in (1, 2, 3))
    parts = [part for part in (number, street) if part and part not in line]
    return [line, " ".join(parts)]


def _parts(value: Value) -> str:
    """A number that stands in its parts."""
    country, area, local, extension = (told(value, n) for n in (5, 6, 7, 8))
    if not local:
        return ""
    number = " ".join(part for part in (f"+{country.lstrip('+')}" if country else "", area, local) if part)
    return f"{number} ext. {extension}" if extension else number


def _part(value: Value, component: int) -> Value:
    """A component as a value of its own."""
    raw = value.raw_component(component)
    return Value(raw.replace(value.delimiters.subcomponent, value.delimiters.component), value.delimiters)


def _some(found: dict[str, Any], name: str, parts: list[str]) -> None:
    kept = [part for part in parts if part]
    if kept:
        found[name] = kept
