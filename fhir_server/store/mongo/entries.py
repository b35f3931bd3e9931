"""Index entries as the document of a resource has them: texts in one array, `e`, whose index finds by value.

A text begins with its parameter and a letter for what follows, then values divided by NUL. A value that stands alone between
two texts of the array says all that an entry says, but for intervals and composites: of these `e` tells where to look, and
`ix` has the numbers. `k` has the values to sort by, `g` the positions. An invariant to keep: texts are in the order of what
they stand for (tested), and what is looked for under a text is never more than what an entry put there.

    t code, system            s normal text, text as written    u uri        r id, type, base[, version]
    d low  D high if long     n low  N high if long             g a position is there
    q unit, low  v low  V high if long (quantities)             c kinds, first, second  C the same with the high end
    m the parameter has several dates, numbers, quantities or references; of a pair (PAIRED): a composite is missing
    (no parameter) r id, type, base: by whatever parameter
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from fhir_server.search.entries import Component, CompositeEntry, Entries, QuantityEntry, ReferenceEntry

# Dates that are longer are found by their upper end too: a day in any zone, with an hour that the clock is put back.
SPAN = 26 * 3_600_000_000

SEPARATOR = "\0"
_KINDS = {
    "token": "t",
    "string": "s",
    "date": "d",
    "number": "n",
    "quantity": "q",
    "reference": "r",
    "uri": "u",
}
# What `indexed` makes.
MEMBERS = ("e", "ix", "k", "g")
# By the second parameter: the first, and the composite that has both of a resource wherever it has values of both. Resources for
# which that is not so are marked.
PAIRED = {
    "value-quantity": ("code", "code-value-quantity"),
    "value-quantity:ucum": ("code", "code-value-quantity:ucum"),
}
PAIRED_TYPE = "Observation"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LEAST, _MOST = -(2**63), 2**63 - 1
_DOUBLE, _BITS = struct.Struct(">d"), struct.Struct(">Q")


def indexed(entries: Entries) -> dict[str, Any]:
    """The members of a resource's document that searches look at, as far as there is something in them."""
    texts = dict.fromkeys(_texts(entries))
    for pair in _unpaired(entries, texts):
        texts[several_text(pair)] = None
    found: dict[str, Any] = {"e": list(texts)}
    exact = _exact(entries)
    if exact:
        found["ix"] = exact
    keys = _sort_keys(entries)
    if keys:
        found["k"] = keys
    if entries.positions:
        found["g"] = [{"p": param, "l": point(lat, lon)} for param, lat, lon in entries.positions]
    return found


# Texts


def escaped(text: str) -> str:
    """The text without NUL, in the same order among others."""
    if "\0" in text or "\1" in text:
        return text.replace("\1", "\1\2").replace("\0", "\1\1")
    return text


def unescaped(text: str) -> str:
    return text.replace("\1\1", "\0").replace("\1\2", "\1") if "\1" in text else text


def of_integer(value: int) -> str:
    """A text of fixed length in the order of integers of 64 bits; what is beyond them is the nearest."""
    return f"{min(max(value, _LEAST), _MOST) - _LEAST:016x}"


@lru_cache(maxsize=1024)
def of_number(value: float) -> str:
    """A text of fixed length in the order of doubles."""
    (bits,) = _BITS.unpack(_DOUBLE.pack(float(value) + 0.0))
    return f"{bits ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63):016x}"


def written(norm: str, text: str) -> str:
    """The text as written: empty where the normal form says it all."""
    return "" if text == norm else text


def token_text(param: str, system: str, code: str) -> str:
    text = f"{param}\0t{code}\0{system}"
    if text.count("\0") == 2 and "\1" not in text:
        return text
    return f"{param}\0t{escaped(code)}\0{escaped(system)}"


def string_text(param: str, norm: str, text: str) -> str:
    return f"{param}\0s{escaped(norm)}\0{escaped(written(norm, text))}"


def uri_text(param: str, uri: str) -> str:
    return f"{param}\0u{escaped(uri)}"


def reference_text(param: str, type: str, id: str, base: str = "") -> str:
    """A reference whatever its version. Param '': by whatever parameter, for those to local resources."""
    text = f"{param}\0r{id}\0{type}\0{base}"
    if text.count("\0") == 3 and "\1" not in text:
        return text
    return f"{param}\0r{escaped(id)}\0{escaped(type)}\0{escaped(base)}"


def several_text(param: str) -> str:
    return f"{param}\0m"


def reference_of(text: str) -> tuple[str, str, str, str] | None:
    """(param, type, id, base) of a text that `reference_text` made for a parameter; None for any other."""
    parts = text.split(SEPARATOR)
    if len(parts) != 4 or parts[0] == "" or not parts[1].startswith("r"):
        return None
    return parts[0], unescaped(parts[2]), unescaped(parts[1][1:]), unescaped(parts[3])


def kinds_of(components: Iterable[Component]) -> str:
    """A letter for the kind of each component."""
    return "".join([_KINDS[component[0]] for component in components])


def letter_of(kind: str) -> str:
    return _KINDS[kind]


def _texts(entries: Entries) -> list[str]:
    found = [token_text(param, system, code) for param, system, code in entries.tokens]
    found += [string_text(param, norm, text) for param, norm, text in entries.strings]
    found += [uri_text(param, uri) for param, uri in entries.uris]
    for reference in entries.references:
        found += _reference_texts(reference)
    for param, first, last in entries.dates:
        found.append(f"{param}\0d{of_integer(first)}")
        if last - first > SPAN:
            found.append(f"{param}\0D{of_integer(last)}")
    for param, low, high in entries.numbers:
        found.append(f"{param}\0n{of_number(low)}")
        if high > low:
            found.append(f"{param}\0N{of_number(high)}")
    for quantity in entries.quantities:
        found += _quantity_texts(quantity)
    for composite in entries.composites:
        found += _composite_texts(composite)
    found += [f"{param}\0g" for param, _, _ in entries.positions]
    found += _several_texts(entries)
    return found


def _several_texts(entries: Entries) -> Iterable[str]:
    several: Iterable[Sequence[tuple[Any, ...]]] = (
        entries.dates,
        entries.numbers,
        entries.quantities,
        entries.references,
    )
    for kind in several:
        if len(kind) > 1:
            seen: set[str] = set()
            for entry in kind:
                if entry[0] in seen:
                    yield several_text(entry[0])
                seen.add(entry[0])


def _reference_texts(reference: ReferenceEntry) -> Iterable[str]:
    param, type, id, base, version = reference
    text = reference_text(param, type, id, base)
    yield text
    if version:
        yield f"{text}\0{escaped(version)}"
    if type and base == "":
        yield reference_text("", type, id)


def _unpaired(entries: Entries, texts: Collection[str]) -> Iterable[str]:
    """Of which pairs of parameters the resource has values without a composite of the two."""
    for quantity in entries.quantities:
        composite = PAIRED.get(quantity[0])
        if composite is None:
            continue
        first, code = composite
        both = ("quantity", *quantity[1:])
        for param, system, value in entries.tokens:
            if param == first:
                entry: CompositeEntry = (code, (("token", system, value), both))
                if not all(text in texts for text in _composite_texts(entry)):
                    yield pair_of(first, quantity[0])


def pair_of(first: str, second: str) -> str:
    """A name for two parameters, that no parameter has."""
    return f"{first}&{second}"


def _quantity_texts(quantity: QuantityEntry) -> Iterable[str]:
    param, low, high, _, code, unit = quantity
    lower = of_number(low)
    yield f"{param}\0v{lower}"
    yield f"{param}\0q{escaped(code)}\0{lower}"
    if unit not in ("", code):
        yield f"{param}\0q{escaped(unit)}\0{lower}"
    if high > low:
        yield f"{param}\0V{of_number(high)}"


def _composite_texts(entry: CompositeEntry) -> Iterable[str]:
    param, components = entry
    kinds = kinds_of(components)
    first = main_text(components[0]) if components else ""
    second = components[1] if len(components) > 1 else None
    yield f"{param}\0c{kinds}\0{first}\0{'' if second is None else main_text(second)}"
    if second is None:
        return
    if (second[0] == "date" and second[2] - second[1] > SPAN) or (
        second[0] in ("number", "quantity") and second[2] > second[1]
    ):
        high = of_integer(second[2]) if second[0] == "date" else of_number(second[2])
        yield f"{param}\0C{kinds}\0{first}\0{high}"


def main_text(component: Component) -> str:
    """By what a component is found: its code, text, id or uri, or its lower end."""
    match component[0]:
        case "token" | "reference":
            return escaped(component[2])
        case "string" | "uri":
            return escaped(component[1])
        case "date":
            return of_integer(component[1])
        case _:
            return of_number(component[1])


# What is compared one by one


def _exact(entries: Entries) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    if entries.dates:
        found["d"] = [{"p": p, "l": bounded(low), "h": bounded(high)} for p, low, high in entries.dates]
    if entries.numbers:
        found["n"] = [{"p": p, "l": float(low), "h": float(high)} for p, low, high in entries.numbers]
    if entries.quantities:
        found["q"] = [
            {"p": p, "l": float(low), "h": float(high), "s": system, "c": code, "u": unit}
            for p, low, high, system, code, unit in entries.quantities
        ]
    if entries.composites:
        found["c"] = [_composite(entry) for entry in entries.composites]
    if any(version for *_, version in entries.references):
        # only where some have a version: else the texts say it all
        found["r"] = [{"p": p, **fields(("reference", *rest))} for p, *rest in entries.references]
    return found


def _composite(entry: CompositeEntry) -> dict[str, Any]:
    param, components = entry
    members = {letter: fields(one) for letter, one in zip(_LETTERS, components, strict=False)}
    return {"p": param, "n": kinds_of(components), **members}


def fields(component: Component) -> dict[str, Any]:
    """The members of a component under one letter each."""
    match component:
        case ("token", system, code):
            return {"s": system, "c": code}
        case ("string", norm, text):
            return {"n": norm, "w": text}
        case ("date", low, high):
            return {"l": bounded(low), "h": bounded(high)}
        case ("number", low, high):
            return {"l": float(low), "h": float(high)}
        case ("quantity", low, high, system, code, unit):
            return {"l": float(low), "h": float(high), "s": system, "c": code, "u": unit}
        case ("reference", type, id, base, version):
            return {"t": type, "i": id, "b": base, "v": version}
        case ("uri", uri):
            return {"u": uri}
        case _:
            raise ValueError(f"no component: {component!r}")


def bounded(value: int) -> int:
    """The nearest integer of 64 bits."""
    return min(max(value, _LEAST), _MOST)


# Values to sort by


@lru_cache(maxsize=4096)
def member(param: str) -> str:
    """The name of a parameter as the name of a member."""
    return param.replace("%", "%25").replace(".", "%2e").replace("$", "%24")


def _sort_keys(entries: Entries) -> dict[str, dict[str, Any]]:
    """The smallest (a) and largest (z) value of each parameter; of texts z only where it is another."""
    found: dict[str, dict[str, Any]] = {}
    for kind in (entries.dates, entries.numbers, entries.quantities):
        for param, low, high, *_ in kind:
            _extend(found, param, low, high)
    for param, _, code in entries.tokens:
        _extend(found, param, code)
    for param, norm, _ in entries.strings:
        _extend(found, param, norm)
    for param, _, id, _, _ in entries.references:
        _extend(found, param, id)
    for param, uri in entries.uris:
        _extend(found, param, uri)
    return found


def _extend(found: dict[str, dict[str, Any]], param: str, low: Any, high: Any = None) -> None:
    if ":" in param:
        return  # no parameter that a search can be sorted by
    name = member(param)
    known = found.get(name)
    if known is None:
        found[name] = {"a": low} if high is None else {"a": low, "z": high}
    elif isinstance(low, str) == isinstance(known["a"], str):
        least = min(known["a"], low)
        most = max(known.get("z", known["a"]), low if high is None else high)
        known["a"] = least
        if most != least or high is not None:
            known["z"] = most


# Positions


def point(latitude: float, longitude: float) -> dict[str, Any]:
    """The place as a GeoJSON point; degrees beyond the poles or once more round the earth are led back."""
    latitude, longitude = float(latitude), float(longitude)
    if not -90 <= latitude <= 90:
        latitude = (latitude + 180) % 360 - 180
        if abs(latitude) > 90:
            latitude = (180 if latitude > 0 else -180) - latitude
            longitude += 180
    if not -180 <= longitude <= 180:
        longitude = (longitude + 180) % 360 - 180
    return {"type": "Point", "coordinates": [longitude, latitude]}
