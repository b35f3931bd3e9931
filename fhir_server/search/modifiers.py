"""The modifiers of search parameters: which kind takes which, and what a parameter must be about to take one.

Source: https://hl7.org/fhir/R4/search.html#modifiers. The one table for parsing, the CapabilityStatement and docs/search.md.
A resource type as modifier of a reference (`subject:Patient`) is no row here.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import UnknownParameter
from fhir_server.search.parameters import About

MODIFIERS: Mapping[str, tuple[str, ...]] = {
    "token": ("missing", "not", "text", "in", "not-in", "above", "below", "of-type"),
    "string": ("missing", "exact", "contains"),
    "reference": ("missing", "identifier", "above", "below"),
    "date": ("missing",),
    "number": ("missing",),
    "quantity": ("missing",),
    "uri": ("missing", "above", "below"),
    "composite": ("missing",),
    "special": ("missing",),
}

_CODES = frozenset({"CodeableConcept", "Coding", "code", "Extension"})
# (kind, modifier) -> the types of values that it is for
_FOR_TYPES: Mapping[tuple[str, str], frozenset[str]] = {
    ("token", "text"): frozenset({"CodeableConcept", "Coding", "Identifier", "Extension"}),
    ("token", "of-type"): frozenset({"Identifier", "Extension"}),
    ("token", "in"): _CODES,
    ("token", "not-in"): _CODES,
    ("token", "above"): _CODES,
    ("token", "below"): _CODES | {"media-type"},
    ("reference", "identifier"): frozenset({"Reference", "Extension"}),
}


def check_modifier(name: str, kind: str, modifier: str, types: frozenset[str]) -> None:
    """Raise UnknownParameter unless a parameter of `kind` that finds values of `types` takes the modifier.

    `name` is for the message; the types are those of `About`.
    """
    if modifier == "" or (kind == "reference" and is_resource_type(modifier)):
        return
    taken = modifiers_of(About(kind, types, (), frozenset()))
    if modifier in taken:
        return
    known = ", ".join(f":{m}" for m in taken)
    if kind == "reference":
        known += " or a resource type"
    raise UnknownParameter(f"{name}: the parameter has no modifier :{modifier[:40]}; it takes {known}.", name)


def modifiers_of(about: About) -> tuple[str, ...]:
    """The modifiers of a parameter that finds values like these."""
    return tuple(
        modifier
        for modifier in MODIFIERS[about.kind]
        if (about.kind, modifier) not in _FOR_TYPES or about.types & _FOR_TYPES[about.kind, modifier]
    )
