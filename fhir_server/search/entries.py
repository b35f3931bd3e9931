"""Index entries: what a resource can be found by. Made by `extract`, kept by the stores, read by `match`.

Plain tuples, because a resource has a dozen and every write makes them anew. Every entry begins with the parameter code;
the resource type is known from the resource. Times are microseconds since 1970 UTC, intervals half open [low, high).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# (param, system or '', code)
TokenEntry = tuple[str, str, str]
# (param, normalised text, text as written)
StringEntry = tuple[str, str, str]
# (param, low, high)
DateEntry = tuple[str, int, int]
# (param, low, high) as floats, both inclusive; equal but for ranges
NumberEntry = tuple[str, float, float]
# (param, low, high, system or '', code or '', unit text or '')
QuantityEntry = tuple[str, float, float, str, str, str]
# (param, target type or '', target id or whole address, base or '', version or '')
ReferenceEntry = tuple[str, str, str, str, str]
# (param, uri)
UriEntry = tuple[str, str]
# (kind, the members of an entry of that kind without its parameter): ("quantity", low, high, system, code, unit)
Component = tuple[Any, ...]
# (param, components in the order of the definition): one entry for each combination of values of one element
CompositeEntry = tuple[str, tuple[Component, ...]]
# (param, latitude, longitude) in degrees, WGS 84
PositionEntry = tuple[str, float, float]


@dataclass(slots=True)
class Entries:
    """All index entries of one version of a resource, by kind; each list is free of repeats.

    An element that is there but gives nothing to look for (a CodeableConcept of text alone, a contained or display-only
    reference) has an entry whose values are empty texts, for `:missing`. What a modifier looks for stands under the
    parameter's code with a suffix, which a store treats like any other parameter:

    - `<code>:identifier`, tokens: the identifiers of references.
    - `<code>:text`, strings: the texts of tokens, in normal form twice.
    - `<code>:of-type`, tokens: identifiers by the system of their type and `code of the type|value`.
    - `<code>:below`, tokens: canonical references with a version, by address and each beginning of the version; media
      types without their parameters.
    - `<code>:contained`, references: those to what the same resource contains (`search.contained`), beside the entry of
      empty texts under `<code>`.
    - `<code>:ucum`, quantities and composites: quantities in canonical units (system `urn:osler:ucum`, code the canonical
      unit), beside the entry under `<code>` with the unit that was written.
    """

    tokens: list[TokenEntry] = field(default_factory=list)
    strings: list[StringEntry] = field(default_factory=list)
    dates: list[DateEntry] = field(default_factory=list)
    numbers: list[NumberEntry] = field(default_factory=list)
    quantities: list[QuantityEntry] = field(default_factory=list)
    references: list[ReferenceEntry] = field(default_factory=list)
    uris: list[UriEntry] = field(default_factory=list)
    composites: list[CompositeEntry] = field(default_factory=list)
    positions: list[PositionEntry] = field(default_factory=list)
    contained: tuple[Contained, ...] = ()


@dataclass(frozen=True, slots=True)
class Contained:
    """A resource that is contained in another: `type` and `id` are its own, what it can be found by is in `entries`."""

    type: str
    id: str
    entries: Entries
