"""Index entries: what a resource can be found by. Made by `extract`, kept by the stores, read by `match`.

Plain tuples, because a resource has a dozen and every write makes them anew. Every entry begins with the parameter code;
the resource type is known from the resource. Times are microseconds since 1970 UTC, intervals half open [low, high).
"""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Entries:
    """All index entries of one version of a resource, by kind; each list is free of repeats.

    An element that is there but gives nothing to look for (a CodeableConcept of text alone, a contained or display-only
    reference) has an entry whose values are empty texts, for `:missing`. `:identifier` searches use token entries under
    the parameter name `<code>:identifier`.
    """

    tokens: list[TokenEntry] = field(default_factory=list)
    strings: list[StringEntry] = field(default_factory=list)
    dates: list[DateEntry] = field(default_factory=list)
    numbers: list[NumberEntry] = field(default_factory=list)
    quantities: list[QuantityEntry] = field(default_factory=list)
    references: list[ReferenceEntry] = field(default_factory=list)
    uris: list[UriEntry] = field(default_factory=list)
