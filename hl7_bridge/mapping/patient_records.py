"""What messages tell of a patient besides who it is: contacts, allergies, diagnoses, procedures, and who pays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import Changes
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.keeping import keep
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results.findings import write_findings
from hl7_bridge.mapping.segments.al1 import adverse_reaction, allergy
from hl7_bridge.mapping.segments.dg1 import condition, diagnosis, procedure
from hl7_bridge.mapping.segments.in1 import coverage, guarantee, guarantor, insured
from hl7_bridge.mapping.segments.nk1 import related_person
from hl7_bridge.mapping.subjects import Subject, account_of
from hl7_bridge.message import Message, Segment


async def of_person(
    message: Message, subject: Subject, visit: str, scope: str, draft: Draft, context: Context, at: int
) -> list[dict[str, Any]]:
    """What else is told of a patient, and the diagnoses of the visit for its Encounter.

    `scope` is the number that diagnoses, procedures and findings belong to: that of the visit, or of the patient.
    """
    patient, owner = subject.reference, subject.number
    await write_findings(message, patient, visit, scope, draft, context)
    made: list[Resource | None] = []
    made += [related_person(one, patient, owner, context) for one in message.all("NK1")]
    made += [allergy(one, patient, owner, context) for one in message.all("AL1")]
    made += [adverse_reaction(one, patient, owner, context) for one in message.all("IAM")]
    made += [procedure(one, patient, visit, scope, context) for one in message.all("PR1")]
    made += [insured(in1, in2, patient, owner, context) for in1, in2 in _insurances(message)]
    unique: dict[str, Resource] = {}
    for one in made:
        if one is not None:
            unique[f"{one['resourceType']}|{one['identifier'][0]}"] = one
    for one in unique.values():
        await keep(one, draft, context, at, subject.late)
    found: dict[str, dict[str, Any]] = {}
    for dg1 in message.all("DG1"):
        resource = condition(dg1, patient, visit, scope, context)
        if resource is not None and str(resource["identifier"][0]) not in found:
            reference = await keep(resource, draft, context, at, subject.late)
            found[str(resource["identifier"][0])] = diagnosis(dg1, reference)
    return list(found.values())


async def account_with_payers(
    message: Message, pid: Segment, subject: Subject, draft: Draft, context: Context, at: int
) -> str:
    """The Account, with who pays; '' when no account is told."""
    more: Changes = {}
    coverages = await coverages_of(message, subject, draft, context, at)
    if coverages:
        more["coverage"] = [{"coverage": {"reference": one}} for one in coverages]
    guarantors = await guarantors_of(message, subject, draft, context, at)
    if guarantors:
        more["guarantor"] = guarantors
    return await account_of(pid, subject, draft, context, at, more)


async def coverages_of(
    message: Message, subject: Subject, draft: Draft, context: Context, at: int
) -> list[str]:
    """The references to the Coverages that are told."""
    found: dict[str, None] = {}
    for in1, in2 in _insurances(message):
        made = coverage(in1, in2, subject.reference, subject.number, context)
        found[await keep(made, draft, context, at, subject.late)] = None
    return list(found)


async def guarantors_of(
    message: Message, subject: Subject, draft: Draft, context: Context, at: int
) -> list[dict[str, Any]]:
    """What the Account says of the guarantors that are told."""
    found: dict[str, dict[str, Any]] = {}
    for gt1 in message.all("GT1"):
        made = guarantor(gt1, subject.reference, subject.number, context)
        party = subject.reference if made is None else await keep(made, draft, context, at, subject.late)
        found[party] = guarantee(gt1, party, context)
    return list(found.values())


def _insurances(message: Message) -> Iterator[tuple[Segment, Segment | None]]:
    """Each IN1 with the IN2 that follows it."""
    segments = message.segments
    for n, in1 in enumerate(segments):
        if in1.name == "IN1":
            following = segments[n + 1] if n + 1 < len(segments) else None
            yield in1, following if following is not None and following.name == "IN2" else None
