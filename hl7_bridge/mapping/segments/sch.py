"""SCH, TQ1, AIS, AIG, AIL and AIP: an appointment, when it is, and who and what takes part.

https://hl7.org/fhir/uv/v2mappings/ (SCH to Appointment).
"""

from __future__ import annotations

from typing import Any

from fhir_r4.temporal import MINUTE, format_instant
from hl7_bridge.mapping.changes import Changes
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import entity, typed
from hl7_bridge.mapping.datatypes.people import told
from hl7_bridge.mapping.datatypes.places import place
from hl7_bridge.mapping.datatypes.texts import number, text
from hl7_bridge.mapping.datatypes.times import instant, microseconds
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.segments.pv1 import practitioner_reference
from hl7_bridge.mapping.tables.scheduling import FILLER_STATES, MINUTES, PARTICIPANT_STATES
from hl7_bridge.mapping.whereabouts import located
from hl7_bridge.message import Message, Segment

REQUIRED = "required"
EQUIPMENT = frozenset(("E", "EQ", "EQUIP", "EQUIPMENT", "DEV", "DEVICE"))

SKIPS = {
    "SCH-3..5": "Occurrence and group numbers: each occurrence is an Appointment of its own.",
    "SCH-12..15": "Who placed the appointment, and how to reach them, is kept in the raw message.",
    "SCH-17..24": "Who filled and entered the appointment, and how to reach them, is kept in the raw message.",
    "TQ1-1..6": "Quantities and repetitions are those of orders.",
    "TQ1-10..14": "Conditions are those of orders.",
    "AIS-1, AIG-1, AIL-1, AIP-1": "The number of the segment says nothing.",
    "AIS-2, AIG-2, AIL-2, AIP-2": "Messages tell all participants; the action follows from comparing.",
    "AIS-5, AIS-6": "Offsets follow from the times.",
    "AIS-9, AIS-11, AIS-12": "Substitution and supplies are kept in the raw message.",
    "AIG-5..7": "Quantities of resources are kept in the raw message.",
    "AIG-8..13": "Times of resources are those of the appointment.",
    "AIL-5": "Groups of places are kept in the raw message.",
    "AIL-6..11": "Times of places are those of the appointment.",
    "AIP-5": "Groups of people are kept in the raw message.",
    "AIP-6..11": "Times of people are those of the appointment.",
    "NTE-1, NTE-2, NTE-4": "The number, the source and the type of a note are kept in the raw message.",
    "RGS-1..3": "Groups of resources are told by the segments that follow.",
}


@maps("SCH-1", "SCH-2")
def numbers(sch: Segment, context: Context) -> list[dict[str, Any]]:
    """The numbers of the appointment; that of who fills it first."""
    filler, placer = entity(sch.value(2), context), entity(sch.value(1), context)
    found = [] if filler is None else [typed(filler, "FILL")]
    return found if placer is None else [*found, typed(placer, "PLAC")]


@maps("SCH-25")
def filler_state(sch: Segment) -> str | None:
    """The status of table 0278; None when none is told that says one."""
    return FILLER_STATES.get(told(sch.value(25), 1).upper())


@maps("SCH-6", "SCH-7", "SCH-8", "SCH-10", "AIS-3", "NTE-3")
def purpose(sch: Segment, message: Message, context: Context) -> Changes:
    """What the appointment is for."""
    found: Changes = {}
    reason, kind = concept(sch.value(7), context, "0276"), concept(sch.value(8), context, "0277")
    if reason is not None:
        found["reasonCode"] = [reason]
    if kind is not None:
        found["appointmentType"] = kind
    notes = [text(note.value(3)) for note in message.all("NTE")]
    said = "\n".join(note for note in notes if note)
    if said:
        found["comment"] = said
    services = [concept(one.value(3), context) for one in message.all("AIS")]
    if any(services):
        found["serviceType"] = [one for one in services if one is not None]
    return found


@maps("SCH-26", "SCH-27")
async def orders_of(sch: Segment, draft: Draft, context: Context) -> Changes:
    """The orders that the appointment is for; by number where the server has none."""
    numbers_told = [entity(value, context) for field in (26, 27) for value in sch.values(field)]
    told_ones = [one for one in numbers_told if one is not None]
    if not told_ones:
        return {}
    known = await draft.any_of("ServiceRequest", [(one["system"], one["value"]) for one in told_ones], 10)
    if known:
        return {"basedOn": [{"reference": f"ServiceRequest/{one['id']}"} for one in known]}
    return {"basedOn": [{"type": "ServiceRequest", "identifier": one} for one in told_ones]}


@maps("SCH-9", "SCH-11", "TQ1-7", "TQ1-8", "AIS-4", "AIS-7", "AIS-8")
def times(message: Message, sch: Segment, context: Context) -> Changes:
    """Start, end and minutes, as far as they are told: by TQ1, SCH-11, or the first service or resource."""
    starts = [sch.text(11, 4)]
    ends = [sch.text(11, 5)]
    for segment in message.segments:
        if segment.name == "TQ1":
            starts.insert(0, segment.text(7))
            ends.insert(0, segment.text(8))
        elif segment.name == "AIS":
            starts.append(segment.text(4))
        elif segment.name in ("AIG", "AIL", "AIP"):
            starts.append(segment.text(8 if segment.name == "AIG" else 6))
    start = next((one for one in starts if instant(one, context) is not None), "")
    end = next((one for one in ends if instant(one, context) is not None), "")
    begins, ended = microseconds(start, context), microseconds(end, context)
    if not start or begins is None:
        return {}
    minutes = _minutes(message, sch)
    found: Changes = {"start": instant(start, context)}
    if ended is not None and ended > begins:
        found["end"] = instant(end, context)
        minutes = minutes if minutes is not None else (ended - begins) // MINUTE
    elif minutes is not None and minutes > 0:
        found["end"] = format_instant(begins + minutes * MINUTE)
    if minutes is not None and minutes > 0:
        found["minutesDuration"] = minutes
    return found


def _minutes(message: Message, sch: Segment) -> int | None:
    told_ones = [(sch, 9, 10)] + [(one, 7, 8) for one in message.all("AIS")]
    for segment, duration, unit in told_ones:
        found = number(segment.value(duration))
        factor = MINUTES.get(told(segment.value(unit), 1).upper())
        if found is not None and factor is not None and found > 0:
            return max(1, round(float(found) * factor))
    return None


@maps("AIS-10", "AIG-3", "AIG-4", "AIG-14", "AIL-3", "AIL-4", "AIL-12", "AIP-3", "AIP-4", "AIP-12", "SCH-16")
async def participants(
    message: Message, sch: Segment, draft: Draft, context: Context
) -> list[dict[str, Any]]:
    """Who and what takes part besides the patient."""
    found: list[dict[str, Any]] = []
    for aip in message.all("AIP"):
        for value in aip.values(3):
            actor = await practitioner_reference(value, draft, context)
            if actor is not None:
                found.append(_participant(actor, concept(aip.value(4), context), aip.value(12).text(1)))
    for ail in message.all("AIL"):
        for value in ail.values(3):
            there = place(value)
            if there is not None:
                actor = await located(there, draft, "AIL-3")
                found.append(_participant(actor, concept(ail.value(4), context), ail.value(12).text(1)))
    for aig in message.all("AIG"):
        thing = concept(aig.value(3), context)
        if thing is not None:
            actor = {"display": thing.get("text") or thing["coding"][0]["code"]}
            if told(aig.value(4), 1).upper() in EQUIPMENT:
                # other resources are people, rooms or services, which nothing here tells apart
                actor["type"] = "Device"
            if "coding" in thing:
                first = thing["coding"][0]
                actor["identifier"] = {"system": first["system"], "value": first["code"]}
            found.append(_participant(actor, concept(aig.value(4), context), aig.value(14).text(1)))
    if not any(one["actor"].get("type") == "Practitioner" for one in found):
        for value in sch.values(16):
            actor = await practitioner_reference(value, draft, context)
            if actor is not None:
                found.append(_participant(actor, None, ""))
    return found


def _participant(actor: dict[str, Any], role: dict[str, Any] | None, state: str) -> dict[str, Any]:
    made: dict[str, Any] = {} if role is None else {"type": [role]}
    status = PARTICIPANT_STATES.get(state.strip().upper(), "accepted")
    return {**made, "actor": actor, "required": REQUIRED, "status": status}
