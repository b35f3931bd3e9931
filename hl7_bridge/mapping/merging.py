"""Patients that turn out to be one, and visits that turn out to be another's.

HL7 v2.5.1 chapter 3.6; https://hl7.org/fhir/R4/patient.html#merging: the record that is given up is inactive and leads to the one
that stays, and what was recorded of it is moved. So much is moved at once that nobody waits for it: of what is more, whole pages go
first, in transactions of their own, and the merge itself is written with the last of them. An invariant to keep: at any moment each
resource is one of exactly one record, and a record is given up only when nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import merged, sourced, with_as_of, with_newer
from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft, Held, Problem
from hl7_bridge.mapping.keeping import write
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.segments.evn import event
from hl7_bridge.mapping.segments.mrg import prior_identifiers, prior_visits
from hl7_bridge.mapping.segments.pid import (
    create_patient,
    find_patient,
    identifiers,
    survivor,
    with_patient,
)
from hl7_bridge.mapping.segments.pv1 import visit_identifiers
from hl7_bridge.message import Message, Segment

# what is moved to the patient who stays: types by the search parameter that leads to the patient
MOVED = (
    ("Account", "subject"),
    ("AllergyIntolerance", "patient"),
    ("Appointment", "patient"),
    ("BodyStructure", "patient"),
    ("CarePlan", "patient"),
    ("CareTeam", "patient"),
    ("ChargeItem", "subject"),
    ("ClinicalImpression", "patient"),
    ("Composition", "patient"),
    ("Condition", "patient"),
    ("Consent", "patient"),
    ("Coverage", "beneficiary"),
    ("DiagnosticReport", "patient"),
    ("DocumentReference", "patient"),
    ("Encounter", "patient"),
    ("EpisodeOfCare", "patient"),
    ("FamilyMemberHistory", "patient"),
    ("Flag", "patient"),
    ("Goal", "patient"),
    ("ImagingStudy", "patient"),
    ("Immunization", "patient"),
    ("List", "patient"),
    ("Media", "patient"),
    ("MedicationAdministration", "patient"),
    ("MedicationDispense", "patient"),
    ("MedicationRequest", "patient"),
    ("MedicationStatement", "patient"),
    ("NutritionOrder", "patient"),
    ("Observation", "patient"),
    ("Procedure", "patient"),
    ("QuestionnaireResponse", "patient"),
    ("RelatedPerson", "patient"),
    ("RiskAssessment", "patient"),
    ("ServiceRequest", "patient"),
    ("Specimen", "patient"),
    ("Task", "patient"),
)
# so many resources of a type are moved by one transaction
PAGE = 100


async def merge_patients(message: Message, draft: Draft, context: Context) -> None:
    """A34, A40, A47: the numbers of MRG are given up for those of PID."""
    context = told_in_zone(message, context)
    groups = list(_groups(message))
    if not groups:
        raise Held(Problem("dead-letter", "The message has no PID and MRG.", "MRG", "", True))
    for pid, mrg in groups:
        await _merge(message, pid, mrg, draft, context)


def _groups(message: Message) -> Iterator[tuple[Segment, Segment]]:
    """Each MRG with the PID before it."""
    pid: Segment | None = None
    for segment in message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG" and pid is not None:
            yield pid, segment


async def _merge(message: Message, pid: Segment, mrg: Segment, draft: Draft, context: Context) -> None:
    kept, given_up = identifiers(pid, context), prior_identifiers(mrg, context)
    if not kept:
        raise Held(Problem("unmatched-patient", "PID has no number.", "PID-3", pid.raw(3), True))
    if not given_up:
        raise Held(Problem("unmatched-patient", "MRG has no number.", "MRG-1", mrg.raw(1), True))
    staying, going = await _of(kept, "PID-3", draft), await _of(given_up, "MRG-1", draft)
    at = event(message, context).at
    old = [{**one, "use": "old"} for one in given_up if one not in kept]
    if staying is None:
        # one record is known: it has other numbers from now on
        before = going if going is not None else {"resourceType": "Patient"}
        told = with_patient(before, pid, draft, context)
        told = with_as_of({**told, "identifier": merged(told["identifier"], old)}, at, context)
        if going is None:
            create_patient(sourced(told, context), draft)
        else:
            write(going, told, draft, context)
        return
    told = {**staying, "identifier": merged(staying.get("identifier", []), old)}
    if going is None or going["id"] == staying["id"]:
        write(staying, told, draft, context)
        return
    told = with_newer(told, going, at, context)
    write(staying, _linked(told, "replaces", going), draft, context)
    write(going, {**_linked(going, "replaced-by", staying), "active": False}, draft, context)
    await _move_all(f"Patient/{going['id']}", f"Patient/{staying['id']}", draft, context)


async def _of(told: list[dict[str, Any]], path: str, draft: Draft) -> Resource | None:
    """The patient that has one of these numbers and has not been given up. Raises Held when there are several."""
    keys = [(one["system"], one["value"]) for one in told]
    found = {}
    for one in await draft.any_of("Patient", keys):
        last = await survivor(one, draft)
        found[last["id"]] = last
    if len(found) > 1:
        said = " ".join(value for _, value in keys)
        text = "The identifiers are those of several patients."
        raise Held(Problem("ambiguous-identifier", text, path, said, True))
    return next(iter(found.values()), None)


def _linked(patient: Resource, type: str, other: Resource) -> Resource:
    link = {"other": {"reference": f"Patient/{other['id']}"}, "type": type}
    had = [one for one in patient.get("link", []) if one != link]
    return {**patient, "link": [*had, link]}


async def _move_all(old: str, new: str, draft: Draft, context: Context) -> None:
    for type, parameter in MOVED:
        while True:
            found = await draft.server.find(type, [(parameter, old)], PAGE)
            part = draft if len(found) < PAGE else Draft(draft.server, draft.made_from)
            for resource in found:
                moved = pointed(resource, old, new)
                if moved == resource:
                    text = f"What leads from {type}/{resource['id']} to the patient could not be moved."
                    raise Held(Problem("refused", text, "MRG-1", old, True))
                part.update(sourced(moved, context))
            if part is draft:
                break
            await part.server.deliver(part.bundle())


def pointed(value: Any, old: str, new: str) -> Any:
    """A resource whose references to `old` are to `new`."""
    if isinstance(value, dict):
        return {
            name: new if name == "reference" and one == old else pointed(one, old, new)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [pointed(one, old, new) for one in value]
    return value


async def move_visit(message: Message, draft: Draft, context: Context) -> None:
    """A45: visits of the patient of MRG-1 are those of the patient of PID."""
    context = told_in_zone(message, context)
    pid = message.first("PID")
    patient = None if pid is None else await find_patient(pid, draft, context)
    if patient is None:
        raise Held(Problem("unmatched-patient", "No patient has this identifier.", "PID-3", "", True))
    mrg: Segment | None = None
    for segment in message.segments:
        if segment.name == "MRG":
            mrg = segment
        elif segment.name == "PV1":
            await _move(mrg, segment, f"Patient/{patient['id']}", draft, context)


async def _move(mrg: Segment | None, pv1: Segment, patient: str, draft: Draft, context: Context) -> None:
    now = visit_identifiers(pv1, context)
    before = [] if mrg is None else prior_visits(mrg, context)
    keys = [(one["system"], one["value"]) for one in (*before, *now)]
    found = await draft.any_of("Encounter", keys, 2)
    if len(found) != 1:
        said = " ".join(value for _, value in keys)
        reason = "ambiguous-identifier" if found else "unmatched-patient"
        text = "Several visits have these numbers." if found else "No visit has this number."
        raise Held(Problem(reason, text, "MRG-5" if before else "PV1-19", said, True))
    visit = found[0]
    old = [{**one, "use": "old"} for one in before if one["value"] not in {n["value"] for n in now}]
    old_patient = visit["subject"].get("reference", "")
    moved = pointed(visit, old_patient, patient) if old_patient else visit
    moved = {**moved, "identifier": merged(visit.get("identifier", []), [*now, *old])}
    moved = {**moved, "subject": {"reference": patient}}
    write(visit, moved, draft, context)
