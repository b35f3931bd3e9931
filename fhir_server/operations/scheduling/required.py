"""Who and what is needed at the same time as the leading Schedule: by the question, and by the service that it names.

A joint question needs one of each kind that it names: each of its schedules, or else one of its practitioners and one of
its places. A HealthcareService says what it needs by the extension `required-resource`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fhir_r4.jsonio import decode_object
from fhir_server.context import Services
from fhir_server.operations.scheduling.question import Code, Criteria, Question, Requirement
from fhir_server.resources.scheduling.rules import duration_of, local_reference

REQUIRED = "https://osler.health/fhir/StructureDefinition/required-resource"


async def with_required(question: Question, services: Services) -> Question:
    """The question with all that it needs. Raises BusinessRule for a need of a service that makes no sense."""
    if question.joint:
        question = _joint(question)
    if question.service is None:
        return question
    stored = await services.store.read("HealthcareService", question.service.partition("/")[2])
    if stored is None or stored.deleted:
        return question
    service = decode_object(stored.body)
    needs = [_requirement(e) for e in service.get("extension", ()) if e.get("url") == REQUIRED]
    return replace(question, needs=(*question.needs, *needs), service_sequence=stored.sequence)


def _joint(question: Question) -> Question:
    criteria = question.criteria
    if criteria.schedules:
        first, *others = criteria.schedules
        return replace(
            question,
            criteria=replace(criteria, schedules=(first,)),
            needs=(*question.needs, *(Requirement(Criteria(schedules=(other,))) for other in others)),
        )
    if criteria.practitioners and criteria.locations:
        place = Requirement(Criteria(locations=criteria.locations, actor_type="Location"))
        return replace(question, criteria=replace(criteria, locations=()), needs=(*question.needs, place))
    return question


def _requirement(extension: Mapping[str, Any]) -> Requirement:
    parts: dict[str, list[Any]] = {}
    for part in extension.get("extension", ()):
        value = next((v for k, v in part.items() if k.startswith("value")), None)
        parts.setdefault(str(part.get("url")), []).append(value)
    schedules = (local_reference(r) for r in parts.get("schedule", ()))
    return Requirement(
        Criteria(
            schedules=tuple(r for r in schedules if r is not None),
            specialties=_codes(parts.get("specialty", ())),
            visit_types=_codes(parts.get("characteristic", ())),
            actor_type=str(parts["type"][0]) if "type" in parts else None,
        ),
        count=int(parts["count"][0]) if "count" in parts else 1,
        offset=duration_of(parts["offset"][0], "offset") if "offset" in parts else 0,
        duration=duration_of(parts["duration"][0], "duration") if "duration" in parts else None,
    )


def _codes(concepts: Any) -> tuple[Code, ...]:
    return tuple(
        (c.get("system"), c.get("code", "")) for concept in concepts for c in concept.get("coding", ())
    )
