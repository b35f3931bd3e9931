"""What a `_filter` asks: the tree of its language to an expression.

Source: https://hl7.org/fhir/R4/search_filter.html. Operators compare with one item of the set that the path gives, as prefixes
and modifiers do; texts are compared in normal form. What an operator cannot be asked of a kind of parameter is refused.

- `ne` on tokens and uris: there are items, and none is equal (on the other kinds: an item is not equal).
- `co` on a date: an item's period contains the value's. On a number it is refused, because the index does not keep the
  precision that an item was written with.
- `ss` is `:below`, `sb` is `:above`, `in` is `:in`, `ni` is `:not-in`, `po` is an overlap of periods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fhir_r4.definitions import SearchParameter
from fhir_r4.errors import InvalidParameter, NotSupported, UnknownParameter
from fhir_server.search.filter import Comparison, Filter, Logical, Negated, Step, parse_filter
from fhir_server.search.parameters import SPECIAL_PARAMETERS, About
from fhir_server.search.text import normalise
from fhir_server.search.tree import DateIs, Expression, TextIs, TextMode, Updated, all_of, any_of, negation
from fhir_server.search.values import Reading, date_interval

# In values these stand for code systems.
SYSTEMS: Mapping[str, str] = {
    "loinc": "http://loinc.org",
    "snomed": "http://snomed.info/sct",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ucum": "http://unitsofmeasure.org",
}

# (type, name that stands for an element) -> (composite parameter, the names of its components in order)
ELEMENTS: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("Group", "characteristic"): ("characteristic-value", ("code", "value")),
    ("DocumentReference", "relatesTo"): ("relationship", ("code", "target")),
}

_PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_MODES: Mapping[str, TextMode] = {
    "eq": "equals", "co": "contains", "sw": "starts", "ew": "ends", "gt": "gt", "lt": "lt", "ge": "ge", "le": "le",
}  # fmt: skip
_RELATIONS = {"ss": "below", "sb": "above", "in": "in", "ni": "not-in"}
# kind -> operators, `pr` apart, which any takes
OPERATORS_OF: Mapping[str, tuple[str, ...]] = {
    "string": ("eq", "ne", "co", "sw", "ew", "gt", "lt", "ge", "le"),
    "number": _PREFIXES,
    "date": (*_PREFIXES, "co", "po"),
    "quantity": _PREFIXES,
    "token": ("eq", "ne", "ss", "sb", "in", "ni"),
    "reference": ("re",),
    "uri": ("eq", "ne"),
    "composite": (),
    "special": (),
}


class Questions(Protocol):
    """What reads names and values: `Criteria`."""

    reading: Reading

    def follow(
        self,
        types: Sequence[str],
        name: str,
        end: Callable[[Sequence[str], SearchParameter, str], Expression],
        links: int = 0,
    ) -> Expression: ...

    def linked(
        self,
        types: Sequence[str],
        definition: SearchParameter,
        modifier: str,
        name: str,
        inner: Callable[[str], Expression],
        links: int,
    ) -> Expression: ...

    def parameter(self, types: Sequence[str], code: str) -> SearchParameter: ...

    def about(self, types: Sequence[str], definition: SearchParameter) -> About: ...

    def value(
        self, types: Sequence[str], definition: SearchParameter, modifier: str, text: str
    ) -> Expression: ...

    def checked(self, types: Sequence[str], definition: SearchParameter, modifier: str) -> None: ...

    def missing(self, definition: SearchParameter) -> Expression: ...


class Filtering:
    """Reads filters with the help of what reads other criteria."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def expression(self, types: Sequence[str], text: str) -> Expression:
        """What a filter asks of resources of `types`. Raises FilterError for what is none."""
        return self._filter(types, parse_filter(text), 0)

    def _filter(self, types: Sequence[str], filter: Filter, links: int) -> Expression:
        match filter:
            case Logical(operator, parts):
                join = all_of if operator == "and" else any_of
                return join([self._filter(types, part, links) for part in parts])
            case Negated(part):
                return negation(self._filter(types, part, links))
            case Comparison(path, operator, value):
                return self._path(types, path, operator, value, links)

    def _path(
        self, types: Sequence[str], path: tuple[Step, ...], operator: str, value: str, links: int
    ) -> Expression:
        step, rest = path[0], path[1:]
        if not rest:
            return self._questions.follow(types, step.name, self._end(operator, value), links)
        if step.filter is not None and len(types) == 1 and (types[0], step.name) in ELEMENTS:
            return self._element(types, step, rest, operator, value)
        code, _, modifier = step.name.partition(":")
        definition = self._questions.parameter(types, code)

        def inner(target: str) -> Expression:
            found = self._path((target,), rest, operator, value, links + 1)
            if step.filter is None:
                return found
            return all_of((self._filter((target,), step.filter, links + 1), found))

        return self._questions.linked(types, definition, modifier, step.name, inner, links)

    def _element(
        self, types: Sequence[str], step: Step, rest: tuple[Step, ...], operator: str, value: str
    ) -> Expression:
        """`characteristic[code eq x].value eq y`: both of one element, which a composite parameter is about."""
        composite, names = ELEMENTS[types[0], step.name]
        inside = step.filter
        if len(rest) != 1 or not isinstance(inside, Comparison) or len(inside.path) != 1:
            raise NotSupported(f"{step.name}[...] takes one comparison inside and one behind it.", "_filter")
        asked = {inside.path[0].name: (inside.operator, inside.value), rest[0].name: (operator, value)}
        if set(asked) != set(names) or any(op not in ("eq", "re") for op, _ in asked.values()):
            raise NotSupported(
                f"{step.name}[...] compares {' and '.join(names)} by eq or re, each of them once.", "_filter"
            )
        texts = [_escaped(_with_system(asked[name][1])).replace("$", "\\$") for name in names]
        definition = self._questions.parameter(types, composite)
        return self._questions.value(types, definition, "", "$".join(texts))

    def _end(self, operator: str, value: str) -> Callable[[Sequence[str], SearchParameter, str], Expression]:
        def end(types: Sequence[str], definition: SearchParameter, modifier: str) -> Expression:
            if modifier:
                raise UnknownParameter(
                    f"_filter: {definition.code} takes no modifier; the operators are for that.", "_filter"
                )
            return self._compared(types, definition, operator, value)

        return end

    def _compared(
        self, types: Sequence[str], definition: SearchParameter, operator: str, value: str
    ) -> Expression:
        code, kind = definition.code, definition.type
        if code in SPECIAL_PARAMETERS:
            raise NotSupported(f"_filter: {code} cannot be compared.", "_filter")
        if operator == "pr":
            if value not in ("true", "false"):
                raise InvalidParameter(f"_filter: {code} pr {value[:40]}: expected true or false.", "_filter")
            missing = self._questions.missing(definition)
            return negation(missing) if value == "true" else missing
        if operator not in OPERATORS_OF[kind]:
            known = ", ".join((*OPERATORS_OF[kind], "pr"))
            raise NotSupported(
                f"_filter: {code} is of type {kind}, which is compared by {known}; found {operator}.",
                "_filter",
            )
        match kind:
            case "string":
                return _text(code, operator, normalise(value))
            case "date" if operator in ("po", "co"):
                return self._period(code, operator, value)
            case "token" if operator in _RELATIONS:
                return self._related(types, definition, operator, value)
            case "token" | "uri" | "reference":
                found = self._read(types, definition, "", _with_system(value))
                if operator != "ne":
                    return found
                return all_of((negation(self._questions.missing(definition)), negation(found)))
            case _:
                return self._read(types, definition, "", operator + _with_system(value))

    def _read(
        self, types: Sequence[str], definition: SearchParameter, modifier: str, value: str
    ) -> Expression:
        return self._questions.value(types, definition, modifier, _escaped(value))

    def _related(
        self, types: Sequence[str], definition: SearchParameter, operator: str, value: str
    ) -> Expression:
        modifier = _RELATIONS[operator]
        self._questions.checked(types, definition, modifier)
        found = self._read(types, definition, modifier, _with_system(value))
        return negation(found) if modifier == "not-in" else found

    def _period(self, code: str, operator: str, value: str) -> Expression:
        _, low, high = date_interval("eq" + _escaped(value), self._questions.reading)
        if code != "_lastUpdated":
            return DateIs(code, "ap" if operator == "po" else "co", low, high)
        if operator == "co":
            raise NotSupported("_filter: _lastUpdated is a moment, which contains no period.", "_filter")
        return Updated("ap", low, high)


def _text(code: str, operator: str, text: str) -> Expression:
    if operator == "ne":
        return any_of((TextIs(code, text, "lt"), TextIs(code, text, "gt")))
    return TextIs(code, text, _MODES[operator])


def _with_system(value: str) -> str:
    """The value with the address of a code system in the place of its short name."""
    parts = value.split("|")
    return "|".join(SYSTEMS.get(part, part) if i < len(parts) - 1 else part for i, part in enumerate(parts))


def _escaped(value: str) -> str:
    """The value as it would stand in the address: a backslash is no escape in a filter."""
    return value.replace("\\", "\\\\")
