"""OBX: one result as it was told, and whether it counts as one by the device's rules.

https://hl7.org/fhir/uv/v2mappings/ (OBX to Observation); what becomes of it stands in `results.observations`.
"""

from __future__ import annotations

from hl7_bridge.devices.conditions import Pick
from hl7_bridge.devices.profile import ResultRules
from hl7_bridge.mapping.results.events import Observed
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import NULL, Segment, Value

SKIPS = {
    "OBX-1": "The number of the segment says nothing of the result; problems name it.",
    "OBX-9": "A probability has no element; profiles read it where devices put words there.",
    "OBX-10": "What kind of population the range is for is kept in the raw message.",
    "OBX-12": "The date of the reference range is kept in the raw message.",
    "OBX-13": "Who may see a result is decided by the server.",
    "OBX-22, OBX-26..28": "Moods and other attributes of the segment are kept in the raw message.",
    "OBX-24": "The address of the performing laboratory is that of its Organization.",
    "OBX-29": "What kind of observation it is decides by the profile whether it is a result.",
    "OBX-30": "The root cause of a correction is kept in the raw message.",
}


def counts(segment: Segment, rules: ResultRules) -> bool:
    """Whether an OBX is a result."""
    if rules.counts and not any(condition.of(segment) for condition in rules.counts):
        return False
    return not rules.ignored or not any(condition.of(segment) for condition in rules.ignored)


@maps(
    "OBX-2", "OBX-3", "OBX-4", "OBX-6", "OBX-7", "OBX-8", "OBX-11", "OBX-14", "OBX-15", "OBX-16",
    "OBX-17", "OBX-18", "OBX-19", "OBX-20", "OBX-21", "OBX-23", "OBX-25",
)  # fmt: skip
def observed_of(segment: Segment, notes: list[Segment], rules: ResultRules) -> Observed:
    """The event of an OBX with its NTE."""
    values, value, text = segment.values, segment.value, segment.text
    told = segment.fields
    length = len(told)
    observed = Observed(
        _code(segment, rules) if rules.code else value(3),
        _kind(text(2)),
        values(5),
    )
    if length > 4 and told[4]:
        observed.sub = _clean(text(4))
    if length > 6 and told[6]:
        observed.unit = value(6)
    if length > 7 and told[7]:
        observed.range = _range(value(7))
    if rules.flags or (length > 8 and told[8]):
        observed.flags = _flags(segment, notes, rules)
    if length > 11 and told[11]:
        observed.status = _clean(text(11)).upper()
    if length > 14 and told[14]:
        observed.observed = text(14)
    if rules.name:
        observed.name = first(rules.name, segment)
    if length < 16:
        return observed
    raw = segment.raw
    if raw(15):
        observed.producer = value(15)
    if raw(16) or raw(25):
        observed.observers = (*values(16), *values(25))
    if raw(17):
        observed.methods = values(17)
    if raw(18):
        observed.devices = values(18)
    if raw(19):
        observed.analysed = text(19)
    if raw(20):
        observed.sites = values(20)
    if raw(21):
        observed.identifier = value(21)
    if raw(23):
        observed.laboratory = value(23)
    return observed


def first(picks: tuple[Pick, ...], segment: Segment) -> str:
    """The first text that one of the picks finds in the segment."""
    return next((found for pick in picks if (found := pick.of(segment))), "")


def _code(segment: Segment, rules: ResultRules) -> Value:
    """OBX-3, or the code that the profile finds elsewhere."""
    value = segment.value(3)
    code = first(rules.code, segment)
    if not code or code == value.text(1):
        return value
    made = segment.delimiters
    name, system = value.text(2) or first(rules.name, segment), value.text(3)
    if any(mark in code + name for mark in (made.component, made.subcomponent, made.escape)):
        name = "".join(character for character in name if character not in made.component + made.subcomponent)
    return Value(made.component.join((code, name, system)), made)


def _kind(told: str) -> str:
    return "" if told == NULL else told.strip().upper()


def _flags(segment: Segment, notes: list[Segment], rules: ResultRules) -> tuple[str, ...]:
    if not rules.flags:
        if segment.delimiters.repetition not in segment.raw(8):
            flag = _clean(segment.text(8))
            return (flag,) if flag else ()
        return tuple([flag for one in segment.values(8) if (flag := _clean(one.text(1)))])
    found: list[str] = []
    for pick in rules.flags:
        places = [segment] if pick.segment == "OBX" else [note for note in notes if note.name == pick.segment]
        if pick.segment == "OBX" and pick.field == 8 and pick.pattern is None:
            found += [flag for one in segment.values(8) if (flag := _clean(one.text(1)))]
        else:
            found += [flag for place in places if (flag := pick.of(place))]
    return tuple(dict.fromkeys(found))


def _range(value: Value) -> str:
    text = _clean(value.whole())
    return "" if not text.strip("-*^ ") else text


def _clean(text: str) -> str:
    text = text.strip()
    return "" if text == NULL else text
