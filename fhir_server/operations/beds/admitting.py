"""Encounter/$admit and $cancel-admit: a patient comes, or is to come, and what follows when that was a mistake.

HL7 v2 calls them A01 (now), A05 (planned) and A11. An invariant to keep: the stay, its account, and the flags that tell the ward
what to mind are written in one commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.beds.asking import (
    carry_out_with_bed,
    instant,
    moment,
    override_of,
    reference_id,
    require_status,
    require_stay,
)
from fhir_server.operations.beds.choosing import Wish
from fhir_server.operations.given import Given, given
from fhir_server.resources.beds.flags import isolation_flag
from fhir_server.resources.beds.moves import (
    bed_entry,
    beds_of,
    came,
    entered,
    left,
    taken_back,
    with_extension,
    without_reservations,
)
from fhir_server.resources.beds.stays import (
    EXPECTED_DISCHARGE,
    NEEDS,
    expected_discharge,
    is_inpatient,
    patient_of,
    places_of,
    start_of,
)
from fhir_server.resources.beds.surroundings import needs_in
from fhir_server.resources.beds.wards import needs_of, requirements
from fhir_server.resources.change import Known

ADMIT = "https://osler.health/fhir/OperationDefinition/Encounter-admit"
CANCEL_ADMIT = "https://osler.health/fhir/OperationDefinition/Encounter-cancel-admit"
CLASS = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
INPATIENT_CLASS = {"system": CLASS, "code": "IMP", "display": "inpatient encounter"}
ATTENDING = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
            "code": "ATND",
            "display": "attender",
        }
    ]
}


def planned_stay(id: str, patient: str | None) -> Resource:
    """A stay that has not begun and has no place yet."""
    return {
        "resourceType": "Encounter",
        "id": id,
        "status": "planned",
        "class": INPATIENT_CLASS,
        "subject": {"reference": f"Patient/{patient}"},
    }


async def admit(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter, in progress in a bed; or planned with a bed reserved, with `planned-start`."""
    asked = given(call, ADMIT)
    bases = services.settings.local_bases
    existing = call.id if call.id is not None else reference_id(asked, "encounter", "Encounter", services)
    patient = reference_id(asked, "patient", "Patient", services)
    if existing is None and patient is None:
        raise InvalidRequest("The parameter patient is needed, or the planned Encounter.", "patient")
    new_id = services.new_id()

    async def drafted(known: Known) -> Resource:
        stay = planned_stay(new_id, patient) if existing is None else await require_stay(known, existing)
        if existing is not None:
            # somebody of the emergency department who is seen already is admitted into the ward
            seen = () if is_inpatient(stay) else ("in-progress",)
            require_status(stay, "planned", "arrived", "triaged", *seen)
            if patient is not None and patient_of(stay, bases) != patient:
                raise BusinessRule(f"Encounter/{existing} is not of Patient/{patient}.", "patient")
        else:
            await _require_alive(known, patient)
        return _described(stay, asked)

    async def wishing(known: Known) -> Wish:
        stay = await drafted(known)
        start = asked.one("planned-start")
        return Wish(
            await needs_in(known, stay, bases),
            start=known.now if start is None else instant(start),
            end=expected_discharge(stay),
            stay=stay["id"],
        )

    async def plan(known: Known, bed: str | None) -> Sequence[Write]:
        stay = await drafted(known)
        if asked.one("planned-start") is not None:
            stay = _planned(stay, bed, asked)
        else:
            stay = _arrived(stay, bed, moment(asked, known), override_of(call, asked), bases)
        stay, writes = _with_account(stay, asked, known, services)
        kinds = sorted(needs_of(stay, None).isolation)
        if kinds and "planned-start" not in asked:
            flag = isolation_flag(services.new_id(), stay, kinds, known.now)
            writes.append(Write(flag, "POST", fresh=True))
        return [Write(stay, "POST", fresh=True) if existing is None else Write(stay), *writes]

    return await carry_out_with_bed(call, services, asked, wishing, plan)


async def cancel_admit(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter, cancelled; the bed is left to housekeeping, reservations are given back."""
    asked = given(call, CANCEL_ADMIT)
    bases = services.settings.local_bases

    async def plan(known: Known) -> Sequence[Write]:
        stay = await require_stay(known, call.id)
        require_status(stay, "planned", "arrived", "triaged", "in-progress")
        at = moment(asked, known)
        stay = without_reservations(left(stay, at, bases), bases)
        stay = taken_back(entered(stay, "cancelled", at), "admission", asked.one("reason"), at)
        return [Write(stay)]

    return await carry_out(call, services, asked, plan)


async def _require_alive(known: Known, patient: str | None) -> None:
    found = None if patient is None else await known.current("Patient", patient)
    if found is None:
        raise BusinessRule(f"Patient/{patient} is not here.", "patient")
    if found.get("deceasedBoolean") is True or "deceasedDateTime" in found:
        raise BusinessRule(f"Patient/{patient} has died.", "patient")
    if found.get("active") is False:
        raise BusinessRule(f"The record Patient/{patient} is not active.", "patient")


def _described(stay: Resource, asked: Given) -> Resource:
    """The stay with what the parameters say of it."""
    made = dict(stay)
    class_ = asked.one("class")
    if class_ is not None:
        made["class"] = class_
    elif not is_inpatient(made):
        made["class"] = INPATIENT_CLASS
    if asked.all("reason"):
        made["reasonCode"] = [*made.get("reasonCode", ()), *asked.all("reason")]
    attending = asked.one("attending")
    if attending is not None:
        made["participant"] = [*made.get("participant", ()), {"type": [ATTENDING], "individual": attending}]
    source = asked.one("admit-source")
    if source is not None:
        made["hospitalization"] = {**made.get("hospitalization", {}), "admitSource": source}
    leaves = asked.one("expected-discharge")
    if leaves is not None:
        made = with_extension(made, {"url": EXPECTED_DISCHARGE, "valueDateTime": leaves})
    needs = requirements(
        asked.all("isolation"),
        asked.one("organism"),
        asked.one("specialty"),
        asked.all("equipment"),
        asked.one("weight"),
    )
    return made if needs is None else with_extension(made, {**needs, "url": NEEDS})


def _planned(stay: Resource, bed: str | None, asked: Given) -> Resource:
    start, end = asked.one("planned-start"), asked.one("expected-discharge")
    period = {"start": start} if end is None else {"start": start, "end": end}
    made = {**stay, "status": "planned", "period": period}
    if bed is None:
        return made
    kept = without_reservations(made)
    return {**kept, "location": [*kept.get("location", ()), bed_entry(bed, "reserved", period)]}


def _arrived(
    stay: Resource, bed: str | None, at: str, override: Resource | None, bases: Sequence[str]
) -> Resource:
    """The stay in progress: in `bed`, or in the one that is reserved."""
    if bed is None:
        reserved = beds_of(stay, "reserved", bases)
        if not reserved:
            raise InvalidRequest("One of the parameters bed and ward is needed.", "bed")
        bed = reserved[0].location
    previous = stay["status"]
    # before the new bed come the places of an emergency department, which are left with it
    emergency = {p.index for p in places_of(stay, bases) if p.state == "active" and not p.says_bed}
    if emergency:
        entries = [
            {**e, "status": "completed", "period": {**e.get("period", {}), "end": at}}
            if n in emergency
            else e
            for n, e in enumerate(stay["location"])
        ]
        stay = {**stay, "location": entries}
    if previous == "planned":
        stay = {**stay, "period": {"start": at}}
    made = came(stay, bed, at, override, bases)
    if previous == "planned":
        return {**made, "status": "in-progress"}
    return entered(made, "in-progress", at)


def _with_account(
    stay: Resource, asked: Given, known: Known, services: Services
) -> tuple[Resource, list[Write]]:
    """The stay with the account that its charges go to: the one that was given, that it has, or a new one."""
    account = asked.one("account")
    if account is not None:
        return {**stay, "account": [account]}, []
    if stay.get("account"):
        return stay, []
    id = services.new_id()
    start = stay.get("period", {}).get("start", format_instant(known.now))
    made: Resource = {
        "resourceType": "Account",
        "id": id,
        "status": "active",
        "type": {"coding": [{"system": CLASS, "code": "PBILLACCT", "display": "patient billing account"}]},
        "subject": [stay["subject"]],
        "servicePeriod": {"start": start},
    }
    if asked.all("coverage"):
        made["coverage"] = [
            {"coverage": coverage, "priority": n} for n, coverage in enumerate(asked.all("coverage"), 1)
        ]
    return {**stay, "account": [{"reference": f"Account/{id}"}]}, [Write(made, "POST", fresh=True)]


def begun(stay: Resource) -> int | None:
    """When a stay began, microseconds."""
    return start_of(stay.get("period", {}).get("start"))
