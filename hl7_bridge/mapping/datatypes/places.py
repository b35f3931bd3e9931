"""PL as the parts of a place: where a person is.

https://hl7.org/fhir/uv/v2mappings/ (PL).
"""

from __future__ import annotations

from dataclasses import dataclass

from hl7_bridge.mapping.datatypes.people import told
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import Value


@dataclass(frozen=True, slots=True)
class Place:
    """A PL: names from the smallest to the largest part, '' where none is told."""

    bed: str = ""
    room: str = ""
    point_of_care: str = ""
    floor: str = ""
    building: str = ""
    facility: str = ""
    description: str = ""
    identifier: str = ""

    @property
    def name(self) -> str:
        """The place as it is shown."""
        parts = (self.facility, self.building, self.floor, self.point_of_care, self.room, self.bed)
        return self.description or " ".join(part for part in parts if part)


@maps("PL.1", "PL.2", "PL.3", "PL.4", "PL.7", "PL.8", "PL.9", "PL.10")
def place(value: Value) -> Place | None:
    """The place that a PL tells; None when it tells none."""
    found = Place(
        bed=told(value, 3),
        room=told(value, 2),
        point_of_care=told(value, 1),
        floor=told(value, 8),
        building=told(value, 7),
        facility=told(value, 4),
        description=told(value, 9),
        identifier=told(value, 10),
    )
    return found if found != Place() else None
