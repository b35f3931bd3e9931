"""What a value of each data type leaves in the index: the members of its entries, without their parameter.

Source: the tables of https://hl7.org/fhir/R4/search.html#ptypes. Which rule is for which type and kind of parameter is said in
`rule_table`. A value that is there but gives nothing to look for (a CodeableConcept of text alone, a contained or
display-only reference) leaves an empty entry, so that `:missing` is true only where the element is missing; no question
matches an empty entry. Change RULES_VERSION with the meaning of any rule or of the table: it makes the entries that stores
hold out of date.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fhir_r4.quantities import as_float, parse_decimal
from fhir_r4.references import split_reference
from fhir_r4.temporal import OPEN_HIGH, OPEN_LOW, Interval, parse_interval
from fhir_r4.ucum.conversion import UCUM, conversion
from fhir_server.search.text import normalise

RULES_VERSION = 3

Json = Mapping[str, Any]
Members = Iterable[tuple[Any, ...]]
CURRENCIES = "urn:iso:std:iso:4217"
# the system of quantities in canonical units
CANONICAL_UCUM = "urn:osler:ucum"
INFINITY = math.inf
NOTHING = (("", ""),)
NO_REFERENCE = (("", "", "", ""),)


class Rules:
    """The rules with what they depend on: the zone of times without one, and the addresses that are this server.

    Every rule gives the members of entries, without their parameter.
    """

    def __init__(self, zone: str = "UTC", local_bases: Sequence[str] = ()) -> None:
        self.zone = zone
        self.local_bases = tuple(local_bases)
        # the same patient, encounter and practitioner are referred to again and again
        self.reference_text = lru_cache(8192)(self._reference_text)

    # token

    def codeable_concept(self, value: Json) -> Members:
        codings = value.get("coding")
        if codings is None:
            return NOTHING
        if len(codings) == 1:
            return self.coding(codings[0])
        return [(coding.get("system") or "", coding.get("code") or "") for coding in codings]

    def coding(self, value: Json) -> Members:
        return ((value.get("system") or "", value.get("code") or ""),)

    def identifier(self, value: Json) -> Members:
        return ((value.get("system") or "", value.get("value") or ""),)

    def contact_point(self, value: Json) -> Members:
        return ((value.get("use") or "", value.get("value") or ""),)

    def plain_token(self, value: str) -> Members:
        return (("", value),)

    def media_type(self, value: str) -> Members:
        bare = value.partition(";")[0].strip().lower()
        return (("", bare), ("", bare.partition("/")[0]))

    def string_token(self, value: str) -> Members:
        folded = value.casefold()
        return (("", value),) if folded == value else (("", value), ("", folded))

    def boolean(self, value: bool) -> Members:
        return (("", "true" if value else "false"),)

    # the texts of tokens; only their normal form is searched

    def concept_texts(self, value: Json) -> Members:
        found = []
        text = value.get("text")
        if text is not None:
            normal = normalise(text)
            found.append((normal, normal))
        for coding in value.get("coding") or ():
            display = coding.get("display")
            if display is not None and display != text:
                normal = normalise(display)
                found.append((normal, normal))
        return found

    def coding_text(self, value: Json) -> Members:
        display = value.get("display")
        if display is None:
            return ()
        normal = normalise(display)
        return ((normal, normal),)

    def identifier_text(self, value: Json) -> Members:
        text = (value.get("type") or {}).get("text")
        if text is None:
            return ()
        normal = normalise(text)
        return ((normal, normal),)

    def identifier_type(self, value: Json) -> Members:
        kind, text = value.get("type"), value.get("value")
        if kind is None or text is None:
            return ()
        return [
            (coding.get("system") or "", f"{coding['code']}|{text}")
            for coding in kind.get("coding") or ()
            if coding.get("code") is not None
        ]

    # string

    def string(self, value: str) -> Members:
        return ((normalise(value), value),)

    def human_name(self, value: Json) -> Members:
        found = [text for name in ("family", "text") if (text := value.get(name)) is not None]
        for name in ("given", "prefix", "suffix"):
            found += [text for text in value.get(name) or () if text is not None]
        return [(normalise(text), text) for text in found]

    def address(self, value: Json) -> Members:
        found = [
            text
            for name in ("city", "state", "postalCode", "country", "district", "text")
            if (text := value.get(name)) is not None
        ]
        found += [text for text in value.get("line") or () if text is not None]
        return [(normalise(text), text) for text in found]

    # date

    def date(self, value: str) -> Members:
        return (parse_interval(value, self.zone),)

    def period(self, value: Json) -> Members:
        found = self._period(value)
        return () if found is None else (found,)

    def _period(self, value: Json) -> Interval | None:
        start, end = value.get("start"), value.get("end")
        low = OPEN_LOW if start is None else parse_interval(start, self.zone)[0]
        high = OPEN_HIGH if end is None else parse_interval(end, self.zone)[1]
        # a Period that ends before it begins means nothing that could be found
        return (low, high) if low < high and (start is not None or end is not None) else None

    def timing(self, value: Json) -> Members:
        limits = [parse_interval(event, self.zone) for event in value.get("event") or () if event is not None]
        bounds = (value.get("repeat") or {}).get("boundsPeriod")
        within = None if bounds is None else self._period(bounds)
        if within is not None:
            limits.append(within)
        return [(min(low for low, _ in limits), max(high for _, high in limits))] if limits else ()

    # number

    def number(self, value: Any) -> Members:
        number = as_float(value)
        return ((number, number),)

    def number_range(self, value: Json) -> Members:
        low, high = _limits(value)
        return ((_lowest(low), _highest(high)),)

    # quantity

    def quantity(self, value: Json) -> Members:
        number = value.get("value")
        if number is None:
            return ()
        low = high = as_float(number)
        comparator = value.get("comparator")
        if comparator is not None:
            low, high = _open(comparator, low)
        return ((low, high, *_unit(value)),)

    def canonical_quantity(self, value: Json) -> Members:
        number = value.get("value")
        if number is None or value.get("system") != UCUM:
            return ()
        convert = conversion(value.get("code") or "")
        if convert is None:
            return ()
        low = high = as_float(convert(number))
        comparator = value.get("comparator")
        if comparator is not None:
            low, high = _open(comparator, low)
        return ((low, high, CANONICAL_UCUM, convert.canonical, ""),)

    def quantity_range(self, value: Json) -> Members:
        low, high = _limits(value)
        return ((_lowest(low), _highest(high), *_unit(value.get("low") or value.get("high") or {})),)

    def canonical_range(self, value: Json) -> Members:
        ends = [end for end in (value.get("low"), value.get("high")) if end is not None]
        units = [conversion(end.get("code") or "") for end in ends if end.get("system") == UCUM]
        canonical = {convert.canonical for convert in units if convert is not None}
        if len(canonical) != 1 or None in units or len(units) < len(ends):
            return ()
        low, high = (
            None if number is None else conversion(value[end]["code"])(number)  # type: ignore[misc]
            for end, number in zip(("low", "high"), _limits(value), strict=True)
        )
        return ((_lowest(low), _highest(high), CANONICAL_UCUM, canonical.pop(), ""),)

    def money(self, value: Json) -> Members:
        number = value.get("value")
        if number is None:
            return ()
        amount = as_float(number)
        currency = value.get("currency") or ""
        return ((amount, amount, CURRENCIES if currency else "", currency, currency),)

    def sampled_data(self, value: Json) -> Members:
        points = _points(value)
        if not points:
            return ()
        return ((as_float(min(points)), as_float(max(points)), *_unit(value.get("origin") or {})),)

    def canonical_sampled_data(self, value: Json) -> Members:
        origin = value.get("origin") or {}
        convert = conversion(origin.get("code") or "") if origin.get("system") == UCUM else None
        points = [] if convert is None else _points(value)
        if convert is None or not points:
            return ()
        low, high = as_float(convert(min(points))), as_float(convert(max(points)))
        return ((low, high, CANONICAL_UCUM, convert.canonical, ""),)

    # reference

    def reference(self, value: Json) -> Members:
        text = value.get("reference")
        return NO_REFERENCE if text is None else self.reference_text(text)

    def _reference_text(self, value: str) -> Members:
        if "#" in value:
            value = without_fragment(value)
        return NO_REFERENCE if value == "" else (split_reference(value, self.local_bases),)

    def refers(self, value: str) -> Members:
        return self.reference_text(value)

    def contained_reference(self, value: Json) -> Members:
        return self.contained_address(value.get("reference") or "")

    def contained_address(self, value: str) -> Members:
        # which resource that is the extractor knows
        return (("#", value[1:], "", ""),) if value.startswith("#") else ()

    def reference_identifier(self, value: Json) -> Members:
        identifier = value.get("identifier")
        return () if identifier is None else self.identifier(identifier)

    def attachment(self, value: Json) -> Members:
        return self.reference_text(value.get("url") or "")

    def nested_resource(self, value: Json) -> Members:
        return ((value["resourceType"], value.get("id") or "", "", ""),)

    def canonical_versions(self, value: str) -> Members:
        address, _, version = without_fragment(value).partition("|")
        return [(address, beginning) for beginning in version_beginnings(version)]

    # uri

    def uri(self, value: str) -> Members:
        return ((value,),)

    def canonical(self, value: str) -> Members:
        return ((value,), (value.partition("|")[0],)) if "|" in value else ((value,),)

    # special

    def position(self, value: Json) -> Members:
        latitude, longitude = value.get("latitude"), value.get("longitude")
        if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
            return ()
        return ((as_float(latitude), as_float(longitude)),)


def without_fragment(reference: str) -> str:
    """The reference without `#...`; '' for a contained resource. A version after the fragment stays."""
    address, _, rest = reference.partition("#")
    _, bar, version = rest.partition("|")
    return address + bar + version


def version_beginnings(version: str) -> list[str]:
    """A version and its beginnings up to each of its dots: `1.0.2` gives `1`, `1.0` and `1.0.2`; none for ''."""
    parts = version.split(".") if version else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _limits(range: Json) -> tuple[Any, Any]:
    return (range.get("low") or {}).get("value"), (range.get("high") or {}).get("value")


def _lowest(number: Any) -> float:
    return -INFINITY if number is None else as_float(number)


def _highest(number: Any) -> float:
    return INFINITY if number is None else as_float(number)


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


def _points(sampled: Json) -> list[Decimal]:
    zero = Decimal(str((sampled.get("origin") or {}).get("value") or 0))
    factor = Decimal(str(sampled.get("factor") or 1))
    return [
        zero + factor * point
        for point in map(_sample, (sampled.get("data") or "").split())
        if point is not None
    ]


def _sample(text: str) -> Decimal | None:
    # E (error), U (above the limit) and L (below) are no numbers
    try:
        return parse_decimal(text)
    except ValueError:
        return None
