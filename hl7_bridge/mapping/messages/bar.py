"""BAR: accounts, and who pays.

HL7 v2.5.1 chapter 6; https://hl7.org/fhir/uv/v2mappings/ (BAR messages).
"""

from __future__ import annotations

from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.patient_records import account_with_payers, of_person
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.segments.evn import event
from hl7_bridge.mapping.subjects import patient_of
from hl7_bridge.mapping.visits import known_visit
from hl7_bridge.message import Message


async def account(message: Message, draft: Draft, context: Context) -> None:
    """P01, P05: the Account of a patient, with who pays."""
    context = told_in_zone(message, context)
    happened = event(message, context)
    pid = message.first("PID")
    subject = await patient_of(message, pid, happened, draft, context)
    visit = await known_visit(message, subject, happened, draft, context)
    if pid is not None:
        await account_with_payers(message, pid, subject, draft, context, happened.at)
    await of_person(message, subject, visit, subject.number, draft, context, happened.at)


MAPPINGS: dict[tuple[str, str], Map] = {
    ("BAR", "P01"): account,
    ("BAR", "P05"): account,
}
