"""EVN: what happened, and when; by it events that come late are told from those that come in order."""

from __future__ import annotations

from dataclasses import dataclass

from fhir_r4.temporal import format_instant
from hl7_bridge.mapping.datatypes.times import date_time, microseconds
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import Message

SKIPS = {
    "EVN-3": "When something is planned stands in PV2-8 and PV2-9.",
    "EVN-4": "Why somebody entered the event is kept in the raw message.",
    "EVN-5": "Who entered the event is kept in the raw message.",
    "EVN-7": "The facility of the event is that of the sender.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its trigger (A01), when it took place in microseconds, and as FHIR dateTime.

    `received` is when its message came; `again` says that the message has been mapped before.
    """

    trigger: str
    at: int
    written: str
    received: int = 0
    again: bool = False


@maps("EVN-1", "EVN-2", "EVN-6", "MSH-7", "MSH-9")
def event(message: Message, context: Context) -> Event:
    """The event of a message: as of EVN-6, else EVN-2, else MSH-7, else when the message was received."""
    evn = message.first("EVN")
    told = [evn.value(6), evn.value(2)] if evn is not None else []
    for value in (*told, message.header.value(7)):
        at, written = microseconds(value, context), date_time(value, context)
        if at is not None and written is not None:
            return Event(message.trigger, at, written, context.receipt.received, context.again)
    received = context.receipt.received
    return Event(message.trigger, received, format_instant(received), received, context.again)
