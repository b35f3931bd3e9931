"""What a value of each data type leaves in the index for each kind of search parameter.

Source: the tables of https://hl7.org/fhir/R4/search.html#ptypes. `RULES` is the one table: kind -> data type -> rule. A data
type that is not in it cannot be found by a parameter of that kind. A value that is there but gives nothing to look for (a
CodeableConcept of text alone, a contained or display-only reference) leaves an empty entry, so that `:missing` is true only
where the element is missing; no question matches an empty entry. Change RULES_VERSION with the meaning of any rule: it
makes the entries that stores hold out of date.

- token: Coding and CodeableConcept by system and code; Identifier by system and value; ContactPoint by use and value;
  code, id, string, uri and boolean by their text, without a system (`parse` knows the systems that codes imply).
- string: string and markdown; every part of a HumanName (text, family, given, prefix, suffix) and of an Address (text,
  line, city, district, state, postalCode, country) as an entry of its own.
- date: date, dateTime and instant at their precision; Period, open where an end is absent; of a Timing only its outer
  limits, from the first event or begin of the bounds to the last.
- number: decimal and integer; a Range from low to high.
- quantity: Quantity and its kinds (a comparator opens one side), Range, Money (currency as code), SampledData from
  its lowest to its highest value.
- reference: Reference, canonical, uri, Attachment.url, and a nested resource by its type and id. `Reference.identifier`
  becomes a token of `<code>:identifier`.
- uri: uri, url, canonical; a canonical with a version is found with and without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhir_r4.quantities import as_float
from fhir_r4.references import split_reference
from fhir_r4.temporal import OPEN_HIGH, OPEN_LOW, parse_interval
from fhir_server.search.entries import Entries
from fhir_server.search.text import normalise

RULES_VERSION = 1

Json = Mapping[str, Any]
CURRENCIES = "urn:iso:std:iso:4217"
INFINITY = math.inf


class Rules:
    """The rules with what they depend on: the zone of times without one, and the addresses that are this server."""

    def __init__(self, zone: str = "UTC", local_bases: Sequence[str] = ()) -> None:
        self.zone = zone
        self.local_bases = tuple(local_bases)

    # token

    def codeable_concept(self, entries: Entries, code: str, value: Json) -> None:
        codings = value.get("coding")
        if codings is None:
            entries.tokens.append((code, "", ""))
            return
        for coding in codings:
            entries.tokens.append((code, coding.get("system") or "", coding.get("code") or ""))

    def coding(self, entries: Entries, code: str, value: Json) -> None:
        entries.tokens.append((code, value.get("system") or "", value.get("code") or ""))

    def identifier(self, entries: Entries, code: str, value: Json) -> None:
        entries.tokens.append((code, value.get("system") or "", value.get("value") or ""))

    def contact_point(self, entries: Entries, code: str, value: Json) -> None:
        entries.tokens.append((code, value.get("use") or "", value.get("value") or ""))

    def plain_token(self, entries: Entries, code: str, value: str) -> None:
        entries.tokens.append((code, "", value))

    def boolean(self, entries: Entries, code: str, value: bool) -> None:
        entries.tokens.append((code, "", "true" if value else "false"))

    # string

    def string(self, entries: Entries, code: str, value: str) -> None:
        entries.strings.append((code, normalise(value), value))

    def human_name(self, entries: Entries, code: str, value: Json) -> None:
        add = entries.strings.append
        for name in ("family", "text"):
            text = value.get(name)
            if text is not None:
                add((code, normalise(text), text))
        for name in ("given", "prefix", "suffix"):
            for text in value.get(name) or ():
                if text is not None:
                    add((code, normalise(text), text))

    def address(self, entries: Entries, code: str, value: Json) -> None:
        add = entries.strings.append
        for name in ("city", "state", "postalCode", "country", "district", "text"):
            text = value.get(name)
            if text is not None:
                add((code, normalise(text), text))
        for text in value.get("line") or ():
            if text is not None:
                add((code, normalise(text), text))

    # date

    def date(self, entries: Entries, code: str, value: str) -> None:
        entries.dates.append((code, *parse_interval(value, self.zone)))

    def period(self, entries: Entries, code: str, value: Json) -> None:
        start, end = value.get("start"), value.get("end")
        low = OPEN_LOW if start is None else parse_interval(start, self.zone)[0]
        high = OPEN_HIGH if end is None else parse_interval(end, self.zone)[1]
        # a Period that ends before it begins means nothing that could be found
        if low < high and (start is not None or end is not None):
            entries.dates.append((code, low, high))

    def timing(self, entries: Entries, code: str, value: Json) -> None:
        limits = [parse_interval(event, self.zone) for event in value.get("event") or () if event is not None]
        bounds = (value.get("repeat") or {}).get("boundsPeriod")
        if bounds is not None:
            found = Entries()
            self.period(found, code, bounds)
            limits.extend((low, high) for _, low, high in found.dates)
        if limits:
            entries.dates.append((code, min(low for low, _ in limits), max(high for _, high in limits)))

    # number

    def number(self, entries: Entries, code: str, value: Any) -> None:
        number = as_float(value)
        entries.numbers.append((code, number, number))

    def number_range(self, entries: Entries, code: str, value: Json) -> None:
        low, high = _limits(value)
        entries.numbers.append((code, low, high))

    # quantity

    def quantity(self, entries: Entries, code: str, value: Json) -> None:
        number = value.get("value")
        if number is None:
            return
        low = high = as_float(number)
        comparator = value.get("comparator")
        if comparator is not None:
            low, high = _open(comparator, low)
        entries.quantities.append((code, low, high, *_unit(value)))

    def quantity_range(self, entries: Entries, code: str, value: Json) -> None:
        low, high = _limits(value)
        entries.quantities.append((code, low, high, *_unit(value.get("low") or value.get("high") or {})))

    def money(self, entries: Entries, code: str, value: Json) -> None:
        number = value.get("value")
        if number is not None:
            amount = as_float(number)
            currency = value.get("currency") or ""
            system = CURRENCIES if currency else ""
            entries.quantities.append((code, amount, amount, system, currency, currency))

    def sampled_data(self, entries: Entries, code: str, value: Json) -> None:
        origin = value.get("origin") or {}
        zero, factor = as_float(origin.get("value") or 0), as_float(value.get("factor") or 1)
        points = [zero + factor * p for p in map(_sample, (value.get("data") or "").split()) if p is not None]
        if points:
            entries.quantities.append((code, min(points), max(points), *_unit(origin)))

    # reference

    def reference(self, entries: Entries, code: str, value: Json) -> None:
        text = value.get("reference")
        if text is None:
            entries.references.append((code, "", "", "", ""))
        else:
            self.reference_text(entries, code, text)
        identifier = value.get("identifier")
        if identifier is not None:
            self.identifier(entries, f"{code}:identifier", identifier)

    def reference_text(self, entries: Entries, code: str, value: str) -> None:
        if "#" in value:
            value = without_fragment(value)
        if value == "":
            entries.references.append((code, "", "", "", ""))
        else:
            entries.references.append((code, *split_reference(value, self.local_bases)))

    def attachment(self, entries: Entries, code: str, value: Json) -> None:
        self.reference_text(entries, code, value.get("url") or "")

    def nested_resource(self, entries: Entries, code: str, value: Json) -> None:
        entries.references.append((code, value["resourceType"], value.get("id") or "", "", ""))

    # uri

    def uri(self, entries: Entries, code: str, value: str) -> None:
        entries.uris.append((code, value))

    def canonical(self, entries: Entries, code: str, value: str) -> None:
        entries.uris.append((code, value))
        if "|" in value:
            entries.uris.append((code, value.partition("|")[0]))


def without_fragment(reference: str) -> str:
    """The reference without `#...`; '' for a contained resource. A version after the fragment stays."""
    address, _, rest = reference.partition("#")
    _, bar, version = rest.partition("|")
    return address + bar + version


def _limits(range: Json) -> tuple[float, float]:
    low, high = (range.get("low") or {}).get("value"), (range.get("high") or {}).get("value")
    return -INFINITY if low is None else as_float(low), INFINITY if high is None else as_float(high)


def _open(comparator: str, value: float) -> tuple[float, float]:
    match comparator:
        case "<":
            return -INFINITY, math.nextafter(value, -INFINITY)
        case "<=":
            return -INFINITY, value
        case ">":
            return math.nextafter(value, INFINITY), INFINITY
        case ">=":
            return value, INFINITY
        case _:
            return value, value


def _unit(quantity: Json) -> tuple[str, str, str]:
    return quantity.get("system") or "", quantity.get("code") or "", quantity.get("unit") or ""


def _sample(text: str) -> float | None:
    # E (error), U (above the limit) and L (below) are no numbers
    return None if text in ("E", "U", "L") else as_float(float(text))


Rule = Callable[[Rules, Entries, str, Any], None]

_QUANTITIES = ("Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity")

_VALUES: dict[str, dict[str, Rule]] = {
    "token": {
        "CodeableConcept": Rules.codeable_concept,
        "Coding": Rules.coding,
        "Identifier": Rules.identifier,
        "ContactPoint": Rules.contact_point,
        "boolean": Rules.boolean,
        **dict.fromkeys(
            ("code", "id", "string", "uri", "canonical", "url", "oid", "uuid"), Rules.plain_token
        ),
    },
    "string": {
        "HumanName": Rules.human_name,
        "Address": Rules.address,
        **dict.fromkeys(("string", "markdown", "code", "id"), Rules.string),
    },
    "date": {
        **dict.fromkeys(("date", "dateTime", "instant"), Rules.date),
        "Period": Rules.period,
        "Timing": Rules.timing,
    },
    "number": {
        **dict.fromkeys(("decimal", "integer", "positiveInt", "unsignedInt"), Rules.number),
        "Range": Rules.number_range,
    },
    "quantity": {
        **dict.fromkeys(_QUANTITIES, Rules.quantity),
        "Range": Rules.quantity_range,
        "Money": Rules.money,
        "SampledData": Rules.sampled_data,
    },
    "reference": {
        "Reference": Rules.reference,
        **dict.fromkeys(("canonical", "uri", "url"), Rules.reference_text),
        "Attachment": Rules.attachment,
        "Resource": Rules.nested_resource,
    },
    "uri": {
        **dict.fromkeys(("uri", "url", "oid", "uuid"), Rules.uri),
        "canonical": Rules.canonical,
    },
}


def _of_extension(values: Mapping[str, Rule]) -> Rule:
    """The rule of an Extension: that of its value, whatever type it has."""
    by_member = {f"value{type[0].upper()}{type[1:]}": rule for type, rule in values.items()}

    def extension(rules: Rules, entries: Entries, code: str, value: Json) -> None:
        for member, content in value.items():
            rule = by_member.get(member)
            if rule is not None:
                rule(rules, entries, code, content)

    return extension


RULES: Mapping[str, Mapping[str, Rule]] = {
    kind: {**values, "Extension": _of_extension(values)} for kind, values in _VALUES.items()
}
