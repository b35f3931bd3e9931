"""ASTM E1394 (LIS2-A2) records, and what they are in HL7.

Source: CLSI LIS02-A2. A message of results becomes OUL^R22, one that asks for orders QBP^Q11, so that profiles and mappings are
the same for both. Invariants to keep: every record has its segment, those that HL7 does not know are Z segments; the
bytes that were received stay those of the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from hl7_bridge.charsets import decode
from hl7_bridge.escapes import unescape
from hl7_bridge.message import Delimiters, Message, NotHl7, is_astm, parse
from hl7_bridge.serializer import Field, One, Segment, line, segment

_LINE = re.compile(r"[^\r\n]+")
_AROUND = "".join(map(chr, range(33)))
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")

# R-9 and O-26 -> OBX-11 and OBR-25; what is not here stays as it is
_RESULT_STATUS = {"S": "P", "R": "F", "V": "F", "Q": "F", "W": "R"}
_REPORT_STATUS = {"Q": "F"}
_ENDINGS = ("", "N", "F")


@dataclass(frozen=True, slots=True)
class Record:
    """A record; fields are counted from 1, the type itself is field 1."""

    fields: tuple[str, ...]
    delimiters: Delimiters

    @property
    def type(self) -> str:
        return self.fields[0][:1]

    def raw(self, number: int) -> str:
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def text(self, number: int, component: int = 1) -> str:
        parts = self.raw(number).split(self.delimiters.repetition)[0].split(self.delimiters.component)
        return unescape(parts[component - 1], self.delimiters).strip() if component <= len(parts) else ""

    def components(self, number: int, repetition: int = 1) -> tuple[str, ...]:
        values = self.raw(number).split(self.delimiters.repetition)
        one = values[repetition - 1] if repetition <= len(values) else ""
        return tuple(unescape(part, self.delimiters).strip() for part in one.split(self.delimiters.component))

    def field(self, number: int) -> Field:
        """A field with its repetitions and components as they are."""
        values = self.raw(number).split(self.delimiters.repetition)
        made: list[One] = [_one(self.components(number, n)) for n in range(1, len(values) + 1)]
        return made if len(made) > 1 else made[0]


def records(text: str) -> list[Record]:
    """The records of a message. Raises NotHl7 when it does not begin with H."""
    lines = _LINE.findall(text.strip(_AROUND))
    if not lines or not is_astm(lines[0].encode("utf-8", "surrogateescape")):
        raise NotHl7("The message does not begin with H and its delimiters.")
    field, repetition, component, escape = lines[0][1:5]
    delimiters = Delimiters(field, component, repetition, escape, "\x00")
    first = Record(("H", lines[0][2:5], *lines[0].split(field)[2:]), delimiters)
    return [first, *(Record(tuple(one.split(field)), delimiters) for one in lines[1:])]


def as_hl7(raw: bytes, charsets: tuple[str, ...] = ()) -> Message:
    """The message that the records are; its `raw` is what was received. Raises NotHl7 when they do not begin with H."""
    decoded = decode(raw, charsets)
    found = records(decoded.text)
    walk = _Walk([], [one.type for one in found])
    for record in found:
        _WAYS.get(record.type, _Walk.other)(walk, record)
    text = "".join(line(one, Delimiters()) + "\r" for one in walk.segments)
    read = parse(text.encode("utf-8", "surrogateescape"))
    return structs.replace(read, raw=raw, warnings=(*decoded.warnings, *walk.warnings))


class _Walk:
    """The segments that records become, one after the other."""

    def __init__(self, segments: list[Segment], types: list[str]) -> None:
        self.segments = segments
        self.warnings: list[str] = []
        self._asks = "Q" in types and "R" not in types
        self._orders = 0
        self._results: dict[str, int] = {}
        self._set = 0
        self._collected = ""

    def header(self, record: Record) -> None:
        kind = ("QBP", "Q11", "QBP_Q11") if self._asks else ("OUL", "R22", "OUL_R22")
        sender = record.field(5)
        self._add(
            Segment(
                "MSH",
                {
                    3: sender,
                    5: record.field(10),
                    7: record.text(14),
                    9: kind,
                    10: record.text(3),
                    11: record.text(12) or "P",
                    12: "2.5.1",
                },
            )
        )

    def patient(self, record: Record) -> None:
        # a new patient begins a new count of orders
        self._orders = 0
        numbers = [_one(record.components(n)) for n in (3, 4, 5) if any(record.components(n))]
        self._add(
            segment(
                "PID", record.text(2), None, numbers, None, record.field(6), record.field(7), record.text(8),
                record.text(9), None, record.field(10), record.field(11), None, record.field(13),
            )
        )  # fmt: skip

    def order(self, record: Record) -> None:
        self._orders += 1
        self._results, self._set = {}, 0
        self._collected = record.text(8)
        number, code = str(self._orders), record.text(12).upper()
        specimen = record.components(3)
        self._add(
            Segment(
                "SPM",
                {
                    1: number,
                    2: specimen[0],
                    4: record.field(16),
                    11: "Q" if code == "Q" else "P",
                    17: self._collected,
                },
            )
        )
        status = record.text(26).upper()
        self._add(
            Segment(
                "OBR",
                {
                    1: number,
                    4: _test(record.components(5))[0],
                    5: record.text(6),
                    6: record.text(7),
                    7: self._collected,
                    13: record.text(14),
                    16: record.field(17),
                    18: _one(specimen[1:]) if any(specimen[1:]) else None,
                    20: record.field(4),
                    22: record.text(23),
                    25: _REPORT_STATUS.get(status, status),
                },
            )
        )

    def result(self, record: Record) -> None:
        test, code = _test(record.components(3))
        self._set += 1
        seen = self._results[code] = self._results.get(code, 0) + 1
        value, status = record.field(4), record.text(9).upper()
        plain = isinstance(value, str) and _NUMBER.fullmatch(value)
        self._add(
            Segment(
                "OBX",
                {
                    1: str(self._set),
                    2: "NM" if plain else "ST",
                    3: test,
                    4: str(seen) if seen > 1 else "",
                    5: value,
                    6: record.field(5),
                    7: record.text(6) if isinstance(record.field(6), str) else record.field(6),
                    8: record.field(7),
                    10: record.text(8),
                    11: _RESULT_STATUS.get(status, status),
                    14: self._collected,
                    16: record.field(11),
                    18: record.field(14),
                    19: record.text(13) or record.text(12),
                },
            )
        )

    def comment(self, record: Record) -> None:
        self._add(segment("NTE", record.text(2), record.text(3), record.field(4), record.text(5)))

    def query(self, record: Record) -> None:
        asked = record.components(3)
        number = next((one for one in (*asked[1:2], asked[0]) if one), "")
        name = (
            ("WOS", "Work Order Step", "IHE_LABTF")
            if number.upper() != "ALL"
            else ("WOS_ALL", "", "IHE_LABTF")
        )
        self._add(segment("QPD", name, record.text(2), number))
        self.other(record)

    def last(self, record: Record) -> None:
        if record.text(3).upper() not in _ENDINGS:
            self.warnings.append(f"the sender ended the message with {record.text(3)!r}")

    def other(self, record: Record) -> None:
        letter = record.type.upper() if record.type.isascii() and record.type.isalnum() else "X"
        self._add(Segment(f"ZA{letter}", {n: record.field(n) for n in range(1, len(record.fields) + 1)}))

    def _add(self, made: Segment) -> None:
        self.segments.append(made)


_WAYS: dict[str, Callable[[_Walk, Record], None]] = {
    "H": _Walk.header,
    "P": _Walk.patient,
    "O": _Walk.order,
    "R": _Walk.result,
    "C": _Walk.comment,
    "Q": _Walk.query,
    "L": _Walk.last,
}


def _test(parts: tuple[str, ...]) -> tuple[One, str]:
    """(OBX-3, what tells tests apart) of a universal test id: universal code, name, type, then what the manufacturer says."""
    universal, name, type, local, *more = (*parts, "", "", "", "")
    code = universal or local or next((part for part in parts if part), "")
    shown = name or (more[0] if more and code == local else "")
    # all of it, where code and name are not all that it says
    rest = (
        "^".join(parts)
        if [part for part in parts if part] not in ([code], [code, shown], [shown, code])
        else ""
    )
    alternate = local if universal and local else ""
    return (code, shown, type if universal else "", alternate, "", "", "", "", rest), code


def _one(parts: tuple[str, ...]) -> One:
    return parts[0] if len(parts) == 1 else parts
