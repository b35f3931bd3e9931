"""ValueSet filters as tests of a concept, https://hl7.org/fhir/R4/valueset-filter-operator.html.

An invariant to keep: an operator, property or value that is not understood is refused, never taken for "no restriction".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_r4.errors import NotSupported
from terminology.concepts import CodeSystem, Concept, property_value
from terminology.errors import InvalidTerminology
from terminology.patterns import compile_pattern

Test = Callable[[Concept], bool]

CODE = frozenset({"code", "concept"})


def compile_filter(system: CodeSystem, row: Mapping[str, Any], place: str) -> Test:
    """The test that a filter of an include makes of a concept of `system`; `place` is the FHIRPath of the filter.

    Raises InvalidTerminology for a filter that is broken, NotSupported for one that this service cannot compute.
    """
    name, operator, value = row.get("property"), row.get("op"), row.get("value")
    if value is None:
        raise InvalidTerminology(
            f"The system {system.url} filter with property = {name}, op = {operator} has no value", place
        )
    if name is None or operator is None:
        raise InvalidTerminology(f"A filter on {system.url} needs a property and an op.", place)
    if operator in HIERARCHY_FILTERS and name in CODE:
        system.require_hierarchy()
        return HIERARCHY_FILTERS[operator](system, value)
    if operator not in VALUE_FILTERS:
        raise NotSupported(
            f"The filter {name} {operator} {value} on {system.url} is not supported: known operators are "
            f"{', '.join((*HIERARCHY_FILTERS, *VALUE_FILTERS))}; those of the hierarchy are for the property 'concept'.",
            place,
        )
    return VALUE_FILTERS[operator](_reader(system, name, place), value)


def _reader(system: CodeSystem, name: str, place: str) -> Callable[[Concept], list[str]]:
    """Reads the values of the property `name` of a concept, as text."""
    if name in CODE:
        return lambda c: [c.code]
    if name == "display":
        return lambda c: [] if c.display is None else [c.display]
    if name == "definition":
        return lambda c: [] if c.definition is None else [c.definition]
    if name == "parent":
        return lambda c: list(system.parents.get(c.code, ()))
    if name == "child":
        return lambda c: list(system.children.get(c.code, ()))
    if name == "inactive":
        return lambda c: [as_text(c.inactive)]
    if name not in system.properties and not any(
        p.get("code") == name for c in system.concepts.values() for p in c.properties
    ):
        raise InvalidTerminology(
            f"The filter property {name!r} is not known in the code system {system.canonical}; known are code, concept, "
            f"display, definition, parent, child, inactive{''.join(f', {p}' for p in system.properties)}.",
            place,
        )
    return lambda c: [as_text(property_value(p)[1]) for p in c.properties if p.get("code") == name]


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return str(value.get("code", ""))
    return str(value)


def _known(system: CodeSystem, value: str) -> str:
    concept = system.find(value)
    return value if concept is None else concept.code


def _is_a(system: CodeSystem, value: str) -> Test:
    code = _known(system, value)
    codes = system.descendants(code) | {code}
    return lambda c: c.code in codes


def _descendent_of(system: CodeSystem, value: str) -> Test:
    codes = system.descendants(_known(system, value))
    return lambda c: c.code in codes


def _is_not_a(system: CodeSystem, value: str) -> Test:
    is_a = _is_a(system, value)
    return lambda c: not is_a(c)


def _generalizes(system: CodeSystem, value: str) -> Test:
    code = _known(system, value)
    codes = system.ancestors(code) | {code}
    return lambda c: c.code in codes


def _child_of(system: CodeSystem, value: str) -> Test:
    codes = frozenset(system.children.get(_known(system, value), ()))
    return lambda c: c.code in codes


HIERARCHY_FILTERS: dict[str, Callable[[CodeSystem, str], Test]] = {
    "is-a": _is_a,
    "descendent-of": _descendent_of,
    "is-not-a": _is_not_a,
    "generalizes": _generalizes,
    "child-of": _child_of,
}


def _equals(read: Callable[[Concept], list[str]], value: str) -> Test:
    return lambda c: value in read(c)


def _in(read: Callable[[Concept], list[str]], value: str) -> Test:
    wanted = frozenset(v.strip() for v in value.split(","))
    return lambda c: not wanted.isdisjoint(read(c))


def _not_in(read: Callable[[Concept], list[str]], value: str) -> Test:
    refused = frozenset(v.strip() for v in value.split(","))
    return lambda c: refused.isdisjoint(read(c))


def _regex(read: Callable[[Concept], list[str]], value: str) -> Test:
    matches = compile_pattern(value)
    return lambda c: any(map(matches, read(c)))


def _exists(read: Callable[[Concept], list[str]], value: str) -> Test:
    if value not in ("true", "false"):
        raise InvalidTerminology(f"The filter operator 'exists' takes 'true' or 'false', not {value!r}.")
    wanted = value == "true"
    return lambda c: bool(read(c)) is wanted


VALUE_FILTERS: dict[str, Callable[[Callable[[Concept], list[str]], str], Test]] = {
    "=": _equals,
    "in": _in,
    "not-in": _not_in,
    "regex": _regex,
    "exists": _exists,
}
