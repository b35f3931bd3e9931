"""Whom a message is about: the patient, written as it tells, and the visit.

An invariant to keep: an event that comes late adds what nobody has told, and changes nothing that a newer one has told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import changed, filled, is_late, sourced, with_as_of
from hl7_bridge.mapping.datatypes.identifiers import identifier
from hl7_bridge.mapping.draft import Draft, Held, Problem
from hl7_bridge.mapping.keeping import keep, write
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.segments.evn import Event
from hl7_bridge.mapping.segments.pd1 import general_practitioners
from hl7_bridge.mapping.segments.pid import create_patient, find_patient, identifiers, with_patient
from hl7_bridge.message import Message, Segment


@dataclass(frozen=True, slots=True)
class Subject:
    """A patient: the reference, and the number that keys of other resources are made of.

    `late` says that a newer event has told of the patient: then what else is told may have been confirmed since.
    """

    reference: str
    number: str
    late: bool = False


async def patient_of(
    message: Message, pid: Segment | None, event: Event, draft: Draft, context: Context
) -> Subject:
    """The patient, written as the message tells. Raises Held when nobody can tell who it is."""
    if pid is None:
        raise Held(Problem("unmatched-patient", "The message has no PID.", "PID", "", True))
    existing = await find_patient(pid, draft, context)
    before = existing if existing is not None else {"resourceType": "Patient"}
    told = with_patient(before, pid, draft, context)
    pd1 = message.first("PD1")
    if pd1 is not None:
        told = changed(told, general_practitioners(pd1, context))
    number = _number(identifiers(pid, context)[0])
    if existing is None:
        return Subject(create_patient(sourced(with_as_of(told, event.at, context), context), draft), number)
    late = is_late(existing, event.at, context)
    if late:
        told = filled(existing, told, context)
    else:
        told = with_as_of(told, event.at, context)
    return Subject(write(existing, told, draft, context), number, late)


async def known_patient(
    pid: Segment | None, event: Event, message: Message, draft: Draft, context: Context
) -> Subject:
    """The patient, made if there is none, but not changed: for messages about something else."""
    existing = None if pid is None else await find_patient(pid, draft, context)
    if existing is None or pid is None:
        return await patient_of(message, pid, event, draft, context)
    number = _number(identifiers(pid, context)[0])
    return Subject(f"Patient/{existing['id']}", number, is_late(existing, event.at, context))


@maps("PID-18")
def account_identifier(pid: Segment, context: Context) -> dict[str, Any] | None:
    """The number of the patient's account."""
    return identifier(pid.value(18), context)


async def account_of(
    pid: Segment, subject: Subject, draft: Draft, context: Context, at: int, more: Resource | None = None
) -> str:
    """The reference to the patient's Account, made or written as told; '' when no account is told."""
    number = account_identifier(pid, context)
    if number is None:
        return ""
    account = {
        "resourceType": "Account",
        "identifier": [number],
        "status": "active",
        "subject": [{"reference": subject.reference}],
        **(more or {}),
    }
    return await keep(account, draft, context, at, subject.late)


def _number(identifier: dict[str, Any]) -> str:
    return f"{identifier['system']}|{identifier['value']}"
