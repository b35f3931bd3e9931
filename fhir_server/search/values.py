"""The values of search parameters: text to an expression, for each kind of parameter.

Source: https://hl7.org/fhir/R4/search.html#ptypes, #prefix, #escaping; https://hl7.org/fhir/R4/location.html#search for `near`.
Values come in decoded from the address; commas have
been split off already, with escapes kept. Every function raises ValueError, with what was expected, for a text that is no value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast, get_args

from fhir_r4.quantities import Convert, around, as_float, as_written, parse_decimal, precision_interval
from fhir_r4.references import split_reference
from fhir_r4.temporal import Interval, parse_interval
from fhir_r4.ucum.conversion import UCUM, conversion
from fhir_server.search.codes import Codes, in_value_set, related_codes
from fhir_server.search.hierarchies import HIERARCHIES, in_hierarchy
from fhir_server.search.rules import CANONICAL_UCUM, version_beginnings, without_fragment
from fhir_server.search.text import normalise
from fhir_server.search.tree import (
    DateIs,
    Expression,
    Near,
    NumberIs,
    Prefix,
    QuantityIs,
    RefersTo,
    TextIs,
    TextMode,
    TokenIs,
    UriIs,
    UriMode,
    any_of,
)

PREFIXES = frozenset(get_args(Prefix))


# what `near` looks for when it is not told how far
DEFAULT_RADIUS = 50_000.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meaning of values depends on: the present moment (microseconds), the zone of times without one, the
    addresses that are this server, and the terminology that codes are expanded by."""

    now: int
    zone: str = "UTC"
    local_bases: tuple[str, ...] = ()
    terminology: Codes | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The parameter that a value is for: `targets` are the types a reference may have, `systems` those that codes imply,
    `types` the data types of what it finds."""

    code: str
    targets: tuple[str, ...] = ()
    systems: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()


def split_values(text: str, separator: str) -> list[str]:
    """The parts between separators that are not escaped with a backslash; escapes are kept."""
    if "\\" not in text:
        return text.split(separator)
    parts, part, escaped = [], "", False
    for character in text:
        if character == separator and not escaped:
            parts.append(part)
            part = ""
        else:
            part += character
        escaped = character == "\\" and not escaped
    return [*parts, part]


def unescape(text: str) -> str:
    r"""Take away the backslash of `\,`, `\$`, `\|` and `\\`; any other backslash is itself."""
    if "\\" not in text:
        return text
    result, escaped = "", False
    for character in text:
        if escaped:
            result += character if character in ",$|\\" else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            result += character
    return result + "\\" if escaped else result


def split_prefix(text: str) -> tuple[Prefix, str]:
    prefix = text[:2]
    return (cast(Prefix, prefix), text[2:]) if prefix in PREFIXES else ("eq", text)


def token(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    """`code`, `system|code`, `|code` (no system) or `system|` (any code); for `:identifier` of system and value."""
    match modifier:
        case "text":
            return TextIs(f"{target.code}:text", normalise(unescape(text)), "starts")
        case "of-type":
            return _of_type(target, text)
        case "in" | "not-in":
            return in_value_set(
                target.code, target.systems, unescape(text), reading.local_bases, reading.terminology
            )
        case "below" | "above":
            return _related(target, modifier, text, reading)
    param = f"{target.code}:identifier" if modifier == "identifier" else target.code
    parts = [unescape(part) for part in split_values(text, "|")]
    match parts:
        case [code] if code:
            found: Expression = TokenIs(param, None, code)
            # strings are indexed with their case folded too
            folded = code.casefold()
            if "string" in target.types and folded != code:
                found = any_of((found, TokenIs(param, "", folded)))
            return found
        case [system, code] if system or code:
            found = TokenIs(param, system, code or None)
            # `code` elements are indexed without the system that their binding implies
            if modifier != "identifier" and system in target.systems:
                return any_of((found, TokenIs(param, "", code or None)))
            return found
        case _:
            raise ValueError("expected `code`, `system|code`, `|code` or `system|`")


def _of_type(target: Target, text: str) -> Expression:
    match [unescape(part) for part in split_values(text, "|")]:
        case [system, code, value] if system and code and value:
            return TokenIs(f"{target.code}:of-type", system, f"{code}|{value}")
        case _:
            raise ValueError("expected `system of the type|code of the type|value`")


def _related(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    match [unescape(part) for part in split_values(text, "|")]:
        case [media_type] if "media-type" in target.types and media_type and modifier == "below":
            return TokenIs(f"{target.code}:below", "", media_type.strip().lower())
        case [code] if code and len(target.systems) == 1:
            (system,) = target.systems
        case [system, code] if system and code:
            pass
        case _:
            raise ValueError("expected `system|code`")
    return related_codes(target.code, target.systems, system, code, modifier, reading.terminology)


def string(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    written = unescape(text)
    if modifier == "exact":
        return TextIs(target.code, written, "exact")
    mode: TextMode = "contains" if modifier == "contains" else "starts"
    return TextIs(target.code, normalise(written), mode)


def date(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    prefix, low, high = date_interval(text, reading)
    return DateIs(target.code, prefix, low, high)


def date_interval(text: str, reading: Reading) -> tuple[Prefix, int, int]:
    """(prefix, low, high); for `ap` widened on both sides by a tenth of the distance from now."""
    prefix, written = split_prefix(unescape(text))
    try:
        # the + of a zone that was not percent-encoded arrives as a blank
        low, high = parse_interval(written.replace(" ", "+"), reading.zone)
    except ValueError:
        raise ValueError("expected a date or time such as 2026, 2026-01-31 or 2026-01-31T09:30:00Z") from None
    if prefix == "ap":
        low, high = _widened((low, high), reading.now)
    return prefix, low, high


def _widened(interval: Interval, now: int) -> Interval:
    low, high = interval
    margin = max(low - now, now - high, 0) // 10
    return low - margin, high + margin


def number(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    return NumberIs(target.code, *_number(unescape(text)))


def _number(text: str, convert: Convert = as_written) -> tuple[Prefix, float, float, float]:
    prefix, written = split_prefix(text)
    try:
        value = parse_decimal(written)
    except ValueError:
        raise ValueError("expected a number such as 5.4, 100 or 1e-3") from None
    low, high = around(value, convert) if prefix == "ap" else precision_interval(value, convert)
    return prefix, as_float(convert(value)), low, high


def quantity(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    """`number`, `number||code` (code or unit in any system) or `number|system|code`; a UCUM unit finds what is equal to
    it in other units too."""
    match [unescape(part) for part in split_values(text, "|")]:
        case [amount]:
            return QuantityIs(target.code, *_number(amount), None, None)
        case [amount, "", ""]:
            return QuantityIs(target.code, *_number(amount), None, None)
        case [amount, "", code]:
            return QuantityIs(target.code, *_number(amount), None, code)
        case [amount, system, code] if code:
            convert = conversion(code) if system == UCUM else None
            if convert is not None:
                number = _number(amount, convert)
                return QuantityIs(f"{target.code}:ucum", *number, CANONICAL_UCUM, convert.canonical)
            return QuantityIs(target.code, *_number(amount), system, code)
        case _:
            raise ValueError("expected `number`, `number||code` or `number|system|code`")


def reference(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    """`id`, `Type/id`, an address, or a canonical with or without version; a modifier gives the type of an `id`."""
    if modifier == "identifier":
        return token(target, modifier, text, reading)
    written = without_fragment(unescape(text))
    if written == "":
        raise ValueError("expected an id, `Type/id` or an address")
    bare = "/" not in written and ":" not in written
    if modifier in ("above", "below"):
        if not bare:
            type, id, base, version = split_reference(written, reading.local_bases)
        else:
            type, id, base, version = "", written, "", ""
        if bare or (type and base == "" and not version and type in HIERARCHIES):
            return in_hierarchy(target.code, target.targets, type, id, modifier)
        return _canonical(target, modifier, written, (type, id, base))
    if bare:
        only = target.targets[0] if len(target.targets) == 1 else None
        return RefersTo(target.code, modifier or only, written)
    type, id, base, version = split_reference(written, reading.local_bases)
    if modifier and type != modifier:
        raise ValueError(f"expected a reference to {modifier}")
    return RefersTo(target.code, type, id, base, version or None)


def _canonical(target: Target, modifier: str, written: str, address: tuple[str, str, str]) -> Expression:
    """The versions of a canonical address below (those that begin with the version) or above the one that is written."""
    if "canonical" not in target.types:
        raise ValueError("expected `Type/id` or an id of a resource in a hierarchy")
    whole, _, version = written.partition("|")
    if modifier == "above":
        versions = ("", *version_beginnings(version))
        return any_of(RefersTo(target.code, *address, version) for version in versions)
    if version == "":
        return RefersTo(target.code, *address)
    return TokenIs(f"{target.code}:below", whole, version)


def uri(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    """An address as it is written; `Type/id` means that resource of this server by its address too."""
    mode: UriMode = "above" if modifier == "above" else "below" if modifier == "below" else "exact"
    written = unescape(text)
    type, _, base, _ = split_reference(written)
    local = [f"{base}/{written}" for base in reading.local_bases] if type and base == "" else []
    return any_of(UriIs(target.code, address, mode) for address in (written, *local))


class NoPlace(ValueError):
    """A value without any coordinates."""


def near(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    """`latitude|longitude`, with `|distance` and `|unit` of length (UCUM; km where there is none)."""
    parts = [unescape(part) for part in split_values(text, "|")]
    if len(parts) == 1:
        raise NoPlace("expected `latitude|longitude|distance|unit`")
    if len(parts) not in (2, 3, 4):
        raise ValueError("expected `latitude|longitude|distance|unit`")
    latitude, longitude = (_degrees(*each) for each in zip(parts, (90, 180), strict=False))
    if len(parts) == 2 or parts[2] == "":
        return Near(target.code, latitude, longitude, DEFAULT_RADIUS)
    unit = parts[3] if len(parts) == 4 and parts[3] else "km"
    convert = conversion(unit)
    if convert is None or convert.canonical != "m":
        raise ValueError(f"expected a unit of length such as km, m or [mi_i]; found {unit[:20]!r}")
    try:
        distance = parse_decimal(parts[2])
    except ValueError:
        distance = Decimal(-1)
    if distance < 0:
        raise ValueError("expected a distance of 0 or more")
    return Near(target.code, latitude, longitude, as_float(convert(distance)))


def _degrees(text: str, most: int) -> float:
    try:
        value = parse_decimal(text)
    except ValueError:
        value = Decimal(most + 1)
    if abs(value) > most:
        raise ValueError(f"expected degrees from -{most} to {most}; found {text[:20]!r}")
    return as_float(value)


Reader = Callable[[Target, str, str, Reading], Expression]

READERS: Mapping[str, Reader] = {
    "token": token,
    "string": string,
    "date": date,
    "number": number,
    "quantity": quantity,
    "reference": reference,
    "uri": uri,
    "special": near,
}
