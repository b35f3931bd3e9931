"""What each data type leaves in the index for each kind of search parameter: kind -> data type -> entries.

Source: the tables of https://hl7.org/fhir/R4/search.html#ptypes. Entries stand under the parameter's own name, or under its name
with a suffix. A data type that is not in the table cannot be found by a parameter of that kind.

- token: Coding and CodeableConcept by system and code; Identifier by system and value; ContactPoint by use and value;
  code, id, uri and boolean by their text, without a system (`parse` knows the systems that codes imply); a string by its
  text and, if that is another, its case folded. Under `:text` the texts of CodeableConcepts, Codings and types of
  Identifiers; under `:of-type` Identifiers by type (system of the type, `code|value`); under `:below` media types without
  their parameters, and their first part.
- string: string and markdown; every part of a HumanName (text, family, given, prefix, suffix) and of an Address (text,
  line, city, district, state, postalCode, country) as an entry of its own.
- date: date, dateTime and instant at their precision; Period, open where an end is absent; of a Timing only its outer
  limits, from the first event or begin of the bounds to the last.
- number: decimal and integer; a Range from low to high.
- quantity: Quantity and its kinds (a comparator opens one side), Range, Money (currency as code), SampledData from
  its lowest to its highest value. Under `:ucum` the same in the canonical unit, where the unit is one of UCUM.
- reference: Reference, canonical, uri, Attachment.url, and a nested resource by its type and id. Under `:identifier`
  Reference.identifier as a token; under `:below` a canonical with a version as a token of address and each beginning of
  the version up to a dot. In a resource that contains others, also under `:contained` its references to those.
- uri: uri, url, canonical; a canonical with a version is found with and without it.
- special: Location.position in degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fhir_server.search.contained import CONTAINED
from fhir_server.search.rules import Json, Members, Rules

Rule = Callable[[Rules, Any], Members]


@dataclass(frozen=True, slots=True)
class Leaves:
    """What a data type leaves for a parameter: entries of `kind` under the parameter's name with `suffix`.

    Where the value has no member `needs` there is nothing that the rule could give.
    """

    kind: str
    rule: Rule
    suffix: str = ""
    needs: str = ""


_CODING = (Leaves("token", Rules.coding), Leaves("string", Rules.coding_text, ":text", "display"))
_CONCEPT = (Leaves("token", Rules.codeable_concept), Leaves("string", Rules.concept_texts, ":text"))
_IDENTIFIER = (
    Leaves("token", Rules.identifier),
    Leaves("string", Rules.identifier_text, ":text", "type"),
    Leaves("token", Rules.identifier_type, ":of-type", "type"),
)
_QUANTITY = (
    Leaves("quantity", Rules.quantity),
    Leaves("quantity", Rules.canonical_quantity, ":ucum", "code"),
)
_CANONICAL = (
    Leaves("reference", Rules.refers),
    Leaves("token", Rules.canonical_versions, ":below"),
)

_QUANTITIES = ("Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity")

_VALUES: dict[str, dict[str, tuple[Leaves, ...]]] = {
    "token": {
        "CodeableConcept": _CONCEPT,
        "Coding": _CODING,
        "Identifier": _IDENTIFIER,
        "ContactPoint": (Leaves("token", Rules.contact_point),),
        "boolean": (Leaves("token", Rules.boolean),),
        "string": (Leaves("token", Rules.string_token),),
        "media-type": (Leaves("token", Rules.plain_token), Leaves("token", Rules.media_type, ":below")),
        **dict.fromkeys(
            ("code", "id", "uri", "canonical", "url", "oid", "uuid"), (Leaves("token", Rules.plain_token),)
        ),
    },
    "string": {
        "HumanName": (Leaves("string", Rules.human_name),),
        "Address": (Leaves("string", Rules.address),),
        **dict.fromkeys(("string", "markdown", "code", "id"), (Leaves("string", Rules.string),)),
    },
    "date": {
        **dict.fromkeys(("date", "dateTime", "instant"), (Leaves("date", Rules.date),)),
        "Period": (Leaves("date", Rules.period),),
        "Timing": (Leaves("date", Rules.timing),),
    },
    "number": {
        **dict.fromkeys(
            ("decimal", "integer", "positiveInt", "unsignedInt"), (Leaves("number", Rules.number),)
        ),
        "Range": (Leaves("number", Rules.number_range),),
    },
    "quantity": {
        **dict.fromkeys(_QUANTITIES, _QUANTITY),
        "Range": (
            Leaves("quantity", Rules.quantity_range),
            Leaves("quantity", Rules.canonical_range, ":ucum"),
        ),
        "Money": (Leaves("quantity", Rules.money),),
        "SampledData": (
            Leaves("quantity", Rules.sampled_data),
            Leaves("quantity", Rules.canonical_sampled_data, ":ucum"),
        ),
    },
    "reference": {
        "Reference": (
            Leaves("reference", Rules.reference),
            Leaves("token", Rules.reference_identifier, ":identifier", "identifier"),
        ),
        "canonical": _CANONICAL,
        **dict.fromkeys(("uri", "url"), (Leaves("reference", Rules.refers),)),
        "Attachment": (Leaves("reference", Rules.attachment),),
        "Resource": (Leaves("reference", Rules.nested_resource),),
    },
    "uri": {
        **dict.fromkeys(("uri", "url", "oid", "uuid"), (Leaves("uri", Rules.uri),)),
        "canonical": (Leaves("uri", Rules.canonical),),
    },
    "special": {"Location.position": (Leaves("position", Rules.position),)},
}


def _of_extension(values: Mapping[str, tuple[Leaves, ...]]) -> tuple[Leaves, ...]:
    """What an Extension leaves: what its value does, whatever type it has."""
    kinds = dict.fromkeys((one.suffix, one.kind) for leaves in values.values() for one in leaves)
    return tuple(Leaves(kind, _of_value(values, suffix), suffix) for suffix, kind in kinds)


def _of_value(values: Mapping[str, tuple[Leaves, ...]], suffix: str) -> Rule:
    by_member = {
        f"value{type[0].upper()}{type[1:]}": one.rule
        for type, leaves in values.items()
        for one in leaves
        if one.suffix == suffix
    }

    def extension(rules: Rules, value: Json) -> Members:
        return [
            members
            for member, content in value.items()
            if member in by_member
            for members in by_member[member](rules, content)
        ]

    return extension


RULES: Mapping[str, Mapping[str, tuple[Leaves, ...]]] = {
    kind: values if kind == "special" else {**values, "Extension": _of_extension(values)}
    for kind, values in _VALUES.items()
}

_REFERENCES_WITHIN = {
    "Reference": Leaves("reference", Rules.contained_reference, CONTAINED, "reference"),
    **dict.fromkeys(("canonical", "uri", "url"), Leaves("reference", Rules.contained_address, CONTAINED)),
}


def _with_contained(values: Mapping[str, tuple[Leaves, ...]]) -> Mapping[str, tuple[Leaves, ...]]:
    found = {
        type: (*leaves, _REFERENCES_WITHIN[type]) if type in _REFERENCES_WITHIN else leaves
        for type, leaves in values.items()
    }
    return {**found, "Extension": _of_extension(found)}


# The same for resources that contain others or are contained.
RULES_WITHIN: Mapping[str, Mapping[str, tuple[Leaves, ...]]] = {
    **RULES,
    "reference": _with_contained(_VALUES["reference"]),
}

# kind of entry -> the member of Entries that holds it, and how many members an entry has besides its parameter
ENTRY_KINDS: Mapping[str, tuple[str, int]] = {
    "token": ("tokens", 2),
    "string": ("strings", 2),
    "date": ("dates", 2),
    "number": ("numbers", 2),
    "quantity": ("quantities", 5),
    "reference": ("references", 4),
    "uri": ("uris", 1),
    "position": ("positions", 2),
    "composite": ("composites", 1),
}
