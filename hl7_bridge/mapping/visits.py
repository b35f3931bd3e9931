"""Visits as messages tell of them: found by their numbers, written as the event leaves them."""

from __future__ import annotations

from typing import Any

from hl7_bridge.mapping.changes import merged, sourced
from hl7_bridge.mapping.datatypes.places import place
from hl7_bridge.mapping.datatypes.times import date_time
from hl7_bridge.mapping.draft import Draft, identified
from hl7_bridge.mapping.keeping import write
from hl7_bridge.mapping.patient_records import account_with_payers, of_person
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.segments.evn import Event
from hl7_bridge.mapping.segments.pv1 import (
    EXPECTED_DISCHARGE,
    details,
    find_encounter,
    hospitalization,
    receipt_identifier,
    visit_identifiers,
)
from hl7_bridge.mapping.stays import DETAILS, Told, after, is_late
from hl7_bridge.mapping.subjects import Subject
from hl7_bridge.mapping.tables.visits import NULL_FLAVOR
from hl7_bridge.mapping.whereabouts import located
from hl7_bridge.message import Message, Segment

UNKNOWN_CLASS = {"system": NULL_FLAVOR, "code": "UNK", "display": "unknown"}


async def known_visit(
    message: Message, subject: Subject, happened: Event, draft: Draft, context: Context
) -> str:
    """The reference to the visit that PV1 means, made if there is none; '' when PV1 has no number.

    For messages about something else: what is known of a visit is left to those about visits.
    """
    pv1 = message.first("PV1")
    numbers = [] if pv1 is None else visit_identifiers(pv1, context)
    if pv1 is None or not numbers or pv1.text(2) == "N":
        return ""
    found = await find_encounter(pv1, draft, context)
    if found is not None:
        return f"Encounter/{found['id']}"
    changes = await details(message, pv1, draft, context)
    changes.pop("_expected", None)
    before = {
        "resourceType": "Encounter",
        "class": UNKNOWN_CLASS,
        "identifier": numbers,
        "subject": {"reference": subject.reference},
    }
    told = Told(happened, changes, hospitalization(message, pv1, context), **_times(message, pv1, context))
    query = identified(numbers[0]["system"], numbers[0]["value"])
    return draft.create(sourced(after(before, told), context), query)


async def write_visit(
    message: Message,
    pid: Segment,
    pv1: Segment,
    subject: Subject,
    happened: Event,
    draft: Draft,
    context: Context,
) -> None:
    """Write the Encounter as an event leaves it, and what belongs to it."""
    existing = await find_encounter(pv1, draft, context)
    numbers = visit_identifiers(pv1, context) or [receipt_identifier(context)]
    query = identified(numbers[0]["system"], numbers[0]["value"])
    reference = f"Encounter/{existing['id']}" if existing else draft.address("Encounter", query)
    scope = f"{subject.number}/{numbers[0]['value']}"
    diagnoses = await of_person(message, subject, reference, scope, draft, context, happened.at)
    account = await account_with_payers(message, pid, subject, draft, context, happened.at)
    before = existing or {
        "resourceType": "Encounter",
        "class": UNKNOWN_CLASS,
        "subject": {"reference": subject.reference},
    }
    changes = await details(message, pv1, draft, context)
    changes["identifier"] = merged(before.get("identifier", []), numbers)
    if not before["subject"].get("reference"):
        changes["subject"] = {"reference": subject.reference}
    expected = changes.pop("_expected", None)
    if diagnoses:
        told_ones = {one["condition"]["reference"] for one in diagnoses}
        kept = [
            one for one in before.get("diagnosis", []) if one["condition"].get("reference") not in told_ones
        ]
        changes["diagnosis"] = [*kept, *diagnoses]
    if account:
        changes["account"] = [{"reference": account}]
    told = Told(
        happened,
        changes,
        hospitalization(message, pv1, context),
        **(await _places(pv1, happened, draft)),
        **_times(message, pv1, context),
    )
    made = after(before, told)
    if expected is not None and not is_late(before, DETAILS, happened):
        extensions = [one for one in made.get("extension", []) if one["url"] != EXPECTED_DISCHARGE]
        made["extension"] = [*extensions, {"url": EXPECTED_DISCHARGE, "valueDateTime": expected}]
    if existing is None:
        draft.create(sourced(made, context), query)
    else:
        write(existing, made, draft, context)


@maps("PV1-3", "PV1-6", "PV1-11", "PV1-42", "PV1-43")
async def _places(pv1: Segment, happened: Event, draft: Draft) -> dict[str, Any]:
    """Where the patient is by PV1-3, and in A05 is to be by PV1-42; where no place is told, by PV1-11."""
    fields = (42, 3) if happened.trigger == "A05" else (3, 11)
    for field in fields:
        told_place = place(pv1.value(field))
        if told_place is not None:
            found = await located(told_place, draft, f"PV1-{field}")
            return {"place": found, "called": told_place.name}
    return {}


@maps("PV1-44", "PV1-45", "PV2-8")
def _times(message: Message, pv1: Segment, context: Context) -> dict[str, Any]:
    start = date_time(pv1.value(44), context)
    pv2 = message.first("PV2")
    if start is None and pv2 is not None and message.trigger == "A05":
        start = date_time(pv2.value(8), context)
    return {"start": start, "end": date_time(pv1.value(45), context)}
