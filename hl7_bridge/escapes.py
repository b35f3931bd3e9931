"""Escape sequences of HL7 v2 text. Source: HL7 v2.5.1 chapter 2.7."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hl7_bridge.message import Delimiters

# So many blank lines may one sequence, and all sequences of a value, ask for.
_MOST_LINES = 100
_MOST_LINES_OF_A_VALUE = 1000
_NAMED = r"(?:amp|lt|gt|quot|apos|nbsp|#\d{2,5}|#[xX][0-9a-fA-F]{2,4});"
_ENTITY = re.compile(f"&({_NAMED[:-1]});", re.ASCII)
_PARTING = re.compile(f"&(?!{_NAMED})", re.ASCII)
_CODE_POINT = re.compile(r"Z[0-9A-Fa-f]{4}")


def entities(text: str, delimiters: Delimiters) -> str:
    """The text with what is written as in HTML (`&lt;`) as what it means, where `&` unescaped can only part subcomponents."""
    if delimiters.subcomponent != "&" or ";" not in text or "&" not in text:
        return text
    return _ENTITY.sub(_entity, text)


def subcomponents(text: str, delimiters: Delimiters) -> list[str]:
    """The subcomponents of a component; `&` of HTML (`O&apos;Neil`) parts none."""
    if delimiters.subcomponent != "&" or ";" not in text or _ENTITY.search(text) is None:
        return text.split(delimiters.subcomponent)
    return [entities(part, delimiters) for part in _PARTING.split(text)]


def _entity(found: re.Match[str]) -> str:
    meant = " " if found[1] == "nbsp" else html.unescape(found[0])
    return meant if meant == "\n" or (meant and meant.isprintable()) else found[0]


def unescape(text: str, delimiters: Delimiters) -> str:
    """The text that was meant; each sequence is read once, one that is not known stays as it is."""
    escape = delimiters.escape
    if not escape or escape not in text:
        return text
    parts = text.split(escape)
    found = [parts[0]]
    at, lines = 1, 0
    while at < len(parts):
        meant = _meant(parts[at], delimiters) if at + 1 < len(parts) else None
        if meant is not None and parts[at].startswith(".sp"):
            lines += len(meant)
            meant = meant if lines <= _MOST_LINES_OF_A_VALUE else "\n"
        if meant is None:
            found += [escape, parts[at]]
            at += 1
        else:
            found += [meant, parts[at + 1]]
            at += 2
    return "".join(found)


def _meant(sequence: str, delimiters: Delimiters) -> str | None:
    named = {
        "F": delimiters.field,
        "S": delimiters.component,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "T": delimiters.subcomponent,
        "P": delimiters.truncation,
        "H": "",
        "N": "",
        ".br": "\n",
        ".fi": "",
        ".nf": "",
        ".ce": "\n",
    }
    if sequence in named:
        return named[sequence]
    if sequence.startswith(".sp"):
        number = sequence[3:].strip()
        return (
            "\n" * min(int(number.lstrip("0")[:6] or "0") if number else 1, _MOST_LINES)
            if not number or (number.isascii() and number.isdigit())
            else None
        )
    if _CODE_POINT.fullmatch(sequence):
        # what a site defines; devices that write Latin-1 name other characters so
        return _character(int(sequence[1:], 16))
    if sequence[:1] == "X":
        try:
            return bytes.fromhex(sequence[1:]).decode("utf-8")
        except ValueError:
            return None
    return None


def _character(number: int) -> str | None:
    return None if 0xD800 <= number <= 0xDFFF else chr(number)


def escape(text: str, delimiters: Delimiters) -> str:
    """The text as it is sent: delimiters and control characters as sequences."""
    if not text:
        return text
    special = {
        delimiters.escape: "E",
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.repetition: "R",
        delimiters.subcomponent: "T",
    }
    mark = delimiters.escape

    def one(character: str) -> str:
        if character in special:
            return f"{mark}{special[character]}{mark}"
        if character == "\n":
            return f"{mark}.br{mark}"
        return f"{mark}X{character.encode().hex().upper()}{mark}" if character < " " else character

    return "".join(map(one, text))
