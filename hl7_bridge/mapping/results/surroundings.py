"""What all results of a message share: its context, its times, and the codes, units and ranges of its sender.

An invariant to keep: what is remembered from message to message depends on the sender's profile and connection and on the text
alone, is bounded, and is changed by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from functools import lru_cache
from typing import Any, TypeVar

from fhir_r4.temporal import format_instant, parse_interval
from hl7_bridge.delivery import Resource
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.mapping.results import codes
from hl7_bridge.mapping.units import NONE, Unit, read_unit
from hl7_bridge.mapping.values import Reader, written_time
from hl7_bridge.message import NULL, Delimiters, Value

# What stands in OBX-6 of senders that have copied MSH-2 into it, or mark that there is no unit.
FILLERS = "^~\\&#*-"
_RANGE = re.compile(r"\(?\s*([+-]?[\d.,]+)\s*(?:-|–|to|\.\.)\s*([+-]?[\d.,]+)\s*\)?", re.ASCII)
_BOUND = re.compile(r"(<=?|>=?|≤|≥)\s*([\d.,]+)", re.ASCII)
# So many texts of a sender are remembered.
_MOST = 4096

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Code:
    """A code as it was told: its concept, what it is called, and whether it is LOINC, or the sender's own.

    `key` is that of its names by which a result is found again, '' when it has none.
    """

    concept: dict[str, Any] | None
    names: tuple[str, ...]
    has_loinc: bool
    is_local: bool
    key: str = ""


class Memory:
    """What was read of a sender's texts, by the text."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reader = Reader(context.profile.results.values, lambda value: None, lambda text: None)
        self._codes: dict[str, Code] = {}
        self._units: dict[str, tuple[Unit, str]] = {}
        self._ranges: dict[tuple[str, Unit], list[dict[str, Any]]] = {}

    def code(self, value: Value) -> Code:
        """A coded value."""
        found = self._codes.get(value.raw)
        return found if found is not None else _kept(self._codes, value.raw, self._read_code(value))

    def unit(self, told: Value) -> tuple[Unit, str]:
        """The unit of OBX-6 by what the profile and UCUM know, and the text that it was told by."""
        found = self._units.get(told.raw)
        return found if found is not None else _kept(self._units, told.raw, self._read_unit(told))

    def ranges(self, text: str, unit: Unit) -> list[dict[str, Any]]:
        """What OBX-7 says, as text and, where it is surely one, as a range."""
        found = self._ranges.get((text, unit))
        return found if found is not None else _kept(self._ranges, (text, unit), self._read_range(text, unit))

    def _read_code(self, value: Value) -> Code:
        made = concept(value, self.context)
        told = (value.text(1), value.text(2), value.text(4))
        names = tuple(dict.fromkeys(name for name in told if name and name != NULL))
        key = " ".join((told[0] or told[1] or told[2]).split())
        if made is None:
            return Code(None, names, False, True, key)
        return Code(made, names, codes.has_loinc(made), codes.is_local(made), key)

    def _read_unit(self, told: Value) -> tuple[Unit, str]:
        code, text, system = told.text(1), told.text(2), told.text(3)
        if not code.strip() and not text.strip():
            # some put it into the second half
            code, text, system = told.text(4), told.text(5), told.text(6)
        code, text = ("" if one == NULL else one for one in (code, text))
        if (not code and not text) or not told.raw.strip(FILLERS):
            return NONE, ""
        known = self.context.profile.results.units
        unit = read_unit(code, text, system, known)
        if unit.unknown and "^" in told.raw:
            whole = read_unit(told.raw, "", "", known)
            unit = whole if not whole.unknown else unit
        return unit, code

    def _read_range(self, text: str, unit: Unit) -> list[dict[str, Any]]:
        made: dict[str, Any] = {}
        found = _RANGE.fullmatch(text)
        if found is not None:
            low, high = self.reader.number(found[1]), self.reader.number(found[2])
            if low is not None and high is not None and low <= high:
                made["low"] = {"value": low, **unit.members()}
                made["high"] = {"value": high, **unit.members()}
        else:
            bound = _BOUND.fullmatch(text)
            number = self.reader.number(bound[2]) if bound is not None else None
            if bound is not None and number is not None:
                side = "high" if bound[1] in ("<", "<=", "≤") else "low"
                made[side] = {"value": number, **unit.members()}
        made["text"] = text
        return [made]


def _kept(known: dict[Any, V], key: Any, value: V) -> V:
    if len(known) >= _MOST:
        known.clear()
    known[key] = value
    return value


@lru_cache(256)
def _memory(profile: Profile, connection: str, delimiters: Delimiters) -> Memory:
    """What is remembered of a sender; texts of other delimiters mean other things."""
    return Memory(Context(profile, Receipt("", connection, 0, b""), UTC))


@dataclass(slots=True)
class Surroundings:
    """What the results of a message share. The maps are the ConceptMaps that people have filled for the profile."""

    context: Context
    draft: Draft
    sent: str
    delimiters: Delimiters = field(default_factory=Delimiters)
    code_map: Resource | None = None
    unit_map: Resource | None = None
    # references to the results of the message that are written, by key
    placed: dict[str, str] = field(default_factory=dict)
    profile: Profile = field(init=False)
    memory: Memory = field(init=False)
    reader: Reader = field(init=False)
    _times: dict[str, str | None] = field(default_factory=dict)
    _instants: dict[tuple[str, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.profile = self.context.profile
        self.memory = _memory(self.profile, self.context.receipt.connection, self.delimiters)
        self.reader = Reader(self.profile.results.values, self.concept, self.time)

    def time(self, text: str) -> str | None:
        """A dateTime of a time as it was written; asked once for each text."""
        times = self._times
        if text not in times:
            times[text] = written_time(text, lambda told: date_time(told, self.context))
        return times[text]

    def concept(self, value: Value) -> dict[str, Any] | None:
        """A CodeableConcept of a value; made once for each text, so nobody may change it."""
        return self.memory.code(value).concept if value.raw else None

    def mapped(self, value: Value, field: str, where: str) -> dict[str, Any] | None:
        """A CodeableConcept of a value, with what people have mapped the sender's own code of this field to.

        A person is asked where the profile says so. `where` is the field in this message.
        """
        code = self.memory.code(value)
        if field not in self.profile.results.asks or code.concept is None or not code.is_local:
            return code.concept if value.raw else None
        found = next((one for name in code.names if (one := self.draft.codes.get((field, name)))), None)
        if found is not None:
            return codes.with_codings(code.concept, [found])
        name = code.names[0] if code.names else ""
        if name:
            self.draft.problem("unmapped-code", f"Nobody has mapped {name!r}.", where, name)
        return code.concept

    def first_time(self, texts: tuple[str, ...]) -> str | None:
        """The first of these times that is one."""
        for text in texts:
            if text and (made := self.time(text)) is not None:
                return made
        return None

    def instant(self, *texts: str) -> str:
        """The latest of these times that is one, else when the message was sent, else when it was received."""
        found = self._instants.get(texts)
        if found is None:
            found = self._instants[texts] = self._latest(texts)
        return found

    def _latest(self, texts: Mapping[str, Any] | tuple[str, ...]) -> str:
        told = [made for text in texts if text and (made := self._when(text)) is not None]
        if told:
            return max(told, key=lambda one: parse_interval(one)[0]) if len(told) > 1 else told[0]
        return self._when(self.sent) or format_instant(self.context.receipt.received)

    def _when(self, text: str) -> str | None:
        made = self.time(text)
        return made if made is not None and "T" in made else None
