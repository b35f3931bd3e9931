"""PV1 and PV2: the visit. It is found by its number (PV1-19), or by another number of it (PV1-50).

https://hl7.org/fhir/uv/v2mappings/ (PV1 and PV2 to Encounter). What an event makes of a visit is in `hl7_bridge.mapping.stays`.
"""

from __future__ import annotations

from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import Changes, tell, tell_all
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import identifier, typed
from hl7_bridge.mapping.datatypes.people import person, told
from hl7_bridge.mapping.datatypes.texts import text
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.draft import Draft, Held, Problem
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.visits import CLASSES, NULL_FLAVOR, PARTICIPANTS, PARTICIPATION
from hl7_bridge.message import Message, Segment, Value

EXPECTED_DISCHARGE = "https://osler.health/fhir/StructureDefinition/expected-discharge"
RECEIPTS = "https://osler.health/fhir/hl7v2/receipt"

SKIPS = {
    "PV1-1": "The number of the segment says nothing of the visit.",
    "PV1-12": "Whether tests were done before admission is kept in the raw message.",
    "PV1-20, PV1-21": "How a stay is paid for stands in IN1; classes of prices are kept in the raw message.",
    "PV1-23..35": "Credit, contracts, transfers to bad debt: accounting of the sender, kept in the raw message.",
    "PV1-39": "The servicing facility is withdrawn from HL7.",
    "PV1-40": "The status of the bed follows from the visits.",
    "PV1-41": "The status of the account follows from the visit.",
    "PV1-46..49": "Balances are accounting of the sender, kept in the raw message.",
    "PV1-51": "Which indicator a visit has is implied by what the message tells.",
    "PV1-53, PV1-54": "Service episodes are kept in the raw message.",
    "PV2-1": "Prior pending locations are kept in the raw message.",
    "PV2-2": "The price of a room is accounting of the sender.",
    "PV2-4": "Why a patient was transferred is kept in the raw message.",
    "PV2-5, PV2-6": "What the patient has brought is kept in the raw message.",
    "PV2-7": "Comments of who entered the visit are kept in the raw message.",
    "PV2-10, PV2-11": "Estimated and actual lengths follow from the times of the stay.",
    "PV2-13..21": "Referral, previous visits, protection, programmes: kept in the raw message.",
    "PV2-22": "How visible the visit is is ruled by the access rights of the server.",
    "PV2-23": "The clinic that is told here is an organisation of the sender, kept in the raw message.",
    "PV2-24": "A status that follows from the event.",
    "PV2-26..37": "Billing and statistics of the sender, kept in the raw message.",
    "PV2-38..50": "Billing, modes of arrival of one country, and precautions: kept in the raw message.",
}


@maps("PV1-19", "PV1-50")
def visit_identifiers(pv1: Segment, context: Context) -> list[dict[str, Any]]:
    """The numbers of the visit; that of PV1-19 first."""
    first = identifier(pv1.value(19), context)
    others = [identifier(value, context) for value in pv1.values(50)]
    found = [] if first is None else [first if "type" in first else typed(first, "VN")]
    return found + [one for one in others if one is not None]


async def find_encounter(pv1: Segment, draft: Draft, context: Context) -> Resource | None:
    """The Encounter that the segment means; None when there is none. Raises Held when there are several."""
    keys = [(one["system"], one["value"]) for one in visit_identifiers(pv1, context)]
    found = await draft.any_of("Encounter", keys or [(RECEIPTS, context.receipt.id)], 2)
    if len(found) > 1:
        said = " ".join(value for _, value in keys)
        raise Held(
            Problem("ambiguous-identifier", "Several visits have these numbers.", "PV1-19", said, True)
        )
    return found[0] if found else None


def receipt_identifier(context: Context) -> dict[str, Any]:
    """The identifier of a visit that has no number: the message that told of it."""
    return {"use": "temp", "system": RECEIPTS, "value": context.receipt.id}


async def details(message: Message, pv1: Segment, draft: Draft, context: Context) -> Changes:
    """What is told of a visit but for its state, its times and its places."""
    changes: Changes = {}
    _class(changes, pv1, draft)
    _kinds(changes, pv1, context)
    pv2 = message.first("PV2")
    if pv2 is not None:
        _plans(changes, pv2, context)
    participants = [one for field in PARTICIPANTS for one in await _participants(pv1, field, draft, context)]
    if participants:
        changes["participant"] = participants
    return changes


@maps("PV1-2")
def _class(changes: Changes, pv1: Segment, draft: Draft) -> None:
    code = told(pv1.value(2), 1)
    if code:
        meant = CLASSES.get(code.upper())
        mapped = draft.codes.get(("PV1-2", code))
        if meant is None and mapped is not None:
            meant = (mapped["system"], mapped["code"], mapped.get("display", mapped["code"]))
        if meant is None:
            draft.problem("unmapped-code", f"No mapping for the patient class {code!r}.", "PV1-2", code)
            meant = (NULL_FLAVOR, "UNK", "unknown")
        system, value, display = meant
        changes["class"] = {"system": system, "code": value, "display": display}


@maps("PV1-4", "PV1-10", "PV1-18")
def _kinds(changes: Changes, pv1: Segment, context: Context) -> None:
    tell_all(changes, "type", pv1, 4, lambda value, c: concept(value, c, "0007"), context)
    tell_all(changes, "type", pv1, 18, lambda value, c: concept(value, c, "0018"), context)
    tell(changes, "serviceType", pv1, 10, lambda value, c: concept(value, c, "0069"), context)


@maps("PV2-3", "PV2-9", "PV2-12", "PV2-25")
def _plans(changes: Changes, pv2: Segment, context: Context) -> None:
    tell_all(changes, "reasonCode", pv2, 3, lambda value, c: concept(value, c), context)
    tell_all(changes, "reasonCode", pv2, 12, lambda value, _: _words(value), context)
    tell(changes, "priority", pv2, 25, lambda value, c: concept(value, c, "0217"), context)
    leaves = date_time(pv2.value(9), context)
    if leaves is not None:
        changes["_expected"] = leaves


@maps("PV1-7", "PV1-8", "PV1-9", "PV1-17", "PV1-52")
async def _participants(pv1: Segment, field: int, draft: Draft, context: Context) -> list[dict[str, Any]]:
    code, display = PARTICIPANTS[field]
    kind = {"coding": [{"system": PARTICIPATION, "code": code, "display": display}]}
    found = [await practitioner_reference(value, draft, context) for value in pv1.values(field)]
    return [{"type": [kind], "individual": one} for one in found if one is not None]


async def practitioner_reference(value: Value, draft: Draft, context: Context) -> dict[str, Any] | None:
    """A reference to the Practitioner that an XCN means; by identifier and name when the server has none."""
    reference = person(value, context)
    if reference is None or "identifier" not in reference:
        return reference
    known = reference["identifier"]
    found = await draft.any_of("Practitioner", [(known["system"], known["value"])], 2)
    if len(found) != 1:
        return reference
    return {**reference, "reference": f"Practitioner/{found[0]['id']}"}


@maps("PV1-5", "PV1-13", "PV1-14", "PV1-15", "PV1-16", "PV1-22", "PV1-36", "PV1-37", "PV1-38")
def hospitalization(message: Message, pv1: Segment, context: Context) -> Changes:
    """What is told of how the patient came and went."""
    found: Changes = {}
    tell(found, "preAdmissionIdentifier", pv1, 5, identifier, context)
    tell(found, "reAdmission", pv1, 13, lambda value, c: concept(value, c, "0092"), context)
    tell(found, "admitSource", pv1, 14, lambda value, c: concept(value, c, "0023"), context)
    tell_all(found, "specialArrangement", pv1, 15, lambda value, c: concept(value, c, "0009"), context)
    tell_all(found, "specialCourtesy", pv1, 16, lambda value, c: concept(value, c, "0099"), context)
    tell_all(found, "specialCourtesy", pv1, 22, lambda value, c: concept(value, c, "0045"), context)
    tell(found, "dischargeDisposition", pv1, 36, lambda value, c: concept(value, c, "0112"), context)
    tell(found, "destination", pv1, 37, lambda value, _: _destination(value), context)
    tell_all(found, "dietPreference", pv1, 38, lambda value, c: concept(value, c, "0114"), context)
    return found


def _destination(value: Value) -> dict[str, Any] | None:
    said = told(value, 2) or told(value, 1)
    return {"display": said} if said else None


def _words(value: Value) -> dict[str, Any] | None:
    said = text(value)
    return None if said is None else {"text": said}
