"""How a device writes values: what a profile knows about numbers, words and texts that stand for no value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A text that is no value: the reason (data-absent-reason) and, if it says so, the status of the result."""

    pattern: re.Pattern[str]
    absent: str = "unknown"
    status: str = ""


@dataclass(frozen=True, slots=True)
class ValueRules:
    """How values are written.

    `decimal`: the characters that mark decimals (`.`, `,` or both); `thousands`: that between groups of three, '' when there is none.
    `types`: the OBX-2 that is meant where the device says another ('' is none told). `component`: which component of OBX-5
    counts, 0: the first that tells something. `numeric_text`: whether texts (ST) that are numbers are numbers: always, where a
    unit stands beside them, or never. `words`: texts and their meaning as (system, code, display). `largest`: so many characters of base64 are kept within a report; more become a Binary.
    """

    decimal: str = "."
    thousands: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    component: int = 0
    numeric_text: Literal["always", "with-unit", "never"] = "with-unit"
    sentinels: tuple[Sentinel, ...] = ()
    words: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    largest: int = 64_000


def word_key(text: str) -> str:
    """Words are the same however they are spaced or capitalised."""
    return " ".join(text.split()).casefold()
