"""What a message is built of: resources, and those that they refer to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hl7_bridge.building.fields import cwe, pl, xcn
from hl7_bridge.serializer import One

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """A patient, the visit, and the resources that are referred to, by their references (`Location/1`)."""

    patient: Resource
    encounter: Resource | None = None
    known: Mapping[str, Resource] = field(default_factory=dict)

    def at(self, reference: Resource | None) -> Resource | None:
        """The resource that a Reference leads to, None when it is not known."""
        return self.known.get((reference or {}).get("reference", ""))

    def place(self, reference: Resource | None) -> One:
        """A place as PL; by its name when the Location is not known."""
        if reference is None:
            return None
        chain: list[Resource] = []
        location = self.at(reference)
        while location is not None and len(chain) < 10:
            chain.append(location)
            location = self.at(location.get("partOf"))
        if chain:
            return pl(chain)
        name = reference.get("display")
        return (None, None, None, None, None, None, None, None, name) if name else None

    def person(self, reference: Resource | None) -> One:
        """A person as XCN."""
        if reference is None:
            return None
        found = self.at(reference)
        if found is not None and found.get("resourceType") == "PractitionerRole":
            reference = found.get("practitioner", {})
            found = self.at(reference)
        return xcn(reference, found)

    def people(self, references: Sequence[Resource]) -> list[One]:
        return [one for one in (self.person(reference) for reference in references) if one is not None]


def concepts(several: Sequence[Resource]) -> list[One]:
    return [one for one in (cwe(each) for each in several) if one is not None]
