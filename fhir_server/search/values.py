"""The values of search parameters: text to an expression, for each kind of parameter.

Source: https://hl7.org/fhir/R4/search.html#ptypes, #prefix, #escaping. Values come in decoded from the address; commas have
been split off already, with escapes kept. Every function raises ValueError, with what was expected, for a text that is no value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from fhir_r4.quantities import around, as_float, parse_decimal, precision_interval
from fhir_r4.references import split_reference
from fhir_r4.temporal import Interval, parse_interval
from fhir_server.search.rules import without_fragment
from fhir_server.search.text import normalise
from fhir_server.search.tree import (
    DateIs,
    Expression,
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


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meaning of values depends on: the present moment (microseconds), the zone of times without one, and the
    addresses that are this server."""

    now: int
    zone: str = "UTC"
    local_bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """The parameter that a value is for: `targets` are the types a reference may have, `systems` those that codes imply."""

    code: str
    targets: tuple[str, ...] = ()
    systems: frozenset[str] = frozenset()


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
    param = f"{target.code}:identifier" if modifier == "identifier" else target.code
    parts = [unescape(part) for part in split_values(text, "|")]
    match parts:
        case [code] if code:
            return TokenIs(param, None, code)
        case [system, code] if system or code:
            found = TokenIs(param, system, code or None)
            # `code` elements are indexed without the system that their binding implies
            if modifier != "identifier" and system in target.systems:
                return any_of((found, TokenIs(param, "", code or None)))
            return found
        case _:
            raise ValueError("expected `code`, `system|code`, `|code` or `system|`")


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


def _number(text: str) -> tuple[Prefix, float, float, float]:
    prefix, written = split_prefix(text)
    try:
        value = parse_decimal(written)
    except ValueError:
        raise ValueError("expected a number such as 5.4, 100 or 1e-3") from None
    low, high = around(value) if prefix == "ap" else precision_interval(value)
    return prefix, as_float(value), low, high


def quantity(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    """`number`, `number||code` (code or unit in any system) or `number|system|code`."""
    match [unescape(part) for part in split_values(text, "|")]:
        case [amount]:
            return QuantityIs(target.code, *_number(amount), None, None)
        case [amount, "", ""]:
            return QuantityIs(target.code, *_number(amount), None, None)
        case [amount, "", code]:
            return QuantityIs(target.code, *_number(amount), None, code)
        case [amount, system, code] if code:
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
    if "/" not in written and ":" not in written:
        only = target.targets[0] if len(target.targets) == 1 else None
        return RefersTo(target.code, modifier or only, written)
    type, id, base, version = split_reference(written, reading.local_bases)
    if modifier and type != modifier:
        raise ValueError(f"expected a reference to {modifier}")
    return RefersTo(target.code, type, id, base, version or None)


def uri(target: Target, modifier: str, text: str, reading: Reading) -> Expression:
    mode: UriMode = "above" if modifier == "above" else "below" if modifier == "below" else "exact"
    return UriIs(target.code, unescape(text), mode)


Reader = Callable[[Target, str, str, Reading], Expression]

READERS: Mapping[str, Reader] = {
    "token": token,
    "string": string,
    "date": date,
    "number": number,
    "quantity": quantity,
    "reference": reference,
    "uri": uri,
}
