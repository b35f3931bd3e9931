"""DFT: charges.

HL7 v2.5.1 chapter 6; https://hl7.org/fhir/uv/v2mappings/ (DFT messages). An invariant to keep: a charge that is told twice is charged
once.
"""

from __future__ import annotations

from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft, Held, Problem
from hl7_bridge.mapping.keeping import keep
from hl7_bridge.mapping.patient_records import account_with_payers, of_person
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.segments.evn import event
from hl7_bridge.mapping.segments.ft1 import charge, currency_of_house
from hl7_bridge.mapping.subjects import known_patient
from hl7_bridge.mapping.visits import known_visit
from hl7_bridge.message import Message


async def charges(message: Message, draft: Draft, context: Context) -> None:
    """P03, P11: ChargeItems of a patient."""
    context = told_in_zone(message, context)
    happened = event(message, context)
    pid = message.first("PID")
    subject = await known_patient(pid, happened, message, draft, context)
    visit = await known_visit(message, subject, happened, draft, context)
    account = (
        "" if pid is None else await account_with_payers(message, pid, subject, draft, context, happened.at)
    )
    transactions = message.all("FT1")
    currency = await currency_of_house(draft)
    if not transactions:
        raise Held(Problem("dead-letter", "The message has no FT1.", "FT1", "", True))
    for ft1 in transactions:
        made = charge(ft1, subject.reference, visit, account, subject.number, draft, context, currency)
        if made is not None:
            await keep(made, draft, context, happened.at)
    await of_person(message, subject, visit, subject.number, draft, context, happened.at)


MAPPINGS: dict[tuple[str, str], Map] = {
    # without its event, as old senders tell it
    ("DFT", ""): charges,
    ("DFT", "P03"): charges,
    ("DFT", "P11"): charges,
}
