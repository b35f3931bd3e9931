"""Values of results: from what a device wrote to value[x], to a reason why there is none, or to its text and a problem.

https://hl7.org/fhir/R4/observation-definitions.html#Observation.value_x_ and OBX-5 of the v2-to-FHIR implementation guide. An
invariant to keep: no number is made up. What is not surely a number by the profile's rules stays the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from msgspec import Struct

from hl7_bridge.devices.value_rules import ValueRules, word_key
from hl7_bridge.escapes import entities, unescape
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.units import NONE, Unit
from hl7_bridge.message import NULL, Value

Members = dict[str, Any]
Word = tuple[str, str, str]

ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
# More digits than any device measures, and exponents that nobody means.
_MOST_DIGITS = 40
_PLAIN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_COMPARED = re.compile(r"(<=|>=|=<|=>|<|>|≤|≥|=)?\s*(.*)", re.DOTALL)
_COMPARATORS = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "=": ""}
_CLOCK = re.compile(r"([01]\d|2[0-3])([0-5]\d)?([0-5]\d)?(\.\d{1,6})?([+-]\d{4})?", re.ASCII)
_WRITTEN_DATE = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?", re.ASCII)
_TEXTS = frozenset({"ST", "TX", "FT", "", "ID"})
_CODED = frozenset({"CE", "CWE", "CNE", "CF", "CD", "IS"})


@dataclass(frozen=True, slots=True)
class Attached:
    """What is no value of an Observation but a document or picture; `data` is base64, '' where only `url` says where it is."""

    content_type: str
    data: str
    title: str = ""
    url: str = ""


class Reading(Struct, frozen=True):
    """What a value became: members of an Observation; '' or what a person must know; a status if the value says one."""

    members: Members = {}
    problem: str = ""
    status: str = ""
    attached: tuple[Attached, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.members and not self.attached


NOTHING = Reading()
Concept = Callable[[Value], dict[str, Any] | None]
Time = Callable[[str], str | None]


class Reader(Struct, frozen=True):
    """Reads values by the rules of a profile. `concept` reads a coded value, `time` a time in the sender's zone."""

    rules: ValueRules
    concept: Concept
    time: Time

    @maps("OBX-5")
    def read(
        self,
        kind: str,
        values: tuple[Value, ...],
        unit: Unit = NONE,
        words: Mapping[str, Word] | None = None,
        decimals: int | None = None,
    ) -> Reading:
        """The value of OBX-5 by OBX-2. `words` and `decimals` are those of the test."""
        if self.rules.types:
            kind = self.rules.types.get(kind, kind)
        if len(values) > 1:
            values = tuple([one for one in values if not one.empty])
        if not values:
            return NOTHING
        if len(values) == 1:
            only = values[0]
            if only.raw == NULL:
                return _absent("unknown")
            return NOTHING if only.empty else self._one(kind, only, unit, words or {}, decimals)
        if all(one.raw == NULL for one in values):
            return _absent("unknown")
        if kind in _TEXTS:
            return self._text("\n".join(one.whole() for one in values), kind, unit, words or {}, decimals)
        read = [self._one(kind, one, unit, words or {}, decimals) for one in values]
        return _together([one for one in read if not one.empty])

    def _one(
        self, kind: str, value: Value, unit: Unit, words: Mapping[str, Word], decimals: int | None
    ) -> Reading:
        if kind == "NM":
            return self._number(self._told(value), unit, words, decimals)
        if kind in _TEXTS:
            text = self._told(value) if value.delimiters.component in value.raw else value.whole().strip()
            return self._text(text, kind, unit, words, decimals)
        if kind in _CODED:
            return self._coded(value, words)
        structured = {
            "SN": self._structured,
            "DT": self._time,
            "TS": self._time,
            "DTM": self._time,
            "TM": self._clock,
            "DR": self._period,
            "ED": self._data,
            "RP": self._pointer,
            "NA": self._array,
            "MA": self._array,
            "SI": self._integer,
        }.get(kind)
        return structured(value, unit) if structured is not None else _string(_shown(value))

    def _told(self, value: Value) -> str:
        """The component that counts."""
        if self.rules.component:
            return value.text(self.rules.component).strip()
        marks = value.delimiters
        if marks.component not in value.raw and marks.escape not in value.raw:
            return entities(value.raw, marks).strip()
        return next((part.strip() for part in value.components() if part.strip()), "")

    # texts and numbers

    def _text(
        self, text: str, kind: str, unit: Unit, words: Mapping[str, Word], decimals: int | None
    ) -> Reading:
        known = self._known(text, words)
        if known is not None:
            return known
        wanted = self.rules.numeric_text
        if wanted == "always" or (wanted == "with-unit" and unit is not NONE and kind in ("ST", "")):
            quantity = self._quantity(text, unit, decimals)
            if quantity is not None:
                return Reading({"valueQuantity": quantity})
            if _is_doubtful(text):
                return Reading(
                    {"valueString": text}, f"{text!r} may be a number, but no rule says how to read it."
                )
        return _string(text)

    def _number(self, text: str, unit: Unit, words: Mapping[str, Word], decimals: int | None) -> Reading:
        known = self._known(text, words)
        if known is not None:
            return known
        quantity = self._quantity(text, unit, decimals)
        if quantity is not None:
            return Reading({"valueQuantity": quantity})
        if not text:
            return NOTHING
        return Reading(
            {"valueString": text}, f"{text!r} is said to be a number, but no rule says how to read it."
        )

    def _known(self, text: str, words: Mapping[str, Word]) -> Reading | None:
        """A text that stands for no value, or for something that has a code."""
        for sentinel in self.rules.sentinels:
            if sentinel.pattern.fullmatch(text):
                return _absent(sentinel.absent, sentinel.status)
        if not words and not self.rules.words:
            return None
        key = word_key(text)
        word = words.get(key) or self.rules.words.get(key)
        return None if word is None else Reading({"valueCodeableConcept": _worded(word, text)})

    def _quantity(self, text: str, unit: Unit, decimals: int | None) -> Members | None:
        """A Quantity, with its comparator; None when the text is no number by the rules."""
        comparator, number = "", self.number(text)
        if number is None:
            found = _COMPARED.fullmatch(text.strip())
            assert found is not None
            comparator, number = found[1] or "", self.number(found[2])
            comparator = _COMPARATORS.get(comparator, comparator)
        if number is None:
            return None
        if decimals is not None:
            number = number.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
        made: Members = {"value": number}
        if comparator:
            made["comparator"] = comparator
        if unit.text or unit.code:
            made.update(unit.members())
        return made

    def number(self, text: str) -> Decimal | None:
        """The number that a text writes by the rules, with its digits; None when it is none."""
        text = text.strip()
        if len(text) > 2 * _MOST_DIGITS:
            # longer than a number with all the separators it can have
            return None
        mark, thousands = self.rules.decimal, self.rules.thousands
        plain = mark == "." and not thousands and text.isascii() and text.replace(".", "", 1).isdecimal()
        if plain and len(text) <= _MOST_DIGITS:
            # digits and a point, as nearly all are
            return Decimal(text)
        if thousands and thousands in text:
            whole, _, rest = text.partition(mark) if len(mark) == 1 else (text, "", "")
            if thousands in rest or not _grouped(whole, thousands):
                return None
            text = whole.replace(thousands, "") + (f".{rest}" if rest else "")
        elif mark != ".":
            if "." in text and "." not in mark:
                return None
            if "," in text and ("." in text or text.count(",") > 1):
                return None
            text = text.replace(",", ".")
        found = _PLAIN.fullmatch(text)
        if found is None or len(text) > _MOST_DIGITS:
            return None
        return Decimal(text)

    # what has structure

    def _coded(self, value: Value, words: Mapping[str, Word]) -> Reading:
        told = [
            part for part in (value.text(1), value.text(2), value.text(9)) if part.strip() not in ("", NULL)
        ]
        if not told and not value.text(4).strip():
            return NOTHING
        for part in told:
            known = self._known(part.strip(), words)
            if known is None:
                continue
            concept = self.concept(value)
            meant = known.members.get("valueCodeableConcept")
            if meant is None or concept is None:
                return known
            # what the device said stays beside what it means
            return Reading(
                {
                    "valueCodeableConcept": {
                        "coding": [*meant["coding"], *concept.get("coding", [])],
                        "text": concept.get("text", meant["text"]),
                    }
                }
            )
        concept = self.concept(value)
        return NOTHING if concept is None else Reading({"valueCodeableConcept": concept})

    def _structured(self, value: Value, unit: Unit) -> Reading:
        """SN: comparator^number^separator^number."""
        mark, first, separator, second = (value.text(n).strip() for n in (1, 2, 3, 4))
        low, high = self.number(first), self.number(second)
        shown = f"{mark}{first}{separator}{second}"
        if mark in ("", "=") and separator == "-" and low is not None and high is not None and low <= high:
            return Reading(
                {
                    "valueRange": {
                        "low": {"value": low, **unit.members()},
                        "high": {"value": high, **unit.members()},
                    }
                }
            )
        if separator in (":", "/") and low is not None and high is not None:
            over: Members = {"value": low}
            comparator = _COMPARATORS.get(mark, mark)
            if comparator in ("<", ">", "<=", ">="):
                over["comparator"] = comparator
            elif comparator:
                return Reading({"valueString": shown}, f"{shown!r} cannot be told as a ratio.")
            return Reading({"valueRatio": {"numerator": over, "denominator": {"value": high}}})
        if (
            low is not None
            and not separator
            and not second
            and mark in ("", "=", "<", ">", "<=", ">=", "≤", "≥")
        ):
            made: Members = {"value": low}
            comparator = _COMPARATORS.get(mark, mark)
            if comparator:
                made["comparator"] = comparator
            return Reading({"valueQuantity": {**made, **unit.members()}})
        if not shown:
            return NOTHING
        if separator == "+" and low is not None and not second:
            # a grade such as 2+
            return _string(shown)
        return Reading({"valueString": shown}, f"{shown!r} cannot be read as a structured number.")

    def _time(self, value: Value, unit: Unit) -> Reading:
        text = value.text(1).strip()
        told = self.time(text) or _written_date(text, self.time)
        if told is None:
            return Reading({"valueString": text}, f"{text!r} is no time.") if text else NOTHING
        return Reading({"valueDateTime": told})

    def _clock(self, value: Value, unit: Unit) -> Reading:
        text = value.text(1).strip()
        found = _CLOCK.fullmatch(text)
        if found is None or found[5] is not None or found[2] is None:
            return Reading({"valueString": text}, f"{text!r} is no time of day.") if text else NOTHING
        return Reading({"valueTime": f"{found[1]}:{found[2]}:{found[3] or '00'}{found[4] or ''}"})

    def _period(self, value: Value, unit: Unit) -> Reading:
        start, end = self.time(value.text(1)), self.time(value.text(2))
        if start is None and end is None:
            return Reading({"valueString": _shown(value)}, f"{_shown(value)!r} is no period.")
        told = {"start": start, "end": end}
        return Reading({"valuePeriod": {name: text for name, text in told.items() if text is not None}})

    def _integer(self, value: Value, unit: Unit) -> Reading:
        text = value.text(1).strip()
        if re.fullmatch(r"[+-]?\d{1,9}", text, re.ASCII):
            return Reading({"valueInteger": int(text)})
        return Reading({"valueString": text}, f"{text!r} is no integer.")

    def _array(self, value: Value, unit: Unit) -> Reading:
        """NA and MA: R4 would have a period and an origin with them, which nobody told; so they stay text unless there is one number."""
        told = [part.strip() for part in value.components() if part.strip()]
        numbers = [self.number(part) for part in told]
        if len(numbers) == 1 and numbers[0] is not None:
            return Reading({"valueQuantity": {"value": numbers[0], **unit.members()}})
        shown = " ".join(told)
        if all(number is not None for number in numbers):
            return _string(shown)
        return Reading({"valueString": shown}, f"{shown!r} is no array of numbers.")

    @maps("ED.1", "ED.2", "ED.3", "ED.4", "ED.5")
    def _data(self, value: Value, unit: Unit) -> Reading:
        kind, subtype, encoding = (value.text(n).strip() for n in (2, 3, 4))
        data = value.text(5).strip() or _base64_of_last(value)
        if not data:
            return NOTHING
        content_type = media_type(kind, subtype)
        if encoding.casefold() == "base64":
            compact = "".join(data.split())
            if not _is_base64(compact):
                return Reading(problem="The embedded data are not base64.", members={"valueString": "(data)"})
            return Reading(attached=(Attached(content_type, compact, value.text(1).strip()),))
        if encoding.casefold() in ("a", "ascii", ""):
            from base64 import b64encode

            told = b64encode(data.encode()).decode()
            return Reading(attached=(Attached(content_type or "text/plain", told, value.text(1).strip()),))
        return Reading(
            problem=f"Data in the encoding {encoding!r} cannot be read.", members={"valueString": "(data)"}
        )

    @maps("RP.1", "RP.2", "RP.3", "RP.4")
    def _pointer(self, value: Value, unit: Unit) -> Reading:
        # an address, in which `&` parts no subcomponents
        pointer = unescape(value.raw_component(1), value.delimiters).strip()
        if re.match(r"(https?|ftp|file)://\S+$", pointer):
            content_type = media_type(value.text(3).strip(), value.text(4).strip())
            return Reading(attached=(Attached(content_type, "", value.text(2).strip(), pointer),))
        return _string(pointer) if pointer else NOTHING


_MEDIA = {
    "im": "image", "image": "image", "multipart": "multipart", "ap": "application", "application": "application",
    "au": "audio", "audio": "audio", "video": "video", "text": "text", "tx": "text", "ft": "text", "ns": "application",
}  # fmt: skip
_SUBTYPES = {
    "pict": "x-pict", "octet-stream": "octet-stream", "rtf": "rtf", "jpg": "jpeg", "tif": "tiff", "text": "plain", "txt": "plain",
}  # fmt: skip


def media_type(kind: str, subtype: str) -> str:
    """The media type of ED.2 and ED.3 (tables 0191 and 0291); '' when it is not surely known."""
    if "/" in kind:
        return kind.lower()
    main = _MEDIA.get(kind.casefold(), "")
    lower = subtype.casefold()
    lower = _SUBTYPES.get(lower, lower)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", lower):
        return "application/octet-stream" if main in ("application", "") else ""
    if lower in ("pdf", "rtf", "octet-stream", "dicom", "msword", "xml", "json"):
        return f"application/{lower}"
    if lower in ("jpeg", "png", "gif", "tiff", "bmp"):
        return f"image/{lower}"
    return f"{main}/{lower}" if main else ""


def _base64_of_last(value: Value) -> str:
    """Some senders put the data one component further on."""
    return value.text(6).strip()


def _is_base64(text: str) -> bool:
    return len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text) is not None


def _written_date(text: str, time: Time) -> str | None:
    """2026/10/05 12:00:00 and its like, year first: read as the digits that they are."""
    found = _WRITTEN_DATE.fullmatch(text)
    return None if found is None else time("".join(part for part in found.groups() if part is not None))


def written_time(text: str, time: Time) -> str | None:
    """A time as the standard writes it, or with separators and the year first; None when it is neither."""
    return time(text) or _written_date(text.strip(), time)


def _grouped(text: str, thousands: str) -> bool:
    first, *rest = text.lstrip("+-").split(thousands)
    return (
        1 <= len(first) <= 3
        and first.isdigit()
        and all(len(group) == 3 and group.isdigit() for group in rest)
    )


def _is_doubtful(text: str) -> bool:
    """Whether a text is made of digits and marks that could be a number in some country."""
    return re.fullmatch(r"[<>=≤≥]*\s*[+-]?\d{1,3}([., ']\d+)+", text, re.ASCII) is not None


def _absent(reason: str, status: str = "") -> Reading:
    return Reading({"dataAbsentReason": absent_reason(reason)}, status=status)


def absent_reason(code: str) -> Members:
    """A dataAbsentReason."""
    return {"coding": [{"system": ABSENT, "code": code}]}


def _worded(word: Word, text: str) -> Members:
    system, code, display = word
    coding = {"system": system, "code": code}
    if display:
        coding["display"] = display
    return {"coding": [coding], "text": text}


def _string(text: str) -> Reading:
    text = text.strip()
    return Reading({"valueString": text}) if text else NOTHING


def _shown(value: Value) -> str:
    return " ".join(part.strip() for part in value.components() if part.strip() not in ("", NULL))


def _together(read: list[Reading]) -> Reading:
    """Several values of one result: the attached ones together, the others each as a component."""
    if not read:
        return NOTHING
    if len(read) == 1:
        return read[0]
    problem = " ".join(one.problem for one in read if one.problem)
    attached = tuple(file for one in read for file in one.attached)
    told = [one.members for one in read if one.members]
    if len(told) == 1:
        return Reading(told[0], problem, "", attached)
    return Reading({"component": told} if told else {}, problem, "", attached)
