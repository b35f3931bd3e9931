"""A message that is to be sent, and how it is kept until the other side has it: a Communication, with its bytes in a Binary.

https://hl7.org/fhir/R4/communication.html. Status `preparation`: it waits or is on its way; `completed`: the other side has it; `on-hold`:
it was answered with an error and waits for a person, or waits behind such a one; `not-done`: it was rejected or given up. Who sets
`preparation` again sends it again, under a new control id. An invariant to keep: the id follows from the destination and from what
led to the message, so nothing is sent twice because it was looked at twice.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fhir_r4.temporal import format_instant
from hl7_bridge.delivery import Resource
from hl7_bridge.message import parse
from hl7_bridge.reasons import REASON_SYSTEM, REASONS
from hl7_bridge.serializer import Route, Segment, build, header

DESTINATION = "https://osler.health/fhir/CodeSystem/hl7-destination"
MESSAGE = "https://osler.health/fhir/CodeSystem/hl7-message"
NUMBERS = "https://osler.health/fhir/hl7v2/outgoing"
CONTROL_ID = "https://osler.health/fhir/StructureDefinition/hl7-control-id"
REPLAYS = "https://osler.health/fhir/StructureDefinition/hl7-replays"
BEHIND = "https://osler.health/fhir/StructureDefinition/hl7-behind"
CONTENT = "x-application/hl7-v2+er7"
# MSH-10 has 20 characters in version 2.5.1
LONGEST_CONTROL_ID = 20


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent: MSH-9 and the segments after the header. `subject` is the reference to the patient, '' for nobody."""

    type: tuple[str, str, str]
    segments: Sequence[Segment]
    subject: str
    about: str

    @property
    def name(self) -> str:
        """ADT^A01."""
        return "^".join(self.type[:2])


def entry_id(destination: str, sequence: int, number: int) -> str:
    """The id of the Communication and of the Binary; `sequence` is that of the version that led to the message."""
    said = f"{destination}\0{sequence}\0{number}"
    return "hl7-out-" + hashlib.sha256(said.encode()).hexdigest()[:40]


def control_id(id: str, replays: int) -> str:
    """MSH-10: the same for each attempt, another for each replay."""
    said = hashlib.sha256(f"{id}\0{replays}".encode()).hexdigest()
    return said[:LONGEST_CONTROL_ID].upper()


def binary_of(id: str, raw: bytes) -> Resource:
    """The bytes of a message."""
    data = base64.b64encode(raw).decode()
    return {"resourceType": "Binary", "id": id, "contentType": CONTENT, "data": data}


def bytes_of(binary: Resource) -> bytes:
    return base64.b64decode(binary["data"])


def written(
    outgoing: Outgoing, id: str, now: int, route: Route, accept: str = "", application: str = ""
) -> bytes:
    """The bytes of a message that is made at `now` (microseconds)."""
    time = datetime.fromtimestamp(now // 1_000_000, UTC)
    head = header(route, outgoing.type, control_id(id, 0), time, accept=accept, application=application)
    return build([head, *outgoing.segments])


def communication_of(outgoing: Outgoing, id: str, destination: str, number: str) -> Resource:
    """The Communication of a message that waits; `number` orders the messages of a destination."""
    made: Resource = {
        "resourceType": "Communication",
        "id": id,
        "meta": {"tag": [{"system": DESTINATION, "code": destination}]},
        "extension": [{"url": CONTROL_ID, "valueString": control_id(id, 0)}],
        "identifier": [{"system": f"{NUMBERS}/{destination}", "value": number}],
        "status": "preparation",
        "topic": {"coding": [{"system": MESSAGE, "code": outgoing.name}]},
    }
    if outgoing.subject:
        made["subject"] = {"reference": outgoing.subject}
    made["about"] = [{"reference": outgoing.about}]
    made["recipient"] = [{"display": destination}]
    made["payload"] = [{"contentReference": {"reference": f"Binary/{id}"}}]
    return made


def number_of(communication: Resource) -> str:
    """What orders the messages of a destination."""
    return str(communication["identifier"][0]["value"])


def ended(communication: Resource, status: str, why: str, now: int) -> Resource:
    """The Communication after it was answered, or given up."""
    made = {name: value for name, value in communication.items() if name not in ("statusReason", "sent")}
    made = {**made, "status": status}
    if why:
        made["statusReason"] = {"text": why}
    if status == "completed":
        made["sent"] = format_instant(now)
    replays = _extension(communication, REPLAYS, 0)
    return _with(made, REPLAYS, {"valueUnsignedInt": replays + 1})


def behind(communication: Resource, other: str) -> Resource:
    """The Communication while it waits behind another that is held."""
    made = {**communication, "status": "on-hold", "statusReason": {"text": "An earlier message is held."}}
    return _with(made, BEHIND, {"valueString": other})


def is_behind(communication: Resource) -> bool:
    return any(one["url"] == BEHIND for one in communication.get("extension", []))


def released(communication: Resource) -> Resource:
    """The Communication that waits no more behind another."""
    extensions = [one for one in communication.get("extension", []) if one["url"] != BEHIND]
    made = {name: value for name, value in communication.items() if name != "statusReason"}
    return {**made, "status": "preparation", "extension": extensions}


def is_replay(communication: Resource) -> bool:
    """Whether a message that waits has been answered or given up before."""
    told = _extension(communication, CONTROL_ID, "")
    return bool(told != control_id(communication["id"], _extension(communication, REPLAYS, 0)))


def replayed(communication: Resource, raw: bytes) -> tuple[Resource, bytes]:
    """The Communication and the bytes under a new control id."""
    told = control_id(communication["id"], _extension(communication, REPLAYS, 0))
    return _with(communication, CONTROL_ID, {"valueString": told}), with_control_id(raw, told)


def with_control_id(raw: bytes, told: str) -> bytes:
    """The bytes of a message with another MSH-10."""
    message = parse(raw)
    mark = message.delimiters.field
    head, end, rest = raw.partition(b"\r")
    fields = head.decode(message.charset).split(mark)
    fields[9] = told
    return mark.join(fields).encode(message.charset) + end + rest


def task_of(communication: Resource, reason: str, why: str, now: int) -> Resource:
    """The Task of a message that a person must look at."""
    wrong, resolves = REASONS[reason]
    return {
        "resourceType": "Task",
        "id": communication["id"],
        "meta": {"tag": communication["meta"]["tag"]},
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": {
            "coding": [{"system": REASON_SYSTEM, "code": reason, "display": wrong}],
            "text": why or wrong,
        },
        "description": resolves,
        "focus": {"reference": f"Communication/{communication['id']}"},
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
    }


def destination_of(resource: Resource) -> str:
    """The destination of a Communication or Task, '' for one of something else."""
    tags = resource.get("meta", {}).get("tag", [])
    return next((str(one.get("code", "")) for one in tags if one.get("system") == DESTINATION), "")


def _extension(resource: Resource, url: str, default: Any) -> Any:
    for one in resource.get("extension", []):
        if one.get("url") == url:
            return next(value for name, value in one.items() if name.startswith("value"))
    return default


def _with(resource: Resource, url: str, value: dict[str, Any]) -> Resource:
    kept = [one for one in resource.get("extension", []) if one.get("url") != url]
    return {**resource, "extension": [*kept, {"url": url, **value}]}
