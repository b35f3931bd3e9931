"""AL1 and IAM: allergies, as AllergyIntolerance.

https://hl7.org/fhir/uv/v2mappings/ (AL1 and IAM to AllergyIntolerance).
"""

from __future__ import annotations

from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import entity
from hl7_bridge.mapping.datatypes.people import human_name, told, written_name
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.keeping import code_of, key
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.clinical import ALLERGY_KINDS, ALLERGY_SEVERITIES, ALLERGY_STATES
from hl7_bridge.message import Segment

CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"

SKIPS = {
    "AL1-1, IAM-1": "The number of the segment says nothing of the allergy.",
    "IAM-8": "Why something was done to the record is kept in the raw message.",
    "IAM-10": "What makes somebody sensitive stands in IAM-3.",
    "IAM-16": "To whom an allergy was reported is kept in the raw message.",
    "IAM-18..26, IAM-28..30": "Who entered what stands in Provenance; the rest is kept in the raw message.",
}


@maps("AL1-2", "AL1-3", "AL1-4", "AL1-5", "AL1-6")
def allergy(al1: Segment, patient: str, owner: str, context: Context) -> Resource | None:
    """The AllergyIntolerance of a patient; None when no substance is told."""
    made = _allergy(al1, patient, context)
    if made is None:
        return None
    made["identifier"] = [key(context, "AL1", owner, code_of(al1.value(3), context))]
    reactions = [told(value, 2) or told(value, 1) for value in al1.values(5)]
    severity = ALLERGY_SEVERITIES.get(told(al1.value(4), 1).upper(), (None, None))[1]
    shown = [{"text": reaction} for reaction in reactions if reaction]
    if shown:
        made["reaction"] = [{"manifestation": shown} | ({"severity": severity} if severity else {})]
    began = date_time(al1.value(6), context)
    if began is not None:
        made["onsetDateTime"] = began
    made["clinicalStatus"] = _coded(CLINICAL, "active")
    return made


@maps(
    "IAM-2", "IAM-3", "IAM-4", "IAM-5", "IAM-6", "IAM-7", "IAM-9", "IAM-11", "IAM-12", "IAM-13", "IAM-14", "IAM-15",
    "IAM-17", "IAM-27",
)  # fmt: skip
def adverse_reaction(iam: Segment, patient: str, owner: str, context: Context) -> Resource | None:
    """The AllergyIntolerance of a patient, with what has become of it; None when no substance is told."""
    made = _allergy(iam, patient, context)
    if made is None:
        return None
    number = entity(iam.value(7), context)
    keyed = key(context, "IAM", owner, code_of(iam.value(3), context))
    made["identifier"] = [keyed] if number is None else [number, keyed]
    identified = concept(iam.value(27), context)
    if identified is not None and "coding" in identified:
        # what a clinician has said that it is
        known = made["code"].get("coding", [])
        beside = [one for one in identified["coding"] if one not in known]
        made["code"] = {**made["code"], "coding": [*known, *beside]}
    recorder = _recorder(iam, patient, context)
    if recorder is not None:
        made["recorder"] = recorder
    reactions = [told(value, 2) or told(value, 1) for value in iam.values(5)]
    if any(reactions):
        made["reaction"] = [{"manifestation": [{"text": one} for one in reactions if one]}]
    kind = told(iam.value(9), 1).upper()
    if kind == "AL":
        made["type"] = "allergy"
    elif kind in ("IN", "SE"):
        made["type"] = "intolerance"
    began, recorded = date_time(iam.value(11), context), date_time(iam.value(13), context)
    if began is not None:
        made["onsetDateTime"] = began
    elif told(iam.value(12), 1):
        made["onsetString"] = told(iam.value(12), 1)
    if recorded is not None:
        made["recordedDate"] = recorded
    clinical, certain = ALLERGY_STATES.get(told(iam.value(17), 1).upper(), ("active", "unconfirmed"))
    if told(iam.value(6), 1).upper() == "D":
        clinical, certain = None, "entered-in-error"
    made["clinicalStatus"] = None if clinical is None else _coded(CLINICAL, clinical)
    made["verificationStatus"] = _coded(VERIFICATION, certain)
    return made


def _allergy(segment: Segment, patient: str, context: Context) -> Resource | None:
    substance = concept(segment.value(3), context)
    if substance is None:
        return None
    made: Resource = {"resourceType": "AllergyIntolerance", "identifier": [], "code": substance}
    kind, category = ALLERGY_KINDS.get(told(segment.value(2), 1).upper(), (None, None))
    if kind is not None:
        made["type"] = kind
    if category is not None:
        made["category"] = [category]
    criticality = ALLERGY_SEVERITIES.get(told(segment.value(4), 1).upper(), (None, None))[0]
    if criticality is not None:
        made["criticality"] = criticality
    made["patient"] = {"reference": patient}
    return made


def _recorder(iam: Segment, patient: str, context: Context) -> dict[str, Any] | None:
    """Who reported the allergy; a name alone makes no RelatedPerson. Without a relationship it is not known what they are."""
    relationship = told(iam.value(15), 1).upper()
    if relationship in ("SEL", "SLF"):
        return {"reference": patient}
    name = human_name(iam.value(14), context)
    if name is None:
        return None
    shown = {"display": written_name(name)}
    return {"type": "RelatedPerson", **shown} if relationship else shown


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}
