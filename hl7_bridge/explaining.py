"""What a message says in the words of the standard, and whether it keeps to it; from the tables of hl7apy, which are not needed otherwise.

An invariant to keep: this is for people and for tests of what we send; nothing that was received is judged by it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hl7_bridge.message import HEADERS, Message, NotHl7, Segment, Value, parse

DEFAULT_VERSION = "2.5.1"
_MOST_SHOWN = 120


class TablesMissing(ImportError):
    """hl7apy is not installed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A value of a message: where it is, what that is called, its data type and table ('' when there is none), its text."""

    path: str
    name: str
    type: str
    table: str
    text: str


def validate(raw: bytes, charsets: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with a message by the strict rules of its version; nothing when it is valid."""
    hl7apy = _tables()
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message
    from hl7apy.validation import Validator

    try:
        message = parse(raw, charsets)
    except NotHl7 as error:
        return [str(error)]
    if message.version not in hl7apy.SUPPORTED_LIBRARIES:
        return [f"MSH-12: {message.version!r} is no version that there are tables for"]
    text = "\r".join(segment.line for segment in message.segments) + "\r"
    found = _lost(hl7apy, message)
    for level in (VALIDATION_LEVEL.STRICT, VALIDATION_LEVEL.TOLERANT):
        try:
            read = parse_message(text, validation_level=level)
            found += _reported(Validator, read)
            if level == VALIDATION_LEVEL.STRICT and read.to_er7().count("\r") + 1 < len(message.segments):
                found.append(f"some segments have no place in {read.name}")
        # the library raises whatever it meets in a message that it does not understand
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return list(dict.fromkeys(_in_words(told) for told in found))


def explain(message: Message) -> Iterator[Row]:
    """Every value that is told, component by component, in the order of the message."""
    hl7apy = _tables()
    version = message.version if message.version in hl7apy.SUPPORTED_LIBRARIES else DEFAULT_VERSION
    seen: dict[str, int] = {}
    for segment in message.segments:
        seen[segment.name] = seen.get(segment.name, 0) + 1
        number = seen[segment.name]
        name = segment.name if number == 1 else f"{segment.name}({number})"
        yield from _segment(segment, name, _fields(hl7apy, segment.name, version))


# what the library says, and what is meant by it
_MEANT = (
    (r"Missing required child \w+\.(\w+_\d+)$", r"\1 is required"),
    (r"Missing required child (\w+)\.(\w+)$", r"\2 is required in \1"),
    (r"Child limit exceeded \w+\.(\w+)$", r"\1 stands more often than it may"),
    (
        r"Datatype None is not correct for \w+\.(\w+) \(it must be \w+\)$",
        r"\1 has parts that its data type has not",
    ),
    (r"Datatype (\w+) is not correct for \w+\.(\w+) \(it must be (\w+)\)$", r"\2 is \1, not \3"),
    (
        r"Invalid children detected for <\w+ (\w+).*>: \[None\]$",
        r"\1 has fields or components that the version has not",
    ),
    (r"Invalid children detected for <\w+ (\w+).*>: \[(.*)\]$", r"\1 has no \2 in this version"),
    (
        r"MaxChildLimitReached: Cannot add .*: max limit \(\d+\) reached for <Field (\w+) .*of type (\w+)>$",
        r"\1 has parts that its data type \2 has not",
    ),
    (
        r"MaxChildLimitReached: Cannot add .*: max limit \(\d+\) reached for <.*of type (\w+)>$",
        r"a value has parts that its data type \1 has not",
    ),
    (r"MaxLengthReached: The value (.*) exceed the max length: (\d+)$", r"'\1' is longer than \2 characters"),
    (r"InvalidName: Invalid name for (\w+): (\w+)$", r"\2: the version has no such \1"),
    (
        r"InvalidEncodingChars: .*Found (\d+) encoding chars$",
        r"MSH-2 has \1 characters, which the version has not",
    ),
    (r"Unknown element found: None\.(.*)$", r"\1 stands where the version has nothing"),
    (
        r"OperationNotAllowed: Cannot instantiate an unknown Element with strict validation$",
        "something stands where the version has nothing",
    ),
    (r"ValueError: (.*) is not an HL7 valid (\w+) value$", r"'\1' is no \2"),
)
_FIELD = re.compile(r"\b([A-Z][A-Z0-9]{1,2})_(\d+)\b")


def _in_words(told: str) -> str:
    """What the library says of a message, with places as they are written elsewhere: OBX-4."""
    for pattern, meant in _MEANT:
        said, found = re.subn(pattern, meant, told)
        if found:
            told = said
            break
    return _FIELD.sub(r"\1-\2", told)


def _lost(hl7apy: Any, message: Message) -> list[str]:
    """Segments that the library would pass over without a word."""
    names = dict.fromkeys(one.name for one in message.segments if not one.name.startswith("Z"))
    unknown = [name for name in names if not _fields(hl7apy, name, message.version)]
    return [
        f"{name.strip() or 'a line without a name'}: {message.version} has no such segment"
        for name in unknown
    ]


def _tables() -> Any:
    try:
        import hl7apy
    except ImportError as error:
        raise TablesMissing("install osler[hl7] for the tables of the standard") from error
    return hl7apy


def _reported(validator: Any, read: Any) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        try:
            validator.validate(read, report_file=str(report))
        except Exception as error:
            if not report.exists():
                return [str(error)]
        lines = report.read_text(errors="replace").splitlines()
    return [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]


def _fields(hl7apy: Any, name: str, version: str) -> dict[int, Any]:
    """The definitions of a segment's fields by their numbers; none for a segment that the version does not have."""
    try:
        definition = hl7apy.load_reference(name, "Segment", version)
    except Exception:
        return {}
    return {int(child[0].rsplit("_", 1)[1]): child[1] for child in definition[1]}


def _segment(segment: Segment, name: str, fields: dict[int, Any]) -> Iterator[Row]:
    for number in range(1, segment.length + 1):
        raw = segment.raw(number)
        if not raw:
            continue
        definition = fields.get(number)
        if segment.name in HEADERS and number <= 2:
            yield _row(f"{name}-{number}", definition, raw)
            continue
        values = raw.split(segment.delimiters.repetition)
        for repetition, one in enumerate(values, 1):
            place = f"{name}-{number}" if len(values) == 1 else f"{name}-{number}[{repetition}]"
            yield from _value(Value(one, segment.delimiters), place, definition)


def _value(value: Value, place: str, definition: Any) -> Iterator[Row]:
    parts = definition[1] if definition is not None and definition[1] else ()
    components = value.components()
    if len(components) == 1 and not parts:
        yield _row(place, definition, value.whole())
        return
    for number, text in enumerate(components, 1):
        if not text:
            continue
        part = parts[number - 1][1] if number <= len(parts) else None
        row = _row(f"{place}.{number}", part, text)
        whole = _name(definition)
        yield Row(
            row.path,
            f"{whole}: {row.name}" if whole and row.name else whole or row.name,
            row.type,
            row.table,
            row.text,
        )


def _row(path: str, definition: Any, text: str) -> Row:
    shown = "".join(one if one.isprintable() else " " for one in text)
    if len(shown) > _MOST_SHOWN:
        shown = f"{shown[:_MOST_SHOWN]}... ({len(text)} characters)"
    type_, table = ("", "") if definition is None else (definition[2] or "", definition[4] or "")
    return Row(path, _name(definition), type_, table, shown)


def _name(definition: Any) -> str:
    found = "" if definition is None else str(definition[3] or "")
    return found.replace("_", " ").lower()
