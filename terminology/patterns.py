"""Regular expressions for `regex` filters, matched in time linear in the text, so that no pattern can stall the server.

Source: the `regex` operator of https://hl7.org/fhir/R4/valueset-filter-operator.html (the whole value must match). The
language is the common part of the usual dialects: literals, `.`, classes, `\\d \\w \\s`, groups, `|`, `* + ?` and `{n,m}`;
anchors at the ends are allowed and change nothing. An invariant to keep: matching never backtracks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from terminology.errors import InvalidTerminology

MAX_STATES = 5000
MAX_DEPTH = 50

Test = Callable[[str], object]


@dataclass(slots=True)
class State:
    """A state of the machine: `test` consumes a character on the way to `to[0]`; without a test all of `to` are free."""

    to: list[int]
    test: Test | None = None


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that says whether the whole of a text matches. Raises InvalidTerminology for what is no pattern."""
    parser = _Parser(pattern)
    start, end = parser.parse()
    states = parser.states

    def reach(places: set[int], place: int) -> None:
        waiting = [place]
        while waiting:
            now = waiting.pop()
            if now not in places:
                places.add(now)
                if states[now].test is None:
                    waiting.extend(states[now].to)

    def matches(text: str) -> bool:
        places: set[int] = set()
        reach(places, start)
        for character in text:
            following: set[int] = set()
            for place in places:
                test = states[place].test
                if test is not None and test(character):
                    reach(following, states[place].to[0])
            places = following
            if not places:
                return False
        return end in places

    return matches


class _Parser:
    """Recursive descent over the pattern; each method returns the first and the last state of what it read."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.depth = 0
        self.states: list[State] = []

    def parse(self) -> tuple[int, int]:
        self.take("^")
        part = self.choice()
        self.take("$")
        if self.at < len(self.pattern):
            self.refuse(f"{self.pattern[self.at]!r} was not expected at {self.at}")
        return part

    def refuse(self, reason: str) -> None:
        raise InvalidTerminology(f"The regular expression {self.pattern[:100]!r} cannot be used: {reason}.")

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def state(self, test: Test | None = None) -> int:
        if len(self.states) >= MAX_STATES:
            self.refuse("it is too large")
        self.states.append(State([], test))
        return len(self.states) - 1

    def join(self, start: int, end: int) -> None:
        self.states[start].to.append(end)

    def choice(self) -> tuple[int, int]:
        parts = [self.sequence()]
        while self.take("|"):
            parts.append(self.sequence())
        if len(parts) == 1:
            return parts[0]
        start, end = self.state(), self.state()
        for first, last in parts:
            self.join(start, first)
            self.join(last, end)
        return start, end

    def sequence(self) -> tuple[int, int]:
        start = end = self.state()
        while self.peek() not in ("", "|", ")") and not (
            self.peek() == "$" and self.at == len(self.pattern) - 1
        ):
            first, last = self.repeated()
            self.join(end, first)
            end = last
        return start, end

    def repeated(self) -> tuple[int, int]:
        begin = self.at
        part = self.atom()
        least, most = self.quantifier()
        if (least, most) == (1, 1):
            return part
        parts = [part]
        copies = most if most is not None else max(least, 1)
        resume = self.at
        for _ in range(copies - 1):
            self.at = begin
            parts.append(self.atom())
        self.at = resume
        return self.chained(parts if copies else [], least, most)

    def chained(self, parts: list[tuple[int, int]], least: int, most: int | None) -> tuple[int, int]:
        start, end = self.state(), self.state()
        here = start
        for index, (first, last) in enumerate(parts):
            if index >= least:
                self.join(here, end)
            self.join(here, first)
            here = self.state()
            self.join(last, here)
            if most is None and index == len(parts) - 1:
                self.join(here, first)
        self.join(here, end)
        return start, end

    def quantifier(self) -> tuple[int, int | None]:
        if self.take("*"):
            found: tuple[int, int | None] = (0, None)
        elif self.take("+"):
            found = (1, None)
        elif self.take("?"):
            found = (0, 1)
        else:
            match = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}").match(self.pattern, self.at)
            if match is None:
                return 1, 1
            self.at = match.end()
            least = int(match[1])
            found = (least, least if match[2] is None else int(match[3]) if match[3] else None)
            if found[1] is not None and found[1] < least:
                self.refuse("a repetition ends before it begins")
        self.take("?")  # a lazy repetition matches the same texts
        return found

    def atom(self) -> tuple[int, int]:
        if self.take("("):
            if self.peek() == "?" and not self.take("?:"):
                self.refuse("only plain groups and (?:...) are known")
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self.refuse("its groups are nested too deep")
            part = self.choice()
            if not self.take(")"):
                self.refuse("a group is not closed")
            self.depth -= 1
            return part
        start = self.state(self.character())
        end = self.state()
        self.join(start, end)
        return start, end

    def character(self) -> Test:
        character = self.peek()
        self.at += 1
        if character == ".":
            return lambda c: c not in "\r\n"
        if character == "[":
            return self.from_re(self.class_end())
        if character == "\\":
            return self.from_re(self.at + 1)
        if character in "*+?{})^$":
            self.refuse(f"{character!r} was not expected at {self.at - 1}")
        return character.__eq__

    def class_end(self) -> int:
        at = self.at + self.pattern.startswith("^", self.at)
        at += self.pattern.startswith("]", at)
        while at < len(self.pattern) and self.pattern[at] != "]":
            at += 2 if self.pattern[at] == "\\" else 1
        return at + 1

    def from_re(self, end: int) -> Test:
        """The test of one class or escape, which Python's own expressions can make: one character cannot backtrack."""
        text = self.pattern[self.at - 1 : end]
        self.at = end
        if end > len(self.pattern) or re.match(r"\\[bBAZ0-9]", text):
            self.refuse(f"{text!r} is not a character class")
        try:
            return re.compile(text).fullmatch
        except re.error as error:
            raise InvalidTerminology(
                f"The regular expression {self.pattern[:100]!r} cannot be used: {error}."
            ) from error
