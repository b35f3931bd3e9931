"""What a check of a store finds, and what must hold for the body of a version in any store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fhir_r4.errors import FhirError
from fhir_r4.jsonio import decode
from fhir_r4.temporal import format_instant

MOST_PROBLEMS = 1_000


@dataclass(slots=True)
class Report:
    """What was looked at and what is wrong; `problems` holds the first thousand, `count` how many there are."""

    versions: int = 0
    resources: int = 0
    entries: int = 0
    claims: int = 0
    count: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return self.count == 0

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def parsed(body: object) -> dict[str, Any] | None:
    """The resource that a body holds, None when it holds none."""
    try:
        resource = decode(body) if isinstance(body, bytes) else None
    except FhirError:
        return None
    return resource if isinstance(resource, dict) else None


def body_problem(
    type_name: str, id: str, version: int, updated: int, deleted: bool, body: bytes
) -> str | None:
    """What is wrong with the stored text of a version, None when nothing is."""
    if deleted:
        return None if body == b"" else "a deletion with a body"
    resource = parsed(body)
    if resource is None:
        return "the body is no JSON object"
    meta = resource.get("meta")
    found = (
        resource.get("resourceType"),
        resource.get("id"),
        *((meta.get("versionId"), meta.get("lastUpdated")) if isinstance(meta, dict) else (None, None)),
    )
    wanted = (type_name, id, str(version), format_instant(updated))
    return None if found == wanted else f"the body says {found}, the store {wanted}"
