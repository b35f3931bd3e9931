"""Which of two tellings of one result holds: the rule for everything that comes late, twice, or in another order.

An invariant to keep: a lower rank never replaces a higher one, so whatever the order of arrival, the records end up the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fhir_r4.temporal import parse_interval
from hl7_bridge.mapping.tables.results import RANKS

Outcome = Literal["write", "keep", "same", "hold"]

# What says the value of a result, and goes with it.
VALUE_MEMBERS = ("dataAbsentReason", "component", "interpretation", "referenceRange", "note", "extension")


def decide(old: Mapping[str, Any], new: Mapping[str, Any], repeat: str) -> Outcome:
    """What happens to an Observation that is there when another telling of it comes.

    `same`: both tell the same; what was told beside the value may be newer. `repeat` is the profile's rule for another value of
    the same rank that comes later.
    """
    before, after = RANKS.get(old.get("status", ""), 0), RANKS.get(new["status"], 0)
    if after != before:
        return "write" if after > before else "keep"
    if new["status"] == "entered-in-error":
        return "same"
    then, now = when(old), when(new)
    alike = is_alike(old, new)
    if now < then:
        return "keep"
    if now == then:
        return "same" if alike else "hold"
    if not alike and repeat == "hold" and old.get("status") == "final" and new["status"] == "final":
        return "hold"
    return "write"


def decide_report(old: Mapping[str, Any], new: Mapping[str, Any]) -> Outcome:
    """What happens to a DiagnosticReport that is there: its status and times are those of the later or higher telling."""
    before, after = RANKS.get(old.get("status", ""), 0), RANKS.get(new["status"], 0)
    if after != before:
        return "write" if after > before else "keep"
    return "keep" if when(new) < when(old) else "write"


def when(resource: Mapping[str, Any]) -> int:
    """When it was issued, in microseconds; the beginning of time when it does not say."""
    told = resource.get("issued")
    return 0 if told is None else parse_interval(told)[0]


def value_of(resource: Mapping[str, Any]) -> dict[str, Any]:
    """What the Observation says was found: value, absence or components. Numbers are compared with their digits."""
    return {
        name: _exact(member)
        for name, member in resource.items()
        if name.startswith("value") or name in ("dataAbsentReason", "component")
    }


def is_alike(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether both tell the same value, though more may be known by now of the unit or code that was told."""
    before, after = value_of(old), value_of(new)
    if before == after:
        return True
    return before.keys() == after.keys() and all(_same(before[name], after[name]) for name in before)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    if not isinstance(before, dict) or not isinstance(after, dict):
        return bool(before == after)
    if "coding" in before and "coding" in after:
        said, now = before["coding"], after["coding"]
        more, less = (now, said) if len(now) > len(said) else (said, now)
        return before.get("text") == after.get("text") and all(one in more for one in less)
    # a unit that was told in words, and its code
    names = before.keys() | after.keys()
    if "value" in names and "unit" in names:
        names -= {"code", "system"} if before.get("code") is None or after.get("code") is None else set()
    return all(_same(before.get(name), after.get(name)) for name in names)


def _exact(member: Any) -> Any:
    if isinstance(member, dict):
        return {name: _exact(one) for name, one in member.items()}
    if isinstance(member, list):
        return [_exact(one) for one in member]
    return member if isinstance(member, bool) else str(member)


def without_value(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The resource without what a new telling replaces."""
    return {
        name: member
        for name, member in resource.items()
        if not name.startswith("value") and name not in VALUE_MEMBERS
    }
