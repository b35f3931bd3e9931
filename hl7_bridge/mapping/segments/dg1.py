"""DG1 and PR1: diagnoses and procedures, as Condition and Procedure.

https://hl7.org/fhir/uv/v2mappings/ (DG1 to Condition, PR1 to Procedure).
"""

from __future__ import annotations

from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import entity
from hl7_bridge.mapping.datatypes.people import person, told
from hl7_bridge.mapping.datatypes.texts import text
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.keeping import code_of, key
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.clinical import DIAGNOSIS_CERTAINTY, DIAGNOSIS_ROLES
from hl7_bridge.message import Segment

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
ROLES = "http://terminology.hl7.org/CodeSystem/diagnosis-role"
ASSERTED = "http://hl7.org/fhir/StructureDefinition/condition-assertedDate"

SKIPS = {
    "DG1-1, PR1-1": "The number of the segment says nothing of the diagnosis or procedure.",
    "DG1-2, PR1-2": "The coding method is withdrawn from HL7; the code says its system.",
    "DG1-7..14": "Grouping for payment (DRG) is withdrawn from DG1 and kept in the raw message.",
    "DG1-17, DG1-18": "Classification and confidentiality of a diagnosis are kept in the raw message.",
    "DG1-22..26": "Grouping for payment is kept in the raw message.",
    "PR1-6, PR1-7": "The category and the minutes of a procedure are kept in the raw message.",
    "PR1-9, PR1-10": "Anaesthesia is kept in the raw message.",
    "PR1-13, PR1-14": "Consent and the order of procedures are kept in the raw message.",
    "PR1-16..18": "Modifiers and grouping for payment are kept in the raw message.",
    "PR1-22..25": "What was operated with stands in orders.",
}


@maps("DG1-3", "DG1-4", "DG1-5", "DG1-6", "DG1-16", "DG1-19", "DG1-20", "DG1-21")
def condition(dg1: Segment, patient: str, visit: str, owner: str, context: Context) -> Resource | None:
    """The Condition of a patient; None when no diagnosis is told.

    `patient` and `visit` ('' for none) are references, `owner` is the number of the visit or patient.
    """
    code = concept(dg1.value(3), context)
    said = text(dg1.value(4))
    if code is None and said is None:
        return None
    code = code or {}
    if said is not None:
        code = {**code, "text": said}
    kind = told(dg1.value(6), 1).upper()
    number = entity(dg1.value(20), context)
    keyed = key(context, "DG1", owner, code_of(dg1.value(3), context) or said or "", kind)
    deleted = told(dg1.value(21), 1).upper() == "D"
    certain = "entered-in-error" if deleted else DIAGNOSIS_CERTAINTY.get(kind)
    made: Resource = {
        "resourceType": "Condition",
        "identifier": [keyed] if number is None else [number, keyed],
        "clinicalStatus": None if deleted else _coded(CLINICAL, "active"),
        "verificationStatus": None if certain is None else _coded(VERIFICATION, certain),
        "category": [_coded(CATEGORY, "encounter-diagnosis" if visit else "problem-list-item")],
        "code": code,
        "subject": {"reference": patient},
    }
    if visit:
        made["encounter"] = {"reference": visit}
    began, asserted = date_time(dg1.value(5), context), date_time(dg1.value(19), context)
    if began is not None:
        made["onsetDateTime"] = began
    if asserted is not None:
        made["extension"] = [{"url": ASSERTED, "valueDateTime": asserted}]
        made["recordedDate"] = asserted
    asserter = person(dg1.value(16), context)
    if asserter is not None:
        made["asserter"] = asserter
    return made


@maps("DG1-6", "DG1-15")
def diagnosis(dg1: Segment, condition: str) -> dict[str, Any]:
    """What the Encounter says of the diagnosis."""
    found: dict[str, Any] = {"condition": {"reference": condition}}
    role = DIAGNOSIS_ROLES.get(told(dg1.value(6), 1).upper())
    if role is not None:
        found["use"] = {"coding": [{"system": ROLES, "code": role[0], "display": role[1]}]}
    rank = told(dg1.value(15), 1)
    if rank.isascii() and rank.isdigit() and int(rank) > 0:
        found["rank"] = int(rank)
    return found


@maps("PR1-3", "PR1-4", "PR1-5", "PR1-8", "PR1-11", "PR1-12", "PR1-15", "PR1-19", "PR1-20", "PR1-21")
def procedure(pr1: Segment, patient: str, visit: str, owner: str, context: Context) -> Resource | None:
    """The Procedure of a patient; None when none is told."""
    code = concept(pr1.value(3), context)
    said = text(pr1.value(4))
    if code is None and said is None:
        return None
    code = code or {}
    if said is not None and "text" not in code:
        code = {**code, "text": said}
    number = entity(pr1.value(19), context)
    keyed = key(context, "PR1", owner, code_of(pr1.value(3), context) or said or "", pr1.text(5))
    made: Resource = {
        "resourceType": "Procedure",
        "identifier": [keyed] if number is None else [number, keyed],
        "status": "entered-in-error" if told(pr1.value(20), 1).upper() == "D" else "completed",
        "code": code,
        "subject": {"reference": patient},
    }
    if visit:
        made["encounter"] = {"reference": visit}
    done = date_time(pr1.value(5), context)
    if done is not None:
        made["performedDateTime"] = done
    performers = []
    for field, function in ((8, "Anaesthetist"), (11, "Surgeon"), (12, "Practitioner")):
        for value in pr1.values(field):
            who = person(value, context)
            if who is not None:
                performers.append({"function": {"text": function}, "actor": who})
    if performers:
        made["performer"] = performers
    reason = concept(pr1.value(15), context)
    if reason is not None:
        made["reasonCode"] = [reason]
    return made


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}
