"""What is known of a patient before any care: demographics, cover, account, allergies, vaccinations, lasting problems."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from fhir_server.demo.elements import (
    CVX,
    SNOMED,
    Resource,
    coding,
    concept,
    identifier,
    instant,
    local,
    reference,
    typed,
)
from fhir_server.demo.house import HOSPITAL, PAYERS
from fhir_server.demo.names import CULTURES, LANGUAGES, phone, pick_address
from fhir_server.demo.people import Person
from fhir_server.demo.record import Record
from fhir_server.demo.vocabulary import ALLERGIES, VACCINES, Problem


def patient(person: Person, chance: Random, death: str | None) -> Resource:
    """The Patient; `death` is the instant of it."""
    language = CULTURES[person.culture][3]
    telecom: list[Resource] = [dict(phone(person.number))]
    if chance.random() < 0.6:
        telecom.append({"system": "email", "value": f"{person.id}@mail.example", "use": "home"})
    made = typed(
        {
            "resourceType": "Patient",
            "id": person.id,
            "identifier": [
                {
                    "use": "usual",
                    "type": concept("v2-0203", "MR", "Medical record number"),
                    **identifier("mrn", f"OSL{person.number:06d}"),
                    "assigner": reference(HOSPITAL),
                }
            ],
            "active": True,
            "name": [{"use": "official", "family": person.family, "given": list(person.given)}],
            "telecom": telecom,
            "gender": person.gender,
            "birthDate": person.birth.isoformat(),
            "address": [pick_address(chance, person.number)],
            "communication": [
                {"language": concept("urn:ietf:bcp:47", language, LANGUAGES[language]), "preferred": True}
            ],
            "managingOrganization": reference(HOSPITAL),
        }
    )
    return made if death is None else {**made, "deceasedDateTime": death}


def add_cover(record: Record, registered: date) -> Resource:
    """Coverage for most, and everybody's account; the account."""
    person = record.person
    cover: Resource | None = None
    if record.happens(0.87):
        payer = record.chance.choice(list(PAYERS))
        cover = record.add(
            "Coverage",
            "cov",
            identifier=[identifier("policy", f"P{record.chance.randrange(10**7):07d}")],
            status="active",
            type=concept("v3-ActCode", "PUBLICPOL" if payer == "payer-3" else "EHCPOL"),
            subscriber=record.subject,
            beneficiary=record.subject,
            relationship=concept("subscriber-relationship", "self", "Self"),
            period={"start": registered.isoformat()},
            payor=[reference(f"Organization/{payer}", PAYERS[payer])],
            order=1,
        )
    return record.add(
        "Account",
        "acc",
        identifier=[identifier("account", f"A{person.number:06d}")],
        status="active",
        type=concept("v3-ActCode", "PBILLACCT", "Patient billing account"),
        name=f"Account of {person.name}",
        subject=[record.subject],
        servicePeriod={"start": registered.isoformat()},
        coverage=[{"coverage": reference(cover), "priority": 1}] if cover is not None else None,
        owner=reference(HOSPITAL),
    )


def add_allergies(record: Record, registered: date) -> None:
    if not record.happens(0.28):
        return
    for code, name, category, reaction, effect, severity in record.chance.sample(
        ALLERGIES, record.chance.randint(1, 2)
    ):
        record.add(
            "AllergyIntolerance",
            "alg",
            clinicalStatus=concept("allergyintolerance-clinical", "active"),
            verificationStatus=concept("allergyintolerance-verification", "confirmed"),
            type="allergy",
            category=[category],
            criticality="high" if severity == "severe" else "low",
            code=concept(SNOMED, code, name),
            patient=record.subject,
            recordedDate=registered.isoformat(),
            reaction=[{"manifestation": [concept(SNOMED, reaction, effect)], "severity": severity}],
        )


def add_vaccinations(record: Record, last: date, nurses: list[str]) -> None:
    """Vaccinations of the last years, none after `last`."""
    for code, name, lowest in VACCINES:
        day = last - timedelta(days=record.chance.randint(10, 700))
        if record.person.age(day) < max(lowest, 0) or not record.happens(0.4):
            continue
        record.add(
            "Immunization",
            "imm",
            status="completed",
            vaccineCode=concept(CVX, code, name),
            patient=record.subject,
            occurrenceDateTime=instant(local(day, record.chance.randint(9, 16))),
            primarySource=True,
            lotNumber=f"V{record.chance.randrange(10000):04d}",
            site=concept("v3-ActSite", "LA", "Left arm"),
            performer=[{"actor": reference(f"Practitioner/{record.chance.choice(nurses)}")}],
        )


def add_problems(record: Record, registered: date) -> dict[str, Resource]:
    """The problem list, by SNOMED CT code."""
    return {
        problem.snomed: add_condition(record, problem, began.isoformat()[:7], max(began, registered))
        for problem, began in record.person.chronic
    }


def add_condition(
    record: Record,
    problem: Problem,
    onset: str,
    recorded: date,
    encounter: Resource | None = None,
    abated: str | None = None,
) -> Resource:
    """A Condition: on the problem list, or the diagnosis of `encounter`."""
    kind = (
        ("problem-list-item", "Problem list item")
        if encounter is None
        else ("encounter-diagnosis", "Diagnosis")
    )
    code = concept(SNOMED, problem.snomed, problem.name)
    from_icd = coding("http://hl7.org/fhir/sid/icd-10", problem.icd10, problem.name)
    return record.add(
        "Condition",
        "cond",
        clinicalStatus=concept("condition-clinical", "active" if abated is None else "resolved"),
        verificationStatus=concept("condition-ver-status", "confirmed"),
        category=[concept("condition-category", *kind)],
        code={**code, "coding": [*code["coding"], from_icd]},
        subject=record.subject,
        encounter=reference(encounter) if encounter is not None else None,
        onsetDateTime=onset,
        abatementDateTime=abated,
        recordedDate=recorded.isoformat(),
    )
