"""Paths and patterns of device profiles, compiled: where something stands, and whether something holds.

An invariant to keep: nothing here raises on what a message says; only compiling raises, when a profile is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hl7_bridge.message import NULL, Message, Segment, parse_path


@dataclass(frozen=True, slots=True)
class Pick:
    """A text at a path; with a pattern only where that fits all of it, and then its group, if it has one."""

    segment: str
    field: int
    repetition: int = 1
    component: int = 1
    subcomponent: int = 1
    pattern: re.Pattern[str] | None = None

    def of(self, segment: Segment) -> str:
        """What stands there, '' when nothing fits; NULL is nothing."""
        text = segment.text(self.field, self.component, self.subcomponent, self.repetition).strip()
        if text == NULL:
            return ""
        if self.pattern is None:
            return text
        found = self.pattern.fullmatch(text)
        if found is None:
            return ""
        return (found[1] or "") if self.pattern.groups else text


def compile_pick(path: str, pattern: str = "") -> Pick:
    """A pick of its text. Raises ValueError for what is no path or no pattern."""
    try:
        return Pick(*parse_path(path), re.compile(pattern) if pattern else None)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}") from error


def picked(picks: Iterable[Pick], segments: Mapping[str, Segment]) -> str:
    """The first text that one of the picks finds in the segments at hand, by their names."""
    for pick in picks:
        segment = segments.get(pick.segment)
        if segment is not None:
            found = pick.of(segment)
            if found:
                return found
    return ""


@dataclass(frozen=True, slots=True)
class Condition:
    """Texts at paths that all have to fit their patterns as a whole; the pattern '' fits what is not told."""

    tests: tuple[tuple[Pick, re.Pattern[str]], ...]

    def of(self, segment: Segment) -> bool:
        """Whether it holds for one segment."""
        return all(pattern.fullmatch(pick.of(segment)) is not None for pick, pattern in self.tests)

    def of_message(self, message: Message) -> bool:
        """Whether it holds for a message: for every segment of each name; one that is missing tells nothing."""
        for pick, pattern in self.tests:
            texts = {pick.of(one) for one in message.segments if one.name == pick.segment} or {""}
            for text in texts:
                if pattern.fullmatch(text) is None:
                    return False
        return True

    def is_about(self, name: str) -> bool:
        """Whether all that it asks stands in segments of this name."""
        return all(pick.segment == name for pick, _ in self.tests)


def compile_condition(tests: Mapping[str, str]) -> Condition:
    """A condition of paths and patterns. Raises ValueError for what is none."""
    try:
        return Condition(tuple((compile_pick(path), re.compile(pattern)) for path, pattern in tests.items()))
    except re.error as error:
        raise ValueError(f"{dict(tests)} holds no pattern: {error}") from error
