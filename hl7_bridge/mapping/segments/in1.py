"""IN1, IN2 and GT1: who pays, as Coverage, and as guarantor of an Account.

https://hl7.org/fhir/uv/v2mappings/ (IN1 and IN2 to Coverage, GT1 to RelatedPerson and Account).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import Changes, tell, tell_all
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import authority, identifier
from hl7_bridge.mapping.datatypes.people import address, contact_point, human_name, told, written_name
from hl7_bridge.mapping.datatypes.times import between, day
from hl7_bridge.mapping.keeping import key
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.people import GENDERS
from hl7_bridge.message import Segment

CLASSES = "http://terminology.hl7.org/CodeSystem/coverage-class"
SELF = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/subscriber-relationship", "code": "self"}]
}
# table 0063 -> subscriber-relationship
RELATIONSHIPS = {
    "SEL": "self",
    "SLF": "self",
    "SPO": "spouse",
    "DOM": "common",
    "CHD": "child",
    "NCH": "child",
    "FTH": "parent",
    "MTH": "parent",
    "PAR": "parent",
    "OTH": "other",
    "EXF": "other",
    "EMC": "other",
    # words, and the codes of X12
    "SELF": "self",
    "18": "self",
    "SPOUSE": "spouse",
    "01": "spouse",
    "CHILD": "child",
    "19": "child",
    "PARENT": "parent",
    "OTHER": "other",
    "G8": "other",
}

SKIPS = {
    "IN1-1, GT1-1": "The number of the segment says nothing of the insurance or guarantor.",
    "IN1-5..7": "Address, contact and telephone of an insurer are those of its Organization, which is not kept by messages.",
    "IN1-10, IN1-11": "The employer of the insured is kept in the raw message.",
    "IN1-14": "The authorisation of a stay is kept in the raw message.",
    "IN1-20, IN1-21": "How claims are assigned and coordinated is kept in the raw message.",
    "IN1-23..34": "Notices, verification, lifetime reserve days: rules of one country, kept in the raw message.",
    "IN1-35": "The plan stands in IN1-2.",
    "IN1-37..42": "Deductibles, limits and room rates are kept in the raw message.",
    "IN1-44..48": "Employer, verification and covered categories of the insured are kept in the raw message.",
    "IN1-50..53": "Signatures and dates of the insured are kept in the raw message.",
    "IN2-1..24": "Employment and social security of the insured: rules of one country, kept in the raw message.",
    "IN2-25, IN2-26": "Payers' own numbers are kept in the raw message.",
    "IN2-27..60": "Deductibles, employment, nationality and contacts of the insured are kept in the raw message.",
    "IN2-62, IN2-64..72": "Contacts, employment and relationships of the insured are kept in the raw message.",
    "GT1-2": "The number of the guarantor is in the key of the RelatedPerson.",
    "GT1-10": "The type of a guarantor is kept in the raw message.",
    "GT1-12": "The number of a citizen is kept in the raw message.",
    "GT1-15..57": "Job, income, family and contacts of a guarantor have no element in RelatedPerson.",
}


@maps(
    "IN1-2",
    "IN1-3",
    "IN1-4",
    "IN1-8",
    "IN1-9",
    "IN1-12",
    "IN1-13",
    "IN1-15",
    "IN1-17",
    "IN1-22",
    "IN1-36",
    "IN1-49",
    "IN2-61",
)
def coverage(in1: Segment, in2: Segment | None, patient: str, owner: str, context: Context) -> Resource:
    """The Coverage of a patient."""
    number = told(in1.value(36), 1)
    insurer = {"display": told(in1.value(4), 1)} if told(in1.value(4), 1) else {}
    issuer = identifier(in1.value(3), context)
    payor: dict[str, Any] = {"type": "Organization", **({"identifier": issuer} if issuer else {}), **insurer}
    plan = told(in1.value(2), 1)
    identifiers = [key(context, "IN1", owner, plan, told(in1.value(3), 1), number)]
    if number:
        system = authority(in1.text(3, 4), in1.text(3, 4, 2), in1.text(3, 4, 3), context)
        identifiers.append({"system": system, "value": number})
    made: Resource = {
        "resourceType": "Coverage",
        "identifier": identifiers,
        "status": "active",
        "type": concept(in1.value(15), context, "0086"),
        "beneficiary": {"reference": patient},
        "period": between(in1.text(12), in1.text(13), context),
        "payor": [payor if len(payor) > 1 else {"display": "not told"}],
        "class": _classes(in1, plan) or None,
    }
    subscriber = identifier(in1.value(49), context) or (
        None if in2 is None else identifier(in2.value(61), context)
    )
    if subscriber is not None:
        made["subscriberId"] = subscriber["value"]
    relation = told(in1.value(17), 1).upper()
    if relation:
        meant = RELATIONSHIPS.get(relation)
        own = concept(in1.value(17), context, "0063") or {}
        first = [] if meant is None else [{**SELF["coding"][0], "code": meant}]
        made["relationship"] = {**own, "coding": [*first, *own.get("coding", [])]}
        if meant == "self":
            made["subscriber"] = {"reference": patient}
    rank = told(in1.value(22), 1)
    if rank.isascii() and rank.isdigit() and int(rank) > 0:
        made["order"] = int(rank)
    return made


@maps("IN1-16", "IN1-18", "IN1-19", "IN1-43", "IN2-63")
def insured(in1: Segment, in2: Segment | None, patient: str, owner: str, context: Context) -> Resource | None:
    """The insured person, when it is not the patient; None when there is none."""
    relation = told(in1.value(17), 1).upper()
    if RELATIONSHIPS.get(relation) == "self":
        return None
    changes: Changes = {}
    tell_all(changes, "name", in1, 16, human_name, context)
    tell_all(changes, "address", in1, 19, address, context)
    if in2 is not None:
        tell_all(changes, "telecom", in2, 63, partial(contact_point, use="home"), context)
    tell(changes, "birthDate", in1, 18, lambda value, _: day(value), context)
    tell(changes, "gender", in1, 43, lambda value, _: GENDERS.get(value.text(1).upper()), context)
    relationship = concept(in1.value(17), context, "0063")
    if relationship is not None:
        changes["relationship"] = [relationship]
    if not changes.get("name"):
        return None
    return {
        "resourceType": "RelatedPerson",
        "identifier": [key(context, "IN1-16", owner, written_name(changes["name"][0]), relation)],
        "active": True,
        "patient": {"reference": patient},
        **changes,
    }


def _classes(in1: Segment, plan: str) -> list[dict[str, Any]]:
    found = []
    for code, value, name in (
        ("plan", plan, told(in1.value(2), 2)),
        ("group", told(in1.value(8), 1), told(in1.value(9), 1)),
    ):
        if value:
            kind = {"coding": [{"system": CLASSES, "code": code}]}
            found.append({"type": kind, "value": value} | ({"name": name} if name else {}))
    return found


@maps("GT1-3", "GT1-4", "GT1-5", "GT1-6", "GT1-7", "GT1-8", "GT1-9", "GT1-11")
def guarantor(gt1: Segment, patient: str, owner: str, context: Context) -> Resource | None:
    """The guarantor as RelatedPerson; None when it is the patient, or nobody is named."""
    if RELATIONSHIPS.get(told(gt1.value(11), 1).upper()) == "self":
        return None
    changes: Changes = {}
    tell_all(changes, "name", gt1, 3, human_name, context)
    tell_all(changes, "name", gt1, 4, human_name, context)
    tell_all(changes, "address", gt1, 5, address, context)
    tell_all(changes, "telecom", gt1, 6, lambda value, c: contact_point(value, c, "home"), context)
    tell_all(changes, "telecom", gt1, 7, lambda value, c: contact_point(value, c, "work"), context)
    tell(changes, "birthDate", gt1, 8, lambda value, _: day(value), context)
    tell(changes, "gender", gt1, 9, lambda value, _: GENDERS.get(value.text(1).upper()), context)
    relationship = concept(gt1.value(11), context, "0063")
    if relationship is not None:
        changes["relationship"] = [relationship]
    if not changes.get("name"):
        return None
    number = told(gt1.value(2), 1)
    return {
        "resourceType": "RelatedPerson",
        "identifier": [key(context, "GT1", owner, number or written_name(changes["name"][0]))],
        "active": True,
        "patient": {"reference": patient},
        **changes,
    }


@maps("GT1-13", "GT1-14")
def guarantee(gt1: Segment, party: str, context: Context) -> dict[str, Any]:
    """What the Account says of a guarantor."""
    found: dict[str, Any] = {"party": {"reference": party}}
    valid = between(gt1.text(13), gt1.text(14), context)
    if valid is not None:
        found["period"] = valid
    return found
