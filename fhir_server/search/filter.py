"""The language of `_filter`: text to a tree of comparisons.

Source: https://hl7.org/fhir/R4/search_filter.html. `and` and `or` are read from left to right without precedence; `not` stands
before parentheses. A path is made of names of search parameters; `name[filter].name` narrows what the first name leads to.
What names, operators and values mean is not known here. An invariant to keep: any text gives a tree or a FilterError.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

OPERATORS = (
    "eq", "ne", "co", "sw", "ew", "gt", "lt", "ge", "le", "ap", "sa", "eb", "pr", "po", "ss", "sb", "in", "ni", "re",
)  # fmt: skip
DEEPEST = 20
MOST_COMPARISONS = 200

_BLANK = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_:-]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TOKEN = re.compile(r"[^\s)\]]+")


class FilterError(ValueError):
    """A text that is no filter; the message says what was expected and where."""


@dataclass(frozen=True, slots=True)
class Step:
    """A name of a path, and the filter in brackets behind it."""

    name: str
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator value`."""

    path: tuple[Step, ...]
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Logical:
    """All (`and`) or one (`or`) of the parts hold."""

    operator: Literal["and", "or"]
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """`not (filter)`."""

    part: Filter


Filter = Comparison | Logical | Negated


def parse_filter(text: str) -> Filter:
    """The tree of a filter. Raises FilterError."""
    reader = _Reader(text)
    found = reader.filter(0)
    reader.expect_end()
    return found


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._comparisons = 0

    def filter(self, depth: int) -> Filter:
        if depth > DEEPEST:
            raise FilterError(f"expected at most {DEEPEST} levels of parentheses and brackets")
        found = self._unit(depth)
        while (operator := self._logical()) is not None:
            found = _joined(operator, found, self._unit(depth))
        return found

    def expect_end(self) -> None:
        self._skip_blanks()
        if self._at < len(self._text):
            raise self._error("`and`, `or` or the end")

    def _unit(self, depth: int) -> Filter:
        negated = self._word() == "not"
        if negated:
            self._at += len("not")
        if self._mark("("):
            found = self.filter(depth + 1)
            if not self._mark(")"):
                raise self._error("`)`")
            return Negated(found) if negated else found
        if negated:
            raise self._error("`(` after `not`")
        return self._comparison(depth)

    def _comparison(self, depth: int) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MOST_COMPARISONS:
            raise FilterError(f"expected at most {MOST_COMPARISONS} comparisons")
        path = self._path(depth)
        operator = self._word()
        if operator not in OPERATORS:
            raise self._error(f"an operator ({', '.join(OPERATORS)})")
        self._at += len(operator)
        return Comparison(path, operator, self._value())

    def _path(self, depth: int) -> tuple[Step, ...]:
        steps = []
        while True:
            name = self._match(_NAME)
            if name is None:
                raise self._error("the name of a search parameter")
            inner = None
            if self._text.startswith("[", self._at):
                self._at += 1
                inner = self.filter(depth + 1)
                if not self._mark("]"):
                    raise self._error("`]`")
            steps.append(Step(name, inner))
            if not self._text.startswith(".", self._at):
                if inner is not None:
                    raise self._error("`.` and a name after `]`")
                return tuple(steps)
            self._at += 1

    def _value(self) -> str:
        self._skip_blanks()
        if self._text.startswith('"', self._at):
            quoted = self._match(_STRING)
            try:
                return str(json.loads(quoted or "", strict=False))
            except ValueError:
                raise self._error("a JSON string") from None
        token = self._match(_TOKEN)
        if token is None:
            raise self._error("a value")
        return token

    def _logical(self) -> Literal["and", "or"] | None:
        match self._word():
            case "and":
                self._at += len("and")
                return "and"
            case "or":
                self._at += len("or")
                return "or"
            case _:
                return None

    def _word(self) -> str:
        """The word ahead, which stays there."""
        self._skip_blanks()
        found = _NAME.match(self._text, self._at)
        return "" if found is None else found[0]

    def _mark(self, mark: str) -> bool:
        self._skip_blanks()
        if not self._text.startswith(mark, self._at):
            return False
        self._at += 1
        return True

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        self._skip_blanks()
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _skip_blanks(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _error(self, expected: str) -> FilterError:
        rest = self._text[self._at : self._at + 20]
        place = f"at position {self._at} ({rest!r})" if rest else "at the end"
        return FilterError(f"expected {expected} {place}")


def _joined(operator: Literal["and", "or"], one: Filter, other: Filter) -> Logical:
    if isinstance(one, Logical) and one.operator == operator:
        return Logical(operator, (*one.parts, other))
    return Logical(operator, (one, other))
