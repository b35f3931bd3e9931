"""One patient's record as it grows: resources with readable ids, counted by kind."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any

from fhir_server.demo.elements import Resource, reference
from fhir_server.demo.people import Person


class Record:
    """Collects what is made for `person`; nothing recorded is later than `now`, which is the death of the dead."""

    def __init__(self, person: Person, chance: Random, now: datetime, *, dead: bool = False) -> None:
        self.person = person
        self.chance = chance
        self.now = now
        self.dead = dead
        self.resources: list[Resource] = []
        self._counts: dict[str, int] = {}

    @property
    def subject(self) -> Resource:
        return reference(f"Patient/{self.person.id}", self.person.name)

    def new_id(self, prefix: str) -> str:
        """`obs-0001-3` for the third `obs` of patient 1."""
        number = self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}-{self.person.number:04d}-{number}"

    def add(self, type: str, prefix: str, /, **elements: Any) -> Resource:
        """Add a resource with a new id; elements that are None are left out."""
        resource: Resource = {"resourceType": type, "id": self.new_id(prefix)}
        resource.update((name, value) for name, value in elements.items() if value is not None)
        self.resources.append(resource)
        return resource

    def happens(self, probability: float) -> bool:
        return self.chance.random() < probability
