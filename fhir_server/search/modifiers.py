"""The modifiers of search parameters: which kind takes which, and which of them this server does not do yet.

Source: https://hl7.org/fhir/R4/search.html#modifiers. The one table for parsing, the CapabilityStatement and docs/search.md.
A resource type as modifier of a reference (`subject:Patient`) is no row here.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import NotSupported, UnknownParameter

MODIFIERS: Mapping[str, tuple[str, ...]] = {
    "token": ("missing", "not"),
    "string": ("missing", "exact", "contains"),
    "reference": ("missing", "identifier"),
    "date": ("missing",),
    "number": ("missing",),
    "quantity": ("missing",),
    "uri": ("missing", "above", "below"),
    "composite": ("missing",),
    "special": ("missing",),
}

# of R4, not built yet
NOT_YET: Mapping[str, tuple[str, ...]] = {
    "token": ("text", "in", "not-in", "above", "below", "of-type"),
    "reference": ("above", "below"),
}


def check_modifier(name: str, kind: str, modifier: str) -> None:
    """Raise UnknownParameter or NotSupported unless a parameter of `kind` takes the modifier; `name` is for the message."""
    if modifier == "" or modifier in MODIFIERS[kind] or (kind == "reference" and is_resource_type(modifier)):
        return
    if modifier in NOT_YET.get(kind, ()):
        raise NotSupported(f"The modifier :{modifier} of {name} is not supported.", name)
    known = ", ".join(f":{m}" for m in MODIFIERS[kind])
    if kind == "reference":
        known += " or a resource type"
    raise UnknownParameter(f"{name}: a {kind} parameter has no modifier :{modifier}; it takes {known}.", name)
