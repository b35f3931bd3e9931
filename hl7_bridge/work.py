"""Work queues: what a person has to look at is a Task. https://hl7.org/fhir/R4/task.html

A Task is `requested` until somebody resolves it, `accepted` while what waits for it is mapped again, then `completed`; one that has
nothing left to resolve is `cancelled`. Messages that wait for the same thing (a code, an identifier) wait for the same Task.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from fhir_r4.temporal import format_instant
from hl7_bridge.delivery import Resource
from hl7_bridge.journal import State, plain
from hl7_bridge.mapping.draft import Problem
from hl7_bridge.mapping.records import Receipt
from hl7_bridge.reasons import REASON_SYSTEM, REASONS

INPUT = "https://osler.health/fhir/CodeSystem/hl7-input"
# what is resolved once for all messages that it stops; everything else is about one message
MAPPED = frozenset({"unmapped-code", "unmapped-unit"})
SHARED = frozenset({"unmatched-patient", "unmatched-specimen", "unmatched-location", "ambiguous-identifier"})
# what a resource with the identifier resolves when it comes
AWAITED = {
    "Patient": ("unmatched-patient",),
    "Specimen": ("unmatched-specimen",),
    "ServiceRequest": ("unmatched-specimen",),
    "Location": ("unmatched-location",),
}
# the fields whose codes and units are those of a profile's results
OF_RESULTS = frozenset({"", "OBX-3", "OBX-6"})
_PLACE = re.compile(r"\[[^]]*\]")
# a message that names nobody cannot be linked to anybody
NOTHING_TO_LINK = "Have the sender tell whose it is and send it anew, then discard this one with a reason."
LETTERS = frozenset({"dead-letter", "refused", "unregistered-source", "ambiguous-source"})
OPEN = frozenset({"requested", "received", "in-progress", "on-hold", "ready"})
# not resolved, or resolved and what waits is being seen to
GOING_ON = OPEN | {"accepted"}
URGENT = frozenset({"unmatched-patient", "held-result", "dead-letter", "refused"})


def task_id(problem: Problem, receipt: Receipt, profile: str) -> str:
    """The same for all messages that wait for the same thing: codes and units are those of a profile, identifiers everybody's, types of messages a connection's."""
    if problem.reason in MAPPED and problem.value:
        field = field_of(problem.path)
        # codes of other fields than that of results mean something else
        about = f"{profile}\0{problem.value}" + (f"\0{field}" if field not in OF_RESULTS else "")
    elif problem.reason in SHARED and problem.value:
        about = problem.value
    elif problem.reason == "unmapped-type":
        about = f"{receipt.connection}\0{problem.value}"
    else:
        about = f"{receipt.id}\0{problem.path}"
    return _id(problem.reason, about)


def field_of(path: str) -> str:
    """The field of a path, wherever in the message it stands: OBX-3 of OBX[2]-3."""
    return _PLACE.sub("", path)


def awaiting(type: str, system: str, value: str) -> list[str]:
    """The ids of the Tasks that a resource of the type with this identifier resolves, if there are such Tasks."""
    return [_id(reason, f"{system}|{value}") for reason in AWAITED.get(type, ())]


def _id(reason: str, about: str) -> str:
    return "hl7-" + hashlib.sha256(f"{reason}\0{about}".encode("utf-8", "surrogatepass")).hexdigest()[:40]


def task_of(problem: Problem, receipt: Receipt, profile: str, now: int) -> Resource:
    """The Task of a problem."""
    wrong, resolves = REASONS.get(problem.reason, ("The message needs a look.", "Replay or discard it."))
    if problem.reason in SHARED and not problem.value:
        resolves = NOTHING_TO_LINK
    inputs = [
        ("connection", receipt.connection),
        ("profile", profile),
        ("path", problem.path),
        ("value", problem.value),
    ]
    return {
        "resourceType": "Task",
        "id": task_id(problem, receipt, profile),
        "status": "requested",
        "intent": "order",
        "priority": "urgent" if problem.reason in URGENT else "routine",
        "code": {
            "coding": [{"system": REASON_SYSTEM, "code": problem.reason, "display": wrong}],
            "text": plain(problem.text) or wrong,
        },
        "description": resolves,
        "focus": {"reference": f"Binary/{receipt.id}"},
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
        "input": [
            {"type": {"coding": [{"system": INPUT, "code": code}]}, "valueString": plain(value)}
            for code, value in inputs
            if plain(value)
        ],
    }


def with_status(task: Mapping[str, Any], status: str, now: int, why: str = "") -> Resource:
    """The Task in another status."""
    changed = {**task, "status": status, "lastModified": format_instant(now)}
    return {**changed, "statusReason": {"text": why}} if why else changed


def resolved(task: Mapping[str, Any], how: str, now: int, decision: str = "", why: str = "") -> Resource:
    """The Task with its resolution, which the bridge carries out: `discard` gives up what waits, all else maps it again."""
    outputs = [("resolution", how), ("decision", decision)]
    made = [
        {"type": {"coding": [{"system": INPUT, "code": code}]}, "valueString": text}
        for code, text in outputs
        if text
    ]
    return {**with_status(task, "accepted", now, why), "output": made}


def resolution_of(task: Mapping[str, Any]) -> tuple[str, str]:
    """How a Task was resolved, and what was decided about the one message that it is about; '' without."""
    found = {"resolution": "", "decision": ""}
    for one in task.get("output", ()):
        for coding in one["type"].get("coding", ()):
            if coding.get("system") == INPUT and coding.get("code") in found:
                found[coding["code"]] = str(one.get("valueString", ""))
    return found["resolution"], found["decision"]


def reason_of(task: Mapping[str, Any]) -> str | None:
    """The reason of a Task of the bridge, None for another Task."""
    codings = task.get("code", {}).get("coding", ())
    return next((c.get("code") for c in codings if c.get("system") == REASON_SYSTEM), None)


def input_of(task: Mapping[str, Any], name: str) -> str:
    """What a Task was given: `connection`, `profile`, `path` or `value`; '' without."""
    for one in task.get("input", ()):
        if any(c.get("system") == INPUT and c.get("code") == name for c in one["type"].get("coding", ())):
            return str(one.get("valueString", ""))
    return ""


def state_for(problem: Problem) -> State:
    """The state of a message that a problem holds."""
    if problem.reason == "incomplete":
        return "incomplete"
    return "dead-letter" if problem.reason in LETTERS else "held"
