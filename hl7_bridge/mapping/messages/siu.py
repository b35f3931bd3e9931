"""SIU: appointments are made, moved, changed, cancelled, deleted and missed.

HL7 v2.5.1 chapter 10; https://hl7.org/fhir/uv/v2mappings/ (SIU messages). An invariant to keep: bookings of messages obey the same rules
as everybody's; one that the server refuses waits for a person.
"""

from __future__ import annotations

from hl7_bridge.mapping.changes import changed, filled, is_late, merged, sourced, with_as_of
from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft, Held, Problem, identified
from hl7_bridge.mapping.keeping import write
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.segments.evn import event
from hl7_bridge.mapping.segments.sch import (
    filler_state,
    numbers,
    orders_of,
    participants,
    purpose,
    times,
)
from hl7_bridge.mapping.subjects import known_patient
from hl7_bridge.mapping.tables.scheduling import TRIGGERS
from hl7_bridge.message import Message

ENDED = frozenset(("cancelled", "entered-in-error", "noshow", "fulfilled"))


async def appointment(message: Message, draft: Draft, context: Context) -> None:
    """S12 to S17, S26: an Appointment as it is from now on."""
    context = told_in_zone(message, context)
    sch = message.first("SCH")
    known = [] if sch is None else numbers(sch, context)
    if sch is None or not known:
        raise Held(Problem("dead-letter", "The message has no SCH with a number.", "SCH-2", "", True))
    happened = event(message, context)
    keys = [(one["system"], one["value"]) for one in known]
    found = await draft.any_of("Appointment", keys, 2)
    if len(found) > 1:
        text = "Several appointments have these numbers."
        raise Held(Problem("ambiguous-identifier", text, "SCH-2", keys[0][1], True))
    existing = found[0] if found else None
    changes = purpose(sch, message, context) | times(message, sch, context)
    changes |= await orders_of(sch, draft, context)
    changes["status"] = _status(message, filler_state(sch))
    others = await participants(message, sch, draft, context)
    if message.first("PID") is not None:
        subject = await known_patient(message.first("PID"), happened, message, draft, context)
        patient = {"actor": {"reference": subject.reference}, "required": "required", "status": "accepted"}
        others = [patient, *others]
    if others:
        changes["participant"] = others
    before = existing or {"resourceType": "Appointment"}
    changes["identifier"] = merged(before.get("identifier", []), known)
    if existing is not None and is_late(existing, happened.at, context):
        told = filled(existing, {"resourceType": "Appointment", **changes}, context)
        write(existing, told, draft, context)
        return
    made = with_as_of(changed(before, changes), happened.at, context)
    if not made.get("participant"):
        raise Held(Problem("dead-letter", "Nobody takes part in the appointment.", "PID", "", True))
    if "start" not in made and made["status"] not in ("cancelled", "entered-in-error", "waitlist"):
        raise Held(
            Problem("unreadable-value", "It is not told when the appointment begins.", "TQ1-7", "", True)
        )
    if existing is None:
        draft.create(sourced(made, context), identified(*keys[0]))
    else:
        write(existing, made, draft, context)


def _status(message: Message, filler: str | None) -> str:
    """By the event; the state of the filler says more only where the event leaves it open."""
    meant = TRIGGERS[message.trigger]
    return meant if meant in ENDED or filler is None else filler


MAPPINGS: dict[tuple[str, str], Map] = {("SIU", trigger): appointment for trigger in TRIGGERS}
