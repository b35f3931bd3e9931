"""Task/$resolve: a person says what is to be done about what the HL7 v2 bridge could not do. docs/bridge.md

What is decided (a number given to a patient, a code mapped) and the Task are written in one commit. The bridge then carries it out:
it maps again what waits for the Task, in order and once, and completes the Task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_r4.errors import BusinessRule, InvalidRequest, NotFound
from fhir_r4.temporal import format_instant
from fhir_r4.ucum.conversion import conversion
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.change import Known
from fhir_server.resources.scheduling.rules import local_reference
from hl7_bridge.mapping.results.codes import FIELD
from hl7_bridge.work import OF_RESULTS, OPEN, field_of, input_of, reason_of, resolved

RESOLVE = "https://osler.health/fhir/OperationDefinition/Task-resolve"
MAP = "https://osler.health/fhir/ConceptMap/"
UCUM = "http://unitsofmeasure.org"
ACTIVITY = "https://osler.health/fhir/CodeSystem/hl7-resolution"
PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
GENDER = "http://hl7.org/fhir/administrative-gender"
KINDS = "http://terminology.hl7.org/CodeSystem/v2-0017"
# what the code of a field may become, where that is not any code
TARGETS = {
    "PID-8": frozenset((GENDER, code) for code in ("male", "female", "other", "unknown")),
    "FT1-6": frozenset((KINDS, code) for code in ("CG", "CD", "DB")),
}
# the reasons for which an action is an answer
ANSWERS: Mapping[str, frozenset[str]] = {
    "link": frozenset({"unmatched-patient", "unmatched-specimen"}),
    "map-code": frozenset({"unmapped-code"}),
    "map-unit": frozenset({"unmapped-unit"}),
    "choose": frozenset({"held-result"}),
}
ACTIONS = (*ANSWERS, "replay", "discard")
# what may be linked for a number of a patient, or of a specimen or order
LINKED = {
    "unmatched-patient": ("Patient",),
    "unmatched-specimen": ("Specimen", "ServiceRequest", "Patient"),
}


async def resolve(call: OperationCall, services: Services) -> FhirResponse:
    """The Task, accepted: what waits for it is seen to within seconds."""
    asked = given(call, RESOLVE)
    action, reason = asked.one("action"), asked.one("reason")
    if action not in ACTIONS:
        raise InvalidRequest(f"The parameter action is one of {', '.join(ACTIONS)}.", "action")
    if action == "discard" and not (reason or "").strip():
        raise InvalidRequest("What is discarded needs a reason.", "reason")

    async def plan(known: Known) -> Sequence[Write]:
        task = await _task(known, call, action)
        writes = await _writes(action, task, asked, known, services)
        decision = ""
        if action == "choose":
            choice = asked.one("choice")
            if choice not in ("arrived", "standing"):
                raise InvalidRequest("The parameter choice is arrived or standing.", "choice")
            decision = f"{choice} {input_of(task, 'path')}".strip()
        after = resolved(task, action, known.now, decision, reason or "")
        who = Write(_told(task, action, call, known.now, services.new_id()), "POST", fresh=True)
        return [Write(after), *writes, who]

    return await carry_out(call, services, asked, plan)


async def _task(known: Known, call: OperationCall, action: str) -> Resource:
    task = None if call.id is None else await known.current("Task", call.id)
    if task is None:
        raise NotFound(f"There is no Task/{call.id}.")
    reason = reason_of(task)
    if reason is None:
        raise BusinessRule(f"Task/{call.id} is none of the HL7 v2 bridge.", "Task.code")
    if task["status"] not in OPEN:
        raise BusinessRule(f"Task/{call.id} is {task['status']}: nothing is left to resolve.", "Task.status")
    if action in ANSWERS and reason not in ANSWERS[action]:
        raise BusinessRule(f"{action} is no answer to {reason}.", "action")
    return task


async def _writes(
    action: str, task: Resource, asked: Given, known: Known, services: Services
) -> Sequence[Write]:
    if action == "link":
        return [await _linked(task, asked, known, services)]
    if action == "map-code":
        coding = asked.one("coding")
        if coding is None or "system" not in coding or "code" not in coding:
            raise InvalidRequest("The parameter coding needs a system and a code.", "coding")
        _check_target(task, coding)
        return [await _mapped("hl7-codes-", task, coding, known)]
    if action == "map-unit":
        unit = asked.one("unit")
        if unit is None or conversion(unit) is None:
            raise InvalidRequest(f"The parameter unit is a UCUM unit; found {unit!r}.", "unit")
        return [await _mapped("hl7-units-", task, {"system": UCUM, "code": unit}, known)]
    return []


async def _linked(task: Resource, asked: Given, known: Known, services: Services) -> Write:
    """The resource with the number that was unknown."""
    system, divider, value = input_of(task, "value").rpartition("|")
    if not divider:
        raise BusinessRule(
            "The message names no number that could be linked; correct it, or discard.", "Task.input"
        )
    allowed = LINKED[str(reason_of(task))]
    address = local_reference(asked.one("reference")) if "reference" in asked else None
    target = ("", "") if address is None else (address.split("/")[0], address.split("/")[1])
    if target[0] not in allowed:
        raise InvalidRequest(
            f"The parameter reference is needed, to a {' or '.join(allowed)} of this server.", "reference"
        )
    found = await known.current(*target)
    if found is None:
        raise BusinessRule(f"There is no {'/'.join(target)}.", "reference")
    number = {"system": system, "value": value}
    if target[0] != "ServiceRequest" and input_of(task, "path").startswith("OBR"):
        return Write(_order(number, found, services.new_id()), "POST", fresh=True)
    if target[0] == "Patient" and reason_of(task) == "unmatched-specimen":
        made = {
            "resourceType": "Specimen",
            "id": services.new_id(),
            "identifier": [number],
            "status": "available",
            "subject": {"reference": "/".join(target)},
        }
        return Write(made, "POST", fresh=True)
    present = found.get("identifier", [])
    if any((one.get("system"), one.get("value")) == (system, value) for one in present):
        return Write(found)
    return Write({**found, "identifier": [*present, number]})


def _order(number: Mapping[str, str], found: Resource, id: str) -> Resource:
    """The order that a result names by its number: of a patient, or of the patient of a specimen."""
    reference = {"reference": f"{found['resourceType']}/{found['id']}"}
    made = {"resourceType": "ServiceRequest", "id": id, "identifier": [number], "status": "active"}
    if found["resourceType"] == "Patient":
        return {**made, "intent": "order", "subject": reference}
    if "subject" not in found:
        raise BusinessRule("The specimen says whose it is first.", "Specimen.subject")
    return {**made, "intent": "order", "subject": found["subject"], "specimen": [reference]}


async def _mapped(name: str, task: Resource, coding: Mapping[str, Any], known: Known) -> Write:
    """The ConceptMap of the profile, with the code that was not mapped."""
    code, profile = input_of(task, "value"), input_of(task, "profile")
    if not code or not profile:
        raise BusinessRule("The Task names no code that could be mapped.", "Task.input")
    id = f"{name}{profile}"
    before = await known.current("ConceptMap", id) or {
        "resourceType": "ConceptMap",
        "id": id,
        "url": MAP + id,
        "name": "".join(part.capitalize() for part in id.replace(".", "-").replace("_", "-").split("-")),
        "status": "active",
        "group": [],
    }
    target = {"code": coding["code"], "equivalence": "equivalent"}
    if "display" in coding:
        target["display"] = coding["display"]
    element = {"code": code, "target": [target]}
    field = field_of(input_of(task, "path"))
    # codes of fields other than those of results have groups of their own
    source = {} if field in OF_RESULTS else {"source": FIELD + field}
    own = source.get("source")
    groups = [_without(g, code) if _of_field(g) == own else dict(g) for g in before.get("group", ())]
    groups = [group for group in groups if group["element"]]
    same = next((g for g in groups if g.get("target") == coding["system"] and g.get("source") == own), None)
    if same is None:
        groups.append({**source, "target": coding["system"], "element": [element]})
    else:
        same["element"] = [*same["element"], element]
    return Write({**before, "group": groups, "date": format_instant(known.now)})


def _check_target(task: Resource, coding: Mapping[str, Any]) -> None:
    """Refuse a code that the element cannot have, which the field becomes."""
    allowed = TARGETS.get(field_of(input_of(task, "path")))
    if allowed is not None and (coding["system"], coding["code"]) not in allowed:
        shown = ", ".join(sorted(f"{system}|{code}" for system, code in allowed))
        raise BusinessRule(f"What is told there becomes one of {shown}.", "coding")


def _of_field(group: Mapping[str, Any]) -> str | None:
    """The source of a group that is for one field alone."""
    source = group.get("source")
    return source if source is not None and source.startswith(FIELD) else None


def _without(group: Mapping[str, Any], code: str) -> dict[str, Any]:
    """The group without what it says of a code."""
    return {**group, "element": [e for e in group.get("element", ()) if e.get("code") != code]}


def _told(task: Resource, action: str, call: OperationCall, now: int, id: str) -> Resource:
    """Who has resolved a Task, and how. https://hl7.org/fhir/R4/provenance.html"""
    author = {"coding": [{"system": PARTICIPANT, "code": "author"}]}
    return {
        "resourceType": "Provenance",
        "id": id,
        "target": [{"reference": f"Task/{task['id']}"}],
        "recorded": format_instant(now),
        "activity": {"coding": [{"system": ACTIVITY, "code": action}]},
        "agent": [{"type": author, "who": {"display": call.request.actor.id}}],
        "entity": [{"role": "source", "what": task["focus"]}],
    }
