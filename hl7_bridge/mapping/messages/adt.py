"""ADT: patients come, move, go, are registered and are merged.

HL7 v2.5.1 chapter 3; https://hl7.org/fhir/uv/v2mappings/ (ADT messages). An invariant to keep: events may come in any order, the
record is as the newest has left it.
"""

from __future__ import annotations

from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.merging import merge_patients, move_visit
from hl7_bridge.mapping.patient_records import account_with_payers, of_person
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.segments.evn import event
from hl7_bridge.mapping.subjects import patient_of
from hl7_bridge.mapping.tables.visits import NULL_FLAVOR
from hl7_bridge.mapping.visits import known_visit, write_visit
from hl7_bridge.message import Message

UNKNOWN_CLASS = {"system": NULL_FLAVOR, "code": "UNK", "display": "unknown"}


async def visit_event(message: Message, draft: Draft, context: Context) -> None:
    """A01 to A08, A11 to A13: something happens to a visit."""
    context = told_in_zone(message, context)
    happened = event(message, context)
    pid = message.first("PID")
    subject = await patient_of(message, pid, happened, draft, context)
    pv1 = message.first("PV1")
    if pv1 is None or pid is None or pv1.text(2) == "N":
        if pv1 is None and happened.trigger not in ("A04", "A08"):
            draft.problem("unreadable-value", "The message has no PV1, so it tells of no visit.", "PV1")
        await of_person(message, subject, "", subject.number, draft, context, happened.at)
        return
    await write_visit(message, pid, pv1, subject, happened, draft, context)


async def person_event(message: Message, draft: Draft, context: Context) -> None:
    """A28, A31, A60: what is known of a person."""
    context = told_in_zone(message, context)
    happened = event(message, context)
    pid = message.first("PID")
    subject = await patient_of(message, pid, happened, draft, context)
    if pid is not None:
        await account_with_payers(message, pid, subject, draft, context, happened.at)
    await known_visit(message, subject, happened, draft, context)
    await of_person(message, subject, "", subject.number, draft, context, happened.at)


MAPPINGS: dict[tuple[str, str], Map] = {
    **{("ADT", f"A0{n}"): visit_event for n in range(1, 9)},
    **{("ADT", trigger): visit_event for trigger in ("A11", "A12", "A13")},
    **{("ADT", trigger): person_event for trigger in ("A28", "A31", "A60")},
    **{("ADT", trigger): merge_patients for trigger in ("A34", "A40", "A47")},
    ("ADT", "A45"): move_visit,
}
